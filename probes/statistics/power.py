"""What an audit of this size would find: the true value at which an interval lies beyond a margin 8
times in 10.
"""

from __future__ import annotations

import math
from typing import Literal

from scipy.special import ndtri

from probes.base import Measurement
from probes.statistics.resample import LOG_SCALE

POWER = 0.8


def finds(
    m: Measurement,
    *,
    level: float,
    margin: float,
    beyond: Literal["above", "below"],
    power: float = POWER,
) -> float | None:
    """The true value at which the interval at `level` lies wholly `beyond` the margin with chance
    `power`, in an audit of this size; None where the standard error or the interval is not known.

    The interval's end lies as far from the estimate as here (the longer half: the other may have
    been cut at a bound), and the estimate varies around the truth by the standard error:

        margin ± (half the interval + z(power)·error)

    which also holds for the largest of several differences, whose interval is wider than its own
    standard error says. Where the interval is symmetric about the logarithm (a ratio), so is this:
    margin·exp(± …), with the relative error. Simulated: docs/methods.md.
    """
    interval = m.interval(level)
    if m.value is None or m.error is None or interval is None:
        return None
    sign = 1.0 if beyond == "above" else -1.0
    z = float(ndtri(power))
    if LOG_SCALE in m.method:
        if min(m.value, interval.low, margin) <= 0:
            return None
        half = max(math.log(interval.high / m.value), math.log(m.value / interval.low))
        return margin * math.exp(sign * (half + z * m.error / m.value))
    half = max(interval.high - m.value, m.value - interval.low)
    return margin + sign * (half + z * m.error)
