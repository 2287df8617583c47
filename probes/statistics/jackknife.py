"""Intervals for statistics of a set of texts (distinct-n, Vendi, compression), which a bootstrap
would distort.

Drawing prompts with replacement puts the same texts in twice: the resampled sets look less diverse
than any real set would. Leaving groups of prompts out does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from probes.base import Interval
from probes.statistics.resample import ANY, Array, Bounds, Estimate, unmeasured, wilson

Chosen = NDArray[np.intp]
# Every group left out costs the statistic once more. 20 cost little, and t(19) is hardly wider than
# the normal's quantile.
GROUPS = 20


@dataclass(frozen=True)
class Groups:
    """Units split into groups that are left out in turn: the group of each unit (units,), and how
    many there are.
    """

    label: Chosen
    count: int

    @property
    def sizes(self) -> NDArray[np.intp]:
        """How many units each group has."""
        return np.bincount(self.label, minlength=self.count)


@dataclass(frozen=True)
class Deleted:
    """A statistic of all units, and its values when each group is left out, shape (groups,); NaN
    where undefined.
    """

    value: float
    left: Array

    @classmethod
    def of(cls, values: Array) -> Deleted:
        """From one array: the value of everything first, then those with a group left out."""
        return cls(float(values[0]), np.asarray(values[1:], dtype=np.float64))

    def over(self, other: Deleted) -> Deleted:
        """This over another; NaN where the other is not above 0."""
        top, below = np.append(self.value, self.left), np.append(other.value, other.left)
        return Deleted.of(np.divide(top, below, out=np.full(len(top), np.nan), where=below > 0))

    def minus(self, other: Deleted) -> Deleted:
        """This less another."""
        return Deleted(self.value - other.value, self.left - other.left)


def deletion_groups(*, units: int, groups: int = GROUPS, seed: int) -> list[Chosen]:
    """Split the units 0..units-1 at random into at most `groups` groups whose sizes differ by at
    most one.
    """
    # At random: prompts stand in the order of their names, which may go by subject.
    order = np.random.Generator(np.random.PCG64(seed)).permutation(units)
    return [np.sort(members) for members in np.array_split(order, min(groups, units))]


def grouped(*, units: int, seed: int) -> Groups:
    """The same groups as labels of the units."""
    label = np.zeros(units, dtype=np.intp)
    parts = deletion_groups(units=units, seed=seed) if units else []
    for k, members in enumerate(parts):
        label[members] = k
    return Groups(label, len(parts))


def one_by_one(statistic: Callable[[Chosen], float], groups: Groups) -> Deleted:
    """Any statistic of the positions of the units that stay (in rising order), counted anew for
    every group.
    """
    everything = np.arange(len(groups.label))
    left = [statistic(everything[groups.label != g]) for g in range(groups.count)]
    return Deleted(statistic(everything), np.array(left, dtype=np.float64))


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
    """`jackknifed` for a statistic that maps the positions of the prompts that stay (rising) to a
    value, or NaN.
    """
    groups = grouped(units=units, seed=seed)
    deleted = Deleted(float("nan"), np.empty(0))
    if units:
        deleted = one_by_one(statistic, groups)
    return jackknifed(
        deleted=deleted,
        groups=groups,
        n=n,
        levels=levels,
        log=log,
        bounds=bounds,
        share=share,
        undefined=undefined,
    )


def jackknifed(
    *,
    deleted: Deleted,
    groups: Groups,
    n: int,
    levels: Sequence[float],
    log: bool = False,
    bounds: Bounds = ANY,
    share: bool = False,
    undefined: str = "undefined on these texts",
) -> Estimate:
    """Estimate ± t·SE with the delete-a-group jackknife for unequal groups (Busing, Meijer & Van
    der Leeden 1999).

    With `log` the interval is made for the statistic's logarithm and mapped back, as suits a ratio.
    With `share`, where leaving prompts out shows no spread, the interval is Wilson's, every prompt
    one trial. The jackknife variance is on average too large rather than too small (Efron & Stein
    1981), and t has (groups - 1) degrees of freedom. The interval is for the statistic's
    expectation at this number of prompts: these statistics change with the size of the set.
    """
    units, value, left = len(groups.label), deleted.value, deleted.left
    method = "delete-a-group jackknife"
    if not np.isfinite(value) or (log and value <= 0):
        return unmeasured(undefined, n=n, units=units, method=method)
    value_only = Estimate(value, n, units, method)
    if units < 2:
        return replace(value_only, reason=f"no interval: {units} prompt, at least 2 are needed")
    df = groups.count - 1
    method = f"delete-a-group jackknife over prompts, {groups.count} groups, t({df})"
    if log:
        method += ", log scale"
    if not np.isfinite(left).all() or (log and (left <= 0).any()):
        return replace(
            value_only,
            method=method,
            reason="no interval: undefined when a group of prompts is left out",
        )
    centre, without = value, left
    if log:
        centre, without = np.log(value), np.log(left)
    error = _standard_error(centre, without, groups.sizes)
    # As in `resample.summarise`: the same whichever prompts are left out is no proof of certainty.
    if error <= 1e-12 * max(1.0, abs(centre)):
        if share:
            ends = tuple(
                wilson(successes=value * units, trials=units, level=level) for level in levels
            )
            return replace(
                value_only,
                intervals=ends,
                method="Wilson, each prompt one trial (leaving prompts out shows no spread)",
            )
        return replace(
            value_only, method=method, reason="no interval: the same whichever prompts are left out"
        )
    t = [float(stdtrit(df, 0.5 + level / 2)) for level in levels]
    ends = tuple(
        _interval(level, centre, k * error, log, bounds) for level, k in zip(levels, t, strict=True)
    )
    if not all(np.isfinite([i.low, i.high]).all() for i in ends):
        return replace(
            value_only,
            method=method,
            reason=f"no interval: with {units} prompts it would be without end",
        )
    # The spread of a ratio depends on how large it is: what is seen where nothing fell is not what
    # there would be at another value, so that no standard error is told.
    return replace(value_only, method=method, intervals=ends, error=None if log else float(error))


def _standard_error(value: float, without: NDArray[Any], sizes: NDArray[Any]) -> float:
    # Groups differ by one prompt in size where the number of prompts is no multiple of theirs, and
    # the plain formula would weigh them alike.
    h = sizes.sum() / sizes
    pseudo = h * value - (h - 1) * without
    return float(np.sqrt(np.mean((pseudo - pseudo.mean()) ** 2 / (h - 1))))


def _interval(level: float, centre: float, half: float, log: bool, bounds: Bounds) -> Interval:
    ends = np.array([centre - half, centre + half])
    with np.errstate(over="ignore"):
        low, high = np.clip(np.exp(ends) if log else ends, *bounds)
    return Interval(level, float(low), float(high))
