"""What every probe returns (a Measurement), what it reads (Evidence) and what describes it (Probe)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

Direction = Literal["higher", "lower", "neutral"]


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval at `level` (for example 0.95)."""

    level: float
    low: float
    high: float


@dataclass(frozen=True)
class Measurement:
    """One number with its uncertainty, or None with the reason.

    `value` is None exactly when it could not be measured, and `reason` then says why. `intervals` may be empty only
    when `reason` says why there is none. `n` counts rows (samples or pairs), `n_prompts` the units that were resampled.
    `baseline` is the base policy's value on the same prompts, where the measurement is a comparison or has one.
    """

    name: str
    value: float | None
    unit: str
    n: int
    n_prompts: int
    method: str
    version: str
    direction: Direction = "neutral"
    intervals: tuple[Interval, ...] = ()
    baseline: float | None = None
    reason: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError(f"{self.name}: a missing value needs a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self.name}: {self.value} is not a number that can be recorded; use None with a reason")
        if self.value is not None and not self.intervals and not self.reason:
            raise ValueError(f"{self.name}: a value without an interval needs a reason")

    def interval(self, level: float = 0.95) -> Interval | None:
        """The interval at this level, or None where it was not computed."""
        return next((i for i in self.intervals if math.isclose(i.level, level, abs_tol=1e-9)), None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return {**asdict(self), "intervals": [asdict(i) for i in self.intervals], "detail": dict(self.detail)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Measurement:
        """The inverse of `to_json`."""
        return cls(**{**row, "intervals": tuple(Interval(**i) for i in row["intervals"])})


Embed = Callable[[Sequence[str]], "np.ndarray[Any, np.dtype[np.float32]]"]


@dataclass(frozen=True)
class Evidence:
    """Everything a probe may read: plain tables and callables.

    Tables have one row a sample. Columns every table has: `prompt_id` (str), `sample_id` (str), `text` (str),
    `n_tokens` (int). Columns it may have: `reward` (float, the reward model's own unit), `human` (float or NaN:
    held-out human score, NaN where undefined), `kl` (float, nats per sequence), `group` and `family` (str or None:
    the counterfactual group, and the family of prompts that differ only by group), `kept` (bool, grow table only).

    outputs   the policy under audit, on the audit prompts
    base      the base policy on the same prompts (None when `outputs` are the base policy's own)
    grow      the scored Grow samples with `kept` for this Improve step (None for the base policy)
    d_eval    the policy's samples on D_eval, scored
    embed     texts -> array (n, d) of unit-norm embeddings, or None
    levels    two-sided confidence levels to report, the first one is the display level
    """

    outputs: pd.DataFrame
    base: pd.DataFrame | None = None
    grow: pd.DataFrame | None = None
    d_eval: pd.DataFrame | None = None
    embed: Embed | None = None
    human_label: str = "NONE"
    levels: tuple[float, ...] = (0.95,)
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Probe:
    """A measurement's contract: what it is for, what it needs, where it is weak, and the function that does it."""

    name: str
    version: str
    goal: str
    reads: tuple[str, ...]
    measures: tuple[str, ...]
    references: tuple[str, ...]
    weaknesses: tuple[str, ...]
    run: Callable[[Evidence], list[Measurement]]
