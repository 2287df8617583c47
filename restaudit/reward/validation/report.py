"""All of a validation: what is measured, which slices are worse, and the curve behind the
calibration error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from probes.base import Array, Measurement
from probes.statistics.stats import Resampling
from restaudit.reward.validation.baselines import Rows, baselines, learning_curve
from restaudit.reward.validation.calibration import calibration, reliability, spread
from restaudit.reward.validation.judged import LEVEL, Judged, nothing, unit_of
from restaudit.reward.validation.people import people, transitivity
from restaudit.reward.validation.slices import slices, worse

RESAMPLES = 1000


@dataclass(frozen=True)
class LearningCurveFit:
    """What a learning curve needs: the unit of each training row, and a fit of some rows (see
    learning_curve.py).
    """

    units: Sequence[Any]
    fit: Callable[[Rows], Array]


@dataclass(frozen=True)
class Validated:
    """The measurements, names of the slices that are worse than the rest, and the reliability curve
    (pairs).
    """

    measurements: tuple[Measurement, ...]
    worse_slices: tuple[str, ...]
    reliability: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return {
            "measurements": [m.to_json() for m in self.measurements],
            "worse_slices": list(self.worse_slices),
            "reliability": list(self.reliability),
        }


def validated(
    judged: Judged,
    *,
    train: pd.DataFrame | None = None,
    why_no_train: str = "",
    curve: LearningCurveFit | None = None,
    why_no_curve: str = "nothing was trained here",
    seed: int,
    resamples: int = RESAMPLES,
) -> Validated:
    """Measure a reward against the judges of some items; 95% intervals resample whole prompts
    (or items, see Judged).

    train  the reward's training items: left, right (None for ratings), target; what the bag of
           words is trained on
    curve  how to train the same reward on fewer items; without it the learning curve is null

    What cannot be measured is null with its reason. The same input gives the same measurements.
    """
    resampling = Resampling(levels=(LEVEL,), resamples=resamples, seed=seed)
    sliced = slices(judged, **resampling)
    if curve is None:
        meaning = "agreement by share of training data"
        learned = [nothing("learning_curve", unit_of(judged), meaning, why_no_curve)]
    else:
        learned = learning_curve(judged, curve.units, curve.fit, **resampling)
    measurements = [
        *people(judged, **resampling),
        *baselines(judged, train, why_no_train, **resampling),
        *calibration(judged, **resampling),
        *spread(judged, **resampling),
        *transitivity(judged, **resampling),
        *learned,
        *sliced,
    ]
    return Validated(
        tuple(_named(m, judged.unit) for m in measurements),
        tuple(worse(sliced)),
        tuple(reliability(judged)),
    )


def _named(measurement: Measurement, unit: str) -> Measurement:
    """The statistics speak of prompts; where texts stand alone, the unit they resampled is the
    item.
    """
    if unit == "prompt":
        return measurement
    reason = measurement.reason.replace("prompt", "item") if measurement.reason else None
    return replace(measurement, method=measurement.method.replace("prompt", "item"), reason=reason)
