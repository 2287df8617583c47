"""`restaudit report` and `why`, and the documents of `restaudit compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restaudit.console import say

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        help="One or more of html, pdf, docx, md, json, with commas between (default: html,pdf).",
    ),
]


def report(
    run: RunFolder,
    form: Formats = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write into (default: RUN/report).")
    ] = None,
) -> None:
    """Write the report of a run, finished, halted or half done; every figure names the record it
    comes from.
    """
    from reports.document.render import folder_of, formats
    from reports.rendering import write_report
    from restaudit.evidence.record import Run

    if out is not None:
        folder_of(out, "reports and their manifest go there")
    wanted = formats(",".join(form or ["html,pdf"]))
    for path in write_report(Run(run), wanted, out):
        say(path)


def why(
    run: RunFolder,
    sample: Annotated[
        str, typer.Argument(metavar="SAMPLE", help="A sample's name, for example g01/p0003/2.")
    ],
) -> None:
    """Say for every Improve step whether a sample was trained on, and why."""
    from reports.record.lineage import why_lines
    from restaudit.evidence.record import Run

    for line in why_lines(Run(run), sample):
        say(line)


def check_formats(form: str) -> None:
    """Raise BadInput for a format that no document has, before anything is computed."""
    from reports.document.render import formats

    formats(form)


def compare_runs(runs: list[Path], form: str, out: Path) -> list[Path]:
    """Write the comparison of run folders; returns the files."""
    from reports.document.render import formats
    from reports.rendering import write
    from reports.run_report.comparison import comparison
    from restaudit.evidence.record import Run

    return list(write(comparison([Run(r) for r in runs]), formats(form), out, "comparison"))


def compare_study(folder: Path, form: str, out: Path) -> list[Path]:
    """Write the document of a study; returns the files."""
    from reports.document.render import formats
    from reports.rendering import write
    from reports.study.build import study_document

    # study.json is the study's plan, so that the document has another name.
    return list(write(study_document(folder), formats(form), out, "comparison", folder))
