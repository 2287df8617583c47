"""`restaudit export`: a run in the formats that other tools read, and its trained weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restaudit.console import say

if TYPE_CHECKING:
    from reports.exports.export import Export
    from restaudit.weights.export import Kind

FOLDER = Path("report") / "exports"
WEIGHTS = "Weights only"


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, also one that is not finished.")
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME[,NAME…]|all",
            help="What to write. all is every format of the record, without weights; peft is the "
            "trained adapter, checkpoint the whole model (default: all). docs/exports.md says what "
            "each one is.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help=(
                "The folder to write into (default: RUN/report/exports; for weights, a new "
                "folder beside the run)."
            )
        ),
    ] = None,
    iteration: Annotated[
        str | None,
        typer.Option(
            metavar="g02/i01", help=f"{WEIGHTS}: which iteration (default: the last one trained)."
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="ORG/NAME", help=f"{WEIGHTS}: upload them to this repository of the hub."
        ),
    ] = None,
) -> None:
    """Write a run as CycloneDX, SPDX, PROV, RO-Crate, Croissant, in-toto, tables, model card and
    datasheet.

    Or write its trained weights, which PEFT, transformers, lm-eval and vLLM load.
    """
    from reports.document.render import folder_of
    from reports.exports.export import write_exports
    from restaudit.errors import BadInput

    records, weights = _wanted(",".join(formats or ["all"]))
    # An option that would be passed over without a word is refused before anything is written.
    given = _named(iteration=iteration, push=push)
    if given and not weights:
        raise BadInput(
            f"{given}: only with --format peft or --format checkpoint, which export weights"
        )
    if push is not None and len(weights) > 1:
        raise BadInput(
            "--push: a repository holds one model; give --format peft or --format checkpoint"
        )
    if out is not None:
        folder_of(out, "exports go there under their own names")
    if records:
        for path in write_exports(run, records, out or run / FOLDER):
            say(path)
    # A folder of weights has to be loadable as it is, so nothing else may lie in it.
    alone = len(weights) == 1 and not records
    for kind in weights:
        folder = out
        if out is not None and not alone:
            folder = out / kind
        _weights(run, kind, folder, iteration, push)


def _weights(
    run: Path, kind: Kind, out: Path | None, iteration: str | None, push: str | None
) -> None:
    from reports.exports.weights_card import weights_card
    from restaudit.console import Reporter
    from restaudit.weights.export import export_weights

    export_weights(
        run,
        kind,
        out,
        lambda exported: weights_card(run, exported),
        Reporter(),
        iteration=iteration,
        push=push,
    )


def _wanted(formats: str) -> tuple[Sequence[Export], Sequence[Kind]]:
    """The formats of the record and those of weights. Raises BadInput that lists the valid
    names.
    """
    from reports.exports.export import chosen
    from restaudit.errors import BadInput
    from restaudit.weights.export import KINDS

    names = [n.strip() for n in formats.split(",") if n.strip()]
    weights = [k for k in KINDS if k in names]
    others = [n for n in names if n not in weights]
    if weights and not others:
        return (), weights
    # `chosen` knows the formats of the record only; its message gets the names of weights here.
    try:
        return chosen(",".join(others)), weights
    except BadInput as e:
        raise BadInput(f"{e}, or weights: {', '.join(KINDS)}") from None


def _named(**options: str | None) -> str:
    return " and ".join(f"--{name}" for name, value in options.items() if value is not None)
