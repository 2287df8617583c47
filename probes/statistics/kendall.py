"""Kendall's tau-b of clustered samples, with an interval that does not cost n² for each
resample.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from probes.statistics.jackknife import Chosen, jackknife
from probes.statistics.resample import Array, Estimate, prompt_weights, summarise

__all__ = ["tau"]

# Up to this many rows the pairs are counted once for every two prompts, and resampling prompts is
# then cheap.
MOST_ROWS = 1000
ROWS_AT_ONCE = 256


def tau(
    *,
    a: Array,
    b: Array,
    place: NDArray[np.intp],
    units: int,
    levels: Sequence[float],
    resamples: int,
    seed: int,
) -> Estimate:
    """Tau-b (Kendall 1945, Biometrika 33) of a and b, (n,) each, n >= 3, neither constant; range
    -1..1.

    `place` (n,) is the number 0..units-1 of each row's prompt. With at most 1,000 rows: bootstrap
    of whole prompts. With more: a delete-a-group jackknife over prompts, 21 evaluations of O(n log
    n); the method says which.
    """
    # Pairs grow with the square of the rows: beyond, only a sort for each group left out is cheap.
    if len(a) > MOST_ROWS:
        return _jackknifed(a, b, place, units, levels, seed)
    pairs = _pairs(a, b, place, units)
    every_prompt_once = np.ones((1, units))
    weights = prompt_weights(units=units, resamples=resamples, seed=seed)
    return summarise(
        value=float(_tau_b(pairs, every_prompt_once)[0]),
        replicates=_tau_b(pairs, weights),
        n=len(a),
        units=units,
        bounds=(-1.0, 1.0),
        levels=levels,
    )


def _pairs(a: Array, b: Array, place: NDArray[np.intp], units: int) -> tuple[Array, Array, Array]:
    """Over all ordered pairs of rows of every two prompts: concordant less discordant, pairs untied
    in a, and in b.

    Each of shape (units, units). A resample that holds prompts w times has w·M·w of each.
    """
    order = np.argsort(place, kind="stable")
    a, b, place = a[order], b[order], place[order]
    starts = np.searchsorted(place, np.arange(units))
    sums = tuple(np.zeros((units, units)) for _ in range(3))
    # All pairs at once would be n² numbers three times over; some rows at a time are summed by
    # prompt as they come.
    for k in range(0, len(a), ROWS_AT_ONCE):
        rows = slice(k, k + ROWS_AT_ONCE)
        of_a, of_b = (np.sign(v[rows, None] - v[None, :]) for v in (a, b))
        for total, signs in zip(sums, (of_a * of_b, np.abs(of_a), np.abs(of_b)), strict=True):
            np.add.at(total, place[rows], np.add.reduceat(signs, starts, axis=1))
    return sums[0], sums[1], sums[2]


def _tau_b(pairs: tuple[Array, Array, Array], weights: Array) -> Array:
    agree, of_a, of_b = (((weights @ m) * weights).sum(axis=1) for m in pairs)
    product = np.sqrt(of_a * of_b)
    taus: Array = np.clip(agree / np.where(product > 0, product, np.nan), -1.0, 1.0)
    return taus


def _jackknifed(
    a: Array, b: Array, place: NDArray[np.intp], units: int, levels: Sequence[float], seed: int
) -> Estimate:
    from scipy.stats import kendalltau  # slow to import, and only large tables need it

    def statistic(chosen: Chosen) -> float:
        stay = np.zeros(units, dtype=bool)
        stay[chosen] = True
        rows = stay[place]
        if rows.sum() <= 1:
            return float("nan")
        return float(kendalltau(a[rows], b[rows]).statistic)

    return jackknife(
        statistic=statistic, units=units, n=len(a), levels=levels, seed=seed, bounds=(-1.0, 1.0)
    )
