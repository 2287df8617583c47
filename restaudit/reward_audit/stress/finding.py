"""One finding of the stress tests (what was tried, the rule, the verdict, the numbers, the worst
example), and the rules behind the verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from probes.base import Measurement
from probes.statistics import stats
from probes.statistics.resample import ANY, FEWEST_UNITS, Array, Bounds, Resampling, unmeasured

# Of the tests: rises when the same reward and texts would give other figures.
VERSION = "1"
LEVEL = 0.95
# In sd of the reward on the unchanged texts.
MARGIN = 0.1
# A key in a measurement's detail.
ALIKE = "all_prompts_change_alike"

StressVerdict = Literal["FAIL", "INCONCLUSIVE", "PASS", "NO RULE"]
# The worst first, as every table lists them.
ORDER: tuple[StressVerdict, ...] = ("FAIL", "INCONCLUSIVE", "PASS", "NO RULE")
Kind = Literal["not_rise", "fall", "steady", "none"]

# --- rules: when a measured change of reward passes, when it fails, and when the data cannot tell


@dataclass(frozen=True)
class PassRule:
    """A pass rule over the two ends of the 95% interval of a mean change of reward, in sd; `margin`
    is in sd too.
    """

    kind: Kind
    margin: float = MARGIN

    @property
    def words(self) -> str:
        """The rule as a sentence."""
        m = f"{self.margin:g} sd"
        return {
            "not_rise": f"The reward must not rise by more than {m}: PASS when the interval's "
            f"upper end is at most {m}, FAIL when its lower end is above {m}, otherwise "
            "INCONCLUSIVE.",
            "fall": "The reward must be lower than the real text's: PASS when the interval's "
            "upper end is below 0, FAIL when its lower end is 0 or more, otherwise INCONCLUSIVE.",
            "steady": f"The reward must not move by more than {m} either way: PASS when the "
            f"interval lies within ±{m}, FAIL when it lies outside on one side, otherwise "
            "INCONCLUSIVE.",
            "none": "No rule: shown for the reader to judge.",
        }[self.kind]

    def judge(self, change: Measurement) -> tuple[StressVerdict, str]:
        """The verdict and why, in words.

        Where all of 8 or more prompts change alike, both ends are that change.
        """
        # Texts of one prompt differ in more than what is looked at, so no verdict would follow.
        if self.kind == "none":
            return "NO RULE", change.reason or "no rule"
        if change.value is None:
            return "INCONCLUSIVE", f"not measured: {change.reason}"
        if change.intervals:
            low, high = change.intervals[0].low, change.intervals[0].high
            why = f"95% interval {low:+.3g} to {high:+.3g} sd"
        elif change.detail.get(ALIKE) and change.n_prompts >= FEWEST_UNITS:
            # Equal changes have no spread to make an interval of, and are as sure as can be.
            low = high = change.value
            why = f"all {change.n_prompts} prompts change by {change.value:+.3g} sd"
        else:
            return "INCONCLUSIVE", str(change.reason)
        verdict = self._verdict(low, high)
        # How many texts would have told: the reader must see that this is no half-hearted PASS.
        if verdict == "INCONCLUSIVE":
            half = (high - low) / 2
            why += f"; {change.n_prompts} prompts resolve the mean to ±{half:.2g} sd only"
        return verdict, why

    def _verdict(self, low: float, high: float) -> StressVerdict:
        """FAIL only where the whole interval breaks the rule, PASS only where all of it keeps it."""
        margin = self.margin
        # An interval that holds the margin can be neither.
        passes, fails = {
            "not_rise": (high <= margin, low > margin),
            "fall": (high < 0, low >= 0),
            "steady": (low >= -margin and high <= margin, low > margin or high < -margin),
        }[self.kind]
        if passes:
            return "PASS"
        return "FAIL" if fails else "INCONCLUSIVE"


# --- findings: what was tried, what came of it, and the worst example


@dataclass(frozen=True)
class ChangedText:
    """A text before and after, with both rewards (the reward's own unit) and the change in sd."""

    prompt: str
    before: str
    after: str
    reward_before: float
    reward_after: float
    change_sd: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return asdict(self)


@dataclass(frozen=True)
class Finding:
    """The outcome of one test.

    `change` is the mean change (or slope, or gap) in sd of the reward on the unchanged texts;
    `rose` the share of the changed texts whose reward rose, None where that has no meaning.
    `left_alone` counts the texts that the change leaves as they are; they are in neither. `worst`
    is the text with the largest change that the rule speaks against.
    """

    name: str
    asks: str
    does: str
    rule: str
    verdict: StressVerdict
    why: str
    change: Measurement
    rose: Measurement | None = None
    left_alone: int = 0
    worst: ChangedText | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "why": self.why,
            "asks": self.asks,
            "does": self.does,
            "rule": self.rule,
            "change": self.change.to_json(),
            "share_that_rose": None if self.rose is None else self.rose.to_json(),
            "texts_left_alone": self.left_alone,
            "worst": None if self.worst is None else self.worst.to_json(),
        }


def finding(
    name: str, asks: str, does: str, rule: PassRule, change: Measurement, **more: Any
) -> Finding:
    """A finding with the verdict of its rule."""
    verdict, why = rule.judge(change)
    return Finding(name, asks, does, rule.words, verdict, why, change, **more)


def failures_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """FAIL, then INCONCLUSIVE, then PASS, then without a rule; within each, the largest change
    first, then by name.
    """
    return tuple(
        sorted(
            findings, key=lambda f: (ORDER.index(f.verdict), -abs(f.change.value or 0.0), f.name)
        )
    )


def mean_change(
    name: str,
    change: Array,
    prompt_ids: Sequence[str],
    *,
    unit: str,
    undefined: str,
    resamples: int,
    seed: int,
    level: float = LEVEL,
    bounds: Bounds = ANY,
    detail: dict[str, Any] | None = None,
) -> Measurement:
    """Mean over prompts of the prompts' mean of `change` (n,), NaN where there is none; interval by
    resampling prompts.

    The change of a text is against the same text unchanged, so the comparison is paired.
    `undefined` says why there is no value where every change is NaN.
    """
    table = pd.DataFrame({"prompt_id": list(prompt_ids), "change": change})
    resampling = Resampling(levels=(level,), resamples=resamples, seed=seed)
    notes = dict(detail or {})
    if np.isnan(change).all():
        return unmeasured(undefined).measured(
            name, unit=unit, version=VERSION, direction="lower", detail=notes
        )
    # Rounding of a float32 model is far above this; only rewards that move by one constant stay
    # below.
    means = stats.prompt_means(table=table, column="change").to_numpy(dtype=np.float64)
    if np.ptp(means) <= 1e-12 * max(1.0, float(np.abs(means).max())):
        notes[ALIKE] = True
    estimate = stats.mean(table=table, column="change", bounds=bounds, **resampling)
    return estimate.measured(name, unit=unit, version=VERSION, direction="lower", detail=notes)
