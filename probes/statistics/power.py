"""What an audit of this size would find: the true value at which an interval lies beyond a margin 8
times in 10.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Literal

from probes.base import Measurement

POWER = 0.8
# An interval whose one half is shorter than this share of the other has been cut: percentiles are not
# that skewed.
CUT = 0.75


def finds(
    m: Measurement,
    *,
    level: float,
    margin: float,
    beyond: Literal["above", "below"],
    power: float = POWER,
) -> float | None:
    """The true value at which the interval at `level` lies wholly `beyond` the margin with chance
    `power`, in an audit of this size.

    The interval's end lies as far from the estimate as here, and the estimate varies around the
    truth by its standard error:

        margin ± (half the interval + z(power) · error)

    Where one half is much shorter than the other, it was cut at a bound, and the longer one counts.

    So it also holds for the largest of several differences, whose interval is wider than its own
    standard error says. None where interval or standard error is not known. There is none where the
    spread of the estimate depends on the true value, as for a ratio of varieties: how uncertain a
    fall of variety is cannot be seen while there is none. How often it held when simulated:
    docs/methods.md (`python -m benchmarks.found_changes`).
    """
    interval = m.interval(level)
    if m.value is None or m.error is None or interval is None:
        return None
    halves = sorted((interval.high - m.value, m.value - interval.low))
    half = halves[1] if halves[0] < CUT * halves[1] else sum(halves) / 2
    reach = half + NormalDist().inv_cdf(power) * m.error
    return margin + reach if beyond == "above" else margin - reach
