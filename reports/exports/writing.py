"""Writing exports into a folder: all of them or, where one cannot be made, none; with a manifest of
what is there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports.exports.facts import Facts
from reports.exports.harmless import json_bytes
from reports.exports.registry import Content, Export
from reports.records import Records
from restaudit import __version__
from restaudit.errors import BadInput
from restaudit.evidence.ledger import digest_file
from restaudit.evidence.record import Run

MANIFEST = "manifest.json"
SCHEMA = "restaudit.exports/1"
# Where files are made before they are put into place.
STAGE = ".tmp-exports"


def write_exports(run: Path, wanted: Sequence[Export], out: Path) -> list[Path]:
    """Write the wanted exports of a run into a folder and return the files, the manifest last.

    Raises VerificationFailed where a recorded file is not as recorded, BadInput where the run has
    no finished step, the record cannot be read or the folder cannot be written.
    """
    facts = Facts(Records(Run(run)))
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
        _place(_write(stage / MANIFEST, json_bytes(body)), out / MANIFEST)
    except OSError as e:
        raise BadInput(
            f"{out}: cannot be written ({e.strerror}); choose another place with --out"
        ) from None
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


def _earlier(out: Path, facts: Facts) -> dict[str, dict[str, Any]]:
    """Files of an earlier export of the same record that are still there as they were written."""
    try:
        before = json.loads((out / MANIFEST).read_bytes())
        if (
            before["schema"] != SCHEMA
            or before["ledger_head"] != facts.head
            or before["restaudit"] != __version__
        ):
            return {}
        kept = {
            n: f
            for n, f in before["files"].items()
            if (out / n).resolve().is_relative_to(out.resolve())
        }
        return {n: f for n, f in kept.items() if digest_file(out / n).sha256 == f["sha256"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
