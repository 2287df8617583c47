"""`restaudit declare` and `restaudit compliance`: what people say of a run, and its
clause-by-clause documents.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restaudit.errors import BadInput

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
    """What only people can say of a run (purpose, provider, data …): print a form to fill, or keep
    a filled one.
    """
    from reports.frameworks.declaring import keep, to_fill
    from reports.record.files import Records
    from restaudit.evidence.record import Run, printable

    records = Records(Run(run))
    if file is None:
        if out is not None and out.exists():
            raise BadInput(
                f"{out}: is there already, perhaps with answers; name another file with --out"
            )
        form = to_fill(records)
        if out is None:
            typer.echo(form, nl=False)
            return
        _write(out, form.encode("utf-8"))
        typer.echo(f"form: {out}; when it is filled: restaudit declare {run} --from {out}")
        return
    if out is not None:
        raise BadInput(
            "--out names where a form goes; declarations given by --from have their own place"
        )
    kept, path = keep(records, file)
    by = printable(kept.declared_by) or "nobody"
    typer.echo(
        f"declared by {by}: {len(kept.answers)} answers, kept in {path}, sha256 {kept.sha256}"
    )
    typer.echo(f"next: restaudit compliance {run}")


def compliance(
    run: RunFolder,
    framework: Annotated[
        str, typer.Option(help="A framework's id, or all; a word that is none lists them.")
    ] = ALL,
    output: Annotated[
        str, typer.Option("--format", help="One or more of html, md, json, pdf, docx.")
    ] = "html",
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
        typer.echo(
            f"OVERRIDE at {o.iteration}: {o.by} let the run go on after HALT "
            f"({', '.join(o.gates)}): {o.reason}"
        )
    for path, said in documents(run, framework, output, out):
        typer.echo(f"{path}: {said}")


def documents(run: Path, framework: str, output: str, out: Path | None) -> list[tuple[Path, str]]:
    """Render the documents and return each file with its count of answered fields.

    Raises BadInput for an unknown framework or format, a path that cannot be written, or
    declarations that are not valid; VerificationFailed where a file of the run is not as it was
    recorded.
    """
    from reports.document.render import formats, render
    from reports.frameworks.build import COVERAGE, framework_document
    from reports.frameworks.declaring import stored
    from reports.frameworks.schema import framework as known
    from reports.frameworks.schema import frameworks
    from reports.record.files import Records
    from restaudit.evidence.record import Run

    forms = formats(output)
    ids = list(frameworks()) if framework == ALL else [known(framework).id]
    records = Records(Run(run))
    declared = stored(records)
    one = out is not None and not out.is_dir() and len(ids) == len(forms) == 1
    written = []
    for name in ids:
        document = framework_document(records, name, declared)
        said = next(line for line in document.banner if line.startswith(COVERAGE))
        for form in forms:
            path = out if one and out is not None else (out or run / FOLDER) / f"{name}.{form}"
            _write(path, render(document, form))
            written.append((path, said))
    return written


def _write(path: Path, data: bytes) -> None:
    if path.is_symlink():
        raise BadInput(f"{path}: a symbolic link; give the path of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as e:
        raise BadInput(f"{path}: cannot be written: {e.strerror}") from None
