"""Every export, by name.

A new one is a file under `formats/` that defines `EXPORT`; nothing else names it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from reports.exports import formats
from reports.exports.facts import Facts
from restaudit.errors import BadInput

# A file's bytes, or a function that writes it to the path it is given (for files too large for
# memory).
Content = bytes | Callable[[Path], None]
ALL = "all"


@dataclass(frozen=True)
class Export:
    """One format.

    name   what `--format` takes
    title  what it is, in a few words
    spec   the specification and its version, as in manifest.json
    build  facts of a run -> file name (may hold "/") -> content; the same facts always give the
           same bytes
    """

    name: str
    title: str
    spec: str
    build: Callable[[Facts], Mapping[str, Content]]


@cache
def exports() -> Mapping[str, Export]:
    """Every export by name, in alphabetical order."""
    modules = sorted(m.name for m in pkgutil.iter_modules(formats.__path__))
    found = [getattr(import_module(f"{formats.__name__}.{m}"), "EXPORT", None) for m in modules]
    return {e.name: e for e in sorted((e for e in found if e is not None), key=lambda e: e.name)}


def chosen(names: str) -> Sequence[Export]:
    """The exports that "NAME[,NAME…]" or "all" asks for.

    Raises BadInput that lists the valid names.
    """
    known = exports()
    wanted = [n.strip() for n in names.split(",") if n.strip()]
    unknown = [n for n in wanted if n not in known and n != ALL]
    if unknown or not wanted:
        what = (
            f"--format: unknown: {', '.join(repr(n) for n in unknown)}"
            if unknown
            else "--format: names no format"
        )
        raise BadInput(f"{what}; give one or more of {', '.join(known)}, or {ALL}")
    return [e for n, e in known.items() if ALL in wanted or n in wanted]
