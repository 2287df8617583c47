"""The mean over seeds and prompts at once, where every seed was asked every prompt.

Goal        An interval for a mean that holds for other seeds and for other prompts, not for these
            only.
Reads       A table of numbers, a row a seed and a column a prompt (S, P); a seed may lack prompts,
            but not all of them.
Measures    The mean of the row means, ± sqrt(a² + b²), where a and b are the half widths of
            Student's t interval for the mean of the S row means (S - 1 degrees of freedom) and for
            that of the P column means (P - 1), each over the values that are there.
References  Crossed random effects: Owen 2007 (The pigeonhole bootstrap, AoAS 1, 386), whose
            variance this is. It is conservative, since noise within a cell is counted in both. Each
            part has its own t: Satterthwaite's degrees of freedom cover 89% for two seeds and 93%
            for three where seeds decide (4,000 tables of 30 prompts).
Weaknesses  With two or three seeds the interval is wide, as it must be. Where neither seeds nor
            prompts differ it covers 99% and more. Values that are missing because of what they
            would have been bias it, as they do any mean. One seed gives no interval over seeds:
            none is given at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from probes.base import Array

ONE_SEED, ALIKE = "one seed", "the same each time"


@dataclass(frozen=True)
class Crossed:
    """A mean over seeds and prompts.

    `low` and `high` are None, with the `reason`, where there is no interval.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int
    prompts: int
    reason: str | None = None


def crossed(values: Array, level: float = 0.95) -> Crossed:
    """The mean of (seeds, prompts) and its two-sided interval; of one prompt, over seeds alone.

    NaN is a prompt without a value for that seed. Raises ValueError for a table in which a seed has
    no value at all, or one that is infinite.
    """
    by_seed, by_prompt = _means(values)
    if len(by_seed) < 2:
        return Crossed(float(by_seed[0]), None, None, 1, len(by_prompt), ONE_SEED)
    # One prompt has no spread over prompts: what is left speaks for the seeds alone.
    parts = [means for means in (by_seed, by_prompt) if len(means) > 1]
    return _around(by_seed, by_prompt, sum(_half(means, level) ** 2 for means in parts) ** 0.5)


def of_these_seeds(values: Array, level: float = 0.95) -> Crossed:
    """The same mean and Student's t interval over prompts alone: it says nothing of other seeds."""
    by_seed, by_prompt = _means(values)
    if len(by_prompt) < 2:
        return Crossed(float(by_seed.mean()), None, None, len(by_seed), 1, "one prompt")
    return _around(by_seed, by_prompt, _half(by_prompt, level))


def _means(values: Array) -> tuple[Array, Array]:
    """The mean of every seed, and of every prompt that has a value."""
    table = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(table)
    if table.ndim != 2 or 0 in table.shape or np.isinf(table).any() or not known.any(axis=1).all():
        raise ValueError(
            "expected a table of numbers, a row a seed and a column a prompt, with a value for "
            "every seed"
        )
    return np.nanmean(table, axis=1), np.nanmean(table[:, known.any(axis=0)], axis=0)


def _around(by_seed: Array, by_prompt: Array, half: float) -> Crossed:
    """The mean and this much on both sides of it; none where nothing varies, since no interval has
    width zero.
    """
    mean, size = float(by_seed.mean()), (len(by_seed), len(by_prompt))
    if half == 0:
        return Crossed(mean, None, None, *size, ALIKE)
    return Crossed(mean, mean - half, mean + half, *size)


def _half(means: Array, level: float) -> float:
    """Half the width of Student's t interval for the mean of these."""
    n = len(means)
    return float(student.ppf(0.5 + level / 2, n - 1) * means.std(ddof=1) / n**0.5)
