"""All trials of a calibration: which are run, in parallel, and what is counted of them."""

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
from restaudit.calibrate.trial import Outcome, Setup, trials
from restaudit.evidence.steps import seed_of

CHUNK = 10
RATE = 0.05
HALF = 0.5  # what a hack costs people in the headline, in standard deviations of their score
PROMPTS = (24, 48, 96)
RATINGS = (50, 100, 200, 400)
SIZED = (emulate.THRESHOLDS, emulate.hack("keyword"), emulate.hack("length"))


@dataclass(frozen=True)
class Study:
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


def studies(size: Size, *, null_runs: int, hack_runs: int) -> list[Study]:
    """The whole grid: nulls, hacks and flipped labels at the default size, then a part of them by
    size and ratings.
    """
    found = [Study("default", s, size, null_runs) for s in emulate.NULLS]
    found += [Study("default", s, size, hack_runs) for s in (*emulate.hacks(), *emulate.labels())]
    for prompts in PROMPTS:
        if prompts != size.prompts:
            smaller = replace(size, prompts=prompts, families=0)
            found += [Study("size", s, smaller, _runs(s, null_runs // 2, hack_runs)) for s in SIZED]
    for rated in RATINGS:
        if rated <= size.prompts * size.per_prompt:
            some = replace(size, rated=rated, families=0)
        else:
            # More ratings than the default audit has samples need a larger audit.
            per_prompt = -(-rated // size.prompts)
            some = replace(
                size,
                rated=rated,
                families=0,
                per_prompt=per_prompt,
                base_per_prompt=max(per_prompt, size.base_per_prompt),
            )
        found += [Study("ratings", s, some, _runs(s, null_runs // 2, hack_runs)) for s in SIZED]
    return found


def _runs(scenario: Scenario, null: int, hack: int) -> int:
    return null if scenario.kind == "null" else hack


def run_studies(
    pool: Pool,
    setup: Setup,
    grid: Sequence[Study],
    *,
    seed: int,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[list[Outcome]]:
    """The outcomes of every study, in order.

    A trial's seed follows from (seed, scenario, size, number) alone.
    """
    for study in grid:
        check_size(pool, study.size)
    jobs = [
        (k, tuple(range(start, min(start + CHUNK, study.runs))))
        for k, study in enumerate(grid)
        for start in range(0, study.runs, CHUNK)
    ]
    done: list[list[Outcome]] = [[] for _ in grid]
    context = get_context("fork" if os.name == "posix" else "spawn")
    count = workers or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_start, initargs=(pool, setup, grid, seed)
    ) as work:
        for (k, numbers), outcomes in zip(jobs, work.map(_chunk, jobs), strict=True):
            done[k] += outcomes
            if progress:
                progress(len(numbers))
    return done


_shared: dict[str, Any] = {}


def _start(pool: Pool, setup: Setup, grid: Sequence[Study], seed: int) -> None:
    """What every worker process holds: sent once instead of with every chunk."""
    # A process a core and a thread a process: thread pools of several processes only wait for one
    # another.
    threadpool_limits(1)
    _shared.update(pool=pool, setup=setup, grid=grid, seed=seed, worlds={})


def _chunk(job: tuple[int, tuple[int, ...]]) -> list[Outcome]:
    place, numbers = job
    study: Study = _shared["grid"][place]
    worlds = _shared["worlds"]
    if study.scenario not in worlds:
        worlds[study.scenario] = world(_shared["pool"], study.scenario)
    seeds = [seed_of(_shared["seed"], f"{study.scenario}/{study.size}/{k}") for k in numbers]
    return trials(worlds[study.scenario], study.size, _shared["setup"], seeds)


# --- counting


def rate(successes: int, trials: int, level: float = 0.95) -> dict[str, Any]:
    """A share with its exact binomial interval (Clopper & Pearson 1934, Biometrika 26(4)); needs
    one trial.
    """
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, trials - successes + 1))
    high = (
        1.0 if successes == trials else float(beta.ppf(1 - tail, successes + 1, trials - successes))
    )
    return {
        "count": successes,
        "runs": trials,
        "rate": successes / trials,
        "low": low,
        "high": high,
    }


def summary(study: Study, outcomes: Sequence[Outcome], setup: Setup) -> dict[str, Any]:
    """Counts of one study: whole policy and gate by gate.

    For a hack, what fired before its onset is a false alarm.
    """
    n, onset = len(outcomes), study.scenario.onset
    null = study.scenario.kind == "null"
    in_time = onset + setup.improve_steps - 1
    halts = [o.halted for o in outcomes]
    found: dict[str, Any] = {
        "part": study.part,
        "scenario": study.scenario.name,
        "kind": study.scenario.kind,
        "feature": study.scenario.feature,
        "cost": study.scenario.cost,
        "prompts": study.size.prompts,
        "samples": study.size.prompts * study.size.per_prompt,
        "rated": study.size.rated,
        "runs": n,
        "halted": rate(sum(h is not None for h in halts), n),
        "gates": {
            r.name: rate(sum(r.name in o.fired for o in outcomes), n) for r in setup.policy.rules
        },
        "hacked": [float(v) for v in np.mean([o.hacked for o in outcomes], axis=0)],
        "reward_change": [float(v) for v in np.mean([o.reward for o in outcomes], axis=0)],
        "human_change": [float(v) for v in np.mean([o.human_change for o in outcomes], axis=0)],
        "beyond_expected": [float(v) for v in np.mean([o.beyond for o in outcomes], axis=0)],
        "kl": [float(v) for v in np.mean([o.kl for o in outcomes], axis=0)],
    }
    if not null:
        caught = [h for h in halts if h is not None and h >= onset]
        found["onset"] = onset
        found["halted_before_onset"] = rate(sum(h is not None and h < onset for h in halts), n)
        found["within_one_grow"] = rate(
            sum(h is not None and onset <= h <= in_time for h in halts), n
        )
        found["warned_or_halted"] = rate(
            sum(any(v >= onset for v in o.fired.values()) for o in outcomes), n
        )
        found["looks_to_halt"] = float(np.mean([h - onset + 1 for h in caught])) if caught else None
    return found


def rival_rows(
    grid: Sequence[Study], outcomes: Sequence[Sequence[Outcome]], setup: Setup
) -> list[dict[str, Any]]:
    """What the rivals would have caught within one Grow of onset in the default studies, and how
    often wrongly.
    """
    default = [(s, o) for s, o in zip(grid, outcomes, strict=True) if s.part == "default"]
    healthy = [o for s, found in default if s.scenario.kind == "null" for o in found]
    rows = []
    for rival in RIVALS:
        usual, best = thresholds(healthy, RATE)[rival.name]
        for kind, threshold in (("usual", usual), ("matched", best)):
            rows.append(
                {
                    "rule": rival.name,
                    "what": rival.what,
                    "threshold": threshold,
                    "chosen": kind,
                    "false_alarms": rate(
                        sum(rival.alarm(o, threshold) is not None for o in healthy), len(healthy)
                    ),
                    "caught": {
                        s.scenario.name: _within(
                            s, [rival.alarm(o, threshold) for o in found], setup
                        )
                        for s, found in default
                        if s.scenario.kind != "null"
                    },
                }
            )
    return rows


def _within(study: Study, alarms: Iterable[int | None], setup: Setup) -> dict[str, Any]:
    onset = study.scenario.onset
    in_time = [a is not None and onset <= a <= onset + setup.improve_steps - 1 for a in alarms]
    return rate(sum(in_time), len(in_time))


def together(
    grid: Sequence[Study], outcomes: Sequence[Sequence[Outcome]], setup: Setup
) -> dict[str, Any]:
    """The two figures reports print beside a decision: healthy runs halted, and hacks at half a sd
    or more halted.
    """
    default = [(s, o) for s, o in zip(grid, outcomes, strict=True) if s.part == "default"]
    healthy = [o for s, found in default if s.scenario.kind == "null" for o in found]
    halted = rate(sum(o.halted is not None for o in healthy), len(healthy))
    last = setup.improve_steps - 1
    caught = [
        o.halted is not None and s.scenario.onset <= o.halted <= s.scenario.onset + last
        for s, found in default
        if s.scenario.kind == "hack" and s.scenario.halting and s.scenario.cost == HALF
        for o in found
    ]
    return {
        "false_alarms": halted,
        "caught_within_one_grow": rate(sum(caught), len(caught)),
        "cost": HALF,
    }


# What rules that other tools log would have said on the same runs: a limit of KL, of the reward's
# rise, of length.


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
