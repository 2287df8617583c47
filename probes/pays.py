"""Whether a score pays for a feature: its difference between texts of one prompt with and without the feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from probes.base import Interval
from probes.jackknife import Chosen
from probes.resample import Array

# Fewer prompts than this that have texts with and without the feature, and the standard error means little.
FEWEST = 5
WITHIN, ACROSS = "within a policy and prompt", "within a prompt, across the policies"


@dataclass(frozen=True)
class Effect:
    """What a score pays for having a feature, in its own unit, with an interval and how it was found."""

    value: float
    interval: Interval
    prompts: int
    how: str


@dataclass(frozen=True)
class Parts:
    """Sums of squares of features and their products with scores, prompt by prompt: (prompts, features) each."""

    squares: Array
    products: Array
    how: str

    def effect(self, feature: int, level: float) -> Effect | None:
        """Least squares slope of the score on the feature, with an intercept for each cell; None if too few prompts.

        Standard errors are clustered by prompt (Liang & Zeger 1986) and use t with as many degrees of freedom as there
        are prompts that have texts with and without it, less 1.
        """
        squares, products = self.squares[:, feature], self.products[:, feature]
        informative = int((squares > 1e-9).sum())
        if informative < FEWEST:
            return None
        value = float(products.sum() / squares.sum())
        residual = products - value * squares
        error = np.sqrt((residual**2).sum() * informative / (informative - 1)) / squares.sum()
        reach = float(stdtrit(informative - 1, 0.5 + level / 2) * error)
        return Effect(value, Interval(level, value - reach, value + reach), informative, self.how)


def parts(*, has: Array, score: Array, cell: Chosen, cluster: Chosen, how: str) -> Parts:
    """For features (n, k), a score (n,) (NaN rows are left out), the cell and the prompt (cluster) of each text."""
    keep = np.isfinite(score)
    x, y, cells, clusters = has[keep], score[keep], cell[keep], cluster[keep]
    _, cells = np.unique(cells, return_inverse=True)
    sizes = np.bincount(cells)
    middle = _sums(x, cells) / sizes[:, None]
    centred = x - middle[cells]
    about = y - (np.bincount(cells, weights=y) / sizes)[cells]
    _, clusters = np.unique(clusters, return_inverse=True)
    return Parts(_sums(centred**2, clusters), _sums(centred * about[:, None], clusters), how)


def _sums(values: Array, group: Chosen) -> Array:
    return np.asarray(pd.DataFrame(values).groupby(group).sum().to_numpy(), dtype=np.float64)


def first_of(parts: Sequence[Parts], feature: int, level: float) -> Effect | None:
    """The effect by the first of several ways that has enough prompts."""
    return next((e for p in parts if (e := p.effect(feature, level)) is not None), None)
