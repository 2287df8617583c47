"""Krippendorff's alpha: how far raters agree beyond what their ratings would by chance, whoever
rated what.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Unpack

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from probes.base import Interval
from probes.statistics.resample import (
    Array,
    Estimate,
    Resampling,
    summarise,
    unmeasured,
    weight_slices,
)

__all__ = ["Metric", "alpha", "alpha_of_counts"]

Metric = Literal["nominal", "ordinal", "interval", "ratio"]
ALPHA_RANGE = (-np.inf, 1.0)
# Numbers held at once while the units are resampled.
LARGEST_SLICE = 8_000_000


def alpha(
    *,
    units: NDArray[np.str_],
    scores: Array,
    metric: Metric = "interval",
    clusters: NDArray[np.str_] | None = None,
    **resampling: Unpack[Resampling],
) -> Estimate:
    """Alpha = 1 - observed / expected disagreement; at most 1 (all agree), 0 as by chance, below 0
    where they oppose.

    One entry a rating: `units` (n,) says what was rated, `scores` (n,) how (NaN = not rated). Units
    with one rating tell nothing and are left out. Krippendorff 2019, Content Analysis (4th ed.),
    chapter 12; differences squared for `interval`, of midranks for `ordinal`, (a - b)/(a + b)
    squared for `ratio` (needs scores of 0 or more).

    Interval: ± t with the standard error of a bootstrap of whole clusters (Zapf et al. 2016, BMC
    Med. Res. Methodol. 16:93, resample units; `clusters` (n,) names what to resample instead, as
    the prompt that several rated samples answer). `n` counts the ratings that were used. No value
    for: nothing rated twice, or all ratings the same, where chance would agree too. Raises
    ValueError for an infinite score, or one below 0 with `ratio`.
    """
    if np.isinf(scores).any():
        raise ValueError(
            f"scores: rating {int(np.argmax(np.isinf(scores)))} is infinite; expected a number or "
            "NaN"
        )
    if metric == "ratio" and (scores < 0).any():
        raise ValueError(
            f"scores: rating {int(np.argmax(scores < 0))} is below 0, which ratios cannot compare"
        )
    given = ~np.isnan(scores)
    units, scores = units[given], scores[given]
    names, place, count = np.unique(units, return_inverse=True, return_counts=True)
    twice = count[place] > 1
    if not twice.any():
        return unmeasured(
            f"no unit was rated twice ({len(names)} units, {len(scores)} ratings)", n=len(scores)
        )
    names, place = np.unique(units[twice], return_inverse=True)
    values, column = np.unique(scores[twice], return_inverse=True)
    counts = np.zeros((len(names), len(values)))
    np.add.at(counts, (place, column), 1.0)
    owners = names
    if clusters is not None:
        # All ratings of a unit answer one prompt, so its first rating tells which.
        first_rating = np.unique(place, return_index=True)[1]
        owners = clusters[given][twice][first_rating]
    owner_names, owner = np.unique(owners, return_inverse=True)
    n = int(twice.sum())
    if len(values) == 1:
        return unmeasured(
            f"all {n} ratings are {values[0]:g}: agreement beyond chance needs ratings that vary",
            n=n,
            units=len(owner_names),
        )
    replicates = [np.empty(0)]
    for slices in weight_slices(
        units=len(owner_names), resamples=resampling["resamples"], seed=resampling["seed"]
    ):
        step = max(1, LARGEST_SLICE // max(len(names), len(values)))
        for k in range(0, len(slices), step):
            weights = slices[k : k + step][:, owner]
            replicates.append(
                alpha_of_counts(counts=counts, values=values, metric=metric, weights=weights)
            )
    value = alpha_of_counts(counts=counts, values=values, metric=metric)[0]
    unit = "unit" if clusters is None else "prompt"
    drawn = np.concatenate(replicates)
    estimate = summarise(
        value=float(value),
        replicates=drawn,
        n=n,
        units=len(owner_names),
        unit=unit,
        bounds=ALPHA_RANGE,
        levels=resampling["levels"],
    )
    if not estimate.intervals:
        return estimate
    return _symmetric(estimate, drawn, unit, resampling)


def _symmetric(estimate: Estimate, drawn: Array, unit: str, resampling: Resampling) -> Estimate:
    # Alpha's percentiles lean the wrong way: they covered .92 where this covers .94 to .96
    # (docs/methods.md).
    value, units = estimate.value or 0.0, estimate.units
    error = float(np.nanstd(drawn)) * np.sqrt(units / (units - 1))
    ends = []
    for level in resampling["levels"]:
        half = float(stdtrit(units - 1, 0.5 + level / 2)) * error
        ends.append(Interval(level, float(value - half), float(min(1.0, value + half))))
    method = f"{unit}-clustered bootstrap, {len(drawn)} resamples, t with bootstrap standard error"
    return replace(estimate, intervals=tuple(ends), method=method, error=error)


def alpha_of_counts(
    *, counts: Array, values: Array, metric: Metric, weights: Array | None = None
) -> Array:
    """Alpha (m,) from how often each unit got each value (units, values), rising; NaN where ratings
    do not vary.

    `weights` (m, units) says how often each unit stands there in each of m data sets; once where
    None.
    """
    ratings = counts.sum(axis=1)
    paired = ratings > 1
    counts, ratings = counts[paired], ratings[paired]
    weights = np.ones((1, len(counts))) if weights is None else weights[:, paired]
    totals = weights @ counts
    n = totals.sum(axis=1)
    share = counts / (ratings - 1)[:, None]
    if metric in ("interval", "ordinal"):
        # Σ over pairs of squared differences of scores x is m·Σx² - (Σx)². Ordinal: x are the
        # midranks of all ratings.
        x = np.broadcast_to(values, totals.shape)
        if metric == "ordinal":
            x = np.cumsum(totals, axis=1) - totals / 2
        # About the mean, so that the squares do not cancel.
        x = x - (totals * x).sum(axis=1, keepdims=True) / n[:, None]
        within = ((weights @ (share * ratings[:, None])) * x * x).sum(axis=1)
        within -= (weights / (ratings - 1) * (x @ counts.T) ** 2).sum(axis=1)
        chance = n * (totals * x * x).sum(axis=1) - (totals * x).sum(axis=1) ** 2
    else:
        distance = _distances(values, metric)
        within = weights @ ((share @ distance) * counts).sum(axis=1)
        chance = ((totals @ distance) * totals).sum(axis=1)
    # In a resample whose ratings are all alike, what is left of the chance disagreement is
    # rounding.
    varies = chance > 1e-12 * chance.max(initial=0.0)
    alphas: Array = 1 - (n - 1) * within / np.where(varies, chance, np.nan)
    return alphas


def _distances(values: Array, metric: Metric) -> Array:
    a, b = values[:, None], values[None, :]
    if metric == "nominal":
        return np.asarray(a != b, dtype=np.float64)
    total = np.where(a + b > 0, a + b, 1.0)
    squared: Array = ((a - b) / total) ** 2
    return squared
