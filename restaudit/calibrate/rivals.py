"""Rules that other tools log, on the same runs: a limit of KL, of the reward's rise, of length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from restaudit.calibrate.counting import in_time, rate
from restaudit.calibrate.emulate import Shape
from restaudit.calibrate.grid import TrialSet
from restaudit.calibrate.scenarios import USUAL
from restaudit.calibrate.trial import TrialOutcome

# The false-alarm rate that rivals are tuned to: what a gate policy may spend.
RATE = 0.05
# What a rival rule logs: a value for each look.
Signal = Callable[[TrialOutcome], tuple[float, ...]]


@dataclass(frozen=True)
class Rival:
    """A rule on one logged quantity: it raises an alarm at the first look where the signal exceeds
    the threshold.
    """

    name: str
    what: str
    signal: Signal
    usual: float

    def alarm(self, outcome: TrialOutcome, threshold: float) -> int | None:
        """The look (from 1) of the first alarm, or None."""
        for look, value in enumerate(self.signal(outcome), start=1):
            if value > threshold:
                return look
        return None


def _rise(outcome: TrialOutcome) -> tuple[float, ...]:
    # The first rise is from the base policy, whose change is 0.
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


def matched(rival: Rival, healthy: Sequence[TrialOutcome], rate: float) -> float:
    """The threshold that this share of the healthy runs exceeds: the rule at its best, told what
    healthy runs do.
    """
    # A run gives an alarm where its highest value exceeds the threshold. "higher": a threshold that
    # a run really had, so that no more than this share exceed it.
    peaks = [max(rival.signal(outcome)) for outcome in healthy]
    return float(np.quantile(peaks, 1 - rate, method="higher"))


def thresholds(healthy: Sequence[TrialOutcome], rate: float) -> Mapping[str, tuple[float, float]]:
    """For every rival its usual threshold, and the one matched to this false-alarm rate."""
    return {r.name: (r.usual, matched(r, healthy, rate)) for r in RIVALS}


def rival_rows(
    grid: Sequence[TrialSet], outcomes: Sequence[Sequence[TrialOutcome]], shape: Shape
) -> list[dict[str, Any]]:
    """What the rivals would have caught within one Grow of onset in the default sets, and how
    often wrongly.
    """
    healthy: list[TrialOutcome] = []
    sick: list[tuple[TrialSet, Sequence[TrialOutcome]]] = []
    for trial_set, of_set in zip(grid, outcomes, strict=True):
        if trial_set.part != "default":
            continue
        if trial_set.scenario in USUAL:
            healthy += of_set
        elif trial_set.scenario.kind != "null":
            sick.append((trial_set, of_set))
    rows = []
    for rival in RIVALS if healthy else ():
        # The matched threshold is told what healthy runs do, which nobody knows of a real run:
        # rivals are shown at their best.
        usual, best = thresholds(healthy, RATE)[rival.name]
        for kind, threshold in (("usual", usual), ("matched", best)):
            false = sum(rival.alarm(o, threshold) is not None for o in healthy)
            caught = {}
            for trial_set, of_set in sick:
                alarms = [rival.alarm(o, threshold) for o in of_set]
                within = sum(in_time(trial_set.scenario, a, shape) for a in alarms)
                caught[trial_set.scenario.name] = rate(within, len(alarms))
            rows.append(
                {
                    "rule": rival.name,
                    "what": rival.what,
                    "threshold": threshold,
                    "chosen": kind,
                    "false_alarms": rate(false, len(healthy)),
                    "caught": caught,
                }
            )
    return rows
