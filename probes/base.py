"""What every probe returns (a Measurement), what it reads (Evidence) and what describes it
(Probe).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict

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

    `value` is None exactly when it could not be measured, and `reason` then says why. `intervals`
    may be empty only when `reason` says why there is none. `n` counts rows (samples or pairs),
    `n_prompts` the units that were resampled. `baseline` is the base policy's value on the same
    prompts, where the measurement is a comparison or has one. `ok_intervals` are those that the
    question "may this pass?" is answered by, where they are others than `intervals`: to pass, every
    one of several differences must lie within the margin, so each has its own error rate (an
    intersection-union test: Berger 1982, Technometrics 24(4)), while an alarm about the largest of
    them must allow for all. `error` is the standard error on the metric's own scale, where the
    value's sampling distribution has one; no clipping of an interval's ends has touched it.
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
    ok_intervals: tuple[Interval, ...] = ()
    error: float | None = None

    def __post_init__(self) -> None:
        # Whoever reads a null or a value without an interval must find out why: enforced here, once,
        # so that no probe can forget it.
        if self.value is None and not self.reason:
            raise ValueError(f"{self.name}: a missing value needs a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(
                f"{self.name}: {self.value} is not a number that can be recorded; use None with a "
                "reason"
            )
        if self.value is not None and not self.intervals and not self.reason:
            raise ValueError(f"{self.name}: a value without an interval needs a reason")

    def interval(self, level: float = 0.95) -> Interval | None:
        """The interval at this level, or None where it was not computed."""
        return _at_level(self.intervals, level)

    def ok_interval(self, level: float = 0.95) -> Interval | None:
        """The interval at this level that answers whether it may pass."""
        return _at_level(self.ok_intervals or self.intervals, level)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only; what was added to the record later stands there only where it
        is.
        """
        raw = {
            **vars(self),
            "intervals": [dict(vars(i)) for i in self.intervals],
            "detail": dict(self.detail),
            "ok_intervals": [dict(vars(i)) for i in self.ok_intervals],
        }
        later: dict[str, Any] = {"ok_intervals": [], "error": None}
        return {k: v for k, v in raw.items() if k not in later or v != later[k]}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Measurement:
        """The inverse of `to_json`."""
        spans = {k: row.get(k, ()) for k in ("intervals", "ok_intervals")}
        return cls(**{**row, **{k: tuple(Interval(**i) for i in v) for k, v in spans.items()}})


def _at_level(intervals: Sequence[Interval], level: float) -> Interval | None:
    return next((i for i in intervals if math.isclose(i.level, level, abs_tol=1e-9)), None)


Array = np.ndarray[Any, np.dtype[np.float64]]
Embed = Callable[[Sequence[str]], "np.ndarray[Any, np.dtype[np.float32]]"]
Score = Callable[[Sequence[str], Sequence[str]], Array]
HumanSampling = Literal["all", "random", "unknown"]


class Resampling(TypedDict):
    """How to resample: two-sided confidence levels, number of resamples, and the seed that makes it
    repeatable.
    """

    levels: Sequence[float]
    resamples: int
    seed: int


@dataclass(frozen=True)
class Scorer:
    """A scorer of single texts that may be exchanged: 0 (none) to 1 (certain), and what exactly it
    is.

    `known_failure` is the measured weakness that is printed wherever its scores are.
    """

    name: str
    version: str
    sha256: str
    known_failure: str
    scores: Callable[[Sequence[str]], Array]


@dataclass(frozen=True)
class Evidence:
    """Everything a probe may read: plain tables and callables.

    Only `outputs` is needed; the rest only if it is there.

    Tables of samples have one row a sample. Columns every one has: `prompt_id` (str), `sample_id`
    (str), `text` (str), `n_tokens` (int). Columns it may have: `reward` (float, the reward model's
    own unit), `reward_spread` (float, the members' standard deviation), `human` (float or NaN:
    held-out human score, NaN where there is none), `inclusion` (float, 0..1: the chance with which
    this row was chosen to be rated by people), `logprob` (float, nats, of the whole sample), `kl`
    (float, nats per sequence), `group` and `family` (str or None: the counterfactual group, and the
    family of prompts that differ only by group), `origin` ("policy" or "reference") and `kept`
    (bool; grow table only).

    outputs         the policy under audit, on the audit prompts
    base            the base policy on the same prompts (None when `outputs` are the base policy's
                    own)
    grow            the scored Grow samples with `kept` for this Improve step (None for the base
                    policy)
    d_eval          the policy's samples on D_eval, scored
    embed           texts -> array (n, d) of unit-norm embeddings
    human_label     what the human score is: PEOPLE, LEXICON …, MODEL …, REFERENCE …, SIMULATED or
                    NONE
    human_sampling  "all": every row that has a human score could get one; "random": people rated
                    rows drawn at random (with the chances in `inclusion`, equal where that is
                    absent); "unknown": nobody says how
    ratings         people's single ratings of rows of `outputs` and `base`: sample_id, prompt_id,
                    rater, dimension, score, and submitted_at (ISO time) where known
    prompts         prompt_id -> the prompt as plain text
    references      prompt_id -> human reference texts
    score           (prompts, texts) -> rewards (n,), the reward model as a function
    known           array (m, d): embeddings of texts that the reward model was trained on
    toxicity        a scorer of texts
    items           benchmark items, one row an item and metric: task, item_id, metric, value
                    (float), and, where it has them, cluster (the template or kind it shares with
                    others) and group (whom it is about); an empty table may say why in
                    attrs["reason"]; `base_items` the same for the base policy
    human_text      held-out human text under this policy: text_id, text, nll (nats, whole text),
                    n_tokens; `base_human_text` the same under the base policy
    history         earlier looks, one row each: iteration, kl, reward_change, human_change (base
                    sd), in order
    levels          two-sided confidence levels to report, the first one is the display level
    only            names of the measurements that are wanted (a name that ends in "." stands for
                    all that begin with it); None means all. A probe skips what is costly and not
                    wanted.
    """

    outputs: pd.DataFrame
    base: pd.DataFrame | None = None
    grow: pd.DataFrame | None = None
    d_eval: pd.DataFrame | None = None
    embed: Embed | None = None
    human_label: str = "NONE"
    human_sampling: HumanSampling = "all"
    ratings: pd.DataFrame | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, Sequence[str]] = field(default_factory=dict)
    score: Score | None = None
    known: Array | None = None
    toxicity: Scorer | None = None
    items: pd.DataFrame | None = None
    base_items: pd.DataFrame | None = None
    human_text: pd.DataFrame | None = None
    base_human_text: pd.DataFrame | None = None
    history: pd.DataFrame | None = None
    levels: tuple[float, ...] = (0.95,)
    resamples: int = 1000
    seed: int = 0
    only: frozenset[str] | None = None

    @property
    def resampling(self) -> Resampling:
        """Levels, resamples and seed, as every statistic takes them."""
        return Resampling(levels=self.levels, resamples=self.resamples, seed=self.seed)

    def wants(self, *names: str) -> bool:
        """Whether any of these measurements is wanted; a name ending in "." stands for all that
        begin with it.
        """
        if self.only is None:
            return True
        return any(_matches(name, wanted) for name in names for wanted in self.only)


def _matches(a: str, b: str) -> bool:
    """Whether the two are one name, or one is a beginning (it ends in a dot) of the other."""
    if a == b:
        return True
    # Either way round: a probe may ask for its whole family, and somebody may want a whole probe.
    return (a.endswith(".") and b.startswith(a)) or (b.endswith(".") and a.startswith(b))


@dataclass(frozen=True)
class Metric:
    """What a measurement is called by people, and how it is shown.

    A `name` that ends in "." stands for a family, all measurements whose names begin with it; "…"
    in its title is the place of the rest of the name (a group, a task). `unit` is empty where it
    depends on the run. `section` is a key of `probes.catalogue.SECTIONS`. `decimals` None: as many
    as the interval needs.
    """

    name: str
    title: str
    unit: str
    section: str
    direction: Direction = "neutral"
    decimals: int | None = None

    @property
    def family(self) -> bool:
        """Whether it stands for all measurements whose names begin with its name."""
        return self.name.endswith(".")

    def member(self, rest: str) -> Metric:
        """One measurement of this family, `rest` being what follows the family's name."""
        changed = rest.endswith("_change")
        words = rest.removesuffix("_change").replace("_", " ").replace(".", ", ")
        title = self.title.replace("…", words) if "…" in self.title else f"{self.title}: {words}"
        if changed:
            title += ", change from the base policy"
        return replace(self, name=f"{self.name}{rest}", title=title)


def metrics(section: str, *rows: tuple[str, str, str, Direction]) -> dict[str, Metric]:
    """Metrics of one section by name, from rows of (name, title, unit, direction)."""
    return {name: Metric(name, title, unit, section, way) for name, title, unit, way in rows}


@dataclass(frozen=True)
class Probe:
    """A measurement's contract: what it is for, what it needs, where it is weak, and the function
    that does it.

    `title` is the heading over its measurements in a section of its own name, if it has one.
    Probes run, and their measurements are recorded, by `order`, then by name.
    """

    name: str
    title: str
    version: str
    goal: str
    reads: tuple[str, ...]
    measures: tuple[Metric, ...]
    references: tuple[str, ...]
    weaknesses: tuple[str, ...]
    run: Callable[[Evidence], list[Measurement]]
    order: int = 1000

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what it measures, as plan.json records them."""
        return tuple(m.name for m in self.measures)
