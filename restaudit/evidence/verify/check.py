"""Check a run folder against its own ledger: every file, the chain, signatures, the sealed plan and
the decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.bundle.manifest import FILE as MANIFEST
from restaudit.evidence.ledger import FileDigest
from restaudit.evidence.seal.anchor import Anchor, check_anchor
from restaudit.evidence.seal.keys import PublicKey
from restaudit.evidence.verify.bundled import Bundled, check_manifest, check_recorded, load_manifest
from restaudit.evidence.verify.files import Progress, recorded_files, torn_tail, unrecorded_files
from restaudit.evidence.verify.policy import (
    PLAN,
    check_decisions,
    check_order,
    check_stops,
    sealed_plan,
)
from restaudit.evidence.verify.rendering import check_rendering
from restaudit.evidence.verify.signatures import Signed, check_signatures


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

    Raises
    ------
    BadInput : `run` is not a run folder.
    VerificationFailed : names the first thing, in the ledger's order, that is not as recorded.
    """
    run = Path(run)
    if not run.is_dir():
        raise BadInput(
            f"{run}: no such folder; expected a run folder (it holds {PLAN} and {ledger.FILE})"
        )
    if not (run / ledger.FILE).exists() and not (run / PLAN).exists():
        raise BadInput(f"{run}: not a run folder (neither {PLAN} nor {ledger.FILE} is there)")
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

    recorded = list(recorded_files(events))
    manifest = load_manifest(run)
    partial = {*manifest.redacted, *manifest.left_out} if manifest else set()
    sizes = {
        entry[0]: check_recorded(run, entry, manifest, progress, hashed or {}) for entry in recorded
    }
    whole = {name: size for name, size in sizes.items() if name not in partial}

    finished = events[-1].step == "end" or events[-1].step.endswith("/halt")
    if (
        torn and events[-1].step == "end"
    ):  # after a halt it may be an override that a crash cut short
        raise VerificationFailed(
            f"{ledger.FILE}: {torn} bytes follow the last event of a finished run"
        )
    names = {name for name, _, _ in recorded} | ({MANIFEST, *manifest.files} if manifest else set())
    unrecorded = tuple(unrecorded_files(run, names))
    if finished and unrecorded and manifest is None:
        raise VerificationFailed(
            f"{unrecorded[0]}: no event of this finished run records it ({len(unrecorded)} such "
            "file(s)); it was added afterwards, or the ledger lost events"
        )
    plan = sealed_plan(run)
    signed = check_signatures(run, events, plan, finished=finished, trusted=trusted)
    check_order(events, plan)
    decisions = check_decisions(run, events, plan)
    check_stops(events, {i: d for i, d in decisions.items() if d.verdict == "HALT"})
    bundled = check_manifest(run, manifest, events, recorded, trusted) if manifest else None
    since = check_anchor(anchor, events, plan) if anchor is not None else None
    return Report(
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
        rendering=check_rendering(
            run, events, redacted=bool(manifest and manifest.redacted), render=render
        ),
    )


def recorded_bytes(run: Path | str) -> int:
    """How many bytes `verify` will hash, as the ledger states them."""
    return sum(
        d.bytes for e in ledger.read(Path(run)) for d in (*e.outputs.values(), *e.context.values())
    )
