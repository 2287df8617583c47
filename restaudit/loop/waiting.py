"""Waiting for people: a look asks for ratings of random samples, the run stops; what it gets is
sealed with the look.

What raters get and give lies in the run's folder human/, outside the record. Which samples were
drawn, and the ratings that a decision used, are copied into the record by the steps `…/wait` and
`…/audit`, so that a later edit is found.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from restaudit.config import PeopleHuman
from restaudit.errors import BadInput, Waiting
from restaudit.evidence.record import ASKED, BASE, RATED_AT, RATINGS, Run, read_table, write_table
from restaudit.evidence.steps import Content, seed_of
from restaudit.people.waiting import REFIT, tasks_name, waited_for, what_is_missing

if TYPE_CHECKING:
    from restaudit.loop.job import Job
    from restaudit.people.rating import TaskSet

WHEN = "rated_at.parquet"
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
        tasks = _tasks(record, iteration)
        for note in tasks.notes:
            job.reporter.line(f"  {note}")
            job.writer.note("notices", note)
        write_table(
            _items(tasks).sort_values(list(ASKED), kind="stable"), out / "asked.parquet", ASKED
        )
        return {
            "samples": tasks.samples,
            "anchors": tasks.anchors,
            "checks": tasks.checks,
            "raters": tasks.raters,
            "instructions_sha256": tasks.instructions_sha256,
        }

    job.step(f"{iteration}/wait", iteration, make)
    check_ratings(Run(job.run))


def check_ratings(record: Run) -> None:
    """Raise Waiting, saying what is missing, while the look this run waits for lacks ratings.

    Task files that are gone are written again. Raises BadInput where human/ holds other tasks than
    this run drew.
    """
    if not waited_for(record).endswith(REFIT):
        _tasks(record, waited_for(record))
    if (missing := what_is_missing(record)) is not None:
        raise Waiting(missing)


def seal_ratings(record: Run, iteration: str, out: Path) -> pd.DataFrame:
    """Copy this look's ratings into the record and return all that this look may use.

    At the first look that is what was rated now; later, the base policy's ratings of the first look
    and what was rated now. Columns: RATINGS, submitted_at, and item_id, here a name that two runs
    of one plan have in common. Raises BadInput where human/ holds other tasks than this run drew,
    or ratings that no import lets in.
    """
    looks = record.plan["looks"]
    now = _rated(record, _tasks(record, iteration)).assign(look=looks.index(iteration) + 1)
    now = now.sort_values(ORDER, kind="stable").reset_index(drop=True)
    write_table(now, out / "ratings.parquet", RATINGS)
    write_table(now, out / WHEN, RATED_AT)
    known: pd.DataFrame = now[[*RATINGS, "submitted_at"]]
    if iteration != looks[0]:
        first = record.look_ratings(looks[0])
        assert first is not None  # the first look's audit is done, and it sealed them
        when = read_table(record.path, f"{looks[0]}/{WHEN}", RATED_AT)["submitted_at"]
        known = pd.concat([first[first["iteration"] == BASE].join(when), known], ignore_index=True)
    # Items are ordered and grouped by their names: names drawn anew in each run would show in the
    # last digits.
    names = known["sample_id"] + " at look " + known["look"].astype(str)
    return known.assign(item_id=names.mask(known["check"], names + ", again"))


def _items(tasks: TaskSet) -> pd.DataFrame:
    """What this set shows, unblinded, a row an item (columns: item_id, order and ASKED)."""
    from restaudit.people.rating.tasks import items_of, read_key

    items = [asdict(i) for i in items_of(read_key(tasks.key.parent, tasks.name))]
    table = pd.DataFrame(items).rename(columns={"inclusion_prob": "inclusion"})
    return table[["item_id", "order", *ASKED]].astype({"inclusion": "float64"})


def _rated(record: Run, tasks: TaskSet) -> pd.DataFrame:
    """The ratings of this set; which sample each is of is taken from what was drawn, not from what
    the file says.
    """
    from restaudit.people.rating import load_ratings

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
    rated = given.merge(items, on="item_id", validate="many_to_one")
    return rated.assign(check=rated["role"] == "check", anchor=rated["role"] == "anchor")


def _tasks(record: Run, iteration: str) -> TaskSet:
    """This look's tasks: drawn now, or as they were drawn before, since they follow from the record
    alone.
    """
    from restaudit.people.rating import draw_tasks

    human = PeopleHuman.model_validate(record.plan["config"]["human"])
    # At the first look the base policy's samples are rated too, mixed with the others and blinded;
    # at later ones only some of them again (anchors), to see whether raters drift.
    first = iteration == record.plan["looks"][0]
    return draw_tasks(
        record.path,
        [BASE, iteration] if first else [iteration],
        per_iteration=human.samples,
        raters=human.raters,
        seed=seed_of(record.plan["config"]["seed"], "ratings"),
        dimension=human.dimension,
        scale=human.scale,
        instructions=human.instructions,
        name=tasks_name(iteration),
        anchors=0 if first else human.anchors,
    )
