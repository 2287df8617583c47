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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from restaudit.errors import RestauditError, VerificationFailed
from restaudit.evidence.bundle.manifest import wrong_name
from restaudit.evidence.ledger import Event, FileDigest
from restaudit.evidence.verify.files import REPORT, check_file, is_temporary, read_shaped
from restaudit.evidence.verify.shapes import ReportManifest
from restaudit.evidence.verify.signatures import Signed

GROUP = "restaudit.rerender"
MANIFEST = "report/manifest.json"


@dataclass(frozen=True)
class Unchecked:
    """A file that nothing vouches for, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Rendering:
    """What can be said of the rendered report.

    `said` is a sentence about rendering it again, or None where that could not be tried. `unchecked`
    are the files under report/ that neither a signature nor rendering them again vouches for.
    """

    said: str | None = None
    unchecked: tuple[Unchecked, ...] = ()


def check_rendering(
    run: Path,
    names: Sequence[str],
    events: Sequence[Event],
    signed: Signed,
    *,
    redacted: bool,
    render: bool = True,
) -> Rendering:
    """What vouches for each of the files under report/ among `names`.

    Raises VerificationFailed, naming the file, where one is not what report/manifest.json says, or
    renders to other bytes.
    """
    documents = [n for n in names if n.startswith(REPORT) and not is_temporary(n)]
    if not documents:
        return Rendering()
    signature, covered = _signature(signed, events)
    if MANIFEST not in documents:
        why = f"{signature}, and no {MANIFEST} says what it was rendered from"
        return Rendering(None, _unchecked(documents, covered, {}, why))
    files, since = _manifest(run, events)
    again, problem = _again(run, list(files), since, redacted=redacted, render=render)
    for name, sha256 in again.items():
        if name in files and files[name].sha256 != sha256:
            raise VerificationFailed(
                f"{REPORT}{name}: does not follow from the record: rendered again it has sha256 "
                f"{sha256}, recorded {files[name].sha256}"
            )
    done = [name for name in files if name in again]
    said = f"report not re-rendered: {problem}"
    if done:
        rest = f"; {problem}" if len(done) < len(files) else ""
        said = f"report re-rendered to the same bytes: {len(done)} of {len(files)} files{rest}"
    same = {*covered, *(f"{REPORT}{name}" for name in done)}
    # What the manifest says of its files was all found to be so; alone it says nothing.
    if done and len(done) == len(files):
        same.add(MANIFEST)
    reasons = {
        f"{REPORT}{name}": f"{signature}, and {problem}" for name in (*files, "manifest.json")
    }
    why = f"{signature}, and {MANIFEST} does not name it"
    return Rendering(said, _unchecked(documents, same, reasons, why))


def _unchecked(
    documents: Iterable[str], same: Iterable[str], reasons: Mapping[str, str], otherwise: str
) -> tuple[Unchecked, ...]:
    left = sorted({*documents} - {*same})
    return tuple(Unchecked(name, reasons.get(name, otherwise)) for name in left)


def _signature(signed: Signed, events: Sequence[Event]) -> tuple[str, tuple[str, ...]]:
    """What a file under report/ lacks of a signature that counts, in a few words, and the files
    that have one.
    """
    if signed.report_by is None:
        return "not signed", ()
    if signed.report_by != signed.answers:
        whose = "the one you trust" if signed.trusted else "the one that the plan names"
        return f"signed with key {signed.report_by}, which is not {whose}", ()
    since = len(events) - 1 - (signed.report_at or 0)
    if since:
        return f"signed {since} event(s) ago, so it does not show them", ()
    return "the report's signature does not name it", signed.report_files


def _again(
    run: Path, files: Sequence[str], since: int, *, redacted: bool, render: bool
) -> tuple[Mapping[str, str], str]:
    """The SHA-256 of each of these files that could be rendered again, and why the others could
    not.
    """
    if since:
        return {}, f"it shows the record as it was {since} event(s) ago"
    if redacted:
        return {}, "the texts it shows are not in this bundle"
    if not render:
        return {}, "--no-render was given"
    points = list(metadata.entry_points(group=GROUP))
    if not points:
        return {}, "nothing that could render it again is installed"
    found: dict[str, str] = {}
    for point in points:
        try:
            found |= dict(point.load()(run, files))
        except ImportError as e:
            return found, f"a library is missing ({e})"
        except RestauditError as e:
            return found, str(e)
        except Exception as e:  # noqa: BLE001 - a stranger's folder met somebody else's renderer
            return found, f"'{point.name}' failed ({type(e).__name__}: {e})"
    return found, "the versions at hand are not those that rendered it"


def _manifest(run: Path, events: Sequence[Event]) -> tuple[dict[str, FileDigest], int]:
    """The files that report/manifest.json names, found as it says, and how many events came since
    they were rendered.
    """
    manifest = read_shaped(run, MANIFEST, ReportManifest)
    files = {name: FileDigest(d.sha256, d.bytes) for name, d in manifest.files.items()}
    for name, digest in files.items():
        if wrong_name(name) is not None or name == "manifest.json":
            raise VerificationFailed(f"{MANIFEST}: names {name!r}, which is no file it can name")
        check_file(run, (f"{REPORT}{name}", "", digest), None, by="it was rendered")
    heads = [e.hash for e in events]
    if manifest.head not in heads:
        raise VerificationFailed(
            f"{MANIFEST}: rendered from another record; its head {manifest.head} is not in this "
            "ledger"
        )
    return files, len(events) - 1 - heads.index(manifest.head)
