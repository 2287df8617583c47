"""Several member rewards into one, with their disagreement beside it."""

from __future__ import annotations

import numpy as np

from restaudit.config import EnsembleConfig
from restaudit.errors import BadInput
from restaudit.reward.contract import Scores


def combine(members: Scores, config: EnsembleConfig) -> tuple[Scores, Scores]:
    """Combine member scores (n, m) into the reward (n,) and its spread (n,), both in the members'
    unit.

    `mean`, `min` (worst case) or `mean_minus_variance` (mean - λ·variance, λ = `variance_weight`,
    variance over the members with divisor m): Coste et al. 2023, arXiv 2310.02743. The spread is
    the members' standard deviation with divisor m - 1, and NaN where there is one member: one
    opinion has no disagreement to show.
    """
    if members.ndim != 2 or members.shape[1] == 0:
        raise BadInput(
            f"member rewards have shape {members.shape}; expected a row a text and a column a "
            "member"
        )
    n, m = members.shape
    spread = members.std(axis=1, ddof=1) if m > 1 else np.full(n, np.nan)
    if config.combine == "min":
        return members.min(axis=1), spread
    mean = members.mean(axis=1)
    if config.combine == "mean_minus_variance":
        return mean - config.variance_weight * members.var(axis=1), spread
    return mean, spread
