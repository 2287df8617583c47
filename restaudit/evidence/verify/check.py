"""Check a run folder against its own ledger: every file, the chain, signatures, the sealed plan and
the decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.bundle.manifest import FILE as MANIFEST
from restaudit.evidence.bundle.manifest import Manifest
from restaudit.evidence.ledger import Event, FileDigest
from restaudit.evidence.record import CHECKPOINTS, WRITER, Override
from restaudit.evidence.seal.anchor import Anchor, check_anchor
from restaudit.evidence.seal.keys import PublicKey
from restaudit.evidence.seal.statements import FOLDER as SIGNATURES
from restaudit.evidence.verify import shapes
from restaudit.evidence.verify.bundled import Bundled, check_manifest, check_recorded, load_manifest
from restaudit.evidence.verify.files import (
    BESIDE,
    LOCK,
    REPORT,
    Progress,
    Recorded,
    check_context,
    is_temporary,
    listed,
    must_be_portable,
    recorded_files,
    torn_tail,
)
from restaudit.evidence.verify.policy import (
    PLAN,
    check_decisions,
    check_order,
    check_stops,
    sealed_plan,
)
from restaudit.evidence.verify.rendering import Unchecked, check_rendering
from restaudit.evidence.verify.shapes import Plan, must_fit
from restaudit.evidence.verify.signatures import Signed, check_signatures
from restaudit.evidence.verify.stages import Stage, Tell, within
from restaudit.files import plain
from restaudit.gates import Decision

# Why nothing vouches for what lies in these places.
OF_NOBODY = {
    "human/": "what people exchanged while the run waited; the ratings that were used are recorded",
    f"{CHECKPOINTS}/": "a trainer's checkpoint, which the run can go on from",
    WRITER: "the writer's own note; it is gone when the writer is",
    LOCK: "holds something, and a lock is empty",
}


@dataclass(frozen=True)
class Report:
    """What was checked.

    `files` and `bytes` count the files that have the digest which the ledger holds. `digest` is
    what two runs of the same plan share, `head` the hash of the last event (write it down
    elsewhere: only that makes a rebuilt ledger visible). `state` says where the run stands,
    `decided` is its last decision (None: it has none), `overrides` are all of them. `unrecorded`
    lists files no event names, which only an unfinished run may have. `torn_bytes` counts bytes of
    a last ledger line that a crash cut short. `bundled` says what a bundle lacks (None: a run
    folder), `since_anchor` how many events came after the witnessed head (None: no anchor was
    given), `rendering` whether the report was rendered again, if there is one. `unchecked` are all
    files that nothing vouches for.
    """

    names: tuple[str, ...]
    files: int
    bytes: int
    events: int
    decisions: int
    digest: str
    head: str
    finished: bool
    state: str
    decided: Decision | None
    overrides: tuple[Override, ...]
    torn_bytes: int
    unrecorded: tuple[str, ...] = ()
    signed: Signed = field(default_factory=Signed)
    bundled: Bundled | None = None
    since_anchor: int | None = None
    rendering: str | None = None
    unchecked: tuple[Unchecked, ...] = ()

    @property
    def refused(self) -> str | None:
        """Why this is no success though all that could be checked is as recorded; None where it is.

        Who brings a key along asks whether its holder stands behind what is here: documents that
        neither the key nor the record vouches for are then a failure.
        """
        documents = [u for u in self.unchecked if u.name.startswith(REPORT)]
        if not self.signed.trusted or not documents:
            return None
        first = documents[0]
        return (
            f"{first.name}: NOT CHECKED: {first.why} ({len(documents)} such file(s) under "
            f"{REPORT}); a key was given, and nothing vouches for them: sign the report "
            "(restaudit sign), or take them out"
        )


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
    BadInput : `run` is not a run folder, or cannot be read.
    VerificationFailed : names the first thing, in the ledger's order, that is not as recorded; or,
        with a key, a document that nothing vouches for.
    """
    report, events = verify_record(
        run, progress, trusted=trusted, anchor=anchor, hashed=hashed, tell=tell
    )
    report = check_report(Path(run), report, events, render=render, tell=tell)
    if report.refused is not None:
        raise VerificationFailed(report.refused)
    return report


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
    with within(Stage.CHAIN, tell):
        _must_be_run(run)
        events, torn = _chain(run)
        recorded = tuple(recorded_files(events))
        check_context(events)
    with within(Stage.LIST, tell):
        names = listed(run)
        manifest = load_manifest(run, names)
    here = _Record(run, tuple(names), tuple(events), torn, recorded, manifest)
    with within(Stage.FILES, tell):
        sizes = {
            entry[0]: check_recorded(run, here.places, entry, manifest, progress, hashed or {})
            for entry in recorded
        }
        unrecorded = _unrecorded(here)
    with within(Stage.PLAN, tell):
        plan = sealed_plan(run)
    with within(Stage.SIGNATURES, tell):
        signed = check_signatures(run, names, events, plan, finished=here.finished, trusted=trusted)
    with within(Stage.ORDER, tell):
        check_order(events, plan)
    with within(Stage.DECISIONS, tell):
        decisions = check_decisions(run, events, plan)
        check_stops(events, {i: d for i, d in decisions.items() if d.verdict == "HALT"})
    with within(Stage.CONTENTS, tell):
        bundled = _contents(here, signed)
        unchecked = _unchecked(here, unrecorded, signed, bundled)
    with within(Stage.ANCHOR, tell):
        since = _since(anchor, events, plan)
    report = _report(here, sizes, plan, tuple(decisions.values()))
    report = replace(report, unrecorded=unrecorded, signed=signed, bundled=bundled)
    return replace(report, since_anchor=since, unchecked=unchecked), events


@dataclass(frozen=True)
class _Record:
    """What is here: the folder, its files, its events, and what they record."""

    run: Path
    names: tuple[str, ...]
    events: tuple[Event, ...]
    torn: int
    recorded: tuple[Recorded, ...]
    manifest: Manifest | None

    @cached_property
    def places(self) -> frozenset[str]:
        """The names, to look one up."""
        return frozenset(self.names)

    @property
    def finished(self) -> bool:
        """Whether nothing is being written: the run is at its end, or halted."""
        last = self.events[-1].step
        return last == "end" or last.endswith("/halt")


def _report(
    here: _Record, sizes: Mapping[str, int], plan: Plan, decisions: Sequence[Decision]
) -> Report:
    """What the record itself says."""
    partial = {*here.manifest.redacted, *here.manifest.left_out} if here.manifest else set()
    whole = {name: size for name, size in sizes.items() if name not in partial}
    return Report(
        names=here.names,
        files=len(whole),
        bytes=sum(whole.values()),
        events=len(here.events),
        decisions=len(decisions),
        digest=ledger.comparison_digest(here.events),
        head=here.events[-1].hash,
        finished=here.finished,
        state=_state(here.events, plan),
        decided=decisions[-1] if decisions else None,
        overrides=tuple(Override.of(e) for e in here.events if e.step.endswith("/override")),
        torn_bytes=here.torn,
    )


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
        found = check_rendering(
            run, report.names, events, report.signed, redacted=redacted, render=render
        )
    return replace(report, rendering=found.said, unchecked=(*found.unchecked, *report.unchecked))


def _must_be_run(run: Path) -> None:
    if not run.is_dir():
        raise BadInput(
            f"{run}: no such folder; expected a run folder (it holds {PLAN} and {ledger.FILE})"
        )
    if not any((run / name).exists() or (run / name).is_symlink() for name in (ledger.FILE, PLAN)):
        raise BadInput(f"{run}: not a run folder (neither {PLAN} nor {ledger.FILE} is there)")


def _events(run: Path) -> list[Event]:
    try:
        return ledger.read(run)
    except plain.NotPlain as e:
        raise VerificationFailed(f"{e.name}: {e.why}") from None


def _chain(run: Path) -> tuple[list[Event], int]:
    """The events, each bound to the one before, and the bytes of a last line that was cut short."""
    events = _events(run)
    torn = torn_tail(run)
    for number, event in enumerate(events, start=1):
        where = f"{ledger.FILE}: line {number}"
        must_fit({**event.body(), "hash": event.hash}, shapes.EventShape, where)
    if not events:
        raise VerificationFailed(
            f"{ledger.FILE}: holds no complete event, so nothing in this folder is recorded"
        )
    if events[0].step != "plan" or PLAN not in events[0].outputs:
        raise VerificationFailed(
            f"{ledger.FILE}: line 1: expected the step 'plan' sealing {PLAN} before anything else"
        )
    if not events[0].at.get("run_id"):
        raise VerificationFailed(f"{ledger.FILE}: line 1: names no run_id, and every run has one")
    # The run had come to a stop: nothing was being written that a crash could have cut short.
    if torn and events[-1].step == "end":
        raise VerificationFailed(
            f"{ledger.FILE}: {torn} bytes follow the last event of a finished run"
        )
    if torn and events[-1].step.endswith("/halt"):
        raise VerificationFailed(
            f"{ledger.FILE}: {torn} bytes follow the last event of a halted run; if a crash cut an "
            "override short, override it again: that takes their place"
        )
    return events, torn


def _unrecorded(here: _Record) -> tuple[str, ...]:
    """Files that no event names. An unfinished run may have them: the step in hand.

    A bundle's further files are held against its own list, in a later stage.
    """
    if here.manifest is not None:
        return ()
    known = {name for name, _, _ in here.recorded}
    must_be_portable({*known, *(n for n in here.names if not is_temporary(n))})
    known |= {ledger.FILE, WRITER, LOCK}
    unrecorded = tuple(
        n for n in here.names if n not in known and not n.startswith(BESIDE) and not is_temporary(n)
    )
    if unrecorded and here.finished:
        raise VerificationFailed(
            f"{unrecorded[0]}: no event of this finished run records it ({len(unrecorded)} such "
            "file(s)); it was added afterwards, or the ledger lost events"
        )
    # A halted run may go on from there after an override.
    checkpoints = [n for n in here.names if n.startswith(f"{CHECKPOINTS}/")]
    if checkpoints and here.events[-1].step == "end":
        raise VerificationFailed(
            f"{checkpoints[0]}: a finished run keeps no checkpoint of its training; it was added "
            "afterwards"
        )
    return unrecorded


def _contents(here: _Record, signed: Signed) -> Bundled | None:
    """What a bundle holds beside the record; None for a run folder."""
    if here.manifest is None:
        return None
    if here.torn:
        raise VerificationFailed(
            f"{ledger.FILE}: {here.torn} bytes follow the last event of a bundle"
        )
    return check_manifest(
        here.run, here.names, here.manifest, here.events, here.recorded, signed.keys
    )


def _since(anchor: Anchor | None, events: Sequence[Event], plan: Plan) -> int | None:
    """How many events came after the witnessed head; None where no anchor was given."""
    return check_anchor(anchor, events, {"signer": plan.signer}) if anchor is not None else None


def _unchecked(
    here: _Record, unrecorded: Sequence[str], signed: Signed, bundled: Bundled | None
) -> tuple[Unchecked, ...]:
    """Every file that nothing vouches for, but those under report/."""
    found = _lacking(bundled) if bundled is not None else []
    if here.torn:
        why = (
            f"its last {here.torn} bytes are an event that a crash cut short; resume replaces them"
        )
        found.append(Unchecked(ledger.FILE, why))
    why = "not recorded yet: of the step in hand, or put there"
    found += [Unchecked(name, why) for name in unrecorded]
    used = {signed.signer, signed.report_by, bundled.signed_by if bundled else None}
    for name in here.names:
        folder, _, rest = name.partition("/")
        why = OF_NOBODY.get(name) or OF_NOBODY.get(f"{folder}/", "")
        if is_temporary(name):
            why = "work in hand, or left behind by a killed process; no reader looks at it"
        if folder == SIGNATURES and rest.endswith(".pem") and rest[:-4] not in used:
            why = "a key that signed nothing here"
        if why and not (name == LOCK and _is_empty(here.run, name)):
            found.append(Unchecked(name, why))
    return tuple(found)


def _lacking(bundled: Bundled) -> list[Unchecked]:
    """What a bundle shows changed, or not at all."""
    by = f"{MANIFEST}, which nobody signed"
    if bundled.signed_by is not None:
        by = f"{MANIFEST}, signed with key {bundled.signed_by}"
    why = f"its texts were taken out; it is what {by}, says, and not what was recorded"
    return [
        *(Unchecked(name, why) for name in bundled.redacted),
        *(Unchecked(name, "left out of this bundle") for name in bundled.left_out),
    ]


def _is_empty(run: Path, name: str) -> bool:
    with plain.opened(run, name) as f:
        return not f.read(1)


def _state(events: Sequence[Event], plan: Plan) -> str:
    """Where the run stands, in a few words."""
    last = events[-1]
    iteration, _, part = last.step.rpartition("/")
    if last.step == "end":
        return "finished"
    if part == "halt":
        return f"halted at {iteration} by {', '.join(last.content['gates'])}"
    done = {e.step for e in events}
    following = next((step for step in plan.steps if step not in done), "end")
    return f"unfinished; the next step is {following}"


def recorded_bytes(run: Path | str, tell: Tell | None = None) -> int:
    """How many bytes `verify` will hash, as the ledger states them.

    Raises what reading the ledger raises: `tell` is told that the chain is looked at.
    """
    with within(Stage.CHAIN, tell):
        events = _events(Path(run))
    return sum(d.bytes for e in events for d in (*e.outputs.values(), *e.context.values()))
