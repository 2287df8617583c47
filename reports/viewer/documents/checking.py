"""A run or a bundle checked by `restaudit.evidence.verify`, told as a list of its stages.

The check stops at the first thing that is wrong, and says itself which stage that is in; nothing is
checked here that is not checked there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

from restaudit.errors import BadInput, RestauditError, VerificationFailed
from restaudit.evidence.bundle.manifest import FILE as MANIFEST
from restaudit.evidence.bundle.unpack import opened
from restaudit.evidence.ledger import FileDigest
from restaudit.evidence.seal.anchor import Anchor, load_anchor
from restaudit.evidence.seal.keys import LARGEST, PublicKey, parse_public
from restaudit.evidence.verify import Report, Stage, recorded_bytes
from restaudit.evidence.verify.bundled import Bundled
from restaudit.evidence.verify.check import check_report, verify_record
from restaudit.evidence.verify.files import REPORT as DOCUMENTS
from restaudit.evidence.verify.sentences import (
    anchored_line,
    is_partial,
    note_lines,
    partial_line,
    signed_lines,
    standing_lines,
)
from restaudit.evidence.verify.stages import within
from restaudit.files import plain
from restaudit.files.signs import printable

MIB = 1 << 20
# An upload lies in the app's memory; what it unpacks to, on its disk.
MOST_UPLOAD, MOST_UNPACKED = 200 * MIB, 2048 * MIB
# Stages that only a bundle, packed or unpacked, has something to say about.
OF_BUNDLE = (Stage.LIST, Stage.CONTENTS)

Mark = Literal["waiting", "now", "right", "wrong", "note", "unreached"]
# Told what is under way, the bytes just read, and how many there are in all (0: nobody knows yet).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class CheckLine:
    """A stage with what is known of it. `said` are restaudit's own words, one line of text each."""

    title: str
    mark: Mark = "waiting"
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a check found. `wrong` is the first thing that is not as recorded, or None.

    `standing` is what a reader must know before all that is right, one line of text each.
    """

    lines: tuple[CheckLine, ...]
    wrong: str | None
    events: int = 0
    head: str = ""
    digest: str = ""
    standing: tuple[str, ...] = ()


class Checklist:
    """The lines of a check that is under way; `show` is called whenever one changes."""

    def __init__(
        self,
        show: Callable[[tuple[CheckLine, ...]], None],
        *,
        archive: bool = False,
        bundle: bool = False,
    ) -> None:
        left_out = set() if bundle else set(OF_BUNDLE)
        if not archive:
            left_out.add(Stage.ARCHIVE)
        self._lines = {s: CheckLine(s.title) for s in Stage if s not in left_out}
        self._show = show
        self._now = next(iter(self._lines))
        self.set(self._now, "now")

    @property
    def lines(self) -> tuple[CheckLine, ...]:
        """All lines in order."""
        return tuple(self._lines.values())

    def begin(self, stage: Stage) -> None:
        """A stage begins, so that the one before it found nothing wrong."""
        if stage is self._now:
            return
        self._finish_now()
        self._now = stage
        self.set(stage, "now")

    def set(self, stage: Stage, mark: Mark, *said: str) -> None:
        """Change a line."""
        # What a folder is may change while it is checked: a stage that has no line does not matter.
        if stage in self._lines:
            shown = tuple(printable(s) for s in said)
            self._lines[stage] = replace(self._lines[stage], mark=mark, said=shown)
            self._show(self.lines)

    def passed(self, report: Report, anchor: Anchor | None) -> None:
        """Say of every stage but the rendered report what was found."""
        self._finish_now()
        chain = [f"{report.events} events; the run is {report.state}"]
        if report.torn_bytes:
            chain.append(
                f"the ledger ends in {report.torn_bytes} bytes of an event that a crash cut short"
            )
        self.set(Stage.CHAIN, "right", *chain)
        self.set(
            Stage.FILES,
            "right",
            f"{report.files} files, {report.bytes:,} bytes, as the ledger has them",
            *(f"not recorded yet: {name}" for name in report.unrecorded),
        )
        if report.bundled is not None:
            mark: Mark = "note" if is_partial(report.bundled) else "right"
            self.set(Stage.LIST, mark, *_bundled_lines(report.bundled))
        self.set(Stage.PLAN, "right", "as it was sealed before anything else")
        signatures = signed_lines(report.signed, report.events)
        self.set(Stage.SIGNATURES, "note" if _unproven(signatures) else "right", *signatures)
        self.set(Stage.ORDER, "right", "no step was left out, added or moved")
        self.set(
            Stage.DECISIONS,
            "right",
            f"all {report.decisions} follow, and every HALT was obeyed or overridden",
        )
        witnessed = anchored_line(anchor, report.since_anchor)
        self.set(Stage.ANCHOR, "note" if anchor is None else "right", witnessed)

    def failed(self, error: Exception, place: Path) -> Outcome:
        """Mark the stage under way as wrong, and those after it as not reached.

        `place` is taken out of the message: it is a temporary one, or the run's own.
        """
        wrong = printable(str(error).replace(f"{place}: ", "").replace(str(place), place.name))
        self._lines.setdefault(self._now, CheckLine(self._now.title))
        self.set(self._now, "wrong", wrong)
        for stage, line in self._lines.items():
            if line.mark in ("waiting", "now"):
                self.set(stage, "unreached")
        return Outcome(self.lines, wrong)

    def _finish_now(self) -> None:
        if self._now in self._lines and self._lines[self._now].mark == "now":
            self.set(self._now, "right")


def check_run(
    run: Path,
    show: Callable[[tuple[CheckLine, ...]], None],
    progress: Progress,
    *,
    trusted: PublicKey | None = None,
    anchor: Anchor | None = None,
) -> Outcome:
    """Check a run folder. A run that is being written goes on meanwhile: nothing is locked."""
    # Somebody may have unpacked a bundle among the runs; a link there that leads nowhere is looked
    # at too, since the check refuses it.
    stages = Checklist(show, bundle=os.path.lexists(run / MANIFEST))
    return _check(stages, run, progress, trusted, anchor, {})


def check_bundle(
    upload: BinaryIO,
    show: Callable[[tuple[CheckLine, ...]], None],
    progress: Progress,
    *,
    trusted: PublicKey | None = None,
    anchor: Anchor | None = None,
    most: int = MOST_UNPACKED,
) -> Outcome:
    """Check an uploaded bundle in a temporary folder that is removed whatever happens."""
    stages = Checklist(show, archive=True, bundle=True)
    with tempfile.TemporaryDirectory(prefix="restaudit-") as folder, ExitStack() as stack:
        plain.copy(upload, Path(folder), "bundle.zip")
        path = Path(folder) / "bundle.zip"
        try:
            with within(Stage.ARCHIVE, stages.begin):
                run = stack.enter_context(
                    opened(path, most=most, progress=lambda n: progress("Opening", n, 0))
                )
        except (RestauditError, OSError) as e:
            return stages.failed(e, path)
        stages.set(Stage.ARCHIVE, "right", "plain files of the stated sizes, and nothing else")
        return _check(stages, run.folder, progress, trusted, anchor, run.hashed)


def public_key(data: bytes, name: str) -> PublicKey:
    """An uploaded public key. Raises BadInput for anything else."""
    if len(data) > LARGEST:
        raise BadInput(f"{name}: not a key (more than {LARGEST:,} bytes)")
    return parse_public(data, name)


def witnessed(data: bytes) -> Anchor:
    """An uploaded anchor. Raises BadInput for anything else."""
    with tempfile.TemporaryDirectory(prefix="restaudit-") as folder:
        path = plain.write(Path(folder), "anchor.json", data)
        try:
            return load_anchor(path)
        except BadInput as e:
            raise BadInput(str(e).removeprefix(f"{path}: ")) from None


def _check(
    stages: Checklist,
    run: Path,
    progress: Progress,
    trusted: PublicKey | None,
    anchor: Anchor | None,
    hashed: Mapping[str, FileDigest],
) -> Outcome:
    try:
        total = recorded_bytes(run, stages.begin)
        report, events = verify_record(
            run,
            lambda n: progress("Hashing", n, total),
            trusted=trusted,
            anchor=anchor,
            hashed=hashed,
            tell=stages.begin,
        )
        # Said before the report is rendered, which can take longer than all the rest, and stays
        # where the rendered report turns out to be wrong.
        stages.passed(report, anchor)
        report = check_report(run, report, events, tell=stages.begin)
        if report.refused is not None:
            raise VerificationFailed(report.refused)
    except (RestauditError, OSError) as e:
        return stages.failed(e, run)
    open_to_doubt = [u for u in report.unchecked if u.name.startswith(DOCUMENTS)]
    said = [f"NOT CHECKED: {u.name}: {u.why}" for u in open_to_doubt]
    nothing = "nothing was rendered again" if said else "no report was rendered into this folder"
    is_same = report.rendering is not None and "re-rendered to the same" in report.rendering
    stages.set(
        Stage.REPORT, "note" if said or not is_same else "right", report.rendering or nothing, *said
    )
    return Outcome(
        stages.lines, None, report.events, report.head, report.digest, tuple(standing_lines(report))
    )


def _unproven(signatures: list[str]) -> bool:
    """Whether no key that the reader trusts stands behind the record, or behind its report."""
    weak = signatures[0].startswith(("UNSIGNED", "SELF-SIGNED"))
    return weak or any("NOT the key" in line for line in signatures)


def _bundled_lines(bundled: Bundled) -> list[str]:
    """What a bundle lacks, as `restaudit verify` says it."""
    signed = "nobody signed it"
    if bundled.signed_by is not None:
        signed = f"signed with key {bundled.signed_by}"
    lines = [f"manifest.json: {signed}"]
    if is_partial(bundled):
        lines.insert(0, partial_line(bundled))
        lines += note_lines(bundled)
    return lines
