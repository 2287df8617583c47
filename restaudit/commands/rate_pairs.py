"""`restaudit rate pairs | wins`: which of two texts is better? Pairs out to raters, and what they
chose.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restaudit.errors import BadInput

if TYPE_CHECKING:
    from restaudit.evidence.record import Run

PROMPTS = 60


class Layout(StrEnum):
    """The layouts pairs are written in and choices are read from."""

    NATIVE = "native"
    CSV = "csv"


Folder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


def pairs(
    folder: Folder,
    first: Annotated[
        str | None, typer.Option(metavar="ITERATION", help="One side (default: the base policy).")
    ] = None,
    second: Annotated[
        str | None, typer.Option(metavar="ITERATION", help="The other side (default: the last).")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Another run: the second side is of that one."),
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Prompts; one pair of each.")] = PROMPTS,
    raters: Annotated[
        int | None, typer.Option(help="Raters that each pair gets (default 2).")
    ] = None,
    format: Annotated[
        Layout, typer.Option("--format", help="Layout of the pairs.")
    ] = Layout.NATIVE,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to (default: NAME-FORMAT here).")
    ] = None,
    instructions: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|TEXT", help="What raters read before they begin; a file, or the text."
        ),
    ] = None,
    dimension: Annotated[
        str | None, typer.Option(help="What is compared (default quality).")
    ] = None,
    checks: Annotated[
        int | None, typer.Option(help="Pairs shown twice, the other way round.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the draw (default: derived from the run's).")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the set; one that was drawn is written as it is.")
    ] = None,
) -> None:
    """Draw random prompts, two texts of each, and write them blinded: which is better, A or B, or a
    tie?

    With --against the texts of two runs that asked the same prompts are compared: of this run's
    last policy, and of the other's. The choices come back with `restaudit rate import`, and
    `restaudit rate wins` counts them.
    """
    from restaudit.evidence.record import Run
    from restaudit.people.rating.pairs import draw_pairs, export_pairs, load_pairs, pair_sets
    from restaudit.people.rating.status import of_raters

    record = Run(folder)
    drawn = {p.name for p in pair_sets(folder)}
    free = (first, second, against, raters, instructions, dimension, checks, seed) == (
        None,
    ) * 8 and n == PROMPTS
    if name in drawn and free:
        one = load_pairs(folder, str(name))
    else:
        given = {
            "first": first,
            "second": second,
            "n": n,
            "raters": raters,
            "instructions": instructions,
            "dimension": dimension,
            "checks": checks,
            "seed": seed,
        }
        arguments = pair_arguments(record, given, None if against is None else Run(against))
        one = draw_pairs(folder, name=name or pair_set_name(arguments), **arguments)
    suffix = ".jsonl" if format is Layout.NATIVE else ".csv"
    written = export_pairs(
        folder, one.name, format=format.value, out=out or Path(f"{one.name}-{format.value}{suffix}")
    )
    typer.echo(
        f"{one.name}: {one.items} pairs, {one.checks} of them shown a second time; "
        f"{of_raters(one.raters)} each"
    )
    for line in (*one.notes, *(f"wrote {path}" for path in written)):
        typer.echo(f"  {line}")
    typer.echo(
        f"take the choices back: restaudit rate import {folder} FILE, then: restaudit rate wins "
        f"{folder}"
    )


def wins(
    folder: Folder,
    name: Annotated[
        str | None, typer.Option(help="One set of pairs (default: all of this run).")
    ] = None,
) -> None:
    """Say how often people preferred the second policy's text, with an interval over prompts. This
    unblinds.
    """
    from restaudit.evidence.record import Run
    from restaudit.people.rating.pairs import pair_sets
    from restaudit.people.rating.pairs.wins import beside, in_words
    from restaudit.people.rating.pairs.wins import wins as count

    Run(folder)
    names = [p.name for p in pair_sets(folder)] if name is None else [name]
    if not names:
        typer.echo(f"{folder}: no pairs were drawn; first: restaudit rate pairs {folder}")
    for one in names:
        found = count(folder, one)
        typer.echo(f"{one}: {in_words(found)}")
        for line in beside(found):
            typer.echo(f"  {line}")


def pair_arguments(
    record: Run, given: Mapping[str, Any], other: Run | None = None
) -> dict[str, Any]:
    """What to draw: the options, else the defaults. `other` is the run that the second side is of.

    `given` has first, second, n, raters, instructions, dimension, checks and seed; one that is
    missing is None. Alone, the base policy is compared with the last one; of two runs, their last
    ones.
    """
    from restaudit.commands.rate import DIMENSION, RATERS, text_or_file
    from restaudit.evidence.steps import seed_of

    there = record if other is None else other
    for run in (record, there):
        if not run.iterations():
            raise BadInput(f"{run.path}: nothing was audited yet, so there is nothing to compare")
    dimension = given.get("dimension") or DIMENSION
    own = record.iterations()[0 if other is None else -1]
    seed, said = given.get("seed"), given.get("instructions")
    return {
        "first": (record.path, given.get("first") or own),
        "second": (there.path, given.get("second") or there.iterations()[-1]),
        "n": given.get("n") or PROMPTS,
        "raters": given.get("raters") if given.get("raters") is not None else RATERS,
        "seed": seed
        if seed is not None
        else seed_of(record.plan["config"].get("seed", 0), "ratings"),
        "dimension": dimension,
        "instructions": usual(dimension) if said is None else text_or_file(said),
        "checks": given.get("checks"),
    }


def usual(dimension: str) -> str:
    """The instructions where nobody gave others."""
    return (
        f"Read the prompt and both responses. Which response has the better {dimension}: A or B? "
        "Choose T, a tie, only where neither is better. Judge for yourself, with no help from a "
        "model. If you cannot judge a pair, leave it out."
    )


def pair_set_name(arguments: Mapping[str, Any]) -> str:
    """The name of a set that nobody named: the same draw, the same name, wherever the folders
    lie.
    """
    from restaudit.evidence.record import Run

    sides = {k: (Run(arguments[k][0]).run_id, arguments[k][1]) for k in ("first", "second")}
    return "pairs-" + sha256(repr(sorted({**arguments, **sides}.items())).encode()).hexdigest()[:8]
