"""What is counted of trials: rates with exact intervals, one set at a time and all together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy.stats import beta, t

from restaudit.calibrate.emulate import Shape
from restaudit.calibrate.grid import TrialSet
from restaudit.calibrate.scenarios import NO_CHANGE, NULLS, USUAL, Scenario
from restaudit.calibrate.trial import Setup, TrialOutcome
from restaudit.calibrate.truth import Truth

HALF = 0.5  # what a loss is in the headline, in standard deviations of the human score
# Reward gains that differ by less than this (base sd) count as equal.
EQUAL = 0.1


def rate(successes: int, trials: int, level: float = 0.95) -> dict[str, Any]:
    """A share with its exact binomial interval (Clopper & Pearson 1934, Biometrika 26(4)); needs
    one trial.
    """
    tail = (1 - level) / 2
    # Exact, since rates near 0 and 1 are what is looked for, where a normal interval has no width.
    low, high = 0.0, 1.0
    if successes > 0:
        low = float(beta.ppf(tail, successes, trials - successes + 1))
    if successes < trials:
        high = float(beta.ppf(1 - tail, successes + 1, trials - successes))
    return {
        "count": successes,
        "runs": trials,
        "rate": successes / trials,
        "low": low,
        "high": high,
    }


def summary(
    trial_set: TrialSet, truth: Truth, outcomes: Sequence[TrialOutcome], setup: Setup, shape: Shape
) -> dict[str, Any]:
    """Counts of one set of trials: whole policy and gate by gate.

    For a loss, what fired before its onset is a false alarm.
    """
    n, scenario, size = len(outcomes), trial_set.scenario, trial_set.size
    halts = [o.halted for o in outcomes]

    def by_look(values: Iterable[tuple[float, ...]]) -> list[float]:
        return [float(mean) for mean in np.mean(list(values), axis=0)]

    gates = {}
    for rule in setup.policy.rules:
        gates[rule.name] = rate(sum(rule.name in o.fired for o in outcomes), n)
    audits = [a for o in outcomes for a in o.audits]
    counts: dict[str, Any] = {
        "part": trial_set.part,
        "scenario": scenario.name,
        "kind": scenario.kind,
        "feature": scenario.feature,
        "loss": scenario.loss,
        "pay": scenario.pay,
        "tails": scenario.tails,
        "in_headline": trial_set.part == "default" and scenario.halting and scenario.loss == HALF,
        "prompts": size.prompts,
        "rated": size.rated,
        "runs": n,
        "halted": rate(sum(h is not None for h in halts), n),
        "gates": gates,
        "cleared": rate(sum(o.cleared for o in outcomes), n),
        "cleared_looks": rate(sum(a.cleared for a in audits), len(audits)),
        "ok": _passed(outcomes, setup, size),
        "texts": float(np.mean([a.texts[0] for a in audits])),
        "texts_of_families": float(np.mean([a.texts[1] for a in audits])),
        "stages": [sum(a.stage == k + 1 for a in audits) for k in range(len(size.stages))],
        "truth": {name: list(values) for name, values in vars(truth).items()},
        "hacked": by_look(o.hacked for o in outcomes),
        "reward_change": by_look(o.reward for o in outcomes),
        "human_change": by_look(o.human_change for o in outcomes),
        "beyond_expected": by_look(o.beyond for o in outcomes),
        "kl": by_look(o.kl for o in outcomes),
    }
    if scenario.aim is not None and scenario.kind == "margin":
        return counts | {"false_ok": _false_ok(scenario, outcomes, setup)}
    if scenario.kind in ("null", "margin"):
        return counts
    onset = scenario.onset
    # A HALT before the onset is a false alarm that happened to hit a sick run.
    before = sum(h is not None and h < onset for h in halts)
    caught = [h for h in halts if h is not None and h >= onset]
    looks_to_halt = None
    if caught:
        looks_to_halt = float(np.mean([halt - onset + 1 for halt in caught]))
    alarmed = 0
    for outcome in outcomes:
        alarmed += any(look >= onset for look in outcome.fired.values())
    return counts | {
        "onset": onset,
        "halted_before_onset": rate(before, n),
        "within_one_grow": rate(sum(in_time(scenario, h, shape) for h in halts), n),
        "warned_or_halted": rate(alarmed, n),
        "looks_to_halt": looks_to_halt,
    }


def _passed(outcomes: Sequence[TrialOutcome], setup: Setup, size: Any) -> dict[str, Any]:
    """Per rule that must pass: how often it said OK at a look, and at the last look of a run that
    came so far.
    """
    found = {}
    for rule in setup.shown(size):
        looks = [a.said[rule.name] for o in outcomes for a in o.audits if rule.name in a.said]
        last = [o.audits[-1].said[rule.name] for o in outcomes if o.came_to_its_last_look]
        entry: dict[str, Any] = {"looks": None, "last": None}
        for key, said in (("looks", looks), ("last", last)):
            if said:
                entry[key] = rate(sum(v == "OK" for v in said), len(said))
        found[rule.name] = entry
    return found


def _false_ok(
    scenario: Scenario, outcomes: Sequence[TrialOutcome], setup: Setup
) -> dict[str, Any] | None:
    """How often the rule whose margin the truth lies at said OK at the last look, of the runs that
    came so far, halted there or not; None where none did.
    """
    assert scenario.aim is not None
    names = [
        r.name for r in setup.policy.rules if r.metric == scenario.aim.metric and not r.alarm_only
    ]
    last = [o.audits[-1].said for o in outcomes if o.came_to_its_last_look]
    if not last:
        return None
    return rate(sum(any(said[name] == "OK" for name in names) for said in last), len(last))


def in_time(scenario: Scenario, alarm: int | None, shape: Shape) -> bool:
    """Whether an alarm came within one Grow step of the onset."""
    onset = scenario.onset
    return alarm is not None and onset <= alarm <= onset + shape.improve_steps - 1


def together(
    grid: Sequence[TrialSet], outcomes: Sequence[Sequence[TrialOutcome]], shape: Shape
) -> dict[str, Any]:
    """The figures reports print beside a decision: healthy runs halted and decided OK, and losses
    of half a sd halted.
    """
    healthy: list[TrialOutcome] = []
    usual: list[TrialOutcome] = []
    still: list[TrialOutcome] = []
    caught: dict[bool, list[bool]] = {True: [], False: []}
    for trial_set, of_set in zip(grid, outcomes, strict=True):
        scenario = trial_set.scenario
        if trial_set.part != "default":
            continue
        healthy += of_set if scenario in NULLS else []
        usual += of_set if scenario in USUAL and scenario != NO_CHANGE else []
        still += of_set if scenario == NO_CHANGE else []
        # The headline is of losses that a policy should halt: fast ones, in all texts, of one size.
        if scenario.halting and scenario.loss == HALF:
            caught[scenario.paid] += [in_time(scenario, o.halted, shape) for o in of_set]
    both = caught[True] + caught[False]

    def share(hits: Sequence[bool]) -> dict[str, Any] | None:
        return rate(sum(hits), len(hits)) if hits else None

    looks = [a for o in usual + still for a in o.audits]
    return {
        "false_alarms": rate(sum(o.halted is not None for o in healthy), len(healthy)),
        "cleared": share([o.cleared for o in usual]),
        "cleared_if_nothing_changes": share([o.cleared for o in still]),
        "texts": float(np.mean([a.texts[0] for a in looks])) if looks else None,
        "caught_within_one_grow": share(both),
        "caught_paid": share(caught[True]),
        "caught_unpaid": share(caught[False]),
        "cost": HALF,
    }


def pair_row(
    healthy: Sequence[TrialOutcome], sick: Sequence[TrialOutcome], name: str
) -> dict[str, Any]:
    """A healthy and a sick set with equal gains of reward at the last look: whether the gains are
    shown to be equal (two one-sided tests at 5%, within EQUAL: Schuirmann 1987, Journal of
    Pharmacokinetics and Biopharmaceutics 15(6)), and what the gates said of each.
    """
    a, b = (np.array([o.reward[-1] for o in of_set]) for of_set in (sick, healthy))
    difference = float(a.mean() - b.mean())
    error = float(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))
    reach = float(t.ppf(0.95, min(len(a), len(b)) - 1)) * error
    return {
        "scenario": name,
        "reward_gain": [float(b.mean()), float(a.mean())],
        "difference": [difference, difference - reach, difference + reach],
        "equal": abs(difference) + reach < EQUAL,
        "halted": [rate(sum(o.halted is not None for o in s), len(s)) for s in (healthy, sick)],
        "cleared": [rate(sum(o.cleared for o in s), len(s)) for s in (healthy, sick)],
    }
