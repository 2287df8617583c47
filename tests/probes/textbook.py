"""Intervals as textbooks give them, to hold the project's own against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from probes.base import Array, Interval


def t_intervals(*, values: Array, levels: Sequence[float]) -> tuple[Interval, ...]:
    """Student's: mean ± t(n - 1)·s/√n of at least two values."""
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    halves = [float(stdtrit(len(values) - 1, 0.5 + level / 2)) * error for level in levels]
    ends = zip(levels, halves, strict=True)
    return tuple(Interval(level, float(mean - half), float(mean + half)) for level, half in ends)
