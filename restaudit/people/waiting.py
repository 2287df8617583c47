"""What a run waits for people to do: rate the texts of a look, or judge texts of the newest policy
before the reward model is fitted again.

Only read here, for whoever asks how a waiting run stands; the loop asks and seals.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from restaudit.config import RefitConfig
from restaudit.errors import BadInput
from restaudit.evidence.record import Run, read_table
from restaudit.files import plain

REFIT = "/refit"
# Where a stage after the first asks.
LATER = re.compile(r"(.+)/stage([1-9]\d?)")
# What is drawn for a refit, and the columns of the sheet that people fill in.
ASKED = ("item_id", "sample_id", "prompt_id", "prompt", "text")
GIVEN = ("item_id", "prompt", "response", "rater", "score")
ASKED_FILE, SHEETS = "refit_asked.parquet", "human"


def asked_at(iteration: str, stage: int) -> str:
    """Where a stage of a look (from 1) asks people: the iteration itself, then
    "ITERATION/stage2", ... The step that asks is this and `/wait`.
    """
    return iteration if stage == 1 else f"{iteration}/stage{stage}"


def stage_of(place: str) -> tuple[str, int]:
    """The inverse of `asked_at`: the iteration and the stage."""
    later = LATER.fullmatch(place)
    return (later[1], int(later[2])) if later is not None else (place, 1)


def waited_for(record: Run) -> str:
    """Where a waiting run asks (`asked_at`), or the Grow step and `/refit`."""
    return record.events[-1].step.removesuffix("/wait")


def tasks_name(place: str) -> str:
    """The name of the set of rating tasks that is asked at this place (`asked_at`)."""
    return place.replace("/", "-")


def is_sealed(record: Run, name: str) -> bool:
    """Whether a decision used the ratings of this set, which are then part of the record."""
    for look in record.plan.get("looks") or []:
        for stage in range(1, record.rating_stages + 1):
            place = asked_at(look, stage)
            if tasks_name(place) == name:
                # The next stage is asked, or not, because of these ratings.
                users = {f"{asked_at(look, stage + 1)}/wait", f"{look}/audit"}
                return f"{place}/wait" in record.done and bool(users & record.done)
    return False


def what_is_missing(record: Run) -> str | None:
    """What people still have to rate before this run goes on, and the commands for it; None where
    all is rated.
    """
    from restaudit.people.rating import load_tasks, progress, task_sets

    place, run = waited_for(record), record.path
    if place.endswith(REFIT):
        return judgements_missing(record, place.removesuffix(REFIT))
    name = tasks_name(place)
    where = _in_words(record, place)
    if name not in {t.name for t in task_sets(run)}:
        return (
            f"{run / 'human'}: the rating tasks of {where} are gone; restaudit resume "
            f"{run} writes them again"
        )
    at = progress(run, name)
    if at.complete:
        return None
    return "\n".join(
        [
            f"{run}: waits at {where} for people's ratings: {at.wanted} wanted ({at.items} "
            f"texts, {at.raters} rater(s) each), {at.rated} are in, {at.missing} are missing",
            f"  tasks:          {load_tasks(run, name).path}",
            f"  give them out:  restaudit rate export {run} --format csv",
            f"  take them back: restaudit rate import {run} FILE",
            f"  then go on:     restaudit resume {run}",
        ]
    )


def _in_words(record: Run, place: str) -> str:
    """A place as people read it: with its stage, where looks have several."""
    iteration, stage = stage_of(place)
    stages = record.rating_stages
    return iteration if stages == 1 else f"{iteration} (stage {stage} of {stages})"


def judgements_missing(record: Run, name: str) -> str | None:
    """What people still have to judge before the run goes on, and how; None where every text has a
    judgement.
    """
    path = record.path / sheet_name(name)
    if not plain.is_file(record.path, sheet_name(name)):
        return (
            f"{path}: the sheet of {name}/refit is gone; restaudit resume {record.path} writes "
            "it again"
        )
    settings = RefitConfig.model_validate(record.plan["config"]["reward"]["refit"])
    asked = read_table(record.path, f"{name}/{ASKED_FILE}", ASKED)
    judged = read_sheet(record.path, name, asked, settings)["item_id"]
    missing = len(set(asked["item_id"]) - set(judged))
    if missing == 0:
        return None
    low, high = settings.scale
    return "\n".join(
        [
            f"{record.path}: waits before Grow {int(name[1:])} for people's judgements of the "
            f"newest policy's texts: {missing} of {len(asked)} are missing",
            f"  the sheet:   {path}",
            (
                f"               fill in rater and score ({low:g} to {high:g}); a row a judgement, "
                "rows may be added"
            ),
            f"  then go on:  restaudit resume {record.path}",
        ]
    )


def sheet_name(name: str) -> str:
    """The sheet of the judgements that come before this Grow step, below the run."""
    return f"{SHEETS}/refit-{name}.csv"


def read_sheet(run: Path, name: str, asked: pd.DataFrame, settings: RefitConfig) -> pd.DataFrame:
    """The judgements on the sheet: item_id, rater, score.

    Raises BadInput, with the row, for what cannot be one.
    """
    from restaudit.people.rating.formats.vote import header_of, table_rows

    path = run / sheet_name(name)
    try:
        # Spreadsheets save a byte order mark, which would be part of the first column's name.
        text = plain.read_text(run, sheet_name(name)).removeprefix("\ufeff")
    except OSError as e:
        raise BadInput(f"{path}: cannot be read ({e})") from None
    try:
        header, rows = header_of(text), table_rows(text)
    except BadInput as e:
        raise BadInput(f"{path}: {e}") from None
    if lacking := [c for c in ("item_id", "rater", "score") if c not in header]:
        raise BadInput(
            f"{path}: lacks the column(s) {', '.join(lacking)}; expected {', '.join(GIVEN)}"
        )
    known = set(asked["item_id"])
    seen: set[tuple[str, str]] = set()
    judgements: list[tuple[str, str, float]] = []
    low, high = settings.scale
    for place, row in rows:
        where = f"{path}, {place}"
        # A short row lacks its last cells.
        raw, item, rater = (row.get(c, "").strip() for c in ("score", "item_id", "rater"))
        if not raw:
            continue
        try:
            # Spreadsheets write 3,5 in half of Europe.
            score = float(raw.replace(",", "."))
        except ValueError:
            raise BadInput(f"{where}: score {raw[:60]!r} is not a number") from None
        if item not in known:
            raise BadInput(f"{where}: {item[:60]!r} is not on the sheet that this run drew")
        if not rater:
            raise BadInput(f"{where}: a score without a rater; say who judged")
        if not low <= score <= high:
            raise BadInput(f"{where}: score {raw} is not on the scale ({low:g} to {high:g})")
        if (item, rater) in seen:
            raise BadInput(f"{where}: {rater} judged {item} twice")
        seen.add((item, rater))
        judgements.append((item, rater, score))
    return pd.DataFrame(judgements, columns=["item_id", "rater", "score"])
