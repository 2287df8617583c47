"""Where the reward is worse: its agreement with people slice by slice, and each slice against all
other items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtr, stdtrit

from probes.base import Array, Measurement
from probes.statistics.multiple import holm
from probes.statistics.resample import FEWEST_UNITS
from probes.statistics.stats import (
    Estimate,
    Resampling,
    linearised,
    mean_of,
    prompt_means,
    unmeasured,
)
from restaudit.reward.validation.judged import Judged
from restaudit.reward.validation.paired import agreement, measured, nothing, unit_of
from restaudit.reward.validation.partition import slices_of

FEWEST = 30
MOST_ANNOTATORS = 20
WORSE = 0.05
KINDS = ("length", "topic", "mentions", "source", "hard", "annotator")
NO_SLICE = {
    "topic": "too few different prompts or texts for two clusters of 30, or they share no words",
    "mentions": "no item names a listed group",
    "source": "the items have no column `source`",
    "hard": "no item has two judges",
    "annotator": "no judgement names its annotator",
    "length": "there are no items",
}


def slices(judged: Judged, **how: Unpack[Resampling]) -> list[Measurement]:
    """For every slice: agreement with people (`slice.…`), for ratings also how far the reward
    overrates it, and how much worse it is than all other items (`slice_gap.…`).

    The gap is the mean loss inside less outside: share of wrong pairs, or absolute error in rating
    units. Its p-value is corrected over all slices by Holm, and `detail.worse` says whether it is
    above 0 at 5% after that. Below 30 items a slice is null.
    """
    found: list[Measurement] = []
    table = judged.usable
    place = {item: k for k, item in enumerate(judged.table["item_id"])}
    index = table["item_id"].map(place).to_numpy(dtype=np.int64)
    seen = set()
    for one in slices_of(judged):
        seen.add(one.by)
        found += _slice(judged, table, one.rows[index], f"{one.by}.{one.name}", one.says, **how)
    votes = judged.judgements
    for rater in _annotators(votes):
        seen.add("annotator")
        rows = (votes["rater"].astype(str) == rater).to_numpy()
        found += _slice(
            judged, votes, rows, f"annotator.{rater}", f"judgements by annotator {rater}", **how
        )
    found += [
        nothing(f"slice.{by}", unit_of(judged), f"slices by {by}", NO_SLICE[by])
        for by in KINDS
        if by not in seen
    ]
    return _corrected(found)


def worse(found: Sequence[Measurement]) -> list[str]:
    """Names of the slices that are worse than all other items, after Holm's correction."""
    return [m.name.removeprefix("validation.slice_gap.") for m in found if m.detail.get("worse")]


def _annotators(votes: pd.DataFrame) -> list[str]:
    """The annotators with the most judgements, at most 20."""
    counts = votes["rater"].dropna().astype(str).value_counts()
    named = sorted(counts.index, key=lambda r: (-int(counts[r]), len(r), r))[:MOST_ANNOTATORS]
    return sorted(named, key=lambda r: (len(r), r))


def _slice(
    judged: Judged,
    table: pd.DataFrame,
    rows: npt.NDArray[np.bool_],
    name: str,
    says: str,
    **how: Unpack[Resampling],
) -> list[Measurement]:
    inside, unit = table[rows], unit_of(judged)
    few = f"{len(inside)} items; at least {FEWEST} are needed" if len(inside) < FEWEST else ""
    own = unmeasured(few, n=len(inside)) if few else agreement(judged, inside, **how)
    gap = unmeasured(few, n=len(inside)) if few else _gap(table, rows, **how)
    out = [measured(own, f"slice.{name}", unit, says)]
    if judged.kind == "ratings":
        over = unmeasured(few, n=len(inside)) if few else _mean(inside, "over", **how)
        out.append(
            measured(
                over,
                f"slice_over.{name}",
                "rating units",
                f"{says}: what the reward's line says less what people say",
            )
        )
    loss = "share wrong" if judged.kind == "pairs" else "absolute error, rating units"
    return [
        *out,
        replace(
            measured(gap, f"slice_gap.{name}", loss, f"{says}: loss inside less outside"),
            direction="lower",
        ),
    ]


def _mean(rows: pd.DataFrame, column: str, **how: Unpack[Resampling]) -> Estimate:
    values = np.asarray(prompt_means(table=rows, column=column), dtype=np.float64)
    n = int(rows[column].notna().sum())
    return mean_of(values=values, n=n, undefined="the reward or the ratings do not vary", **how)


def _gap(table: pd.DataFrame, rows: npt.NDArray[np.bool_], **how: Unpack[Resampling]) -> Estimate:
    """Mean loss inside less outside, both from the same resampled units; t interval, so that a
    p-value goes with it.
    """
    loss = table["loss"].to_numpy(dtype=np.float64)
    if np.isnan(loss).any():
        return unmeasured("the reward or the ratings do not vary", n=len(table))
    sides = [table["prompt_id"][side].nunique() for side in (rows, ~rows)]
    if (~rows).sum() < FEWEST:
        return unmeasured(
            f"{int((~rows).sum())} items are outside; at least {FEWEST} are needed", n=len(table)
        )
    if min(sides) < FEWEST_UNITS:
        return unmeasured(
            f"inside or outside has {min(sides)} prompts; at least {FEWEST_UNITS} are needed",
            n=len(table),
        )
    parts = pd.DataFrame(
        {"in": loss * rows, "n_in": 1.0 * rows, "out": loss * ~rows, "n_out": 1.0 * ~rows}
    )
    totals = parts.groupby(table["prompt_id"].to_numpy()).sum().to_numpy()

    def statistic(sums: Array) -> Array:
        difference: Array = sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3]
        return difference

    return linearised(totals=totals, statistic=statistic, n=len(table), levels=how["levels"])


def _corrected(found: Sequence[Measurement]) -> list[Measurement]:
    """The gaps with p (two-sided, of the t interval), p_holm and worse in their detail."""
    tested = {
        m.name: _p(m) for m in found if m.name.startswith("validation.slice_gap.") and m.intervals
    }
    adjusted = (
        dict(zip(tested, holm(list(tested.values())).tolist(), strict=True)) if tested else {}
    )
    return [
        replace(
            m,
            detail={
                **m.detail,
                "p": tested[m.name],
                "p_holm": adjusted[m.name],
                "slices_tested": len(tested),
                "worse": bool(adjusted[m.name] <= WORSE and (m.value or 0) > 0),
            },
        )
        if m.name in tested
        else m
        for m in found
    ]


def _p(m: Measurement) -> float:
    i, freedom = m.intervals[0], m.n_prompts - 1
    error = (i.high - i.low) / (2 * float(stdtrit(freedom, 0.5 + i.level / 2)))
    return float(2 * stdtr(freedom, -abs(m.value or 0.0) / error))
