"""A run or a bundle checked by `restaudit.evidence.verify`, told as a list of steps in the order in
which it works.

The check stops at the first thing that is wrong. Which step that was is read from where the error
was raised; nothing is checked here that is not checked there.
"""

from __future__ import annotations

import shutil
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

from restaudit.commands.verify import UNANCHORED, signed_lines
from restaudit.errors import BadInput, RestauditError
from restaudit.evidence import ledger
from restaudit.evidence.bundle.unpack import opened
from restaudit.evidence.ledger import FileDigest
from restaudit.evidence.record import Override, Run, printable
from restaudit.evidence.seal.anchor import Anchor, load_anchor
from restaudit.evidence.seal.keys import LARGEST, PublicKey, parse_public
from restaudit.evidence.verify import Report, recorded_bytes, verify
from restaudit.evidence.verify.rendering import check_rendering

MIB = 1 << 20
# An upload lies in the app's memory; what it unpacks to, on its disk.
MOST_UPLOAD, MOST_UNPACKED = 200 * MIB, 2048 * MIB

Mark = Literal["waiting", "now", "right", "wrong", "note", "unreached"]
# Told the stage, the bytes just read, and how many there are in all (0: nobody knows yet).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Step:
    """A line of the list. `called` names the functions of restaudit.evidence.verify that do it."""

    key: str
    title: str
    called: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """A step with what is known of it. `said` are restaudit's own words, one line of text each."""

    title: str
    mark: Mark = "waiting"
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a check found. `wrong` is the first thing that is not as recorded, or None."""

    lines: tuple[Line, ...]
    wrong: str | None
    finished: bool = False
    events: int = 0
    head: str = ""
    digest: str = ""
    overrides: tuple[Override, ...] = ()


STEPS = (
    Step("archive", "The archive, opened with care", ("opened",)),
    Step("chain", "The chain of the ledger", ("read", "torn_tail", "recorded_files")),
    Step("list", "The bundle's own list", ("load_manifest", "check_manifest")),
    Step("files", "Every recorded file, and no other", ("check_recorded", "unrecorded_files")),
    Step("plan", "The sealed plan", ("sealed_plan",)),
    Step("signatures", "Signatures", ("check_signatures",)),
    Step("order", "Steps in the plan's order", ("check_order",)),
    Step(
        "decisions",
        "Decisions, recomputed from measurements and plan",
        ("check_decisions", "check_stops"),
    ),
    Step("anchor", "What a witness saw", ("check_anchor",)),
    Step("report", "The report, rendered again", ("check_rendering",)),
)
OF_BUNDLE = ("archive", "list")
# The order in which restaudit.evidence.verify calls them.
CALLED = (
    "opened",
    "read",
    "torn_tail",
    "recorded_files",
    "load_manifest",
    "check_recorded",
    "unrecorded_files",
    "sealed_plan",
    "check_signatures",
    "check_order",
    "check_decisions",
    "check_stops",
    "check_manifest",
    "check_anchor",
    "check_rendering",
)


class Checklist:
    """The lines of a check that is under way; `show` is called whenever one changes."""

    def __init__(self, show: Callable[[tuple[Line, ...]], None], *, bundle: bool) -> None:
        self.steps = tuple(s for s in STEPS if bundle or s.key not in OF_BUNDLE)
        self._lines = {s.key: Line(s.title) for s in self.steps}
        self._show = show
        self.set("archive" if bundle else "chain", "now")

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines in order."""
        return tuple(self._lines.values())

    def mark(self, key: str) -> Mark:
        """How a line stands."""
        return self._lines[key].mark

    def set(self, key: str, mark: Mark, *said: str) -> None:
        """Change a line."""
        if key in self._lines:
            self._lines[key] = replace(
                self._lines[key], mark=mark, said=tuple(printable(s) for s in said)
            )
            self._show(self.lines)

    def passed(self, report: Report, anchor: Anchor | None) -> None:
        """Everything but the report's rendering was found as recorded."""
        state = "finished" if report.finished else "unfinished"
        torn = (f"the ledger ends in {report.torn_bytes} bytes of an event that a crash cut short",)
        self.set(
            "chain",
            "right",
            f"{report.events} events; the run is {state}",
            *(torn if report.torn_bytes else ()),
        )
        listed = _bundled(report)
        self.set("list", "note" if listed[0].startswith("PARTIAL") else "right", *listed)
        rest = (f"not recorded yet: {name}" for name in report.unrecorded)
        self.set(
            "files",
            "right",
            f"{report.files} files, {report.bytes:,} bytes, as the ledger has them",
            *rest,
        )
        self.set("plan", "right", "as it was sealed before anything else")
        signed = signed_lines(report.signed, report.events)
        unproven = signed[0].startswith(("UNSIGNED", "SELF-SIGNED")) or any(
            "NOT the key" in s for s in signed
        )
        self.set("signatures", "note" if unproven else "right", *signed)
        self.set("order", "right", "no step was left out, added or moved")
        self.set(
            "decisions",
            "right",
            f"all {report.decisions} follow, and every HALT was obeyed or overridden",
        )
        if anchor is None:
            self.set("anchor", "note", UNANCHORED)
        else:
            since = (
                "no event came since"
                if not report.since_anchor
                else f"{report.since_anchor} event(s) came since"
            )
            self.set(
                "anchor",
                "right",
                (
                    f"ANCHORED: the head the witness saw (event {anchor.seq}) is in this chain; "
                    f"{since}"
                ),
            )

    def failed(self, error: Exception, place: Path) -> Outcome:
        """Mark the step in which an error was raised, those before it and those that were not
        reached.

        `place` is taken out of the message: it is a temporary one, or the run's own.
        """
        name = _raised_in(error)
        wrong = printable(str(error).replace(f"{place}: ", "").replace(str(place), place.name))
        done = set(CALLED[: CALLED.index(name)])
        for step in self.steps:
            if name in step.called:
                self.set(step.key, "wrong", wrong)
            elif done.issuperset(step.called):
                if self.mark(step.key) != "right":
                    self.set(step.key, "right")
            else:
                self.set(step.key, "unreached")
        return Outcome(self.lines, wrong)


def check_run(
    run: Path,
    show: Callable[[tuple[Line, ...]], None],
    progress: Progress,
    *,
    trusted: PublicKey | None = None,
    anchor: Anchor | None = None,
) -> Outcome:
    """Check a run folder. A run that is being written goes on meanwhile: nothing is locked."""
    return _check(Checklist(show, bundle=False), run, progress, trusted, anchor, {})


def check_bundle(
    upload: BinaryIO,
    show: Callable[[tuple[Line, ...]], None],
    progress: Progress,
    *,
    trusted: PublicKey | None = None,
    anchor: Anchor | None = None,
    most: int = MOST_UNPACKED,
) -> Outcome:
    """Check an uploaded bundle in a temporary folder that is removed whatever happens."""
    steps = Checklist(show, bundle=True)
    with tempfile.TemporaryDirectory(prefix="restaudit-") as folder, ExitStack() as stack:
        path = Path(folder) / "bundle.zip"
        with path.open("wb") as f:
            shutil.copyfileobj(upload, f)
        try:
            run = stack.enter_context(
                opened(path, most=most, progress=lambda n: progress("Opening", n, 0))
            )
        except (RestauditError, OSError) as e:
            return steps.failed(e, path)
        steps.set("archive", "right", "plain files of the stated sizes, and nothing else")
        return _check(steps, run.folder, progress, trusted, anchor, run.hashed)


def public_key(data: bytes, name: str) -> PublicKey:
    """An uploaded public key. Raises BadInput for anything else."""
    if len(data) > LARGEST:
        raise BadInput(f"{name}: not a key (more than {LARGEST:,} bytes)")
    return parse_public(data, name)


def witnessed(data: bytes) -> Anchor:
    """An uploaded anchor. Raises BadInput for anything else."""
    with tempfile.TemporaryDirectory(prefix="restaudit-") as folder:
        path = Path(folder) / "anchor.json"
        path.write_bytes(data)
        try:
            return load_anchor(path)
        except BadInput as e:
            raise BadInput(str(e).removeprefix(f"{path}: ")) from None


def _check(
    steps: Checklist,
    run: Path,
    progress: Progress,
    trusted: PublicKey | None,
    anchor: Anchor | None,
    hashed: Mapping[str, FileDigest],
) -> Outcome:
    steps.set("chain", "now")

    def count(size: int) -> None:
        if steps.mark("files") == "waiting":
            steps.set("chain", "right")
            steps.set("files", "now")
        progress("Hashing", size, total)

    try:
        total = recorded_bytes(run)
        report = verify(run, count, trusted=trusted, anchor=anchor, hashed=hashed, render=False)
        steps.passed(report, anchor)
        said = report.rendering
        if said is not None:
            steps.set("report", "now")
            redacted = bool(report.bundled and report.bundled.redacted)
            said = check_rendering(run, ledger.read(run), redacted=redacted)
        overrides = tuple(Run(run).overrides())
    except (RestauditError, OSError) as e:
        return steps.failed(e, run)
    again = said is not None and said.startswith("report re-rendered to the same bytes")
    steps.set(
        "report", "right" if again else "note", said or "no report was rendered into this folder"
    )
    return Outcome(
        steps.lines, None, report.finished, report.events, report.head, report.digest, overrides
    )


def _bundled(report: Report) -> list[str]:
    """What a bundle lacks, as `restaudit verify` says it."""
    bundled = report.bundled
    if bundled is None:
        return [""]
    signed = bundled.signed_by
    lines = [
        "manifest.json: " + ("nobody signed it" if signed is None else f"signed with key {signed}")
    ]
    if bundled.redacted or bundled.left_out:
        by = "manifest.json, which nobody signed" if signed is None else "the signed manifest.json"
        lines = [
            f"PARTIAL: {len(bundled.redacted)} further file(s) had their texts taken out and do "
            f"NOT have the digest that the ledger holds; {len(bundled.left_out)} recorded file(s) "
            "are not in the bundle",
            *lines,
            *(f"the manifest says: {note}" for note in bundled.notes),
            *(f"checked only against {by}: {name}" for name in bundled.redacted),
            *(f"not checked, left out: {name}" for name in bundled.left_out),
        ]
    return lines


def _raised_in(error: Exception) -> str:
    """The function that `verify` called when this was raised; what it says itself belongs to the
    chain or the files.
    """
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    if (found := next((n for n in names if n in CALLED), None)) is not None:
        return found
    return (
        "unrecorded_files" if "no event of this finished run records it" in str(error) else "read"
    )
