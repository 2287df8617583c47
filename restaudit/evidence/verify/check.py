"""Check a run folder against its own ledger: every file, the chain, signatures, the sealed plan and
the decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.bundle.manifest import FILE as MANIFEST
from restaudit.evidence.bundle.manifest import Manifest
from restaudit.evidence.ledger import Event, FileDigest
from restaudit.evidence.seal.anchor import Anchor, check_anchor
from restaudit.evidence.seal.keys import PublicKey
from restaudit.evidence.verify.bundled import Bundled, check_manifest, check_recorded, load_manifest
from restaudit.evidence.verify.files import (
    Progress,
    Recorded,
    recorded_files,
    torn_tail,
    unrecorded_files,
)
from restaudit.evidence.verify.policy import (
    PLAN,
    check_decisions,
    check_order,
    check_stops,
    sealed_plan,
)
from restaudit.evidence.verify.rendering import check_rendering
from restaudit.evidence.verify.signatures import Signed, check_signatures
from restaudit.evidence.verify.stages import Stage, Tell, within


@dataclass(frozen=True)
class Report:
    """What was checked.

    `files` and `bytes` count the files that have the digest which the ledger holds. `digest` is
    what two runs of the same plan share, `head` the hash of the last event (write it down
    elsewhere: only that makes a rebuilt ledger visible). `unrecorded` lists files no event names,
    which only an unfinished run may have. `torn_bytes` counts bytes of a last ledger line that a
    crash cut short. `bundled` says what a bundle lacks (None: a run folder), `since_anchor` how
    many events came after the witnessed head (None: no anchor was given), `rendering` what can be
    said of the report, if there is one.
    """

    files: int
    bytes: int
    events: int
    decisions: int
    digest: str
    head: str
    finished: bool
    unrecorded: tuple[str, ...]
    torn_bytes: int
    signed: Signed
    bundled: Bundled | None
    since_anchor: int | None
    rendering: str | None


def verify(
    run: Path | str,
    progress: Progress | None = None,
    *,
    trusted: PublicKey | None = None,
    anchor: Anchor | None = None,
    hashed: Mapping[str, FileDigest] | None = None,
    render: bool = True,
    tell: Tell | None = None,
) -> Report:
    """Check the whole folder, reading each file once in constant memory.

    Parameters
    ----------
    run : the run folder, or the folder of an unpacked bundle.
    progress : called with the number of bytes just hashed; `recorded_bytes` gives their total.
    trusted : the key that the record must be signed with.
    anchor : a head that somebody outside wrote down, which must be in the chain.
    hashed : digests of files that were read in a bundle's archive and are not in the folder.
    render : whether to render the report again, where something is installed that can.
    tell : called with each stage as it begins; where the check stops, the last one failed.

    Raises
    ------
    BadInput : `run` is not a run folder.
    VerificationFailed : names the first thing, in the ledger's order, that is not as recorded.
    """
    report, events = verify_record(
        run, progress, trusted=trusted, anchor=anchor, hashed=hashed, tell=tell
    )
    return check_report(Path(run), report, events, render=render, tell=tell)


def verify_record(
    run: Path | str,
    progress: Progress | None = None,
    *,
    trusted: PublicKey | None = None,
    anchor: Anchor | None = None,
    hashed: Mapping[str, FileDigest] | None = None,
    tell: Tell | None = None,
) -> tuple[Report, list[Event]]:
    """Everything that `verify` checks but the rendered report, and the events of the ledger.

    For somebody who shows what is known already while the report is rendered again, which takes
    longer than all the rest.
    """
    run = Path(run)
    _must_be_run(run)
    with within(Stage.CHAIN, tell):
        events, torn = _chain(run)
        recorded = list(recorded_files(events))
    with within(Stage.LIST, tell):
        manifest = load_manifest(run)
    finished = _finished(events)
    with within(Stage.FILES, tell):
        sizes = {
            entry[0]: check_recorded(run, entry, manifest, progress, hashed or {})
            for entry in recorded
        }
        unrecorded = _unrecorded(run, recorded, manifest, finished=finished)
    with within(Stage.PLAN, tell):
        plan = sealed_plan(run)
    with within(Stage.SIGNATURES, tell):
        signed = check_signatures(run, events, plan, finished=finished, trusted=trusted)
    with within(Stage.ORDER, tell):
        check_order(events, plan)
    with within(Stage.DECISIONS, tell):
        decisions = check_decisions(run, events, plan)
        check_stops(events, {i: d for i, d in decisions.items() if d.verdict == "HALT"})
    with within(Stage.CONTENTS, tell):
        bundled = check_manifest(run, manifest, events, recorded, trusted) if manifest else None
    with within(Stage.ANCHOR, tell):
        since = check_anchor(anchor, events, plan) if anchor is not None else None
    partial = {*manifest.redacted, *manifest.left_out} if manifest else set()
    whole = {name: size for name, size in sizes.items() if name not in partial}
    report = Report(
        files=len(whole),
        bytes=sum(whole.values()),
        events=len(events),
        decisions=len(decisions),
        digest=ledger.comparison_digest(events),
        head=events[-1].hash,
        finished=finished,
        unrecorded=() if manifest else unrecorded,
        torn_bytes=torn,
        signed=signed,
        bundled=bundled,
        since_anchor=since,
        rendering=None,
    )
    return report, events


def check_report(
    run: Path,
    report: Report,
    events: Sequence[Event],
    *,
    render: bool = True,
    tell: Tell | None = None,
) -> Report:
    """The record's report with what can be said of the rendered one, if there is one.

    Raises VerificationFailed where that is not what its manifest says, or renders to other bytes.
    """
    redacted = bool(report.bundled and report.bundled.redacted)
    with within(Stage.REPORT, tell):
        rendering = check_rendering(run, events, redacted=redacted, render=render)
    return replace(report, rendering=rendering)


def _must_be_run(run: Path) -> None:
    if not run.is_dir():
        raise BadInput(
            f"{run}: no such folder; expected a run folder (it holds {PLAN} and {ledger.FILE})"
        )
    if not (run / ledger.FILE).exists() and not (run / PLAN).exists():
        raise BadInput(f"{run}: not a run folder (neither {PLAN} nor {ledger.FILE} is there)")


def _chain(run: Path) -> tuple[list[Event], int]:
    """The events, each bound to the one before, and the bytes of a last line that was cut short."""
    if (run / ledger.FILE).is_symlink():
        raise VerificationFailed(
            f"{ledger.FILE}: is a symbolic link; a run folder holds only plain files"
        )
    events = ledger.read(run)
    torn = torn_tail(run)
    if not events:
        raise VerificationFailed(
            f"{ledger.FILE}: holds no complete event, so nothing in this folder is recorded"
        )
    if events[0].step != "plan" or PLAN not in events[0].outputs:
        raise VerificationFailed(
            f"{ledger.FILE}: line 1: expected the step 'plan' sealing {PLAN} before anything else"
        )
    # Nothing is appended after the end. After a halt it may be an override that a crash cut short.
    if torn and events[-1].step == "end":
        raise VerificationFailed(
            f"{ledger.FILE}: {torn} bytes follow the last event of a finished run"
        )
    return events, torn


def _finished(events: Sequence[Event]) -> bool:
    last = events[-1].step
    return last == "end" or last.endswith("/halt")


def _unrecorded(
    run: Path, recorded: Sequence[Recorded], manifest: Manifest | None, *, finished: bool
) -> tuple[str, ...]:
    """Files that no event names. An unfinished run may have them: the step in hand.

    A bundle's further files are held against its own list, in a later stage.
    """
    names = {name for name, _, _ in recorded}
    if manifest is not None:
        names |= {MANIFEST, *manifest.files}
    unrecorded = tuple(unrecorded_files(run, names))
    if finished and unrecorded and manifest is None:
        raise VerificationFailed(
            f"{unrecorded[0]}: no event of this finished run records it ({len(unrecorded)} such "
            "file(s)); it was added afterwards, or the ledger lost events"
        )
    return unrecorded


def recorded_bytes(run: Path | str, tell: Tell | None = None) -> int:
    """How many bytes `verify` will hash, as the ledger states them.

    Raises what reading the ledger raises: `tell` is told that the chain is looked at.
    """
    with within(Stage.CHAIN, tell):
        events = ledger.read(Path(run))
    return sum(d.bytes for e in events for d in (*e.outputs.values(), *e.context.values()))
