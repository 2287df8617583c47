"""One finding of the stress tests: what was tried, the rule, the verdict, the numbers, and the
worst example.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from probes.base import Measurement
from restaudit.reward_audit.stress.rules import ORDER, Rule, Verdict


@dataclass(frozen=True)
class Example:
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
    verdict: Verdict
    why: str
    change: Measurement
    rose: Measurement | None = None
    left_alone: int = 0
    worst: Example | None = None

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
    name: str, asks: str, does: str, rule: Rule, change: Measurement, **more: Any
) -> Finding:
    """A finding with the verdict of its rule."""
    verdict, why = rule.judge(change)
    return Finding(name, asks, does, rule.words, verdict, why, change, **more)


def failures_first(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """FAIL, then INCONCLUSIVE, then PASS, then without a rule; within each, the largest change
    first, then by name.
    """
    return tuple(
        sorted(found, key=lambda f: (ORDER.index(f.verdict), -abs(f.change.value or 0.0), f.name))
    )
