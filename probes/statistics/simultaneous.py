"""Means of many overlapping parts of the units, with intervals that hold for all parts at once, so
also for one that was picked because of its mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from probes.base import Interval
from probes.statistics.resample import Array, Estimate, prompt_weights

# A part of which a resample holds fewer different units than this has no spread there.
FEWEST_DRAWN = 3


def all_means(
    *,
    values: Array,
    inside: NDArray[np.bool_],
    rows: int,
    levels: Sequence[float],
    resamples: int,
    seed: int,
) -> list[Estimate]:
    """The mean of `values` (units,) in each part, `inside` (parts, units), with simultaneous
    intervals.

    The largest |mean - its own| / standard error of all parts over bootstrap resamples of the units
    says how far the intervals reach (the max-t method: Romano & Wolf 2005, JASA 100). The normal
    quantile of that reach becomes Student's for the part's own number of units, since few of them
    do not know their spread. A part whose units all have one value has none, with the reason.
    """
    weights = inside.astype(np.float64)
    size = weights.sum(axis=1)
    mean = weights @ values / size
    spread = np.sqrt(np.maximum(weights @ values**2 / size - mean**2, 0) * size / (size - 1))
    error = spread / np.sqrt(size)
    drawn = prompt_weights(units=len(values), resamples=resamples, seed=seed)
    count = drawn @ weights.T
    with np.errstate(divide="ignore", invalid="ignore"):
        again = drawn @ (weights * values).T / count
        t = np.abs(again - mean) / error
    # A part that was hardly drawn, or has no spread, says nothing about the others' reach.
    t[(count < FEWEST_DRAWN) | ~np.isfinite(t)] = 0.0
    largest = t.max(axis=1)
    method = (
        f"prompt-clustered bootstrap, {resamples} resamples, simultaneous over {len(inside)} slices "
        "(max-t)"
    )
    estimates = []
    for k in range(len(inside)):
        units = int(size[k])
        if error[k] <= 1e-12 * max(1.0, abs(float(mean[k]))):
            why = f"no interval: all {units} prompts give the same value"
            estimates.append(Estimate(float(mean[k]), rows, units, method, reason=why))
            continue
        ends = []
        for level in levels:
            z = float(np.quantile(largest, level, method="higher"))
            # The bootstrap's spread has P and not P - 1 below it.
            reach = _student(z, units) * np.sqrt(units / (units - 1)) * float(error[k])
            ends.append(Interval(level, float(mean[k] - reach), float(mean[k] + reach)))
        estimates.append(Estimate(float(mean[k]), rows, units, method, tuple(ends)))
    return estimates


def _student(z: float, units: int) -> float:
    """Student's quantile with the same tail as the normal quantile z."""
    tail = max(float(ndtr(-z)), 1e-12)
    return max(float(-stdtrit(units - 1, tail)), float(-ndtri(tail)))
