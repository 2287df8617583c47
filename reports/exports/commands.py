"""`restaudit export`: a run in the formats that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FOLDER = Path("report") / "exports"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, also one that is not finished.")],
    formats: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME[,NAME…]|all", help="What to write; docs/exports.md says what each one is."
        ),
    ] = "all",
    out: Annotated[Path | None, typer.Option(help="The folder to write into (default: RUN/report/exports).")] = None,
) -> None:
    """Write a run as CycloneDX, SPDX, PROV, RO-Crate, Croissant, in-toto, tables, model card and datasheet."""
    from reports.exports.registry import chosen
    from reports.exports.writing import write_exports

    for path in write_exports(run, chosen(formats), out or run / FOLDER):
        typer.echo(path)
