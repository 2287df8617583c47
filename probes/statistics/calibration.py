"""Does 70% mean 70%?

Calibration error of stated probabilities, as usually printed and with its bias taken off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from probes.statistics.jackknife import Chosen, jackknife
from probes.statistics.resample import Array, Estimate, Resampling, unmeasured

__all__ = ["Calibration", "calibration", "debiased_error", "plugin_error", "squared_error"]


@dataclass(frozen=True)
class Calibration:
    """Three views of one calibration curve of `bins` bins with equally many predictions each.

    plugin    mean |stated - observed share| over bins, 0..1: the usual ECE. Too high on average,
              most near 0
    debiased  the same less its estimated bias, -1..1; may come out below 0 where the predictions
              are calibrated
    squared   mean (stated - observed)² without bias (Kumar et al.), may come out below 0
    """

    plugin: float
    debiased: Estimate
    squared: float
    bins: int


def calibration(
    *,
    probability: Array,
    outcome: Array,
    prompts: NDArray[np.str_],
    bins: int = 15,
    **resampling: Unpack[Resampling],
) -> Calibration | str:
    """Calibration of `probability` (n,), each 0..1, for the `outcome` (n,), 0 or 1; or the reason
    why there is none.

    Bins hold equally many rows (Kumar, Liang & Ma 2019, arXiv 1909.10155, section 4; Roelofs et al.
    2022, arXiv 2012.08668, find them less biased than equally wide ones), so probabilities that
    vary within a bin are averaged: what is measured is the calibration of the binned probabilities,
    which is at most that of the probabilities themselves. Fewer bins where there are less than 10
    rows for each. The interval is a delete-a-group jackknife over prompts; near perfect calibration
    the error has a kink and the interval is wider than need be. Raises ValueError for probabilities
    outside 0..1, outcomes other than 0 and 1, or missing values.
    """
    for name, values in (("probability", probability), ("outcome", outcome)):
        wrong, expected = ~np.isin(values, (0.0, 1.0)), "0 or 1"
        if name == "probability":
            # Written so that NaN, which no comparison holds for, is wrong too.
            wrong, expected = ~((values >= 0) & (values <= 1)), "a number from 0 to 1"
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(f"{name}: row {row} is {values[row]}; expected {expected}")
    n = len(probability)
    used = min(bins, n // 10)
    if used < 1:
        return f"{n} rows; at least 10 are needed"
    # A fixed order, so that sums do not depend on the order of the rows.
    order = np.lexsort((outcome, probability, prompts))
    p, y, owner = probability[order], outcome[order], prompts[order]
    names, place = np.unique(owner, return_inverse=True)

    def statistic(chosen: Chosen) -> float:
        inside = np.isin(place, chosen)
        if not inside.any():
            return float("nan")
        return debiased_error(probability=p[inside], outcome=y[inside], bins=used)

    if len(names) < 2:
        estimate = unmeasured("1 prompt, at least 2 are needed", n=n, units=len(names))
    else:
        estimate = jackknife(
            statistic=statistic,
            units=len(names),
            n=n,
            levels=resampling["levels"],
            seed=resampling["seed"],
        )
    if estimate.value is not None:
        estimate = replace(
            estimate,
            method=f"{estimate.method}, ECE with {used} bins of equal mass less its estimated bias",
        )
    return Calibration(
        plugin=plugin_error(probability=p, outcome=y, bins=used),
        debiased=estimate,
        squared=squared_error(probability=p, outcome=y, bins=used),
        bins=used,
    )


def plugin_error(*, probability: Array, outcome: Array, bins: int) -> float:
    """Mean over bins of |mean probability - share of outcomes|: biased upwards by about √(2 p(1 -
    p) / (π n_bin)).
    """
    gap, _, weight = _binned(probability, outcome, bins)
    return float(weight @ np.abs(gap))


def debiased_error(*, probability: Array, outcome: Array, bins: int) -> float:
    """`plugin_error` less its bias, estimated bin by bin as if the gap found were the true one.

    With a gap d known up to a normal error s, E|gap| = s·√(2/π)·exp(-d²/2s²) + d·(1 - 2Φ(-d/s));
    the excess over |d| is taken off. (The correction of Kumar et al. 2019 for the ECE, in closed
    form instead of by simulation.) It halves the bias or better; it does not remove it, since the
    gap found is itself too large.
    """
    gap, error, weight = _binned(probability, outcome, bins)
    size = np.abs(gap)
    safe = np.where(error > 0, error, 1.0)
    folded = safe * np.sqrt(2 / np.pi) * np.exp(-0.5 * (size / safe) ** 2) + size * (
        1 - 2 * ndtr(-size / safe)
    )
    return float(weight @ np.where(error > 0, 2 * size - folded, size))


def squared_error(*, probability: Array, outcome: Array, bins: int) -> float:
    """Mean over bins of (gap² - ŷ(1 - ŷ)/(n_bin - 1)): no bias for the binned squared error (Kumar
    et al. 2019).
    """
    gap, error, weight = _binned(probability, outcome, bins)
    return float(weight @ (gap**2 - error**2))


def _binned(probability: Array, outcome: Array, bins: int) -> tuple[Array, Array, Array]:
    """Per bin: mean probability - share of outcomes, the share's standard error, and the bin's
    share of the rows.
    """
    order = np.lexsort((outcome, probability))
    p, y = probability[order], outcome[order]
    edges = np.empty(0, dtype=np.intp)
    if bins > 1:
        edges = np.searchsorted(p, p[np.arange(1, bins) * len(p) // bins])
    # Equal probabilities stay in one bin, or their order would decide.
    starts = np.unique(np.concatenate([[0], edges]).astype(np.intp))
    size = np.diff(np.append(starts, len(p))).astype(np.float64)
    share, stated = np.add.reduceat(y, starts) / size, np.add.reduceat(p, starts) / size
    error = np.sqrt(share * (1 - share) / np.maximum(size - 1, 1.0))
    return stated - share, error, size / len(p)
