"""Waiting for people: a look asks for ratings of random samples, the run stops; what it gets is
sealed with the look.

What raters get and give lies in the run's folder human/, outside the record. Which samples were
drawn, and the ratings that a decision used, are copied into the record by the steps `…/wait` and
`…/audit`, so that a later edit is found. Where `human.samples` are rising counts, a look asks in
stages: each of the steps `…/wait`, `…/stage2/wait`, … asks for the next count or says that it is
not needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from restaudit.config import PeopleHuman
from restaudit.errors import BadInput, Waiting
from restaudit.evidence.record import (
    ASKED,
    BASE,
    RATED_AT,
    RATINGS,
    Run,
    as_one_draw,
    read_table,
    write_table,
)
from restaudit.evidence.steps import Content, seed_of
from restaudit.people.waiting import (
    REFIT,
    asked_at,
    stage_of,
    tasks_name,
    waited_for,
    what_is_missing,
)

if TYPE_CHECKING:
    from restaudit.loop.job import Job
    from restaudit.people.rating import TaskSet

# The gates that more ratings could decide, from what is known after each stage; what it reads
# beside the ratings it writes into the folder.
StillOpen = Callable[[Sequence[pd.DataFrame], Path], Sequence[str]]
RATED, WHEN = "ratings.parquet", "rated_at.parquet"
TOGETHER = (
    "the base policy's samples are rated together with those of the first iteration, "
    "blinded and mixed"
)
GIVEN = [
    "item_id",
    "rater",
    "dimension",
    "score",
    "scale_min",
    "scale_max",
    "submitted_at",
    "source",
]
# Whatever order people rated in, the same ratings are the same table.
ORDER = ["iteration", "sample_id", "rater", "check", "anchor", "score", "item_id"]


def ask(job: Job, iteration: str) -> None:
    """Draw, blind and record what people shall rate at this look.

    Raises Waiting until all of it is rated.
    """
    if job.writer.has(f"{iteration}/audit"):
        return
    record = Run(job.run)

    def make(out: Path) -> Content:
        tasks = _tasks(record, iteration, 1)
        assert tasks is not None  # every look is of texts, and none of these was asked for before
        return _asked(job, tasks, out)

    job.step(f"{iteration}/wait", iteration, make)
    _wait(job)


def ask_on(job: Job, iteration: str, stage: int, still_open: StillOpen) -> None:
    """Seal the ratings of the stage before and ask people for those of this one (from 2), where
    more ratings could still decide the look; else nobody is asked, and the step says so.

    Raises Waiting until all that was asked for is rated.
    """
    if job.writer.has(f"{iteration}/audit"):
        return
    record = Run(job.run)

    def make(out: Path) -> Content:
        # Nothing was asked for since that step said that nothing is needed.
        if stage > 2 and not _was_asked(record, iteration, stage - 1):
            return {"needed": False}
        stages = [_sealed(record, iteration, k) for k in range(1, stage - 1)]
        stages.append(_rated(record, iteration, stage - 1))
        _write(stages[-1], out / f"stage{stage - 1}")
        undecided = still_open(_known(record, iteration, stages), out)
        tasks = _tasks(record, iteration, stage) if undecided else None
        if tasks is None:
            return {"needed": False}
        job.reporter.line(
            f"  {iteration}: undecided after stage {stage - 1} of {record.rating_stages} "
            f"({', '.join(undecided)}): people are asked for {tasks.samples} more texts"
        )
        facts = _asked(job, tasks, out / f"stage{stage}")
        return {"needed": True, "undecided": list(undecided), **facts}

    step, when = f"{asked_at(iteration, stage)}/wait", f"{iteration}/stage{stage - 1}/{WHEN}"
    job.step(step, iteration, make, context=(when,))
    _wait(job)


def check_ratings(record: Run) -> None:
    """Raise Waiting, saying what is missing, while the look this run waits for lacks ratings.

    Task files that are gone are written again. Raises BadInput where human/ holds other tasks than
    this run drew.
    """
    place = waited_for(record)
    if not place.endswith(REFIT):
        _tasks(record, *stage_of(place))
    if (missing := what_is_missing(record)) is not None:
        raise Waiting(missing)


def seal_ratings(record: Run, iteration: str, out: Path) -> list[pd.DataFrame]:
    """Copy this look's ratings into the record and return what it may use after each stage that
    was asked for, the last one last.

    At the first look that is what was rated now; later, the base policy's ratings of earlier looks
    and what was rated now. Columns: RATINGS, submitted_at, and item_id, here a name that two runs
    of one plan have in common. Raises BadInput where human/ holds other tasks than this run drew,
    or ratings that no import lets in.
    """
    last = record.rating_stages
    asked = [k for k in range(1, last + 1) if _was_asked(record, iteration, k)]
    # The step that could have asked for more has sealed what it read.
    stages = [_sealed(record, iteration, k) for k in asked if k < last]
    if last in asked:
        stages.append(_rated(record, iteration, last))
    _write(as_one_draw(stages).sort_values(ORDER, kind="stable"), out)
    return _known(record, iteration, stages)


# --- a stage: what it asks, what it is given


def _wait(job: Job) -> None:
    record = Run(job.run)
    if record.waits:
        check_ratings(record)


def _was_asked(record: Run, iteration: str, stage: int) -> bool:
    step = f"{asked_at(iteration, stage)}/wait"
    event = next((e for e in record.events if e.step == step), None)
    return event is not None and event.content.get("needed") is not False


def _asked(job: Job, tasks: TaskSet, out: Path) -> Content:
    """Record what a set asks for; the facts for the ledger."""
    for note in tasks.notes:
        job.reporter.line(f"  {note}")
        job.writer.note("notices", note)
    write_table(_items(tasks).sort_values(list(ASKED), kind="stable"), out / "asked.parquet", ASKED)
    return {
        "samples": tasks.samples,
        "anchors": tasks.anchors,
        "checks": tasks.checks,
        "raters": tasks.raters,
        "instructions_sha256": tasks.instructions_sha256,
    }


def _write(ratings: pd.DataFrame, out: Path) -> None:
    write_table(ratings, out / RATED, RATINGS)
    write_table(ratings, out / WHEN, RATED_AT)


def _sealed(record: Run, iteration: str, stage: int) -> pd.DataFrame:
    """What a stage was given, as the stage after it sealed it (columns: RATINGS and RATED_AT)."""
    folder = f"{iteration}/stage{stage}"
    when = read_table(record.path, f"{folder}/{WHEN}", RATED_AT)
    return read_table(record.path, f"{folder}/{RATED}", RATINGS).join(when)


def _known(record: Run, iteration: str, stages: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """What a look may use after each of these stages."""
    before = _of_base(record, iteration)
    known = []
    for k in range(1, len(stages) + 1):
        table = as_one_draw([*before, *stages[:k]])[[*RATINGS, "submitted_at"]]
        # Items are ordered and grouped by their names: names drawn anew in each run would show in
        # the last digits.
        names = table["sample_id"] + " at look " + table["look"].astype(str)
        known.append(table.assign(item_id=names.mask(table["check"], names + ", again")))
    return known


def _of_base(record: Run, iteration: str) -> list[pd.DataFrame]:
    """The base policy's ratings of every look before this one that has some."""
    looks = record.plan["looks"]
    # Only later stages ask for more of the base policy after the first look.
    earlier = looks[: looks.index(iteration)][: 1 if record.rating_stages == 1 else None]
    tables = []
    for look in earlier:
        ratings = record.look_ratings(look)
        assert ratings is not None  # an earlier look's audit is done, and it sealed them
        when = read_table(record.path, f"{look}/{WHEN}", RATED_AT)["submitted_at"]
        of_base = (ratings["iteration"] == BASE) & ~ratings["anchor"].astype(bool)
        tables.append(ratings[of_base].join(when))
    return tables


def _items(tasks: TaskSet) -> pd.DataFrame:
    """What this set shows, unblinded, a row an item (columns: item_id, order and ASKED)."""
    from restaudit.people.rating.tasks import items_of, read_key

    items = [asdict(i) for i in items_of(read_key(tasks.key.parent, tasks.name))]
    table = pd.DataFrame(items).rename(columns={"inclusion_prob": "inclusion"})
    return table[["item_id", "order", *ASKED]].astype({"inclusion": "float64"})


def _rated(record: Run, iteration: str, stage: int) -> pd.DataFrame:
    """The ratings of a stage's set; which sample each is of is taken from what was drawn, not from
    what the file says (columns: RATINGS and RATED_AT).
    """
    from restaudit.people.rating import load_ratings

    tasks = _tasks(record, iteration, stage)
    assert tasks is not None  # the stage was asked
    ratings = load_ratings(record.path)
    given = ratings.loc[ratings["tasks"] == tasks.name, GIVEN]
    items = _items(tasks)
    low, high = tasks.scale
    # The import refuses these; but the file lies outside the record, where anybody can edit it.
    problems = {
        "is of an item that was not asked for": ~given["item_id"].isin(items["item_id"]),
        "is that rater's second one of an item": given.duplicated(["item_id", "rater"]),
        f"is not on the scale ({low} to {high})": ~given["score"].between(low, high),
    }
    for problem, is_bad in problems.items():
        if is_bad.any():
            row = given[is_bad].iloc[0]
            raise BadInput(
                f"{record.path}/human/ratings.jsonl: the rating of {row['item_id']} by "
                f"{row['rater']} {problem}; no import lets such a rating in, so the file was "
                "edited: take the rating out and import it again"
            )
    rated = given.merge(items, on="item_id", validate="many_to_one").assign(
        check=lambda r: r["role"] == "check",
        anchor=lambda r: r["role"] == "anchor",
        look=record.plan["looks"].index(iteration) + 1,
    )
    return rated.sort_values(ORDER, kind="stable").reset_index(drop=True)


def _tasks(record: Run, iteration: str, stage: int) -> TaskSet | None:
    """The tasks of a stage of this look: drawn now, or as they were drawn before, since they follow
    from the record alone. None where a later stage finds no text that was not asked for.
    """
    from restaudit.people.rating import draw_tasks

    human = PeopleHuman.model_validate(record.plan["config"]["human"])
    place = asked_at(iteration, stage)
    # At the first look the base policy's samples are rated too, mixed with the others and blinded;
    # at later ones only some of them again (anchors), to see whether raters drift. A later stage
    # compares with as many of the base policy's as of this one's: asks for those that lack.
    first = iteration == record.plan["looks"][0]
    of_both = first or stage > 1
    wanted = dict.fromkeys([BASE, iteration] if of_both else [iteration], human.counts[stage - 1])
    before: Counter[str] = Counter()
    if stage > 1:
        before = _asked_before(record, place)
        left = {i: min(wanted[i], _texts(record, i)) - before[i] for i in wanted}
        wanted = {i: wanted[i] - before[i] for i in wanted if left[i] > 0}
        if not wanted:
            return None
    anchors = 0 if first else human.anchors
    return draw_tasks(
        record.path,
        list(wanted),
        per_iteration=wanted,
        raters=human.raters,
        seed=seed_of(record.plan["config"]["seed"], "ratings"),
        dimension=human.dimension,
        scale=human.scale,
        instructions=human.instructions,
        name=tasks_name(place),
        anchors=anchors,
        after={i: before[i] for i in wanted if before[i]},
        anchors_after=(stage - 1) * anchors,
    )


def _asked_before(record: Run, place: str) -> Counter[str]:
    """How many samples of each iteration were asked for before this place."""
    before: Counter[str] = Counter()
    for look in record.plan["looks"]:
        for stage in range(1, record.rating_stages + 1):
            if (earlier := asked_at(look, stage)) == place:
                return before
            if _was_asked(record, look, stage):
                asked = read_table(record.path, f"{earlier}/asked.parquet", ASKED)
                before.update(asked.loc[asked["role"] == "sample", "iteration"])
    return before


def _texts(record: Run, iteration: str) -> int:
    """How many texts of an iteration people may be asked about."""
    from restaudit.people.rating.tasks import plain_frame, table_of

    return len(plain_frame(table_of(record, iteration, f"{iteration}/audit.parquet")[0])[0])
