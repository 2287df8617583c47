"""`restaudit verify RUN|BUNDLE.zip`: check it, and say plainly what was shown and what was not."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from restaudit.evidence.seal.anchor import Anchor
    from restaudit.evidence.verify import Report
    from restaudit.evidence.verify.signatures import Signed

UNANCHORED = (
    "UNANCHORED: nothing outside this folder has seen the head, so a complete rebuild "
    "would go unnoticed"
)
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
            metavar="GIB", min=0.001, help="The most that a bundle may unpack to, in GiB."
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
    from restaudit.console import Reporter
    from restaudit.evidence.bundle.unpack import opened
    from restaudit.evidence.record import Run
    from restaudit.evidence.seal.anchor import load_anchor
    from restaudit.evidence.seal.keys import load_public
    from restaudit.evidence.verify import recorded_bytes
    from restaudit.evidence.verify import verify as check
    from restaudit.loop.summary import print_overrides

    trusted = load_public(key) if key is not None else None
    witnessed = load_anchor(anchor) if anchor is not None else None
    reporter = Reporter()
    reporter.quiet = not reporter.console.is_terminal
    with ExitStack() as stack:
        size = folder.stat().st_size if folder.is_file() else 0
        with reporter.task("opening", size, "bytes") if size else nullcontext() as advance:
            run = stack.enter_context(opened(folder, most=int(max_size * GIB), progress=advance))
        with reporter.task("hashing", recorded_bytes(run.folder), "bytes") as advance:
            report = check(
                run.folder,
                advance,
                trusted=trusted,
                anchor=witnessed,
                hashed=run.hashed,
                render=render,
            )
        print_overrides(Run(run.folder))
    _print(folder, report, witnessed)


def _print(folder: Path, report: Report, anchor: Anchor | None) -> None:
    from restaudit.evidence.record import printable

    state = "finished" if report.finished else "unfinished"
    typer.echo(
        f"{folder}: {report.files} files ({report.bytes:,} bytes) and {report.events} events "
        f"match; the run is {state}"
    )
    _print_bundled(report)
    typer.echo(
        "decisions that follow from their measurements and the sealed policy: all "
        f"{report.decisions}"
    )
    if report.torn_bytes:
        typer.echo(
            f"the ledger ends in {report.torn_bytes} bytes of an event that a crash cut short; "
            "resume replaces them"
        )
    for name in report.unrecorded:
        typer.echo(f"not recorded yet: {printable(name)}")
    if report.rendering is not None:
        typer.echo(printable(report.rendering))
    typer.echo(f"head:   {report.head}")
    typer.echo(f"digest: {report.digest}")
    for line in signed_lines(report.signed, report.events):
        typer.echo(line)
    if anchor is None:
        typer.echo(UNANCHORED)
    else:
        since = (
            "no event came since"
            if not report.since_anchor
            else f"{report.since_anchor} event(s) came since"
        )
        typer.echo(
            f"ANCHORED: the head the witness saw (event {anchor.seq}) is in this chain; {since}"
        )


def _print_bundled(report: Report) -> None:
    from restaudit.evidence.record import printable

    bundled = report.bundled
    if bundled is None:
        return
    if bundled.redacted or bundled.left_out:
        typer.echo(
            f"PARTIAL: {len(bundled.redacted)} further file(s) had their texts taken out and do "
            "NOT have the digest "
            f"that the ledger holds; {len(bundled.left_out)} recorded file(s) are not in the bundle"
        )
    by = (
        "manifest.json, which nobody signed"
        if bundled.signed_by is None
        else "the signed manifest.json"
    )
    if bundled.signed_by is not None:
        typer.echo(f"manifest.json: signed with key {bundled.signed_by}")
    for name in bundled.redacted:
        typer.echo(f"  checked only against {by}: {printable(name)}")
    for name in bundled.left_out:
        typer.echo(f"  not checked, left out: {printable(name)}")
    for note in bundled.notes:
        typer.echo(f"  the manifest says: {printable(note)}")


def signed_lines(signed: Signed, events: int) -> list[str]:
    """What a check found about signatures, in a few sentences; `events` is how many the ledger
    has.
    """
    from restaudit.evidence.record import printable

    lines = []
    if signed.signer is None:
        lines.append("UNSIGNED: the sealed plan names no key")
    else:
        whose = (
            "SIGNED with the key you trust"
            if signed.trusted
            else "SELF-SIGNED: the key is only the one that the folder itself names"
        )
        through = signed.through or 0
        rest = events - 1 - through
        lines.append(f"{whose}: {signed.signer}")
        lines.append(
            f"signed: the plan and {signed.heads} head(s), through event {through}"
            + (f"; the {rest} event(s) after it are not signed yet" if rest else "")
        )
    if signed.report_by is not None:
        since = events - 1 - (signed.report_at or 0)
        other = (
            None,
            signed.report_by,
        )  # without a signer in the plan, the key trusted is the report's
        lines.append(
            (
                f"report: {signed.report_files} file(s) signed with key {signed.report_by}, for "
                f"event {signed.report_at}"
            )
            + (
                ", and that is NOT the key you trust"
                if signed.trusted and signed.signer not in other
                else ""
            )
            + (f"; {since} event(s) came since" if since else "")
        )
        lines += [f"not covered by that signature: {printable(name)}" for name in signed.beside]
    return lines
