"""From a statistic of texts to its measurements: the value, and how it compares with the base
policy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from probes.base import Direction, Evidence, Measurement, Metric
from probes.rows import IS_BASE, NO_EMBED, NO_TEXT, RATIO
from probes.statistics.jackknife import Deleted
from probes.statistics.resample import Array, Bounds, Estimate, bootstrap, newcombe, unmeasured
from probes.texts.sets import Side, Sides, estimated

Against = Literal["ratio", "change"]


@dataclass(frozen=True)
class SetStatistic:
    """A statistic of a whole set of texts, and how it is compared with the base policy's
    (`against`), if it is.

    `ratio` replaces the plain quotient of the two where that would not compare like with like.
    `most` is how many texts it is measured on at most. `share` says that it is a share of texts,
    for which "none" and "all" have an interval.
    """

    name: str
    title: str
    unit: str
    direction: Direction
    bounds: Bounds
    of: Callable[[Side], Deleted]
    against: Against | None = None
    ratio: Callable[[Side, Side], Deleted] | None = None
    most: int | None = None
    embedded: bool = False
    share: bool = False
    undefined: str = "undefined on these texts"
    more: Callable[[Sides], Mapping[str, Any]] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The measurements it makes."""
        if self.against is None:
            return (self.name,)
        return (self.name, f"{self.name}_{self.against}")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What they are called, and their units."""
        return metrics_of(self)


def _missing(
    statistic: SetStatistic | PromptStatistic, everything: Sides, evidence: Evidence
) -> str:
    """Why the statistic cannot be measured; "" where it can."""
    if not everything.now.texts.n:
        return NO_TEXT
    if statistic.embedded and not evidence.embed:
        return NO_EMBED
    return ""


def wanted(evidence: Evidence, names: Sequence[str]) -> bool:
    """Whether any of these measurements of diversity is wanted."""
    return evidence.wants(*(f"diversity.{name}" for name in names))


def of_set(
    statistic: SetStatistic, everything: Sides, evidence: Evidence, version: str
) -> list[Measurement]:
    """The wanted ones of a set statistic's measurements, with the jackknife's intervals."""
    if not wanted(evidence, statistic.names):
        return []
    missing = _missing(statistic, everything, evidence)
    sides = everything if missing else everything.at_most(statistic.most)
    detail = dict(sides.detail)
    if statistic.more and not missing:
        detail |= statistic.more(sides)
    value = compared = unmeasured(missing or IS_BASE)
    before = None
    if not missing:
        now = statistic.of(sides.now)
        value = estimated(
            now,
            sides,
            evidence,
            bounds=statistic.bounds,
            share=statistic.share,
            undefined=statistic.undefined,
        )
        if sides.then is not None:
            then = statistic.of(sides.then)
            before = then.value
            compared = _compared(statistic, now, then, sides, evidence)
    values = [(statistic.names[0], value, statistic.unit, before)]
    if statistic.against:
        values.append(
            (
                statistic.names[1],
                compared,
                *_comparison(statistic.against, statistic.unit, everything),
            )
        )
    return _measured(values, statistic.direction, evidence, version, detail)


def _compared(
    statistic: SetStatistic, now: Deleted, then: Deleted, sides: Sides, evidence: Evidence
) -> Estimate:
    if statistic.against == "change":
        estimate = estimated(now.minus(then), sides, evidence, undefined=statistic.undefined)
        no_spread = estimate.value is not None and not estimate.intervals
        # Two shares that are both 0 or both 1 have no spread to see, and are still not exact.
        if statistic.share and no_spread and sides.now.texts.units > 1:
            return newcombe(estimate, now=now.value, then=then.value, levels=evidence.levels)
        return estimate
    assert sides.then is not None
    ratio = now.over(then)
    if statistic.ratio is not None:
        ratio = statistic.ratio(sides.now, sides.then)
    # A ratio is skewed: its logarithm's interval is the symmetric one, and never below 0.
    return estimated(ratio, sides, evidence, log=True, undefined=statistic.undefined)


@dataclass(frozen=True)
class PromptStatistic:
    """A statistic of one prompt's texts, (units,) with NaN where undefined; it is averaged over
    prompts.
    """

    name: str
    title: str
    unit: str
    direction: Direction
    bounds: Bounds
    of: Callable[[Side], Array]
    against: Against
    most: int | None = None
    embedded: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The measurements it makes."""
        return (self.name, f"{self.name}_{self.against}")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What they are called, and their units."""
        return metrics_of(self)


def metrics_of(statistic: SetStatistic | PromptStatistic) -> tuple[Metric, ...]:
    """The contract of a statistic and, where it is compared with the base policy, of that."""
    name, unit, section = f"diversity.{statistic.name}", statistic.unit, "diversity"
    value = Metric(name, statistic.title, unit, section, statistic.direction)
    if statistic.against is None:
        return (value,)
    title = f"{statistic.title}, {statistic.against}"
    compared = RATIO if statistic.against == "ratio" else unit
    name = f"{name}_{statistic.against}"
    return (value, Metric(name, title, compared, section, statistic.direction))


def of_prompts(
    statistic: PromptStatistic, everything: Sides, evidence: Evidence, version: str
) -> list[Measurement]:
    """The wanted ones of a per-prompt statistic's measurements: its mean over prompts, with the
    bootstrap's intervals.

    Compared with the base policy it is the ratio, or the difference, of the two means over the
    prompts where both are defined.
    """
    if not wanted(evidence, statistic.names):
        return []
    texts = everything.now.texts
    missing = _missing(statistic, everything, evidence)
    if not missing and everything.detail["samples_per_prompt"] < 2:
        missing = "one sample a prompt: there is no pair to compare"
    if missing:
        blank = unmeasured(missing, n=texts.n, units=texts.units)
        values_and_comparison = [
            (statistic.names[0], blank, statistic.unit, None),
            (
                statistic.names[1],
                blank,
                *_comparison(statistic.against, statistic.unit, everything),
            ),
        ]
        return _measured(
            values_and_comparison, statistic.direction, evidence, version, everything.detail
        )
    sides = everything.at_most(statistic.most)
    resampling = evidence.resampling
    now, n = statistic.of(sides.now), sides.now.texts.n
    values = now[np.isfinite(now)]
    value = bootstrap(
        totals=np.stack([values, np.ones(len(values))], axis=1),
        statistic=lambda s: s[:, 0] / s[:, 1],
        n=n,
        bounds=statistic.bounds,
        undefined="undefined on these texts",
        **resampling,
    )
    before, compared = None, unmeasured(IS_BASE)
    if sides.then is not None:
        then = statistic.of(sides.then)
        if np.isfinite(then).any():
            before = float(then[np.isfinite(then)].mean())
        # Only prompts that both can tell of, or a change of prompts would pass for one of policy.
        both = np.isfinite(now) & np.isfinite(then)
        totals = np.stack([now[both], then[both], np.ones(int(both.sum()))], axis=1)
        compared = bootstrap(
            totals=totals,
            statistic=_ratio if statistic.against == "ratio" else _difference,
            n=n,
            undefined="no prompt where both are defined and the base policy's is above 0",
            **resampling,
        )
    values_and_comparison = [
        (statistic.names[0], value, statistic.unit, before),
        (statistic.names[1], compared, *_comparison(statistic.against, statistic.unit, everything)),
    ]
    return _measured(values_and_comparison, statistic.direction, evidence, version, sides.detail)


def _ratio(sums: Array) -> Array:
    # The base policy's mean may be 0 up to rounding (all its texts of a prompt alike): no ratio
    # then.
    return np.where(sums[:, 1] > 1e-9 * sums[:, 2], sums[:, 0] / sums[:, 1], np.nan)


def _difference(sums: Array) -> Array:
    return (sums[:, 0] - sums[:, 1]) / sums[:, 2]


def _comparison(against: Against, unit: str, sides: Sides) -> tuple[str, float | None]:
    """Unit of the comparison, and what it is for the base policy itself."""
    compared_unit, itself = (RATIO, 1.0) if against == "ratio" else (unit, 0.0)
    if sides.then is None:
        return compared_unit, None
    return compared_unit, itself


def _measured(
    values: list[tuple[str, Estimate, str, float | None]],
    direction: Direction,
    evidence: Evidence,
    version: str,
    detail: Mapping[str, Any],
) -> list[Measurement]:
    return [
        estimate.measured(
            f"diversity.{name}",
            unit=unit,
            version=version,
            direction=direction,
            baseline=baseline,
            detail=detail,
        )
        for name, estimate, unit, baseline in values
        if evidence.wants(f"diversity.{name}")
    ]
