"""What a study's runs recorded: what each look had cost by then, and what it had gained, prompt by
prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from probes.base import Array, Measurement
from probes.statistics.crossed import Crossed, crossed
from reports.record.files import Records, Source
from reports.run_report.material import Material
from restaudit.errors import BadInput
from restaudit.evidence.record import BASE, Run, is_run
from restaudit.evidence.shown import NOTHING, estimate, figure
from restaudit.study.plan import Study, sealed
from restaudit.study.run import run_folder, searched

# Steps that a method spends on learning; audits, the reward model and the base policy cost every
# method the same.
LEARNING = ("grow", "score", "improve", "train", "bc")
BUDGETS: Mapping[str, str] = {
    "samples": "distinct samples",
    "tokens": "response tokens sampled and trained on",
    "seconds": "seconds of training",
}


@dataclass(frozen=True)
class Spent:
    """What a run had spent on learning when a look was taken."""

    samples: int
    tokens: int
    seconds: float

    def amount(self, budget: str) -> float:
        """One of BUDGETS."""
        return float(getattr(self, budget))


@dataclass(frozen=True)
class SeedLook:
    """A look of one run: what a table says of a method, it says of one such look a seed."""

    run: SeedRun
    look: str

    @property
    def spent(self) -> Spent:
        """What the run had spent by then."""
        return self.run.spent[self.look]

    @property
    def source(self) -> Source:
        """A citation of what it measured."""
        return self.run.cite(self.look)

    def measured(self, name: str) -> Measurement | None:
        """What it recorded."""
        return self.run.measured(self.look, name)

    def value(self, name: str) -> float | None:
        """The value of a measurement; None where it has none."""
        m = self.measured(name)
        if m is None:
            return None
        return m.value


class SeedRun:
    """One method with one seed."""

    def __init__(self, method: str, seed: int, run: Run) -> None:
        self.method, self.seed = method, seed
        self.label = f"{method}-s{seed}"
        self.material = Material(run)
        self.records: Records = self.material.records
        self.looks = self.material.after_base

    @cached_property
    def spent(self) -> dict[str, Spent]:
        """Cumulative, by look."""
        by_look: dict[str, Spent] = {}
        samples, tokens, seconds = 0, 0, 0.0
        for event in self.material.run.events:
            name, _, part = event.step.rpartition("/")
            if part in LEARNING:
                seconds += float(event.at.get("seconds", 0.0))
                samples += int(event.content.get("samples") or 0)
                tokens += int(event.content.get("tokens") or 0)
                # Sampling notes its tokens in the ledger; training has a row an optimiser step.
                log = f"{name}/train.parquet"
                if log in event.outputs:
                    tokens += int(self.records.table(log, ("tokens",))["tokens"].sum())
            elif part == "audit" and name in self.looks:
                # Events are in the order of time, so the sums are what was spent until this look.
                by_look[name] = Spent(samples, tokens, seconds)
        return by_look

    @property
    def last(self) -> SeedLook:
        """The last look."""
        return SeedLook(self, self.looks[-1])

    @property
    def peak_memory(self) -> int | None:
        """MiB of resident memory at the most; None where the run is not done."""
        # Only the step that ends a run notes it, and no step comes after that one.
        notes = self.material.run.events[-1].at.get("peak_memory_mib") or []
        if not notes:
            return None
        return int(notes[-1]["resident"])

    def means(self, iteration: str, column: str) -> pd.Series[float]:
        """Mean of a column of the audited samples by prompt."""
        # `Run.audit` reads the file as it lies there; a figure must come from what was recorded.
        self.records.checked(f"{iteration}/audit.parquet")
        table = self.material.run.audit(iteration, ("prompt_id", column))
        return table.groupby("prompt_id")[column].mean()

    def base_sd(self, column: str) -> float:
        """Standard deviation of the base policy's samples."""
        return float(self.material.run.audit(BASE, (column,))[column].std(ddof=1))

    def measured(self, look: str, name: str) -> Measurement | None:
        """What a look recorded."""
        return self.material.measured[look].get(name)

    def cite(self, look: str, file: str = "measurements.json") -> Source:
        """A citation that says which run the record belongs to."""
        source = self.records.source(f"{look}/{file}")
        return replace(source, path=f"{self.label}: {source.path}")

    def within(self, budget: str, limit: float) -> SeedLook | None:
        """The last look that was taken within this much of a budget."""
        # Seconds are sums of decimals: the run that sets the limit must not miss it by a last bit.
        most = limit * (1 + 1e-9)
        fit = [look for look in self.looks if self.spent[look].amount(budget) <= most]
        if not fit:
            return None
        return SeedLook(self, fit[-1])


class StudyMaterial:
    """All runs of a study that are done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study: Study = sealed(folder)
        self.search = searched(folder)
        # All that are missing are named at once, not one a try.
        missing = []
        self.runs: dict[str, list[SeedRun]] = {m: [] for m in self.study.methods}
        for method in self.study.methods:
            for seed in self.study.seeds:
                path = run_folder(folder, method, seed)
                done = is_run(path) and Run(path).state == "done"
                if done:
                    self.runs[method].append(SeedRun(method, seed, Run(path)))
                else:
                    missing.append(path.name)
        if missing:
            raise BadInput(
                f"{folder}: not done yet: {', '.join(missing)}; give the command again that began "
                "the study"
            )
        self._refuse()

    @cached_property
    def prompts(self) -> list[str]:
        """The audit prompts, which every run has."""
        first = self.every[0].material.run
        return sorted(str(p) for p in first.prompts("audit")["prompt_id"])

    @property
    def every(self) -> list[SeedRun]:
        """Every run."""
        return [run for runs in self.runs.values() for run in runs]

    def limit(self, budget: str) -> float:
        """What all can be compared at: the largest amount that every training had spent by its last
        look.

        Where that is less than the first look of the dearest one, as much as that look takes.
        Best-of-N, which trains nothing, is compared at what it takes.
        """
        trained = [run for run in self.every if self.study.trains(run.method)] or self.every
        first = max(run.spent[run.looks[0]].amount(budget) for run in trained)
        last = min(run.last.spent.amount(budget) for run in trained)
        return max(first, last)

    def at(self, method: str, budget: str) -> list[SeedLook] | None:
        """Every seed's last look within the budget; None where a seed has none."""
        limit = self.limit(budget)
        looks = []
        for run in self.runs[method]:
            look = run.within(budget, limit)
            # With fewer seeds it would be another comparison: pairs are over the same seeds.
            if look is None:
                return None
            looks.append(look)
        return looks

    def last(self, method: str) -> list[SeedLook]:
        """Every seed's last look."""
        return [run.last for run in self.runs[method]]

    def gains(self, looks: Sequence[SeedLook], column: str) -> Array:
        """(seeds, prompts): change of a prompt's mean since that run's base policy, in base-policy
        sds of that run.

        NaN where no sample of the prompt has a value, before or after.
        """
        rows = []
        for look in looks:
            # By prompt, and less the run's own base policy: how hard a prompt is, and what a seed's
            # reward model is worth in its own unit, cancel out.
            now, before = look.run.means(look.look, column), look.run.means(BASE, column)
            gain = (now - before) / look.run.base_sd(column)
            # The same order of prompts in every row: the interval is over columns too.
            rows.append(gain.reindex(self.prompts).to_numpy())
        return np.array(rows, dtype=np.float64)

    def _refuse(self) -> None:
        """Raise BadInput, naming every difference, where the runs do not have prompts, policy or
        reward in common.
        """
        first, reasons = self.every[0], []
        for run in self.every[1:]:
            for split in ("data/audit.parquet", "data/grow.parquet", "data/d_eval.parquet"):
                if run.records.digests[split] != first.records.digests[split]:
                    reasons.append(f"{run.label} has another {split}")
            if _base_policy(run) != _base_policy(first):
                reasons.append(f"{run.label} began from another base policy")
        for seed in self.study.seeds:
            # A reward of its own a seed, so that the interval over seeds covers how it was trained.
            rewards = {_reward(run) for run in self.every if run.seed == seed}
            if len(rewards) > 1:
                reasons.append(f"the runs of seed {seed} have {len(rewards)} reward models")
        if reasons:
            raise BadInput(f"not comparable: {'; '.join(reasons)}")


def _base_policy(run: SeedRun) -> str:
    return str(run.material.run.plan["artifacts"]["policy.model"]["sha256"])


def _reward(run: SeedRun) -> str | None:
    """The digest of all that the reward model is made of."""
    for event in run.material.run.events:
        if event.step == "reward_model":
            return str(event.content["digest"])
    return None


def every_seed(values: Array) -> bool:
    """Whether every seed of (seeds, prompts) has a value."""
    return bool(np.isfinite(values).any(axis=1).all())


def mean_shown(mean: Crossed | None) -> str:
    """A mean with its interval, or why it has none, as a cell."""
    if mean is None:
        return NOTHING
    if mean.low is None or mean.high is None:
        return f"{figure(mean.mean)} ({mean.reason})"
    return estimate(mean.mean, mean.low, mean.high)


def over_seeds(values: Sequence[float | None], *, positive: bool = False) -> Crossed | None:
    """The mean of one figure a seed, and its interval; None where a seed has none.

    What can only be positive has its geometric mean and an interval on the scale of logarithms,
    unless one is zero.
    """
    known = [float(v) for v in values if v is not None]
    if len(known) < len(values) or not known:
        return None
    # One column: a figure that a run has once is one prompt to `crossed`, which then takes its
    # interval over seeds alone.
    if not positive or min(known) <= 0:
        return crossed(np.array(known)[:, None])
    # Half and double weigh alike on this scale, and no end of the interval falls below zero.
    logarithms = crossed(np.log(known)[:, None])
    mean = replace(logarithms, mean=float(np.exp(logarithms.mean)))
    if logarithms.low is None or logarithms.high is None:
        return mean
    return replace(mean, low=float(np.exp(logarithms.low)), high=float(np.exp(logarithms.high)))
