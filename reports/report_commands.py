"""`restaudit report`, `why` and `compare`: what a run says, why a row was trained on, several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restaudit.errors import BadInput

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Formats = Annotated[
    str, typer.Option("--format", help="One or more of html, pdf, docx, md, json, with commas between.")
]


def report(
    run: RunFolder,
    form: Formats = "html,pdf",
    out: Annotated[Path | None, typer.Option(help="The folder to write into (default: RUN/report).")] = None,
) -> None:
    """Write the report of a run, finished, halted or half done; every figure names the record it comes from."""
    from reports.document.render import formats
    from reports.rendering import write_report
    from restaudit.record import Run

    wanted = formats(form)
    for path in write_report(Run(run), wanted, out):
        typer.echo(path)


def why(
    run: RunFolder,
    sample: Annotated[str, typer.Argument(metavar="SAMPLE", help="A sample's name, for example g01/p0003/2.")],
) -> None:
    """Say for every Improve step whether a sample was trained on, and why."""
    from reports.why import why_lines
    from restaudit.record import Run

    for line in why_lines(Run(run), sample):
        typer.echo(line)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Two or more run folders.")],
    form: Formats = "html",
    out: Annotated[Path, typer.Option(help="The folder to write into.")] = Path("comparison"),
) -> None:
    """Put several runs side by side on the audit prompts they share; what is not comparable is refused, and why."""
    from reports.document.render import formats
    from reports.rendering import write
    from reports.run_report.comparison import comparison
    from restaudit.record import Run

    if len(runs) < 2:
        raise BadInput("compare: give two or more run folders")
    wanted = formats(form)
    for path in write(comparison([Run(r) for r in runs]), wanted, out, "comparison"):
        typer.echo(path)
