"""Every export by name, and how they are written into a folder: all of them or, where one cannot be
made, none.

A new one is a file under `formats/` that defines `EXPORT`; nothing else names it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from reports.exports import formats
from reports.exports.encoding import json_bytes
from reports.exports.facts import RunFacts
from reports.record.files import Records
from restaudit import __version__
from restaudit.errors import BadInput
from restaudit.evidence.ledger import digest_in
from restaudit.evidence.record import LARGEST_BESIDE, Run
from restaudit.files import plain
from restaudit.files.strict import parse_json

# A file's bytes, or a function that writes them into the file it is given (for those too large for
# memory).
Content = bytes | Callable[[IO[bytes]], None]
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


def write_exports(run: Path, wanted: Sequence[Export], out: Path) -> list[Path]:
    """Write the wanted exports of a run into a folder and return the files, the manifest last.

    Raises VerificationFailed where a recorded file is not as recorded, BadInput where the run has
    no finished step, the record cannot be read or the folder cannot be written.
    """
    facts = RunFacts(Records(Run(run)))
    root, manifest = plain.rooted(out / MANIFEST, run)
    below = manifest.removesuffix(MANIFEST)
    try:
        if below:
            plain.make_folder(root, below)
        out.mkdir(parents=True, exist_ok=True)
        # On the file system of the folder, so that a file is put into place by one rename.
        with plain.stage(out) as stage:
            files = _made(facts, wanted, stage)
            body = {
                "schema": SCHEMA,
                "restaudit": __version__,
                "run_id": facts.run_id,
                "state": facts.state,
                "ledger_head": facts.head,
                "files": {**_earlier(root, below, facts), **files},
            }
            plain.write(stage, MANIFEST, json_bytes(body))
            # The manifest last, so that it never names a file that is not there yet.
            names = (*files, MANIFEST)
            # Only now that every one of them could be made, and nothing is in the way of any: a
            # failure leaves the folder as it was.
            for name in names:
                plain.is_file(root, f"{below}{name}")
            for name in names:
                plain.place(stage / name, root, f"{below}{name}")
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
    return [out / name for name in names]


def _made(facts: RunFacts, wanted: Sequence[Export], stage: Path) -> dict[str, dict[str, Any]]:
    """Make every file in the stage; what the manifest says of each."""
    files: dict[str, dict[str, Any]] = {}
    for export in wanted:
        for name, content in sorted(export.build(facts).items()):
            with plain.created(stage, name) as f:
                if isinstance(content, bytes):
                    f.write(content)
                else:
                    content(f)
            digest = digest_in(stage, name)
            files[name] = {
                "sha256": digest.sha256,
                "bytes": digest.bytes,
                "format": export.name,
                "spec": export.spec,
            }
    return files


def _earlier(root: Path, below: str, facts: RunFacts) -> dict[str, dict[str, Any]]:
    """Files of an earlier export of the same record that are still there as they were written."""
    try:
        before = parse_json(plain.read(root, f"{below}{MANIFEST}"))
        wrote = (before["schema"], before["ledger_head"], before["restaudit"])
        if wrote != (SCHEMA, facts.head, __version__):
            return {}
        kept = {}
        for name, entry in before["files"].items():
            # Anybody can write a manifest, but no name in it leads out of the folder.
            digest = digest_in(root, f"{below}{name}", LARGEST_BESIDE)
            if digest.sha256 == entry["sha256"]:
                kept[name] = entry
        return kept
    # Whatever lies there under this name: a manifest that cannot be read is one of no files.
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
