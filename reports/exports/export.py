"""Every export by name, and how they are written into a folder: all of them or, where one cannot be
made, none.

A new one is a file under `formats/` that defines `EXPORT`; nothing else names it.
"""

from __future__ import annotations

import json
import pkgutil
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from reports.exports import formats
from reports.exports.encoding import json_bytes
from reports.exports.facts import RunFacts
from reports.record.files import Records
from restaudit import __version__
from restaudit.errors import BadInput
from restaudit.evidence.ledger import digest_file
from restaudit.evidence.record import Run

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
    build: Callable[[RunFacts], Mapping[str, Content]]


@cache
def exports() -> Mapping[str, Export]:
    """Every export by name, in alphabetical order."""
    # Found by looking into the folder: a format is one new file, and no list has to name it.
    by_name: dict[str, Export] = {}
    for entry in pkgutil.iter_modules(formats.__path__, f"{formats.__name__}."):
        export = getattr(import_module(entry.name), "EXPORT", None)
        if isinstance(export, Export):
            by_name[export.name] = export
    return dict(sorted(by_name.items()))


def chosen(names: str) -> Sequence[Export]:
    """The exports that "NAME[,NAME…]" or "all" asks for.

    Raises BadInput that lists the valid names.
    """
    known = exports()
    wanted = [n.strip() for n in names.split(",") if n.strip()]
    unknown = [n for n in wanted if n not in known and n != ALL]
    if unknown or not wanted:
        what = "--format: names no format"
        if unknown:
            what = f"--format: unknown: {', '.join(map(repr, unknown))}"
        raise BadInput(f"{what}; give one or more of {', '.join(known)}, or {ALL}")
    return [e for n, e in known.items() if ALL in wanted or n in wanted]


# --- writing

MANIFEST = "manifest.json"
SCHEMA = "restaudit.exports/1"
# Where files are made before they are put into place.
STAGE = ".tmp-exports"


def write_exports(run: Path, wanted: Sequence[Export], out: Path) -> list[Path]:
    """Write the wanted exports of a run into a folder and return the files, the manifest last.

    Raises VerificationFailed where a recorded file is not as recorded, BadInput where the run has
    no finished step, the record cannot be read or the folder cannot be written.
    """
    facts = RunFacts(Records(Run(run)))
    # On the file system of the folder, so that a file is put into place by one rename.
    stage = out / STAGE
    files: dict[str, dict[str, Any]] = {}
    try:
        for export in wanted:
            for name, content in sorted(export.build(facts).items()):
                digest = digest_file(_write(stage / name, content))
                files[name] = {
                    "sha256": digest.sha256,
                    "bytes": digest.bytes,
                    "format": export.name,
                    "spec": export.spec,
                }
        # Only now that every one of them could be made: a failure leaves the folder as it was.
        for name in files:
            _place(stage / name, out / name)
        body = {
            "schema": SCHEMA,
            "restaudit": __version__,
            "run_id": facts.run_id,
            "state": facts.state,
            "ledger_head": facts.head,
            "files": {**_earlier(out, facts), **files},
        }
        # Last, so that it never names a file that is not there yet.
        _place(_write(stage / MANIFEST, json_bytes(body)), out / MANIFEST)
    except OSError as e:
        raise BadInput(
            f"{out}: cannot be written ({e.strerror}); choose another place with --out"
        ) from None
    # What reading a plan or a table of another shape raises: a stranger's record, or an old one.
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise BadInput(
            f"{run}: the record is not what this version expects ({type(e).__name__}: {e}); "
            f"`restaudit verify {run}` says whether a file was changed"
        ) from e
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return [out / name for name in (*files, MANIFEST)]


def _write(path: Path, content: Content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    return path


def _place(made: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made.replace(path)


def _earlier(out: Path, facts: RunFacts) -> dict[str, dict[str, Any]]:
    """Files of an earlier export of the same record that are still there as they were written."""
    try:
        before = json.loads((out / MANIFEST).read_bytes())
        wrote = (before["schema"], before["ledger_head"], before["restaudit"])
        if wrote != (SCHEMA, facts.head, __version__):
            return {}
        kept = {}
        for name, entry in before["files"].items():
            # Anybody can write a manifest: a name in it must not lead out of the folder.
            inside = (out / name).resolve().is_relative_to(out.resolve())
            if inside and digest_file(out / name).sha256 == entry["sha256"]:
                kept[name] = entry
        return kept
    # Whatever lies there under this name: a manifest that cannot be read is one of no files.
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
