"""People's single ratings as they are read: checked, what is rated twice, each rater beside the
others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from probes.rows import numbers
from probes.statistics.krippendorff import alpha_of_counts

REQUIRED = ("sample_id", "prompt_id", "rater", "dimension", "score")
# Pairs of raters that the table shows, those who share most ratings first.
MOST_PAIRS = 200


@dataclass(frozen=True)
class Ratings:
    """Ratings of what several people may have rated, in a fixed order, and what was left out of
    them.

    rows    unit (what was rated: the item, or the sample where no item is named), prompt_id, rater,
            dimension, score, time (UTC, NaT where unknown)
    checks  the same person's two ratings of one thing: rater, dimension, prompt_id, before, after
    notes   what was left out, counted
    """

    rows: pd.DataFrame
    checks: pd.DataFrame
    notes: Mapping[str, int]


def read_ratings(table: pd.DataFrame) -> Ratings:
    """Check and order a table of ratings (columns: REQUIRED; item_id, submitted_at, check where
    known).

    Rows flagged `check` show a rater's own item a second time: they tell how far a rater agrees
    with himself, and no other rater has seen them, so they are put apart. Raises ValueError naming
    column and row: a missing column or name, a score that is no number or infinite, a time that is
    none, one person's two ratings of one thing.
    """
    missing = [c for c in REQUIRED if c not in table.columns]
    if missing:
        raise ValueError(
            f"ratings: lacks the column(s) {', '.join(missing)}; a table has {', '.join(REQUIRED)}"
        )
    for column in ("sample_id", "prompt_id", "rater", "dimension"):
        if table[column].isna().any():
            row = int(np.flatnonzero(table[column].isna())[0])
            raise ValueError(f"ratings: row {row} has no {column}; every rating needs one")
    if not (pd.api.types.is_numeric_dtype(table["score"]) or table["score"].isna().all()):
        raise ValueError(
            f"ratings: column score is {table['score'].dtype}; expected numbers (NaN = not given)"
        )
    scores = numbers(table, "score")
    if np.isinf(scores).any():
        row = int(np.flatnonzero(np.isinf(scores))[0])
        raise ValueError(
            f"ratings: row {row}, column score is infinite; expected a number, or NaN if not given"
        )
    whole = pd.DataFrame({c: table[c].astype(str).to_numpy(dtype=object) for c in REQUIRED[:-1]})
    named = table["item_id"] if "item_id" in table.columns else table["sample_id"]
    whole["unit"] = named.fillna(table["sample_id"]).astype(str).to_numpy(dtype=object)
    whole["score"], whole["time"] = scores, _times(table)
    flag = table["check"] if "check" in table.columns else pd.Series(False, index=table.index)
    check = flag.to_numpy(dtype=bool)
    given = ~np.isnan(scores)
    rows = whole[given & ~check].sort_values(["dimension", "unit", "rater"], kind="stable")
    twice = rows.duplicated(["dimension", "unit", "rater"])
    if twice.any():
        again = rows[twice].iloc[0]
        raise ValueError(
            f"ratings: row {int(rows.index[twice][0])}: {again['rater']} rated {again['unit']} "
            f"twice for {again['dimension']}; expected one rating a person, thing and dimension"
        )
    notes = {"without_score": int((~given).sum()), "repeats_put_apart": int((given & check).sum())}
    return Ratings(rows.reset_index(drop=True), _repeats(rows, whole[given & check]), notes)


def _times(table: pd.DataFrame) -> pd.Series[Any]:
    if "submitted_at" not in table.columns:
        return pd.Series(pd.NaT, index=range(len(table)), dtype="datetime64[ns, UTC]")
    text = table["submitted_at"].reset_index(drop=True)
    times = pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601")
    wrong = times.isna() & text.notna()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"ratings: row {row}, column submitted_at is {text[row]!r}; expected an ISO time or "
            "nothing"
        )
    return times.astype("datetime64[ns, UTC]")


def _repeats(rows: pd.DataFrame, checks: pd.DataFrame) -> pd.DataFrame:
    key = ["sample_id", "rater", "dimension"]
    # A sample may have been rated at several looks; a check repeats one of them, and the earliest
    # is as good.
    first = rows.sort_values(["time", "unit"], kind="stable").drop_duplicates(key)
    both = checks.merge(first[[*key, "score"]], on=key, suffixes=("_after", "_before"))
    both = both.rename(columns={"score_before": "before", "score_after": "after"})
    return both[["rater", "dimension", "prompt_id", "before", "after"]]


def others_mean(rows: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """For each rating, the mean score of the other people who rated the same thing; NaN where
    nobody else did.
    """
    groups = rows.groupby(["dimension", "unit"])["score"]
    total, count = (groups.transform(how).to_numpy(dtype=np.float64) for how in ("sum", "count"))
    return np.where(
        count > 1, (total - rows["score"].to_numpy()) / np.maximum(count - 1, 1), np.nan
    )


def rater_table(rows: pd.DataFrame) -> tuple[list[dict[str, Any]], int]:
    """Raters two by two for one dimension, and how many pairs are not shown.

    A row: rater, other, shared (things both rated), mean_difference (rater minus other, score
    units), correlation and alpha (interval metric) of the two; None where fewer than 3 are shared
    or one of them never varies. No intervals: it is there to find the rater to talk to, not to
    decide.
    """
    wide = rows.pivot(index="unit", columns="rater", values="score").sort_index()
    scores = {str(name): wide[name].to_numpy(dtype=np.float64) for name in wide.columns}
    pairs = []
    for one, other in combinations(sorted(scores), 2):
        a, b = scores[one], scores[other]
        both = ~np.isnan(a) & ~np.isnan(b)
        if both.any():
            pairs.append({"rater": one, "other": other, **_pair(a[both], b[both])})
    pairs.sort(key=lambda p: (-p["shared"], p["rater"], p["other"]))
    return pairs[:MOST_PAIRS], max(0, len(pairs) - MOST_PAIRS)


def _pair(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> dict[str, Any]:
    values, column = np.unique(np.concatenate([a, b]), return_inverse=True)
    counts = np.zeros((len(a), len(values)))
    np.add.at(counts, (np.tile(np.arange(len(a)), 2), column), 1.0)
    few = len(a) < 3
    agreed = (
        np.nan
        if few
        else float(alpha_of_counts(counts=counts, values=values, metric="interval")[0])
    )
    alike = few or float(np.ptp(a)) == 0 or float(np.ptp(b)) == 0
    return {
        "shared": len(a),
        "mean_difference": float((a - b).mean()),
        "correlation": None if alike else float(np.corrcoef(a, b)[0, 1]),
        "alpha": agreed if np.isfinite(agreed) else None,
    }


def severity(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Each rater: ratings given, and how far above the others' mean of the same things (score
    units, None if alone).
    """
    apart = rows.assign(apart=rows["score"] - others_mean(rows))
    found = []
    for name, own in apart.groupby("rater"):
        mean = float(own["apart"].mean()) if own["apart"].notna().any() else None
        found.append({"rater": str(name), "ratings": len(own), "above_others": mean})
    return found
