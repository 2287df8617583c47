"""The largest of several differences, with an interval that allows for its having been picked as
the largest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri, stdtrit

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
    (Hsu 1996). Few families widen it by t/z·√(F/(F-1)). Never below 0.
    """
    # The largest of several noisy gaps is too large on average, so the gap's own bootstrap interval
    # would miss the truth from above. The range of all groups' errors bounds every pair's error.
    with np.errstate(invalid="ignore"):
        errors = np.ptp(replicates - values, axis=1)
    return _with_errors(
        float(np.ptp(values)),
        errors,
        values,
        n=n,
        units=units,
        levels=levels,
        unit=unit,
        over="all pairs of groups",
    )


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
    k are. Resamples that leave one undefined (NaN) say nothing about its error; the others' errors
    count there.
    """
    errors = np.nanmax(np.abs(replicates - values), axis=1, initial=0.0)
    return _with_errors(
        float(np.abs(values).max()),
        errors,
        values,
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
    return Estimate(value, n, units, method, _around(value, errors, units, levels))


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
