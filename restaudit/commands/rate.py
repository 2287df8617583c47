"""`restaudit rate`: samples of a run out to raters, their ratings back in.

`export`, `import` and `status` are about single texts; `pairs` and `wins` about choices between two
texts of one prompt.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restaudit.commands.program import MOST, MOST_SEED, Program
from restaudit.console import say
from restaudit.errors import BadInput
from restaudit.people.rating.asking import (
    DIMENSION,
    PROMPTS,
    RATERS,
    SAMPLES,
    draw_arguments,
    pair_arguments,
    pair_set_name,
    set_name,
)
from restaudit.people.rating.status import of_raters

if TYPE_CHECKING:
    from restaudit.people.rating import Progress, RaterProgress


class Layout(StrEnum):
    """The layouts tasks are written in and ratings are read from."""

    NATIVE = "native"
    LABEL_STUDIO = "label-studio"
    ARGILLA = "argilla"
    POTATO = "potato"
    PRODIGY = "prodigy"
    CSV = "csv"


MOST_RATERS = 10_000

rate = Program(
    name="rate",
    help="Have people rate random, blinded samples of a run, and take their ratings back.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# What single texts and pairs are drawn with alike.
Out = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Where to (default: NAME-FORMAT here).")
]
Instructions = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|TEXT", help="What raters read before they begin; a file, or the text."
    ),
]
DrawSeed = Annotated[
    int | None,
    typer.Option(min=0, max=MOST_SEED, help="Of the draw (default: derived from the run's)."),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


@rate.command("export")
def export(
    folder: RunFolder,
    iterations: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIST",
            help="By comma, like g00/i00,g01/i02 (default: the base policy and the last).",
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n", min=0, max=MOST, help=f"Samples of each iteration (default {SAMPLES})."
        ),
    ] = None,
    raters: Annotated[
        int | None,
        typer.Option(
            min=0, max=MOST_RATERS, help=f"Raters that each item gets (default {RATERS})."
        ),
    ] = None,
    format: Annotated[
        Layout, typer.Option("--format", help="Layout of the tasks.")
    ] = Layout.NATIVE,
    out: Out = None,
    instructions: Instructions = None,
    dimension: Annotated[
        str | None, typer.Option(help=f"What is rated (default {DIMENSION}).")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(metavar="LOW-HIGH", help="Lowest and highest score (default 1-7).")
    ] = None,
    halves: Annotated[bool, typer.Option("--halves", help="Allow half points.")] = False,
    checks: Annotated[
        int | None,
        typer.Option(
            min=0, max=MOST, help="Items shown twice, to see if raters agree with themselves."
        ),
    ] = None,
    anchors: Annotated[
        int,
        typer.Option(
            min=0, max=MOST, help="Base-policy samples shown again, to see if raters drift."
        ),
    ] = 0,
    seed: DrawSeed = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the set; one that was drawn is exported as it is.")
    ] = None,
) -> None:
    """Draw random samples of iterations, blind and shuffle them, and write them for a rating tool.

    Raters see neither iteration, policy nor reward. A run that waits for ratings (exit 3) has drawn
    its own samples: without options of a draw, those are exported.
    """
    from restaudit.evidence.record import Run
    from restaudit.people.rating import draw_tasks, export_tasks, load_tasks, task_sets

    record = Run(folder)
    # Of a draw: what was not given is None, so that the run's own configuration can fill it in.
    options = {
        "iterations": ",".join(iterations) if iterations else None,
        "n": n,
        "raters": raters,
        "instructions": instructions,
        "dimension": dimension,
        "scale": scale,
        "halves": halves or None,
        "checks": checks,
        "anchors": anchors or None,
        "seed": seed,
    }
    # With any option it is another draw, which must not take the place of one that raters have
    # begun.
    nothing_chosen = all(v is None for v in options.values())
    last = record.events[-1].step if record.events else ""
    # A refit waits for a sheet of its own, which is no set of rating tasks.
    waits_for_ratings = record.state == "waiting" and not last.endswith("/refit/wait")
    # The set that the run waits for bears the name of the iteration.
    if name is None and nothing_chosen and waits_for_ratings:
        name = last.removesuffix("/wait").replace("/", "-")
    if nothing_chosen and name in {t.name for t in task_sets(folder)}:
        tasks = load_tasks(folder, str(name))
    else:
        arguments = draw_arguments(record, options)
        name = name or set_name(arguments)
        tasks = draw_tasks(folder, name=name, **arguments)
    place = out or Path(f"{tasks.name}-{format.value}{_suffix(format)}")
    written = export_tasks(folder, tasks.name, format=format.value, out=place)
    shown = f"{tasks.items} items: {tasks.samples} samples of {', '.join(tasks.iterations)}"
    shown += f", {tasks.checks} shown twice"
    if tasks.anchors:
        shown += f", {tasks.anchors} anchors"
    say(
        f"{tasks.name}: {shown}; {of_raters(tasks.raters)} each on {tasks.scale[0]} to "
        f"{tasks.scale[1]}"
    )
    for note in tasks.notes:
        say(f"  {note}")
    for path in written:
        say(f"wrote {path}")
    say(f"take the ratings back: restaudit rate import {folder} FILE")


@rate.command("import")
def take(
    folder: RunFolder,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="What the rating tool exported, or the filled-in file."
        ),
    ],
    format: Annotated[
        Layout | None, typer.Option("--format", help="Layout of the file (default: found out).")
    ] = None,
    rater: Annotated[
        str | None, typer.Option(help="Who rated the rows that name nobody (a pseudonym).")
    ] = None,
    skip_known: Annotated[
        bool,
        typer.Option("--skip-known", help="Pass over ratings that are in already, just the same."),
    ] = False,
) -> None:
    """Take ratings or choices back: all of a file or, with the wrong rows named, nothing of it."""
    from restaudit.files.given import whole_text
    from restaudit.people.rating import import_ratings, progress
    from restaudit.people.rating.pairs import import_choices
    from restaudit.people.rating.pairs.sheet import LAYOUTS, holds_choices
    from restaudit.people.rating.pairs.wins import pair_progress

    # Choices come back by the same command: whoever has the file need not know what it holds.
    of_pairs = holds_choices(whole_text(file))
    progress_of = pair_progress if of_pairs else progress
    if of_pairs:
        if format is not None and format.value not in LAYOUTS:
            raise BadInput(
                f"{file}: holds choices between two texts, which are read as {' or '.join(LAYOUTS)}"
            )
        report = import_choices(folder, file, rater=rater, skip_known=skip_known)
    else:
        report = import_ratings(
            folder,
            file,
            format=format.value if format else None,
            rater=rater,
            skip_known=skip_known,
        )
    say(
        f"{file}: {report.accepted} ratings taken ({report.format}), {report.checks} of them "
        "repeats"
    )
    if report.known:
        say(f"  {report.known} were in already and were passed over")
    for what, count in report.skipped.items():
        say(f"  not a vote: {count} x {what}")
    if report.untimed:
        say(
            f"  {report.untimed} without a time: the layout has none; they are younger than their "
            "item's id"
        )
    for note in report.notes:
        say(f"  {note}")
    for name in report.tasks:
        say(_line(progress_of(folder, name)))
    for one in report.per_rater:
        say(_rater_line(one))


@rate.command("status")
def status(folder: RunFolder) -> None:
    """Show how far each set of tasks has come, and how steady each rater is on texts seen twice."""
    from restaudit.evidence.record import Run
    from restaudit.people.rating import progress, task_sets
    from restaudit.people.rating.pairs import pair_sets
    from restaudit.people.rating.pairs.wins import named, pair_progress
    from restaudit.people.rating.store import CHOICES_FILE, RATINGS_FILE, human_folder, torn_note

    Run(folder)
    for file in (RATINGS_FILE, CHOICES_FILE):
        # A crash may have cut the last line short; a rater should hear of a rating that has to be
        # given again.
        lost = torn_note(human_folder(folder), file)
        if lost is not None:
            say(lost)
    sets, compared = task_sets(folder), pair_sets(folder)
    if not sets and not compared:
        say(f"{folder}: no rating tasks were drawn; first: restaudit rate export {folder}")
    for tasks in sets:
        at = progress(folder, tasks.name)
        say(_line(at))
        say(
            f"  {tasks.dimension}, {tasks.scale[0]} to {tasks.scale[1]}; samples of "
            f"{', '.join(tasks.iterations)}"
        )
        for one in at.per_rater:
            say(_rater_line(one))

    for two in compared:
        at = pair_progress(folder, two.name)
        say(_line(at))
        say(
            f"  {two.dimension}, A or B; {named(two.second, two.first)} against "
            f"{named(two.first, two.second)}"
        )
        for one in at.per_rater:
            say(_rater_line(one))


def _suffix(layout: Layout) -> str:
    from restaudit.people.rating.formats import named

    return named(layout.value).suffix


def _line(at: Progress) -> str:
    left = "complete" if at.complete else f"{at.missing} missing"
    return (
        f"{at.name}: {at.rated} of {at.wanted} ratings are in ({at.items} items, "
        f"{of_raters(at.raters)} each), {left}"
    )


def _rater_line(one: RaterProgress) -> str:
    text = f"  {one.rater}: {one.ratings} ratings"
    if one.mean_difference is not None:
        text += (
            f"; {one.repeats} texts seen twice, scores apart by {one.mean_difference:.2f} on "
            "average"
        )
    # Undefined, with the reason, for whoever saw no text twice or gave every text one score.
    if one.consistency is not None:
        return (
            f"{text}; self-consistency {one.consistency:.2f} (1: always the same score again, "
            "0: as by chance)"
        )
    return f"{text}; self-consistency undefined: {one.reason}"


# --- pairs: which of two texts is better?


class PairLayout(StrEnum):
    """The layouts pairs are written in and choices are read from."""

    NATIVE = "native"
    CSV = "csv"


@rate.command("pairs")
def pairs(
    folder: RunFolder,
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
    n: Annotated[
        int, typer.Option("--n", min=0, max=MOST, help="Prompts; one pair of each.")
    ] = PROMPTS,
    raters: Annotated[
        int | None,
        typer.Option(min=0, max=MOST_RATERS, help="Raters that each pair gets (default 2)."),
    ] = None,
    format: Annotated[
        PairLayout, typer.Option("--format", help="Layout of the pairs.")
    ] = PairLayout.NATIVE,
    out: Out = None,
    instructions: Instructions = None,
    dimension: Annotated[
        str | None, typer.Option(help="What is compared (default quality).")
    ] = None,
    checks: Annotated[
        int | None, typer.Option(min=0, max=MOST, help="Pairs shown twice, the other way round.")
    ] = None,
    seed: DrawSeed = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the set; one that was drawn is written as it is.")
    ] = None,
) -> None:
    """Draw random prompts, two texts of each, and write them blinded: A or B better, or a tie?

    With --against the texts of two runs that asked the same prompts are compared: of this run's
    last policy, and of the other's. The choices come back with `restaudit rate import`, and
    `restaudit rate wins` counts them.
    """
    from restaudit.evidence.record import Run
    from restaudit.people.rating.pairs import draw_pairs, export_pairs, load_pairs, pair_sets
    from restaudit.people.rating.status import of_raters

    record = Run(folder)
    # A set that was drawn is exported as it is: what raters have seen must not change under them.
    drawn = {p.name for p in pair_sets(folder)}
    options = {
        "first": first,
        "second": second,
        "raters": raters,
        "instructions": instructions,
        "dimension": dimension,
        "checks": checks,
        "seed": seed,
    }
    no_option = all(v is None for v in options.values())
    nothing_chosen = against is None and n == PROMPTS and no_option
    if name in drawn and nothing_chosen:
        pair_set = load_pairs(folder, str(name))
    else:
        other = None if against is None else Run(against)
        arguments = pair_arguments(record, {**options, "n": n}, other)
        pair_set = draw_pairs(folder, name=name or pair_set_name(arguments), **arguments)
    suffix = ".jsonl" if format is PairLayout.NATIVE else ".csv"
    place = out or Path(f"{pair_set.name}-{format.value}{suffix}")
    written = export_pairs(folder, pair_set.name, format=format.value, out=place)
    say(
        f"{pair_set.name}: {pair_set.items} pairs, {pair_set.checks} of them shown a second time; "
        f"{of_raters(pair_set.raters)} each"
    )
    for line in (*pair_set.notes, *(f"wrote {path}" for path in written)):
        say(f"  {line}")
    say(
        f"take the choices back: restaudit rate import {folder} FILE, then: restaudit rate wins "
        f"{folder}"
    )


@rate.command("wins")
def wins(
    folder: RunFolder,
    name: Annotated[
        str | None, typer.Option(help="One set of pairs (default: all of this run).")
    ] = None,
) -> None:
    """Say how often people preferred the second policy's text, with an interval. This unblinds."""
    from restaudit.evidence.record import Run
    from restaudit.people.rating.pairs import pair_sets
    from restaudit.people.rating.pairs.wins import beside, in_words
    from restaudit.people.rating.pairs.wins import wins as count

    Run(folder)
    # Each set by itself: two sets may ask about other policies.
    names = [p.name for p in pair_sets(folder)] if name is None else [name]
    if not names:
        say(f"{folder}: no pairs were drawn; first: restaudit rate pairs {folder}")
    for one in names:
        result = count(folder, one)
        say(f"{one}: {in_words(result)}")
        for line in beside(result):
            say(f"  {line}")
