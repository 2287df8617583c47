"""Tests that swap two policies' texts prompt by prompt: exact for any statistic of the prompts'
differences, and for the largest of many.

If the policy did not change, a prompt's texts may as well have come from the other one, so that
the sign of all of its differences is a coin's (Fisher 1935; Winkler et al. 2014, Permutation
inference for the general linear model, NeuroImage 92). That holds whatever the distribution, and
however features go together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probes.statistics.resample import Array


@dataclass(frozen=True)
class Largest:
    """Of m differences: t (m,), the adjusted two-sided p (m,), and the |t| that the largest of all
    exceeds with each chance.

    `largest` (flips,) holds the largest |t| of each flip.
    """

    t: Array
    p: Array
    largest: Array

    def reach(self, level: float) -> float:
        """How many standard errors an interval takes that holds for all m at once at `level`."""
        return float(np.quantile(self.largest, level, method="higher"))


def signs(*, prompts: int, flips: int, seed: int) -> Array:
    """Random signs, (flips, prompts): 1.0 or -1.0."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.integers(0, 2, size=(flips, prompts)).astype(np.float64) * 2 - 1


def p_of(value: float, flipped: Array) -> float:
    """The share of flips, with what was seen as one of them, that are at least `value`."""
    # A rounding error must not make a flip that changes nothing smaller than what it flips.
    return float((1 + (flipped >= value - 1e-9 * max(1.0, abs(value))).sum()) / (1 + len(flipped)))


def largest_of(differences: Array, drawn: Array) -> Largest:
    """Which of m means differ from 0, from differences by prompt (prompts, m) and signs (flips,
    prompts).

    t is mean over its standard error. p is adjusted for the largest of all (Westfall & Young 1993,
    Resampling-based multiple testing, single step), so that the chance of even one false finding is
    at most what p is held against.
    """
    n = len(differences)
    squares = (differences**2).sum(axis=0)

    def t_of(sums: Array) -> Array:
        mean = sums / n
        # Flips do not change the squares, so one pass serves all of them.
        variance = np.maximum(squares / n - mean**2, 0) / max(n - 1, 1)
        # Where all prompts agree to the digit there is no spread; a half prompt's worth is assumed.
        least = squares / n / (4 * n * n)
        spread = np.sqrt(np.maximum(variance, least))
        t: Array = np.divide(mean, spread, out=np.zeros_like(mean), where=spread > 0)
        return t

    t = t_of(differences.sum(axis=0))
    largest = np.abs(t_of(drawn @ differences)).max(axis=1, initial=0.0)
    p = np.array([p_of(value, largest) for value in np.abs(t)])
    return Largest(t, p, largest)
