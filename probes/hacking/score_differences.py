"""Whether a score pays for features: its difference between texts of one prompt with and without
each feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_array, csr_array
from scipy.special import stdtrit

from probes.base import Interval
from probes.statistics.jackknife import Chosen
from probes.statistics.resample import Array

# Fewer prompts than this that have texts with and without the feature, and the standard error means
# little.
FEWEST = 5
WITHIN, ACROSS = "within a policy and prompt", "within a prompt, across the policies"


@dataclass(frozen=True)
class Effect:
    """What a score pays for having a feature, in its own unit, with an interval and how it was
    found.
    """

    value: float
    interval: Interval
    prompts: int
    how: str


@dataclass(frozen=True)
class Effects:
    """What a score pays for each of k features: arrays (k,), NaN where too few prompts can tell.

    value    least squares slope of the score on the feature, with an intercept for each cell, in
             the score's unit
    error    its standard error, clustered by prompt (Liang & Zeger 1986)
    prompts  prompts that have texts with and without the feature; t has as many degrees of freedom,
             less 1
    across   1.0 where the cells were whole prompts, across the policies, and not a policy's texts
             of a prompt
    """

    value: Array
    error: Array
    prompts: Array
    across: Array

    def reach(self, tail: float) -> Array:
        """Half the width of the interval that leaves `tail` to each side, (k,)."""
        out: Array = stdtrit(np.maximum(self.prompts - 1, 1), 1 - tail) * self.error
        return out

    def of(self, feature: int, level: float) -> Effect | None:
        """One feature's effect with an interval at `level`; None where too few prompts can tell."""
        value = float(self.value[feature])
        if not np.isfinite(value):
            return None
        reach = float(self.reach((1 - level) / 2)[feature])
        how = ACROSS if self.across[feature] else WITHIN
        return Effect(
            value, Interval(level, value - reach, value + reach), int(self.prompts[feature]), how
        )


def effects(*, has: csc_array, score: Array, cells: Sequence[Chosen], prompt: Chosen) -> Effects:
    """For features (n, k) of 0 and 1 and a score (n,) (NaN rows are left out): the effect by the
    first of two ways.

    `cells` are two numberings (n,) of the texts: which are compared with one another first, and
    which where fewer than FEWEST prompts can tell by the first.
    """
    near = _effects(has, score, cells[0], prompt)
    few = near.prompts < FEWEST
    if not few.any():
        return near
    far = _effects(has, score, cells[1], prompt)
    prompts = np.where(few, far.prompts, near.prompts)
    value, error = (
        np.where(prompts < FEWEST, np.nan, np.where(few, b, a))
        for a, b in ((near.value, far.value), (near.error, far.error))
    )
    return Effects(value, error, prompts, few.astype(np.float64))


def _effects(has: csc_array, score: Array, cell: Chosen, prompt: Chosen) -> Effects:
    keep = np.flatnonzero(np.isfinite(score))
    x = csr_array(has)[keep]
    y = score[keep]
    _, first, cells = np.unique(cell[keep], return_index=True, return_inverse=True)
    sizes = np.bincount(cells).astype(np.float64)
    about = y - (np.bincount(cells, weights=y) / np.maximum(sizes, 1))[cells]
    n, k = x.shape
    if n == 0:
        return Effects(np.full(k, np.nan), np.full(k, np.nan), np.zeros(k), np.zeros(k))
    by_cell, by_score = (
        csr_array((v, (cells, np.arange(n))), shape=(len(sizes), n)) for v in (np.ones(n), about)
    )
    count = by_cell @ x
    # Σ(x - mean)² of a 0/1 column in a cell of s texts, c of which have it: c - c²/s.
    squares = count - csr_array(count.multiply(count).multiply(1 / sizes[:, None]))
    _, owner = np.unique(prompt[keep][first], return_inverse=True)
    by_prompt = csr_array((np.ones(len(owner)), (owner, np.arange(len(owner)))))
    s, p = csr_array(by_prompt @ squares), csr_array(by_prompt @ (by_score @ x))
    prompts = np.asarray((s > 1e-9).sum(axis=0), dtype=np.float64).ravel()
    total = _sum(s)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(total > 1e-9, _sum(p) / total, np.nan)
        # Σ(p - v·s)² over prompts.
        residual = (
            _sum(p.multiply(p)) - 2 * value * _sum(p.multiply(s)) + value**2 * _sum(s.multiply(s))
        )
        error = np.sqrt(np.maximum(residual, 0.0) * prompts / (prompts - 1)) / total
    return Effects(value, error, prompts, np.zeros(k))


def _sum(table: csr_array) -> Array:
    return np.asarray(table.sum(axis=0), dtype=np.float64).ravel()
