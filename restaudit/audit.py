"""The audit of one iteration: sample the audit prompts, score, measure, decide."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pandas as pd

from probes import measure
from probes.base import Measurement
from restaudit.evidence import gather
from restaudit.gates import Decision, decide
from restaudit.job import Job, as_facts
from restaudit.record import AUDIT, BASE, write_json, write_table
from restaudit.steps import Content


def audit(job: Job, iteration: str, *, policy: str, best_of: int = 1) -> None:
    """Measure `policy` on the audit prompts and record it as `iteration`; stop the run when a gate says HALT.

    With `best_of` above 1 each audited sample is the best of that many by reward (the best-of-N preset).
    """
    look = _looks(job).index(iteration) + 1 if iteration != BASE else 0

    def make(out: Path) -> Content:
        job.policy.become(job.weights(policy))
        rows = _with_kl(job, _sampled(job, iteration, best_of), policy)
        write_table(rows, out / "audit.parquet", AUDIT)
        measurements = _measured(job, rows, iteration, policy, look)
        write_json({"human": {"label": job.human.label, "unit": job.human.unit, "description": job.human.description},
                    "reward": {"name": job.reward.name, "unit": job.reward.unit},
                    "measurements": [m.to_json() for m in measurements]}, out / "measurements.json")  # fmt: skip
        facts: dict[str, object] = {"policy": policy, "samples": len(rows), "best_of": best_of}
        if iteration != BASE:
            decision = decide(job.config.gates, measurements, iteration=iteration, look=look, looks=len(_looks(job)))
            write_json(decision.to_json(), out / "decision.json")
            facts |= {"verdict": decision.verdict, "halting": _halting(decision)}
        return as_facts(facts)

    content = job.step(f"{iteration}/audit", iteration, make)
    if iteration != BASE:
        job.reporter.line(f"  {iteration}: {content['verdict']}")
        if content["halting"]:
            job.halt(iteration, content["halting"])


def _halting(decision: Decision) -> list[str]:
    return [g.gate for g in decision.gates if g.verdict == "HALT"]


def _looks(job: Job) -> list[str]:
    loop = job.config.loop
    return planned_iterations(loop.grow_steps, loop.improve_steps)


def planned_iterations(grow_steps: int, improve_steps: int) -> list[str]:
    """The iterations a decision is planned for, in order."""
    steps = range(1, improve_steps + 1) if improve_steps else (0,)
    return [f"g{g:02d}/i{i:02d}" for g in range(1, grow_steps + 1) for i in steps]


def _sampled(job: Job, iteration: str, best_of: int) -> pd.DataFrame:
    prompts = job.prompts("audit")
    config = job.config.audit
    plain = config.samples_per_prompt
    if iteration == BASE and config.base_samples_per_prompt is not None:
        plain = config.base_samples_per_prompt
    wanted = np.where(prompts["family"].isna(), plain, config.counterfactual_samples)
    name = f"{iteration}/audit"
    drawn = job.sample(prompts, (wanted * best_of).tolist(), seed_name=name, label=f"audit {iteration}", prefix=name)
    rows = job.scored(job.samples_table(drawn, prompts))
    if best_of > 1:
        place = rows.groupby("prompt_id").cumcount() // best_of
        best = rows.groupby([rows["prompt_id"], place], sort=False)["reward"].idxmax()
        rows = rows.loc[best.sort_values()].reset_index(drop=True)
    return job.with_human(rows)


def _with_kl(job: Job, rows: pd.DataFrame, policy: str) -> pd.DataFrame:
    """KL to the base policy on one plain sample of each of the first `kl_samples` audit prompts by hash."""
    rows = rows.assign(kl=np.nan, kl_tokens=np.nan)
    current = job.weights(policy)
    if policy == BASE or current is None or job.config.audit.kl_samples == 0:
        return rows
    from restaudit.data.chats import as_messages
    from restaudit.policy import TrainingExample, token_kl

    plain = rows[rows["family"].isna()] if rows["family"].isna().any() else rows
    first = plain.groupby("prompt_id").head(1)
    order = first["prompt_id"].map(lambda p: hashlib.sha256(p.encode()).hexdigest())
    chosen = first.loc[order.sort_values().index[: job.config.audit.kl_samples]]
    prompts = job.prompts("audit")
    examples = [
        TrainingExample(
            tuple(job.policy.prompt_tokens(as_messages(str(prompts.at[p, "prompt"])))),
            tokens,
        )
        for p, tokens in zip(chosen["prompt_id"], chosen["tokens"], strict=True)
    ]
    with job.reporter.task(f"KL {policy}", len(examples), "samples"):
        kl = token_kl(job.policy, examples, job.weights(BASE), current,
                      forward_tokens=job.config.loop.train.forward_tokens)  # fmt: skip
    rows.loc[chosen.index, "kl"] = [k for k, _ in kl]
    rows.loc[chosen.index, "kl_tokens"] = [float(n) for _, n in kl]
    return rows


def _measured(job: Job, rows: pd.DataFrame, iteration: str, policy: str, look: int) -> list[Measurement]:
    evidence = gather(job, rows, iteration, policy=policy, look=look, looks=_looks(job))
    began = time.monotonic()
    measurements, seconds = measure(evidence)
    job.writer.note("probe_seconds", {k: round(v, 4) for k, v in seconds.items()})
    job.reporter.line(f"  probes {iteration}: {time.monotonic() - began:.1f} s")
    return measurements
