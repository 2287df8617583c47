"""`restaudit verify RUN|BUNDLE.zip`: check it, and say plainly what was shown and what was not."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restaudit.console import say

if TYPE_CHECKING:
    from restaudit.evidence.seal.anchor import Anchor
    from restaudit.evidence.seal.keys import PublicKey
    from restaudit.evidence.verify import Report, Stage
    from restaudit.evidence.verify.bundled import Bundled
    from restaudit.evidence.verify.stages import Tell

GIB = 1 << 30


def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN|BUNDLE.zip", help="A run folder, or a bundle of one.")
    ],
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="PUBLIC.pem", help="The public key you trust, which you got another way."
        ),
    ] = None,
    anchor: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="An anchor a witness kept: its head must be in the chain."
        ),
    ] = None,
    max_size: Annotated[
        float,
        typer.Option(
            metavar="GIB",
            min=0.001,
            max=1 << 20,
            help="The most that a bundle may unpack to, in GiB.",
        ),
    ] = 32,
    render: Annotated[
        bool,
        typer.Option(
            "--render/--no-render", help="Render the report again from the record and compare."
        ),
    ] = True,
) -> None:
    """Re-hash every file and the chain; exit 5 names the first thing that is wrong."""
    from restaudit.errors import VerificationFailed
    from restaudit.evidence.seal.anchor import load_anchor
    from restaudit.evidence.seal.keys import load_public

    # A key or anchor that cannot be read is the caller's mistake (exit 2), and no finding about the
    # run (exit 5).
    trusted = load_public(key) if key is not None else None
    witnessed = load_anchor(anchor) if anchor is not None else None
    stages: list[Stage] = []
    try:
        report = _check(
            folder,
            int(max_size * GIB),
            trusted=trusted,
            anchor=witnessed,
            render=render,
            tell=stages.append,
        )
    except VerificationFailed:
        # The message names the file, and not always what it was checked for.
        if stages:
            say(f"the check stopped at: {stages[-1].title}", err=True)
        raise
    _print(folder, report, witnessed)
    if report.refused is not None:
        raise VerificationFailed(report.refused)


def _check(
    folder: Path,
    most: int,
    *,
    trusted: PublicKey | None,
    anchor: Anchor | None,
    render: bool,
    tell: Tell,
) -> Report:
    """Open what may be a bundle of at most so many bytes, and check it with a bar of bytes."""
    from restaudit.console import Reporter
    from restaudit.evidence.bundle.unpack import opened
    from restaudit.evidence.verify import Stage, recorded_bytes
    from restaudit.evidence.verify.check import check_report, verify_record
    from restaudit.evidence.verify.stages import within

    reporter = Reporter()
    # A bar in a log file would be thousands of lines.
    reporter.quiet = not reporter.console.is_terminal
    with ExitStack() as stack:
        # A folder needs no opening, so it gets no bar of it.
        size = folder.stat().st_size if folder.is_file() else 0
        opening = reporter.task("opening", size, "bytes") if size else nullcontext()
        with opening as advance, within(Stage.ARCHIVE, tell):
            # A bundle is unpacked into a folder that goes when the check ends; at most so many
            # bytes, since a small zip file can unpack to a full disk.
            run = stack.enter_context(opened(folder, most=most, progress=advance))
        with reporter.task("hashing", recorded_bytes(run.folder, tell), "bytes") as advance:
            report, events = verify_record(
                run.folder, advance, trusted=trusted, anchor=anchor, hashed=run.hashed, tell=tell
            )
            return check_report(run.folder, report, events, render=render, tell=tell)


def _print(folder: Path, report: Report, anchor: Anchor | None) -> None:
    from restaudit.evidence.verify.sentences import anchored_line, signed_lines, standing_lines
    from restaudit.files.signs import printable

    # Before anything that sounds well: who overrode, what was not checked, where the run stands.
    for line in standing_lines(report):
        say(line)
    say(
        f"{printable(str(folder))}: {report.files} files ({report.bytes:,} bytes) and "
        f"{report.events} events match"
    )
    if report.bundled is not None:
        _print_bundled(report.bundled)
    say(
        "decisions that follow from their measurements and the sealed policy: all "
        f"{report.decisions}"
    )
    if report.rendering is not None:
        say(printable(report.rendering))
    say(f"head:   {report.head}")
    say(f"digest: {report.digest}")
    for line in signed_lines(report.signed, report.events):
        say(line)
    say(anchored_line(anchor, report.since_anchor))


def _print_bundled(bundled: Bundled) -> None:
    from restaudit.evidence.verify.sentences import is_partial, note_lines, partial_line

    if is_partial(bundled):
        say(partial_line(bundled))
    if bundled.signed_by is not None:
        say(f"manifest.json: signed with key {bundled.signed_by}")
    for line in note_lines(bundled):
        say(f"  {line}")
