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
from restaudit.evidence.record import BASE, Run
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
class At:
    """The look of one run that a table speaks of."""

    side: OneRun
    look: str


class OneRun:
    """One method with one seed."""

    def __init__(self, method: str, seed: int, run: Run) -> None:
        self.method, self.seed = method, seed
        self.material = Material(run)
        self.records: Records = self.material.records
        self.looks = self.material.after_base

    @cached_property
    def spent(self) -> dict[str, Spent]:
        """Cumulative, by look."""
        found: dict[str, Spent] = {}
        samples, tokens, seconds = 0, 0, 0.0
        for event in self.material.run.events:
            name, _, part = event.step.rpartition("/")
            if part in LEARNING:
                seconds += float(event.at.get("seconds", 0.0))
                samples += int(event.content.get("samples") or 0)
                tokens += int(event.content.get("tokens") or 0)
                log = f"{name}/train.parquet"
                if log in event.outputs:
                    tokens += int(self.records.table(log, ("tokens",))["tokens"].sum())
            elif part == "audit" and name in self.looks:
                found[name] = Spent(samples, tokens, seconds)
        return found

    @property
    def peak_memory(self) -> int | None:
        """MiB of resident memory at the most; None where the run is not done."""
        notes = self.material.run.events[-1].at.get("peak_memory_mib") or []
        return int(notes[-1]["resident"]) if notes else None

    def means(self, iteration: str, column: str) -> pd.Series[float]:
        """Mean of a column of the audited samples by prompt."""
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
        s = self.records.source(f"{look}/{file}")
        return Source(f"{self.method}-s{self.seed}: {s.path}", s.at, s.sha256)

    def within(self, budget: str, limit: float) -> At | None:
        """The last look that was taken within this much of a budget."""
        fit = [i for i in self.looks if self.spent[i].amount(budget) <= limit * (1 + 1e-9)]
        return At(self, fit[-1]) if fit else None


class StudyMaterial:
    """All runs of a study that are done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study: Study = sealed(folder)
        self.search = searched(folder)
        missing = []
        self.runs: dict[str, list[OneRun]] = {m: [] for m in self.study.methods}
        for method in self.study.methods:
            for seed in self.study.seeds:
                path = run_folder(folder, method, seed)
                done = (path / "plan.json").is_file() and Run(path).state == "done"
                if done:
                    self.runs[method].append(OneRun(method, seed, Run(path)))
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
        first = self.every[0]
        return sorted(str(p) for p in first.material.run.prompts("audit")["prompt_id"])

    @property
    def every(self) -> list[OneRun]:
        """Every run."""
        return [r for runs in self.runs.values() for r in runs]

    def limit(self, budget: str) -> float:
        """What all can be compared at: the largest amount that every training had spent by its last
        look.

        Where that is less than the first look of the dearest one, as much as that look takes.
        Best-of-N, which trains nothing, is compared at what it takes.
        """
        trained = [r for r in self.every if self.study.trains(r.method)] or self.every
        first = max(r.spent[r.looks[0]].amount(budget) for r in trained)
        return max(first, min(r.spent[r.looks[-1]].amount(budget) for r in trained))

    def at(self, method: str, budget: str) -> list[At] | None:
        """Every seed's last look within the budget; None where a seed has none."""
        found = [r.within(budget, self.limit(budget)) for r in self.runs[method]]
        return [f for f in found if f is not None] if all(f is not None for f in found) else None

    def last(self, method: str) -> list[At]:
        """Every seed's last look."""
        return [At(r, r.looks[-1]) for r in self.runs[method]]

    def gains(self, at: Sequence[At], column: str) -> Array:
        """(seeds, prompts): change of a prompt's mean since that run's base policy, in base-policy
        sds of that run.

        NaN where no sample of the prompt has a value, before or after.
        """
        rows = []
        for a in at:
            now, before = a.side.means(a.look, column), a.side.means(BASE, column)
            rows.append(((now - before) / a.side.base_sd(column)).reindex(self.prompts).to_numpy())
        return np.array(rows, dtype=np.float64)

    def _refuse(self) -> None:
        """Raise BadInput, naming every difference, where the runs do not have prompts, policy or
        reward in common.
        """
        first, reasons = self.every[0], []
        for run in self.every[1:]:
            for what in ("data/audit.parquet", "data/grow.parquet", "data/d_eval.parquet"):
                if run.records.digests[what] != first.records.digests[what]:
                    reasons.append(f"{run.method}-s{run.seed} has another {what}")
            here, there = (
                r.material.run.plan["artifacts"]["policy.model"]["sha256"] for r in (first, run)
            )
            if here != there:
                reasons.append(f"{run.method}-s{run.seed} began from another base policy")
        for seed in self.study.seeds:
            of_seed = [r for r in self.every if r.seed == seed]
            rewards = {
                e.content["digest"]
                for r in of_seed
                for e in r.material.run.events
                if e.step == "reward_model"
            }
            if len(rewards) > 1:
                reasons.append(f"the runs of seed {seed} have {len(rewards)} reward models")
        if reasons:
            raise BadInput(f"not comparable: {'; '.join(reasons)}")


def every_seed(values: Array) -> bool:
    """Whether every seed of (seeds, prompts) has a value."""
    return bool(np.isfinite(values).any(axis=1).all())


def mean_shown(found: Crossed | None) -> str:
    """A mean with its interval, or why it has none, as a cell."""
    if found is None:
        return NOTHING
    if found.low is None or found.high is None:
        return f"{figure(found.mean)} ({found.reason})"
    return estimate(found.mean, found.low, found.high)


def over_seeds(values: Sequence[float | None], *, positive: bool = False) -> Crossed | None:
    """The mean of one figure a seed, and its interval; None where a seed has none.

    What can only be positive has its geometric mean and an interval on the scale of logarithms,
    unless one is zero.
    """
    known = [float(v) for v in values if v is not None]
    if len(known) < len(values) or not known:
        return None
    if not positive or min(known) <= 0:
        return crossed(np.array(known)[:, None])
    found = crossed(np.log(known)[:, None])
    low, high = (None if end is None else float(np.exp(end)) for end in (found.low, found.high))
    return replace(found, mean=float(np.exp(found.mean)), low=low, high=high)
