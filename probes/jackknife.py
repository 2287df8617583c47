"""Intervals for statistics of a set of texts (distinct-n, Vendi, compression), which a bootstrap would distort.

Drawing prompts with replacement puts the same texts in twice: the resampled sets look less diverse than any real set
would. Leaving groups of prompts out does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from probes.base import Interval
from probes.resample import ANY, Bounds, Estimate, unmeasured, wilson

Chosen = NDArray[np.intp]
GROUPS = 20


def deletion_groups(*, units: int, groups: int = GROUPS, seed: int) -> list[Chosen]:
    """Split the units 0..units-1 at random into at most `groups` groups whose sizes differ by at most one."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(units)
    return [np.sort(part) for part in np.array_split(order, min(groups, units))]


def jackknife(
    *,
    statistic: Callable[[Chosen], float],
    units: int,
    n: int,
    levels: Sequence[float],
    seed: int,
    log: bool = False,
    bounds: Bounds = ANY,
    share: bool = False,
    undefined: str = "undefined on these texts",
) -> Estimate:
    """Estimate ± t·SE with the delete-a-group jackknife for unequal groups (Busing, Meijer & Van der Leeden 1999).

    `statistic` maps the positions of the prompts that stay (in rising order) to a value, NaN where undefined. With
    `log` the interval is made for its logarithm and mapped back, as suits a ratio. With `share`, where leaving prompts
    out shows no spread, the interval is Wilson's, every prompt one trial. The jackknife variance is on average too
    large rather than too small (Efron & Stein 1981), and t has (groups - 1) degrees of freedom. The interval is for the
    statistic's expectation at this number of prompts: these statistics change with the size of the set.
    """
    method = "delete-a-group jackknife"
    value = statistic(np.arange(units)) if units else float("nan")
    if not np.isfinite(value) or (log and value <= 0):
        return unmeasured(undefined, n=n, units=units, method=method)
    whole = Estimate(value, n, units, method)
    if units < 2:
        return replace(whole, reason=f"no interval: {units} prompt, at least 2 are needed")
    parts = deletion_groups(units=units, seed=seed)
    method = f"delete-a-group jackknife over prompts, {len(parts)} groups, t({len(parts) - 1})" + ", log scale" * log
    left = np.array([statistic(np.setdiff1d(np.arange(units), part)) for part in parts])
    if not np.isfinite(left).all() or (log and (left <= 0).any()):
        return replace(whole, method=method, reason="no interval: undefined when a group of prompts is left out")
    centre, without = (np.log(value), np.log(left)) if log else (value, left)
    error = _standard_error(centre, without, np.array([len(part) for part in parts]))
    if error <= 1e-12 * max(1.0, abs(centre)):
        if share:
            ends = tuple(wilson(successes=value * units, trials=units, level=level) for level in levels)
            return replace(
                whole, intervals=ends, method="Wilson, each prompt one trial (leaving prompts out shows no spread)"
            )
        return replace(whole, method=method, reason="no interval: the same whichever prompts are left out")
    t = [float(stdtrit(len(parts) - 1, 0.5 + level / 2)) for level in levels]
    found = tuple(_interval(level, centre, k * error, log, bounds) for level, k in zip(levels, t, strict=True))
    if not all(np.isfinite([i.low, i.high]).all() for i in found):
        return replace(whole, method=method, reason=f"no interval: with {units} prompts it would be without end")
    return replace(whole, method=method, intervals=found)


def _standard_error(value: float, without: NDArray[Any], sizes: NDArray[Any]) -> float:
    h = sizes.sum() / sizes
    pseudo = h * value - (h - 1) * without
    return float(np.sqrt(np.mean((pseudo - pseudo.mean()) ** 2 / (h - 1))))


def _interval(level: float, centre: float, half: float, log: bool, bounds: Bounds) -> Interval:
    ends = np.array([centre - half, centre + half])
    with np.errstate(over="ignore"):
        low, high = np.clip(np.exp(ends) if log else ends, *bounds)
    return Interval(level, float(low), float(high))
