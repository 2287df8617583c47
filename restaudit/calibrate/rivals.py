"""What rules that other tools log would have said on the same runs: a limit of KL, of the reward's
rise, of length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from restaudit.calibrate.trial import Outcome

Signal = Callable[[Outcome], tuple[float, ...]]


@dataclass(frozen=True)
class Rival:
    """A rule on one logged quantity: it raises an alarm at the first look where the signal exceeds
    the threshold.
    """

    name: str
    what: str
    signal: Signal
    usual: float

    def alarm(self, outcome: Outcome, threshold: float) -> int | None:
        """The look (from 1) of the first alarm, or None."""
        return next((k for k, v in enumerate(self.signal(outcome), start=1) if v > threshold), None)


def _rise(outcome: Outcome) -> tuple[float, ...]:
    return tuple(np.diff(outcome.reward, prepend=0.0).tolist())


RIVALS = (
    Rival("KL limit", "KL from the base policy, nats a sequence", lambda o: o.kl, 1.0),
    Rival("reward slope", "rise of the reward from one look to the next, base sd", _rise, 0.5),
    Rival(
        "length rule",
        "change of mean length, either way",
        lambda o: tuple(abs(v - 1) for v in o.length),
        0.2,
    ),
)


def matched(rival: Rival, healthy: Sequence[Outcome], rate: float) -> float:
    """The threshold that this share of the healthy runs exceeds: the rule at its best, told what
    healthy runs do.
    """
    return float(np.quantile([max(rival.signal(o)) for o in healthy], 1 - rate, method="higher"))


def thresholds(healthy: Sequence[Outcome], rate: float) -> Mapping[str, tuple[float, float]]:
    """For every rival its usual threshold, and the one matched to this false-alarm rate."""
    return {r.name: (r.usual, matched(r, healthy, rate)) for r in RIVALS}
