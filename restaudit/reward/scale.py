"""The recorded map of rewards to (0, 1), fitted once on the base policy's rewards and never
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from restaudit.errors import BadInput
from restaudit.reward.contract import Scores

METHOD = "logistic core, power-law tails, of (reward - median) / (STEEPNESS * sd)"
VERSION = "1"
# With 0.5, thresholds .7 .8 .9 .95 .99 lie at 0.4, 0.7, 1.1, 1.5 and 2.3 standard deviations above
# the base median.
STEEPNESS = 0.5
# Beyond this the logistic goes on as a power law of the same value and slope: a logistic runs out
# of float64 numbers below 1 at x = 37 (18 sd), where different rewards of an over-optimised policy
# would become equal.
KNEE = 4.0
IQR_OF_NORMAL = 1.3489795003921634


@dataclass(frozen=True)
class Scale:
    """A strictly increasing map of rewards to (0, 1); the base policy's median goes to 0.5.

    `sd` is the interquartile range divided by 1.349 (the standard deviation of a normal with that
    range), the plain standard deviation where the middle half is all equal, or 1 reward unit where
    every value is (`spread_from` says which). Order is kept for rewards within about 5,000 sd of
    the median that differ by more than float64 rounding.
    """

    median: float
    sd: float
    spread_from: str
    n: int
    method: str = METHOD
    version: str = VERSION

    @classmethod
    def fit(cls, values: npt.NDArray[Any]) -> Scale:
        """Fit on the base policy's rewards.

        Raises BadInput where there is none, or one is not finite.
        """
        values = np.asarray(values, dtype=np.float64).ravel()
        if values.size == 0:
            raise BadInput(
                "the reward scale needs at least one reward of the base policy, and there is none"
            )
        _finite(values)
        low, median, high = np.percentile(values, [25, 50, 75])
        if high > low:
            sd, spread_from = (high - low) / IQR_OF_NORMAL, "interquartile range"
        elif np.ptp(values) > 0:
            sd, spread_from = values.std(), "standard deviation (the middle half is one value)"
        else:
            sd = 0.0
        # Squares of differences below about 1e-154 are zero: such rewards are one value to float64.
        if sd < np.finfo(np.float64).tiny:
            sd, spread_from = 1.0, "1 reward unit (every base reward is the same)"
        return cls(float(median), float(sd), spread_from, int(values.size))

    def apply(self, values: npt.NDArray[Any]) -> Scores:
        """Map rewards to (0, 1). Raises BadInput on a reward that is not finite."""
        values = np.asarray(values, dtype=np.float64)
        _finite(values)
        # Beyond the largest float is infinity, which the tail maps to the end of the interval.
        with np.errstate(over="ignore"):
            x = (values - self.median) / (STEEPNESS * self.sd)
        distance = np.abs(x)
        knee = 1 / (1 + np.exp(KNEE))
        core = 1 / (1 + np.exp(np.minimum(distance, KNEE)))
        tail = knee * (KNEE / np.maximum(distance, KNEE)) ** (KNEE * (1 - knee))
        small = np.where(distance <= KNEE, core, tail)
        # The open interval is kept even where float64 has nothing between the value and its end.
        small = np.clip(small, np.finfo(np.float64).tiny, None)
        return np.where(x > 0, np.minimum(1 - small, np.nextafter(1.0, 0.0)), small)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Scale:
        """The inverse of `to_json`. Raises BadInput on another version or missing keys."""
        if raw.get("version") != VERSION or raw.get("method") != METHOD:
            raise BadInput(
                f"reward scale: version {raw.get('version')!r}; this version of restaudit reads "
                f"{VERSION!r}"
            )
        try:
            return cls(**raw)
        except TypeError as e:
            raise BadInput(f"reward scale: {e}") from None


def _finite(values: npt.NDArray[np.float64]) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise BadInput(
            f"reward {values.ravel()[bad[0]]} in row {bad[0]} cannot be scaled; rewards must be "
            "finite"
        )
