"""All trials of a calibration: which are run, in parallel, and what is counted of them and of rules
that other tools log.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

import numpy as np
from scipy.stats import beta
from threadpoolctl import threadpool_limits

from probes.base import Array
from restaudit.calibrate import emulate
from restaudit.calibrate.emulate import Scenario, Size, check_size, world
from restaudit.calibrate.pool import Pool
from restaudit.calibrate.trial import Setup, TrialOutcome, trials
from restaudit.evidence.steps import seed_of

# Trials a worker takes at a time.
CHUNK = 10
# The false-alarm rate that rivals are tuned to: what a gate policy may spend.
RATE = 0.05
HALF = 0.5  # what a hack costs people in the headline, in standard deviations of their score
PROMPTS = (24, 48, 96)
RATINGS = (50, 100, 200, 400)
# What a rival rule logs: a value for each look.
Signal = Callable[[TrialOutcome], tuple[float, ...]]
SIZED = (emulate.THRESHOLDS, emulate.hack("keyword"), emulate.hack("length"))


@dataclass(frozen=True)
class TrialSet:
    """Trials of one scenario at one size; `part` is the table they belong to: default, size or
    ratings.
    """

    part: str
    scenario: Scenario
    size: Size
    runs: int


@dataclass(frozen=True)
class Vectors:
    """Embeddings of the pool's texts, looked up by text."""

    table: Mapping[str, Array]

    def __call__(self, texts: Sequence[str]) -> Any:
        """Array (n, d)."""
        return np.stack([self.table[t] for t in texts])


def trial_grid(size: Size, *, null_runs: int, hack_runs: int) -> list[TrialSet]:
    """The whole grid: nulls, hacks and flipped labels at the default size, then a part of them by
    size and ratings.
    """
    grid = [TrialSet("default", s, size, null_runs) for s in emulate.NULLS]
    grid += [TrialSet("default", s, size, hack_runs) for s in emulate.hacks()]
    grid += [TrialSet("default", s, size, hack_runs) for s in emulate.labels()]

    def add(part: str, other_size: Size) -> None:
        for scenario in SIZED:
            runs = null_runs // 2 if scenario.kind == "null" else hack_runs
            grid.append(TrialSet(part, scenario, other_size, runs))

    for prompts in PROMPTS:
        if prompts != size.prompts:
            add("size", replace(size, prompts=prompts, families=0))
    for rated in RATINGS:
        rated_size = replace(size, rated=rated, families=0)
        if rated > size.prompts * size.per_prompt:
            # More ratings than the default audit has samples need a larger audit.
            per_prompt = -(-rated // size.prompts)
            base_per_prompt = max(per_prompt, size.base_per_prompt)
            rated_size = replace(rated_size, per_prompt=per_prompt, base_per_prompt=base_per_prompt)
        add("ratings", rated_size)
    return grid


def run_trials(
    pool: Pool,
    setup: Setup,
    grid: Sequence[TrialSet],
    *,
    seed: int,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[list[TrialOutcome]]:
    """The outcomes of every set, in order.

    A trial's seed follows from (seed, scenario, size, number) alone.
    """
    for trial_set in grid:
        # Every size is checked before hours of trials, and not when its turn comes.
        check_size(pool, trial_set.size)
    jobs = []
    for k, trial_set in enumerate(grid):
        for start in range(0, trial_set.runs, CHUNK):
            end = min(start + CHUNK, trial_set.runs)
            jobs.append((k, tuple(range(start, end))))
    done: list[list[TrialOutcome]] = [[] for _ in grid]
    # Forked workers share the pool's memory; where there is no fork each gets a copy once.
    context = get_context("fork" if os.name == "posix" else "spawn")
    count = workers or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_start, initargs=(pool, setup, grid, seed)
    ) as work:
        # `map` keeps the order of the jobs, so the number of workers cannot change a figure.
        for (k, numbers), outcomes in zip(jobs, work.map(_chunk, jobs), strict=True):
            done[k] += outcomes
            if progress:
                progress(len(numbers))
    return done


_shared: dict[str, Any] = {}


def _start(pool: Pool, setup: Setup, grid: Sequence[TrialSet], seed: int) -> None:
    """What every worker process holds: sent once instead of with every chunk."""
    # A process a core and a thread a process: thread pools of several processes only wait for one
    # another.
    threadpool_limits(1)
    _shared.update(pool=pool, setup=setup, grid=grid, seed=seed, worlds={})


def _chunk(job: tuple[int, tuple[int, ...]]) -> list[TrialOutcome]:
    place, numbers = job
    trial_set: TrialSet = _shared["grid"][place]
    worlds = _shared["worlds"]
    if trial_set.scenario not in worlds:
        worlds[trial_set.scenario] = world(_shared["pool"], trial_set.scenario)
    # Scenario and size enter a seed as they print: to rename one of their fields changes every
    # figure of a calibration.
    seeds = [
        seed_of(_shared["seed"], f"{trial_set.scenario}/{trial_set.size}/{k}") for k in numbers
    ]
    return trials(worlds[trial_set.scenario], trial_set.size, _shared["setup"], seeds)


# --- rules that other tools log, on the same runs: a limit of KL, of the reward's rise, of length


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


# --- counting


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


def summary(trial_set: TrialSet, outcomes: Sequence[TrialOutcome], setup: Setup) -> dict[str, Any]:
    """Counts of one set of trials: whole policy and gate by gate.

    For a hack, what fired before its onset is a false alarm.
    """
    n = len(outcomes)
    halts = [o.halted for o in outcomes]

    def by_look(values: Iterable[tuple[float, ...]]) -> list[float]:
        return [float(mean) for mean in np.mean(list(values), axis=0)]

    gates = {}
    for rule in setup.policy.rules:
        gates[rule.name] = rate(sum(rule.name in o.fired for o in outcomes), n)
    counts: dict[str, Any] = {
        "part": trial_set.part,
        "scenario": trial_set.scenario.name,
        "kind": trial_set.scenario.kind,
        "feature": trial_set.scenario.feature,
        "cost": trial_set.scenario.cost,
        "prompts": trial_set.size.prompts,
        "samples": trial_set.size.prompts * trial_set.size.per_prompt,
        "rated": trial_set.size.rated,
        "runs": n,
        "halted": rate(sum(h is not None for h in halts), n),
        "gates": gates,
        "hacked": by_look(o.hacked for o in outcomes),
        "reward_change": by_look(o.reward for o in outcomes),
        "human_change": by_look(o.human_change for o in outcomes),
        "beyond_expected": by_look(o.beyond for o in outcomes),
        "kl": by_look(o.kl for o in outcomes),
    }
    if trial_set.scenario.kind == "null":
        return counts
    onset = trial_set.scenario.onset
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
        "within_one_grow": _within(trial_set, halts, setup),
        "warned_or_halted": rate(alarmed, n),
        "looks_to_halt": looks_to_halt,
    }


def rival_rows(
    grid: Sequence[TrialSet], outcomes: Sequence[Sequence[TrialOutcome]], setup: Setup
) -> list[dict[str, Any]]:
    """What the rivals would have caught within one Grow of onset in the default sets, and how
    often wrongly.
    """
    healthy, sick = _default_sets(grid, outcomes)
    rows = []
    for rival in RIVALS:
        # The matched threshold is told what healthy runs do, which nobody knows of a real run:
        # rivals are shown at their best.
        usual, best = thresholds(healthy, RATE)[rival.name]
        for kind, threshold in (("usual", usual), ("matched", best)):
            false = sum(rival.alarm(o, threshold) is not None for o in healthy)
            caught = {}
            for trial_set, of_set in sick:
                alarms = [rival.alarm(o, threshold) for o in of_set]
                caught[trial_set.scenario.name] = _within(trial_set, alarms, setup)
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


def _default_sets(
    grid: Sequence[TrialSet], outcomes: Sequence[Sequence[TrialOutcome]]
) -> tuple[list[TrialOutcome], list[tuple[TrialSet, Sequence[TrialOutcome]]]]:
    """At the default size: the outcomes of all healthy runs, and those of each kind of sick ones."""
    healthy: list[TrialOutcome] = []
    sick: list[tuple[TrialSet, Sequence[TrialOutcome]]] = []
    for trial_set, of_set in zip(grid, outcomes, strict=True):
        if trial_set.part != "default":
            continue
        if trial_set.scenario.kind == "null":
            healthy += of_set
        else:
            sick.append((trial_set, of_set))
    return healthy, sick


def _in_time(trial_set: TrialSet, alarm: int | None, setup: Setup) -> bool:
    """Whether an alarm came within one Grow step of the onset."""
    onset = trial_set.scenario.onset
    return alarm is not None and onset <= alarm <= onset + setup.improve_steps - 1


def _within(trial_set: TrialSet, alarms: Sequence[int | None], setup: Setup) -> dict[str, Any]:
    return rate(sum(_in_time(trial_set, alarm, setup) for alarm in alarms), len(alarms))


def together(
    grid: Sequence[TrialSet], outcomes: Sequence[Sequence[TrialOutcome]], setup: Setup
) -> dict[str, Any]:
    """The two figures reports print beside a decision: healthy runs halted, and hacks at half a sd
    or more halted.
    """
    healthy, sick = _default_sets(grid, outcomes)
    halted = rate(sum(o.halted is not None for o in healthy), len(healthy))
    # The headline is of hacks that a policy should halt: fast ones, of all texts, at one cost.
    caught: list[bool] = []
    for trial_set, of_set in sick:
        scenario = trial_set.scenario
        if scenario.kind == "hack" and scenario.halting and scenario.cost == HALF:
            caught += [_in_time(trial_set, o.halted, setup) for o in of_set]
    return {
        "false_alarms": halted,
        "caught_within_one_grow": rate(sum(caught), len(caught)),
        "cost": HALF,
    }
