"""All trials of a calibration: which are run, and in parallel."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from probes.base import Array
from restaudit.calibrate import scenarios
from restaudit.calibrate.emulate import Shape, Size, World, check_size
from restaudit.calibrate.scenarios import Aim, Scenario
from restaudit.calibrate.trial import Setup, TrialOutcome, trials
from restaudit.evidence.steps import seed_of

# Trials a worker takes at a time.
CHUNK = 5
PROMPTS = (32, 128)
RATINGS = (50, 100, 200, 400)
# Losses tried at other sizes of the audit, beside all kinds of healthy runs; and with ratings.
SIZED = (scenarios.hack("keyword"), scenarios.hack("keyword", loss=0.25, paid=False))
RATED = (scenarios.THRESHOLDS, scenarios.hack("keyword"), scenarios.hack("length"))
# Paid losses that a healthy run with the same gain of reward is put beside.
PAIRED = (scenarios.hack("keyword"), scenarios.hack("length"))

Part = Literal["default", "margins", "pairs", "size", "ratings"]


@dataclass(frozen=True)
class TrialSet:
    """Trials of one scenario at one size; `part` is the table they belong to."""

    part: Part
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


def trial_grid(
    size: Size, shape: Shape, setup: Setup, *, null_runs: int, hack_runs: int, most_prompts: int
) -> list[TrialSet]:
    """The whole grid: healthy runs, losses, flipped labels and margins at the audit's own size, then
    a part of them by size (of at most `most_prompts`) and by ratings.
    """
    grid = [TrialSet("default", s, size, null_runs) for s in scenarios.NULLS]
    planted = (*scenarios.hacks(), *scenarios.labels())
    for scenario in planted:
        if scenario.feature != "group" or size.families:
            grid.append(TrialSet("default", scenario, size, hack_runs))
    for scenario in scenarios.margins(setup.shown(size), shape.looks):
        grid.append(TrialSet("margins", scenario, size, null_runs))
    for prompts in PROMPTS:
        if prompts == size.prompts or prompts > most_prompts:
            continue
        other = replace(size, prompts=prompts)
        grid += [TrialSet("size", s, other, hack_runs) for s in SIZED]
        grid += [TrialSet("size", s, other, max(null_runs // 2, 1)) for s in scenarios.NULLS]
    for rated in RATINGS:
        # People are asked once, so that a look has one stage. More ratings than its audit has samples
        # need a larger audit.
        per_prompt = max(size.stages[0][0], -(-rated // size.prompts))
        base = max(per_prompt, size.base_per_prompt)
        stages = ((per_prompt, size.stages[0][1]),)
        other = replace(size, rated=rated, families=0, stages=stages, base_per_prompt=base)
        for scenario in RATED:
            runs = max(null_runs // 2, 1) if scenario.kind == "null" else hack_runs
            grid.append(TrialSet("ratings", scenario, other, runs))
    return grid


def pairs(
    size: Size, gains: Mapping[Scenario, float], *, runs: int
) -> list[tuple[TrialSet, TrialSet]]:
    """For each paid loss a healthy run with the same true gain of reward at the last look (`gains`),
    and itself.
    """
    found = []
    for sick, gain in gains.items():
        name = f"honest, reward of {sick.name}"
        aim = Aim("divergence.reward_change", gain, "pressure")
        healthy = Scenario(name, "null", aim=aim)
        found.append((TrialSet("pairs", healthy, size, runs), TrialSet("pairs", sick, size, runs)))
    return found


def run_trials(
    setup: Setup,
    grid: Sequence[TrialSet],
    worlds: Sequence[World],
    *,
    seed: int,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[list[TrialOutcome]]:
    """The outcomes of every set, in order; `worlds` are theirs.

    A trial's seed follows from (seed, scenario, size, number) alone.
    """
    jobs = []
    for k, trial_set in enumerate(grid):
        # Every size is checked before hours of trials, and not when its turn comes.
        check_size(worlds[k].pool, trial_set.size)
        for start in range(0, trial_set.runs, CHUNK):
            end = min(start + CHUNK, trial_set.runs)
            jobs.append((k, tuple(range(start, end))))
    done: list[list[TrialOutcome]] = [[] for _ in grid]
    # Forked workers share the pool's memory; where there is no fork each gets a copy once.
    context = get_context("fork" if os.name == "posix" else "spawn")
    count = workers or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_start, initargs=(setup, grid, worlds, seed)
    ) as work:
        # `map` keeps the order of the jobs, so the number of workers cannot change a figure.
        for (k, numbers), outcomes in zip(jobs, work.map(_chunk, jobs), strict=True):
            done[k] += outcomes
            if progress:
                progress(len(numbers))
    return done


_shared: dict[str, Any] = {}


def _start(setup: Setup, grid: Sequence[TrialSet], worlds: Sequence[World], seed: int) -> None:
    """What every worker process holds: sent once instead of with every chunk."""
    # A process a core and a thread a process: thread pools of several processes only wait for one
    # another.
    threadpool_limits(1)
    _shared.update(setup=setup, grid=grid, worlds=worlds, seed=seed)


def _chunk(job: tuple[int, tuple[int, ...]]) -> list[TrialOutcome]:
    place, numbers = job
    trial_set: TrialSet = _shared["grid"][place]
    # Scenario and size enter a seed as they print: to rename one of their fields changes every
    # figure of a calibration.
    seeds = [
        seed_of(_shared["seed"], f"{trial_set.scenario}/{trial_set.size}/{k}") for k in numbers
    ]
    return trials(_shared["worlds"][place], trial_set.size, _shared["setup"], seeds)
