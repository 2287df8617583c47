"""`restaudit compare`: runs side by side, or a whole study of methods, trained and then
compared.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from restaudit.commands.program import listed
from restaudit.console import say
from restaudit.errors import BadInput

HOOKS = "restaudit.compare"
METHODS = "rest,raft,grpo,dpo"


def compare(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN RUN… or STUDY", help="Run folders, or a study's folder."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Train a study of this recipe, then compare."),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a study, with commas between: rest, rest_em, raft, best_of_n, dpo, grpo, rloo "
            f"(default: {METHODS})."
        ),
    ] = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(
            "--arm",
            metavar="'NAME: KEY=VALUE …'",
            help="Of a study: a method with settings of its own, for example 'rest-i4: "
            "loop.method=rest "
            "loop.improve_steps=4 loop.thresholds.values=[60,70,80,90]'.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Of a study: how often each method is trained.")
    ] = 3,
    search: Annotated[
        bool,
        typer.Option(
            "--search/--no-search",
            help="Of a study: search learning rates, or take the recipe's own.",
        ),
    ] = True,
    least_variety: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            help="Of a study: the search takes a learning rate only where this "
            "share of the base policy's distinct-2 is kept on D_eval (default: by reward alone).",
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="At the recipe's own sizes (default: the small size).")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="For every run of a study."),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="One or more of html, pdf, docx, md, json, with commas between (default: html).",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The folder to write into; a study's runs go there too.")
    ] = Path("comparison"),
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Lines only, no progress bars.")
    ] = False,
) -> None:
    """Put runs side by side on the audit prompts they share, or train methods at equal cost.

    A study is sealed first and can be interrupted at any point: the same command goes on. Runs that
    are not comparable are refused, with every reason.
    """
    hooks = _hooks()
    # Before anything is trained, which may take a day.
    form = ",".join(formats or ["html"])
    from restaudit.files import plain

    hooks["check"](form)
    given = list(runs or [])
    if recipe is not None:
        if given:
            raise BadInput("compare: give either run folders or --recipe")
        from restaudit.console import Reporter
        from restaudit.study.plan import planned, sealed
        from restaudit.study.run import run_study

        wanted = planned(
            recipe,
            listed(methods or [METHODS]),
            seeds,
            small=not full,
            changes=changes or [],
            arms=arms or [],
            search=search,
            least_variety=least_variety,
        )
        study = sealed(out, wanted)
        run_study(out, study, Reporter(quiet=quiet))
        given = [out]
    # A study's document goes beside its runs, unless another place was named.
    if len(given) == 1 and plain.is_file(given[0], "study.json"):
        place = given[0] if out == Path("comparison") else out
        written = hooks["study"](given[0], form, place)
    elif len(given) < 2:
        raise BadInput(
            "compare: give two or more run folders, a study's folder, or --recipe to train a study"
        )
    else:
        written = hooks["runs"](given, form, out)
    for path in written:
        say(path)


def _hooks() -> dict[str, Any]:
    """Who writes the documents: they live a floor above, and register here."""
    # restaudit imports nothing of reports, and works without it but for this.
    hooks = {point.name: point.load() for point in metadata.entry_points(group=HOOKS)}
    if not {"check", "runs", "study"} <= set(hooks):
        raise BadInput(
            "compare: nothing here writes comparisons; install restaudit whole: pip install "
            "restaudit"
        )
    return hooks
