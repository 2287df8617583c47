"""Whether the report, rendered again from the record, has the bytes it had.

`restaudit` renders nothing. Whoever does writes RUN/report/manifest.json

    {"schema": 1, "files": {NAME: {"sha256": HEX, "bytes": N}}, "head": HEX, "renderer": {LIBRARY:
    VERSION}}

with names relative to report/ and the head of the ledger it was rendered from, and registers, in
the entry-point group `restaudit.rerender`, a function (run: Path, names: Sequence[str]) ->
Mapping[str, str]: the SHA-256 that each of these files has when it is rendered again. It leaves out
names that it cannot render with the versions at hand, raises RestauditError or ImportError with the
reason where it can render none, and writes nothing into the run. It must not depend on the folder's
name: a bundle is opened under a temporary one, without its weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from restaudit.errors import RestauditError, VerificationFailed
from restaudit.evidence.ledger import Event
from restaudit.evidence.verify.files import read_json, sha256_of, stays_inside

GROUP = "restaudit.rerender"
MANIFEST = "report/manifest.json"
SCHEMA = 1


def check_rendering(
    run: Path, events: Sequence[Event], *, redacted: bool, render: bool = True
) -> str | None:
    """What can be said of the rendered report, in a sentence; None where there is none.

    Raises VerificationFailed, naming the file, where it is not what its manifest says, or renders
    to other bytes.
    """
    if not (run / MANIFEST).is_file():
        return None
    files, head = _manifest(run)
    for name, sha256 in files.items():
        path = run / "report" / name
        if path.is_symlink() or not path.is_file():
            raise VerificationFailed(
                f"report/{name}: missing, or not a plain file; {MANIFEST} names it"
            )
        if (got := sha256_of(path)) != sha256:
            raise VerificationFailed(
                f"report/{name}: changed after it was rendered: expected {sha256}, got {got}"
            )
    at = next((k for k, e in enumerate(events) if e.hash == head), None)
    if at is None:
        raise VerificationFailed(
            f"{MANIFEST}: rendered from another record; its head {head} is not in this ledger"
        )
    since = len(events) - 1 - at
    if since:
        return f"report not re-rendered: it shows the record as it was {since} events ago"
    if redacted:
        return "report not re-rendered: the texts it shows are not in this bundle"
    if not render:
        return "report not re-rendered: --no-render was given"
    return _again(run, files)


def _again(run: Path, files: Mapping[str, str]) -> str:
    points = list(metadata.entry_points(group=GROUP))
    if not points:
        return "report not re-rendered: nothing that could is installed"
    found: dict[str, str] = {}
    for point in points:
        try:
            found |= dict(point.load()(run, list(files)))
        except ImportError as e:
            return f"report not re-rendered: a library is missing ({e})"
        except RestauditError as e:
            return f"report not re-rendered: {e}"
        except Exception as e:  # noqa: BLE001 - a stranger's folder met somebody else's renderer
            return f"report not re-rendered: '{point.name}' failed ({type(e).__name__}: {e})"
    for name, sha256 in files.items():
        if name in found and found[name] != sha256:
            raise VerificationFailed(
                f"report/{name}: does not follow from the record: rendered again it has sha256 "
                f"{found[name]}, recorded {sha256}"
            )
    done = sum(name in found for name in files)
    rest = (
        f"; {len(files) - done} could not be with the versions at hand" if done < len(files) else ""
    )
    return f"report re-rendered to the same bytes: {done} of {len(files)} files{rest}"


def _manifest(run: Path) -> tuple[dict[str, str], Any]:
    raw = read_json(run, MANIFEST)
    try:
        if raw["schema"] != SCHEMA:
            raise ValueError(f"schema {raw['schema']!r}; this version reads {SCHEMA}")
        files = {str(name): str(entry["sha256"]) for name, entry in raw["files"].items()}
        head = raw["head"]
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise VerificationFailed(
            f"{MANIFEST}: not a report's manifest ({type(e).__name__}: {e})"
        ) from None
    for name in files:
        if not stays_inside(name):
            raise VerificationFailed(f"{MANIFEST}: names {name!r}, which is not under report/")
    return files, head
