"""How many labels are flipped: what a reward model that is sure of a pair still gets wrong, by
held-out judgements.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import chdtri

from probes.base import Interval
from probes.statistics.resample import Estimate, prompt_weights, summarise, unmeasured

Numbers = NDArray[np.float64]
METHOD = (
    "share ε of flipped labels by maximum likelihood on held-out pairs: P(left wins) = ε + (1 - "
    "2ε)·σ(s·(r_left - "
    "r_right)), ε in 0..0.5, s > 0 (the lapse rate of psychometric functions, Wichmann & Hill 2001)"
)
LIMIT = (
    "Where the model is never sure, its own errors and flipped labels look alike, and the "
    "interval is wide. Errors it "
    "is sure of count as flips: the estimate is of labels and model together."
)
FEWEST, LEVEL = 50, 0.95
RESAMPLES = 200


def label_noise(difference: Numbers, wins: Numbers, unit: NDArray[Any], *, seed: int) -> Estimate:
    """The share of flipped labels, 0..0.5, from held-out pairs.

    difference  (n,) reward of the left response less that of the right one
    wins        (n,) 1.0 where the judges prefer the left one, 0.0 where the right one
    unit        (n,) what is resampled together (the prompt)

    Null with the reason for fewer than 50 pairs, and where the rewards do not tell any two
    responses apart.
    """
    names, owner = np.unique(unit, return_inverse=True)
    if len(difference) < FEWEST:
        return unmeasured(
            f"{len(difference)} held-out pairs; at least {FEWEST} are needed", units=len(names)
        )
    scale = float(np.std(difference))
    if scale <= 1e-12:
        return unmeasured(
            "the reward of both responses is the same for every held-out pair", units=len(names)
        )
    d = difference / scale
    starts = ((0.05, 0.0), (0.3, 1.0))
    whole, best = min(
        (_fit(d, wins, np.ones(len(d)), start) for start in starts), key=lambda f: f[1]
    )
    draws = prompt_weights(units=len(names), resamples=RESAMPLES, seed=seed)
    found = np.array([_fit(d, wins, w[owner].astype(np.float64), whole)[0][0] for w in draws])
    estimate = summarise(
        value=whole[0], replicates=found, n=len(d), units=len(names), levels=(LEVEL,)
    )
    if (
        not estimate.intervals
    ):  # no resample leaves the edge: the likelihood says how far the truth may be from it
        grid = np.linspace(0.0, 0.499, 100)
        drops = np.array(
            [_fit(d, wins, np.ones(len(d)), (e, whole[1]), fixed=True)[1] - best for e in grid]
        )
        inside = grid[2 * len(d) * drops <= chdtri(1, 1 - LEVEL)]
        ends = (Interval(LEVEL, float(inside.min()), float(inside.max())),)
        estimate = replace(
            estimate, intervals=ends, reason=None, method="profile likelihood, every pair one trial"
        )
    return _within(estimate)


def _fit(
    d: Numbers, wins: Numbers, weight: Numbers, start: tuple[float, float], *, fixed: bool = False
) -> tuple[tuple[float, float], float]:
    """(ε, log s) for weighted pairs, and the mean loss there in nats; with `fixed`, ε stays at its
    start.
    """

    def loss(parameters: Numbers) -> float:
        epsilon, log_s = parameters
        p = epsilon + (1 - 2 * epsilon) / (1 + np.exp(-np.clip(np.exp(log_s) * d, -50, 50)))
        p = np.clip(p, 1e-9, 1 - 1e-9)
        return float(
            -(weight * (wins * np.log(p) + (1 - wins) * np.log(1 - p))).sum() / weight.sum()
        )

    bounds = [(start[0], start[0]) if fixed else (0.0, 0.499), (-4.0, 4.0)]
    found = minimize(loss, np.array(start), method="L-BFGS-B", bounds=bounds)
    return (float(found.x[0]), float(found.x[1])), float(found.fun)


def _within(estimate: Estimate) -> Estimate:
    """A share of flips is between 0 and 0.5, and so are the ends of its interval."""
    ends = tuple(replace(i, low=max(0.0, i.low), high=min(0.5, i.high)) for i in estimate.intervals)
    return replace(estimate, intervals=ends, method=f"{METHOD}; {estimate.method}")
