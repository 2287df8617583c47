"""The largest of several differences, with an interval that allows for its having been picked as
the largest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import betaincinv, ndtri, stdtrit

from probes.base import Interval
from probes.statistics.resample import Array, Estimate

NOTE = (
    "the largest of several differences is larger than the true one on average; the interval "
    "allows for that"
)


def largest_difference(
    *,
    values: Array,
    replicates: Array,
    n: int,
    units: int,
    levels: Sequence[float],
    unit: str = "family",
) -> Estimate:
    """Largest minus smallest of several groups' values, with an interval that holds for all pairs
    of groups at once.

    The largest difference moves by at most the range of the groups' errors, so value ± the quantile
    of that range over resamples (values (groups,), replicates (resamples, groups)) covers at least
    as often as it says; it is a simultaneous interval in the manner of Tukey, with bootstrap errors
    (Hsu 1996). Few families widen it by t/z·√(F/(F-1)). Never below 0. `error` is the standard
    error of the difference between the highest and the lowest group.
    """
    # The largest of several noisy gaps is too large on average, so the gap's own bootstrap interval
    # would miss the truth from above. The range of all groups' errors bounds every pair's error.
    with np.errstate(invalid="ignore"):
        errors = np.ptp(replicates - values, axis=1)
        picked = replicates[:, int(values.argmax())] - replicates[:, int(values.argmin())]
    return _with_errors(
        float(np.ptp(values)),
        errors,
        values,
        picked,
        n=n,
        units=units,
        levels=levels,
        unit=unit,
        over="all pairs of groups",
    )


def equivalence_bounds(
    *, means: Array, lowest: Sequence[Interval], share: bool = False
) -> tuple[Interval, ...]:
    """The intervals by which all groups may pass as alike: for each level of `lowest` (whose low
    ends are kept), an upper bound of the largest true difference between two groups.

    `means` has shape (families, groups). To pass, *every* pair's difference must lie within the
    margin, and with a chance of error of at most (1 - level)/2 none that is too large gets through
    its own one-sided test. So each pair is tested at the full rate, and the largest of the pairs'
    own bounds is the bound: an intersection-union test, the two one-sided tests of equivalence over
    all pairs (Schuirmann 1987; Berger 1982, Technometrics 24(4)). An alarm is the other way round:
    any one pair may raise it, so that many pairs raise it more often by chance, and its interval
    must hold for all at once. A pair's bound is Student's over families, in which the texts of a
    group are averaged: what they vary by within a family is part of what families differ by. For a
    share it is at least Newcombe's (1998, method 10) of two exact bounds, since a share that is
    near 0 has too little spread to be seen.
    """
    families, groups = means.shape
    first, second = np.nonzero(~np.eye(groups, dtype=bool))
    differences = means[:, first] - means[:, second]
    middle = differences.mean(axis=0)
    error = differences.std(axis=0, ddof=1) / np.sqrt(families)
    ends = []
    for interval in lowest:
        reach = stdtrit(families - 1, 0.5 + interval.level / 2)
        high = middle + reach * error
        if share:
            shares = means.mean(axis=0)
            low_end, high_end = exact_bounds(shares, families, (1 - interval.level) / 2)
            above, below = high_end - shares, shares - low_end
            high = np.maximum(high, middle + np.hypot(above[first], below[second]))
        ends.append(Interval(interval.level, interval.low, float(high.max())))
    return tuple(ends)


def exact_bounds(shares: Array, trials: int, error: float) -> tuple[Array, Array]:
    """Lower and upper bounds of shares (k,), each exceeded with a chance of at most `error`
    (Clopper & Pearson 1934), every unit one trial.
    """
    # Wilson's bound of a share of 0 is exceeded by a third more often than it says.
    successes = shares * trials
    low = betaincinv(np.maximum(successes, 1e-12), trials - successes + 1, error)
    high = betaincinv(successes + 1, np.maximum(trials - successes, 1e-12), 1 - error)
    return np.where(successes > 0, low, 0.0), np.where(successes < trials, high, 1.0)


def largest_absolute(
    *,
    values: Array,
    replicates: Array,
    n: int,
    units: int,
    levels: Sequence[float],
    unit: str,
    over: str,
) -> Estimate:
    """Largest |value| of several (values (k,), replicates (resamples, k)), with an interval that
    holds for all at once.

    As `largest_difference`: it moves by at most the largest of the k errors. `over` names what the
    k are; `error` is that of the largest one alone. Resamples that leave one undefined (NaN) say
    nothing about its error; the others' errors count there.
    """
    errors = np.nanmax(np.abs(replicates - values), axis=1, initial=0.0)
    picked = replicates[:, int(np.abs(values).argmax())]
    return _with_errors(
        float(np.abs(values).max()),
        errors,
        values,
        picked,
        n=n,
        units=units,
        levels=levels,
        unit=unit,
        over=over,
    )


def _with_errors(
    value: float,
    errors: Array,
    values: Array,
    picked: Array,
    *,
    n: int,
    units: int,
    levels: Sequence[float],
    unit: str,
    over: str,
) -> Estimate:
    method = f"{unit}-clustered bootstrap, {len(errors)} resamples, simultaneous over {over}"
    if units < 2:
        return Estimate(
            value, n, units, method, reason=f"no interval: {units} {unit}, at least 2 are needed"
        )
    if errors.max() <= 1e-12 * max(1.0, float(np.abs(values).max())):
        many = "families" if unit == "family" else f"{unit}s"
        return Estimate(
            value, n, units, method, reason=f"no interval: all {units} {many} give the same values"
        )
    known = picked[np.isfinite(picked)]
    error = float(np.std(known) * np.sqrt(units / (units - 1))) if len(known) else None
    return Estimate(value, n, units, method, _around(value, errors, units, levels), error=error)


def _around(
    value: float, errors: Array, units: int, levels: Sequence[float]
) -> tuple[Interval, ...]:
    intervals = []
    for level in levels:
        wide = stdtrit(units - 1, 0.5 + level / 2) / ndtri(0.5 + level / 2)
        # "higher": with few resamples an interpolated quantile would lie below the one promised.
        reach = float(
            np.quantile(errors, level, method="higher") * wide * np.sqrt(units / (units - 1))
        )
        intervals.append(Interval(level, max(0.0, value - reach), value + reach))
    return tuple(intervals)
