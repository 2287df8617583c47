"""Resampling whole prompts: from totals per prompt to an estimate with intervals, or to the reason
why there is none.

Samples of one prompt are alike, so that n samples of P prompts carry less than n independent facts.
Every interval here resamples whole prompts (the cluster bootstrap: Davison & Hinkley 1997, section
3.8; Field & Welsh 2007). A statistic is written as a function of per-prompt totals, so that all
resamples are one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from probes.base import Direction, Interval, Measurement, Metric
from probes.base import Resampling as Resampling  # a public name of this module, too

Array = NDArray[np.float64]
Bounds = tuple[float, float]
Statistic = Callable[[Array], Array]

ANY: Bounds = (-np.inf, np.inf)
SHARE: Bounds = (0.0, 1.0)
# Percentiles need this many units, and this many resamples beyond each end of the widest interval:
# see `interval_ends`.
FEWEST_UNITS = 8
FEWEST_BEYOND = 3
# More undefined resamples than this share, and the rest no longer describe the statistic.
MOST_UNDEFINED = 0.05
# Weights held at once.
LARGEST_SLICE = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A statistic with its intervals, before it has a name; `units` counts what was resampled.

    `ok_intervals` and `error` are a Measurement's. A ratio whose interval is made for its logarithm
    has no `error`: its spread depends on how large it is.
    """

    value: float | None
    n: int
    units: int
    method: str
    intervals: tuple[Interval, ...] = ()
    reason: str | None = None
    ok_intervals: tuple[Interval, ...] = ()
    error: float | None = None

    def rescaled(self, factor: float) -> Estimate:
        """The same estimate in another unit: value, ends and standard error times `factor`, which
        may be negative.
        """

        def times(intervals: tuple[Interval, ...]) -> tuple[Interval, ...]:
            ends = []
            for i in intervals:
                # From zero, so that nothing becomes -0.0.
                low, high = sorted((0.0 + i.low * factor, 0.0 + i.high * factor))
                ends.append(Interval(i.level, low, high))
            return tuple(ends)

        return replace(
            self,
            value=None if self.value is None else 0.0 + self.value * factor,
            intervals=times(self.intervals),
            ok_intervals=times(self.ok_intervals),
            error=None if self.error is None else self.error * abs(factor),
        )

    def measured(
        self,
        name: str,
        *,
        unit: str,
        version: str,
        direction: Direction = "neutral",
        baseline: float | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> Measurement:
        """This estimate as the measurement `name`."""
        return Measurement(
            name=name,
            value=self.value,
            unit=unit,
            n=self.n,
            n_prompts=self.units,
            method=self.method,
            version=version,
            direction=direction,
            intervals=self.intervals,
            baseline=baseline if baseline is not None and np.isfinite(baseline) else None,
            reason=self.reason,
            detail=detail or {},
            ok_intervals=self.ok_intervals,
            error=self.error,
        )

    def recorded(
        self,
        metric: Metric,
        *,
        version: str,
        baseline: float | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> Measurement:
        """This estimate as a measurement of a probe, with the unit and direction of its
        contract.
        """
        return self.measured(
            metric.name,
            unit=metric.unit,
            version=version,
            direction=metric.direction,
            baseline=baseline,
            detail=detail,
        )


def unmeasured(
    reason: str, *, n: int = 0, units: int = 0, method: str = "not measured"
) -> Estimate:
    """No value, and why."""
    return Estimate(None, n, units, method, reason=reason)


def prompt_weights(*, units: int, resamples: int, seed: int) -> Array:
    """How often each unit is drawn in each resample: counts of shape (resamples, units); rows sum
    to units.
    """
    return np.concatenate(list(weight_slices(units=units, resamples=resamples, seed=seed)))


def weight_slices(*, units: int, resamples: int, seed: int) -> Iterator[Array]:
    """The rows of `prompt_weights`, some at a time: 100,000 prompts at once would take
    gigabytes.
    """
    # A generator of its own: the same seed gives the same draws, and measuring does not move the
    # run's generators.
    rng = np.random.Generator(np.random.PCG64(seed))
    step = max(1, LARGEST_SLICE // units)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(units, size=(rows, units))
        drawn += np.arange(rows)[:, None] * units
        yield (
            np.bincount(drawn.ravel(), minlength=rows * units)
            .reshape(rows, units)
            .astype(np.float64)
        )


def resampled_sums(*, totals: Array, resamples: int, seed: int) -> Array:
    """The summed totals, shape (resamples, k), of each resample of units from totals (units, k)."""
    if not len(totals):
        return np.empty((0, totals.shape[1]))
    slices = weight_slices(units=len(totals), resamples=resamples, seed=seed)
    return np.concatenate([weights @ totals for weights in slices])


def interval_ends(
    *, value: float, replicates: Array, units: int, levels: Sequence[float], bounds: Bounds = ANY
) -> tuple[tuple[Interval, ...], str]:
    """Intervals from the resampled values of a statistic (1-d, finite), and the method's name.

    Percentiles, taken further out for few units (Hesterberg 2015, "expanded percentile": tail
    Φ(-t·√(P/(P-1))) instead of α/2), since plain ones are too narrow by about √((P-1)/P)·z/t. With
    fewer than 8 units, or fewer than 3 resamples beyond an end of the widest interval, those
    percentiles are beyond what resampling shows; then all levels get value ± t(P-1)·√(P/(P-1))·(sd
    of the resampled values). `bounds` is the range the true value must lie in; cutting an interval
    there loses no coverage.
    """
    # The bootstrap's spread is that of an sd with P, not P - 1, in its denominator, and it knows
    # nothing of t: with few prompts both make plain percentiles too narrow.
    stretch = np.sqrt(units / (units - 1))
    t = stdtrit(units - 1, 0.5 + np.array(levels) / 2) * stretch
    tails = ndtr(-t)
    # All levels by the same rule, or a 99% interval could come out narrower than a 95% one.
    if units < FEWEST_UNITS or tails.min() * len(replicates) < FEWEST_BEYOND:
        half = t * np.std(replicates)
        low, high, method = value - half, value + half, "t with bootstrap standard error"
    else:
        low, high = np.quantile(replicates, tails), np.quantile(replicates, 1 - tails)
        method = "expanded percentile"
    ends = zip(levels, np.clip(low, *bounds), np.clip(high, *bounds), strict=True)
    return tuple(Interval(level, float(a), float(b)) for level, a, b in ends), method


def summarise(
    *,
    value: float,
    replicates: Array,
    n: int,
    units: int,
    unit: str = "prompt",
    bounds: Bounds = ANY,
    undefined: str = "undefined on these rows",
    levels: Sequence[float],
) -> Estimate:
    """Turn a value and its resampled values into an Estimate, with the reason wherever value or
    intervals are missing.

    A share that is exactly 0 or 1 has no spread to resample; its interval is Wilson's, with every
    unit one trial.
    """
    method = f"{unit}-clustered bootstrap, {len(replicates)} resamples"
    if not np.isfinite(value):
        return unmeasured(undefined, n=n, units=units, method=method)
    value_only = Estimate(float(value), n, units, method)
    if units < 2:
        return replace(value_only, reason=f"no interval: {units} {unit}, at least 2 are needed")
    finite = replicates[np.isfinite(replicates)]
    # Resamples in which the statistic is undefined (no prompt with a kept sample was drawn) are not
    # missing at random: a few do no harm, many would make the interval that of another question.
    lost = len(replicates) - len(finite)
    if lost > MOST_UNDEFINED * len(replicates):
        return replace(
            value_only, reason=f"no interval: undefined in {lost} of {len(replicates)} resamples"
        )
    # All prompts alike is no proof that others would be: an interval of width zero would claim it.
    if np.ptp(finite) <= 1e-12 * max(1.0, abs(value)):
        if bounds == SHARE and (np.isclose(value, 0) or np.isclose(value, 1)):
            ends = tuple(
                wilson(successes=round(value) * units, trials=units, level=level)
                for level in levels
            )
            return replace(
                value_only,
                intervals=ends,
                method=f"Wilson, each {unit} one trial (all samples agree)",
            )
        return replace(
            value_only,
            reason=(
                f"no interval: all {units} {unit}s give the same value, so none shows its spread"
            ),
        )
    ends, kind = interval_ends(
        value=value, replicates=finite, units=units, levels=levels, bounds=bounds
    )
    left_out = f", {lost} undefined resamples left out" if lost else ""
    return replace(
        value_only,
        intervals=ends,
        method=f"{method}, {kind}{left_out}",
        error=float(np.std(finite) * np.sqrt(units / (units - 1))),
    )


def bootstrap(
    *,
    totals: Array,
    statistic: Statistic,
    n: int,
    unit: str = "prompt",
    bounds: Bounds = ANY,
    undefined: str = "undefined on these rows",
    **resampling: Unpack[Resampling],
) -> Estimate:
    """Cluster bootstrap of a statistic of totals.

    `totals` has shape (units, k): what each unit adds to each of k sums. `statistic` maps sums of
    shape (m, k) to values of shape (m,), NaN where undefined. `n` is the number of rows behind the
    totals.
    """
    units = len(totals)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(totals.sum(axis=0, keepdims=True))[0])
        replicates = statistic(
            resampled_sums(
                totals=totals, resamples=resampling["resamples"], seed=resampling["seed"]
            )
        )
    return summarise(
        value=value,
        replicates=replicates,
        n=n,
        units=units,
        unit=unit,
        bounds=bounds,
        undefined=undefined,
        levels=resampling["levels"],
    )


def linearised(
    *,
    totals: Array,
    statistic: Statistic,
    n: int,
    unit: str = "prompt",
    bounds: Bounds = ANY,
    undefined: str = "undefined on these rows",
    levels: Sequence[float],
    log: bool = False,
) -> Estimate:
    """The analytic twin of `bootstrap`, for the same totals and statistic: value ± t(units - 1)·SE,
    no resampling.

    SE is the delta method's with cluster-robust variance, written as the infinitesimal jackknife
    (Efron 1982, chapter 6): how the statistic moves when a unit gets a little more weight, by
    central differences. For a mean it is s/√P exactly. With `log` the interval is made for the
    logarithm and mapped back, as suits a ratio. The statistic must be smooth in the sums.
    """
    units, method = len(totals), f"{unit}-clustered linearisation"
    sums, step = totals.sum(axis=0), 1e-3
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(sums[None, :])[0])
        if not np.isfinite(value) or (log and value <= 0):
            return unmeasured(undefined, n=n, units=units, method=method)
        value_only = Estimate(value, n, units, method)
        if units < 2:
            return replace(value_only, reason=f"no interval: {units} {unit}, at least 2 are needed")
        # Towards each unit and away from it: the numerical derivative spares every statistic a
        # formula of its own.
        toward = step * (totals - sums / units)
        pull = (statistic(sums + toward) - statistic(sums - toward)) / (2 * step)
    error = float(np.sqrt(units / (units - 1) * ((pull - pull.mean()) ** 2).sum()))
    if log:
        error /= value  # the derivative of the logarithm
    if not np.isfinite(error):
        return replace(
            value_only, reason=f"no interval: undefined when one {unit} gets a little more weight"
        )
    if error <= 1e-12 * max(1.0, abs(value)):
        return replace(
            value_only,
            reason=(
                f"no interval: all {units} {unit}s give the same value, so none shows its spread"
            ),
        )
    half = stdtrit(units - 1, 0.5 + np.array(levels) / 2) * error
    low, high = value - half, value + half
    if log:
        low, high = value * np.exp(-half), value * np.exp(half)
    ends = zip(levels, np.clip(low, *bounds), np.clip(high, *bounds), strict=True)
    intervals = tuple(Interval(level, float(a), float(b)) for level, a, b in ends)
    return replace(
        value_only,
        intervals=intervals,
        method=f"{method}, t({units - 1})" + ", log scale" * log,
        error=None if log else error,
    )


def wilson(*, successes: float, trials: int, level: float) -> Interval:
    """Wilson's (1927) score interval for a share; needs at least one trial."""
    z = float(ndtri(0.5 + level / 2))
    share, shrink = successes / trials, 1 + z * z / trials
    # Wilson's, since Wald's share ± z·SE has width zero at 0 and 1, just where it is asked for.
    centre = (share + z * z / (2 * trials)) / shrink
    half = z / shrink * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    high = 1.0 if successes >= trials else min(1.0, centre + half)
    return Interval(level, float(low), float(high))


def newcombe(estimate: Estimate, *, now: float, then: float, levels: Sequence[float]) -> Estimate:
    """The change between two shares that no prompt moves (such as 0 and 0), every prompt one trial
    of each.

    Newcombe 1998, Interval estimation for the difference between independent proportions,
    Statistics in Medicine 17(8), method 10: the two Wilson intervals, combined.
    """
    ends = []
    for level in levels:
        units = estimate.units
        a = wilson(successes=now * units, trials=units, level=level)
        b = wilson(successes=then * units, trials=units, level=level)
        low = now - then - np.hypot(now - a.low, b.high - then)
        high = now - then + np.hypot(a.high - now, then - b.low)
        ends.append(Interval(level, float(low), float(high)))
    method = "Newcombe's score interval, each prompt one trial (no prompt shows any spread)"
    return replace(estimate, intervals=tuple(ends), method=method, reason=None)
