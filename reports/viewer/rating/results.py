"""What the ratings of a set say, unblinded: agreement, and people's score of each iteration with
its interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from probes.statistics.krippendorff import alpha
from probes.statistics.ppi import corrected_change, corrected_mean
from probes.statistics.resample import Estimate, Resampling
from restaudit.evidence.record import BASE, Run, read_table, with_ratings
from restaudit.people.rating.files import human
from restaudit.people.rating.store import read_rows
from restaudit.people.rating.tasks import read_key, table_of

HOW = Resampling(levels=(0.95,), resamples=2000, seed=20261105)
QUICK_HOW = Resampling(levels=(0.95,), resamples=500, seed=20261105)
COLUMNS = (
    "iteration",
    "human",
    "low",
    "high",
    "texts",
    "prompts",
    "ratings",
    "raters",
    "change",
    "change_low",
    "change_high",
    "why",
)


def agreement(rows: Sequence[Any], name: str) -> Estimate:
    """Krippendorff's alpha (interval metric) of one set; whole prompts are resampled.

    Repeats are left out.
    """
    mine = [r for r in rows if r.get("tasks") == name and r.get("role") != "check"]
    return alpha(
        units=np.array([r["item_id"] for r in mine], dtype=np.str_),
        scores=np.array([r["score"] for r in mine], dtype=np.float64),
        clusters=np.array([r["prompt_id"] for r in mine], dtype=np.str_),
        **QUICK_HOW,
    )


def in_words(found: Estimate) -> str:
    """The agreement as a sentence."""
    if found.value is None:
        return f"Agreement is not known yet: {found.reason}."
    span = (
        f"95% interval {found.intervals[0].low:.2f} to {found.intervals[0].high:.2f}"
        if found.intervals
        else (found.reason or "no interval")
    )
    return (
        f"Agreement so far: Krippendorff's alpha {found.value:.2f} ({span}; {found.n} ratings "
        "of shared texts)."
    )


def scores(run: Run, name: str) -> pd.DataFrame:
    """People's score of each iteration of a set, and its change from the base policy, a row each
    (columns: COLUMNS).

    A text's score is the mean of its raters. Where only a random part of the texts was rated, the
    rewards of all texts of the frame sharpen the mean as the run's own decisions do
    (probes/statistics/ppi.py). Where too little was rated, no value.
    """
    key = read_key(human(run.path), name)
    given = pd.DataFrame(
        [
            {
                "iteration": r["iteration"],
                "sample_id": r["sample_id"],
                "rater": r["rater_id"],
                "score": r["score"],
                "inclusion": r.get("inclusion_prob"),
                "check": r.get("role") == "check",
                "anchor": r.get("role") == "anchor",
            }
            for r in read_rows(human(run.path))
            if r.get("tasks") == name
        ],
        columns=["iteration", "sample_id", "rater", "score", "inclusion", "check", "anchor"],
    ).astype({"score": "float64", "inclusion": "float64", "check": "bool", "anchor": "bool"})
    # A mean of scores lies on the scale, whatever an interval from few prompts would say.
    scale = float(key["scale"][0]), float(key["scale"][1])
    tables = {
        i: _rated(run, i, key["tables"][i], given[given["iteration"] == i])
        for i in key["iterations"]
    }
    return pd.DataFrame(
        [
            _row(
                i,
                tables,
                given[(given["iteration"] == i) & ~given["check"] & ~given["anchor"]],
                scale,
            )
            for i in tables
        ],
        columns=list(COLUMNS),
    )


def _row(
    iteration: str, tables: dict[str, pd.DataFrame], given: pd.DataFrame, scale: tuple[float, float]
) -> dict[str, Any]:
    table = tables[iteration]
    mean, _ = corrected_mean(table=table, sampling="random", **HOW)
    rated = table["human"].notna()
    row: dict[str, Any] = {
        "iteration": iteration,
        **_numbers("human", "low", "high", mean),
        "texts": int(rated.sum()),
        "prompts": int(table.loc[rated, "prompt_id"].nunique()),
        "ratings": len(given),
        "raters": int(given["rater"].nunique()),
        "why": mean.reason or "",
    }
    if given.empty:
        return row | {"why": "nobody rated a text of it yet"}
    row |= {k: float(np.clip(row[k], *scale)) for k in ("low", "high") if row[k] is not None}
    if iteration != BASE and BASE in tables:
        moved, _ = corrected_change(table=table, base=tables[BASE], sampling="random", **HOW)
        row |= _numbers("change", "change_low", "change_high", moved)
        row["why"] = row["why"] or (f"change: {moved.reason}" if moved.reason else "")
    return row


def _numbers(value: str, low: str, high: str, found: Estimate) -> dict[str, float | None]:
    ends = found.intervals[0] if found.intervals else None
    return {value: found.value, low: ends.low if ends else None, high: ends.high if ends else None}


def _rated(run: Run, iteration: str, place: str, given: pd.DataFrame) -> pd.DataFrame:
    """The frame the set was drawn from, with `human` and `inclusion` where people rated."""
    table_of(run, iteration, place)
    table = read_table(run.path / place, ("sample_id", "prompt_id", "family", "reward"))
    plain = table["family"].isna()
    return with_ratings(table[plain] if plain.any() else table, given)
