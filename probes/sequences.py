"""Looking after every rating: intervals that hold for all looks at once, however often and whenever
one looks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probes.base import Interval
from probes.statistics.resample import Array, Bounds, Estimate, unmeasured

__all__ = ["confidence_sequence", "mean_so_far"]

# Bets stay below this share of the largest that the bound allows, as the paper recommends (½ or ¾).
LARGEST_BET = 0.5


def confidence_sequence(*, values: Array, bounds: Bounds, level: float) -> tuple[Array, Array]:
    """Lower and upper ends after each value, (n,) each: with probability `level` ALL of them hold
    the mean.

    `values` (n,) lie within `bounds` (known beforehand, not read off the data) and come in the
    order in which they were seen, each with the same mean given those before: ratings of prompts
    drawn at random, or paired differences of two policies on such prompts (bounds then
    -width..width). Whether to go on may depend on what was seen. Successive policies have different
    means: start a new sequence for each.

    Predictable plug-in empirical Bernstein (Waudby-Smith & Ramdas 2020, arXiv 2010.09686, theorem
    2), each interval cut to those before. Wider than one look's interval: the price of looking
    always. Raises ValueError for values that are missing or outside the bounds.
    """
    low, high = bounds
    if not (np.isfinite([low, high]).all() and low < high and 0 < level < 1):
        raise ValueError(
            f"bounds {bounds}, level {level}; expected two finite numbers, low < high, and 0 < "
            "level < 1"
        )
    wrong = ~((values >= low) & (values <= high))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(
            f"value {place} is {values[place]}; expected a number from {low} to {high}"
        )
    x, t = (values - low) / (high - low), np.arange(1, len(values) + 1)
    means = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - means) ** 2)) / (t + 1)
    # What is bet on a value, and the guess it is compared with, may use only the values before it.
    mean_before, variance_before = (
        np.concatenate([[start], v])[:-1] for start, v in ((0.5, means), (0.25, variance))
    )
    cost = np.log(2 / (1 - level))
    bet = np.minimum(np.sqrt(2 * cost / (variance_before * t * np.log1p(t))), LARGEST_BET)
    loss = (x - mean_before) ** 2 * (-np.log1p(-bet) - bet)
    total = np.cumsum(bet)
    centre, half = np.cumsum(bet * x) / total, (cost + np.cumsum(loss)) / total
    lows = np.maximum.accumulate(np.clip(centre - half, 0, 1))
    highs = np.minimum.accumulate(np.clip(centre + half, 0, 1))
    return low + (high - low) * lows, low + (high - low) * highs


def mean_so_far(*, values: Array, bounds: Bounds, levels: Sequence[float]) -> Estimate:
    """The mean of all values and its interval at the latest look, valid at every look; see
    `confidence_sequence`.
    """
    n, method = (
        len(values),
        "predictable plug-in empirical Bernstein confidence sequence, valid at every look",
    )
    if n == 0:
        return unmeasured("nothing has been rated", method=method)
    ends = []
    for level in levels:
        lows, highs = confidence_sequence(values=values, bounds=bounds, level=level)
        if lows[-1] > highs[-1]:
            why = (
                "the looks contradict each other: the mean has changed on the way, or the order "
                "is not the order seen"
            )
            return Estimate(float(values.mean()), n, n, method, reason=f"no interval: {why}")
        ends.append(Interval(level, float(lows[-1]), float(highs[-1])))
    return Estimate(float(values.mean()), n, n, method, tuple(ends))
