"""`restaudit declare` and `restaudit compliance`: what people say of a run, and its
clause-by-clause documents.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from restaudit.console import say
from restaudit.errors import BadInput
from restaudit.files import plain

FOLDER = Path("report") / "compliance"
ALL = "all"
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


def declare(
    run: RunFolder,
    file: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="A filled form to check and keep.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the form goes (default: printed).")
    ] = None,
) -> None:
    """Answer the questions the record cannot: purpose, provider, data rights. Prints a form to fill
    in, or keeps a filled one.
    """
    from reports.frameworks.answers import by_record
    from reports.frameworks.declared import keep, stored, template
    from reports.frameworks.forms import run_subject
    from reports.record.files import Records
    from restaudit.evidence.record import Run
    from restaudit.files.signs import printable

    records = Records(Run(run))
    subject = run_subject(records)
    if file is None:
        # A filled form took somebody hours, and one command would overwrite it.
        if out is not None and os.path.lexists(out):
            raise BadInput(
                f"{out}: is there already, perhaps with answers; name another file with --out"
            )
        form = template(subject, by_record(records), stored(subject))
        if out is None:
            say(form, nl=False)
            return
        _write(out, form.encode("utf-8"), run)
        say(f"form: {out}; when it is filled: restaudit declare {run} --from {out}")
        return
    if out is not None:
        raise BadInput(
            "--out names where a form goes; declarations given by --from have their own place"
        )
    kept = keep(subject, file)
    by = printable(kept.declared_by) or "nobody"
    say(
        f"declared by {by}: {len(kept.answers)} answers, kept in {subject.path}, sha256 "
        f"{kept.sha256}"
    )
    say(f"next: restaudit compliance {run}")


def compliance(
    run: RunFolder,
    framework: Annotated[
        list[str] | None,
        typer.Option(
            help="Ids of frameworks, with commas between (default: all); a word that is none "
            "lists them."
        ),
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="One or more of html, md, json, pdf, docx, with commas between (default: html).",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help=f"A file, or a folder for several (default: RUN/{FOLDER.as_posix()}).",
        ),
    ] = None,
) -> None:
    """Clause-by-clause documents of a run: what its record answers, what people declared, and first
    what is missing.
    """
    from restaudit.evidence.record import Run

    for o in Run(run).overrides():
        say(
            f"OVERRIDE at {o.iteration}: {o.by} let the run go on after HALT "
            f"({', '.join(o.gates)}): {o.reason}"
        )
    names, forms = ",".join(framework or [ALL]), ",".join(output or ["html"])
    for path, coverage in documents(run, names, forms, out):
        say(f"{path}: {coverage}")


def documents(run: Path, framework: str, output: str, out: Path | None) -> list[tuple[Path, str]]:
    """Render the documents and return each file with its count of answered fields.

    `framework` and `output` hold names with commas between. Raises BadInput for an unknown
    framework or format, a path that cannot be written, or declarations that are not valid;
    VerificationFailed where a file of the run is not as it was recorded.
    """
    from reports.document.render import folder_of, formats, render
    from reports.frameworks.build import COVERAGE, framework_document
    from reports.frameworks.declared import run_declarations
    from reports.frameworks.schema import framework as known
    from reports.frameworks.schema import frameworks
    from reports.record.files import Records
    from restaudit.evidence.record import Run

    forms = formats(output)
    wanted = [name.strip() for name in framework.split(",") if name.strip()]
    ids = list(dict.fromkeys(known(name).id for name in wanted if name != ALL))
    if ALL in wanted or not ids:
        ids = list(frameworks())
    records = Records(Run(run))
    declared = run_declarations(records)
    # A path is the file itself where there is one document in one format; else a folder.
    one_file = out is not None and not out.is_dir() and len(ids) == len(forms) == 1
    folder = out or run / FOLDER
    if out is not None and not one_file:
        folder_of(out, f"{len(ids) * len(forms)} documents go there")
    written = []
    for name in ids:
        document = framework_document(records, name, declared)
        coverage = next(line for line in document.banner if line.startswith(COVERAGE))
        for form in forms:
            path = folder if one_file else folder / f"{name}.{form}"
            _write(path, render(document, form), run)
            written.append((path, coverage))
    return written


def _write(path: Path, data: bytes, run: Path) -> None:
    try:
        plain.write_out(path, data, run=run)
    except OSError as e:
        raise BadInput(f"{path}: cannot be written: {e.strerror}") from None
