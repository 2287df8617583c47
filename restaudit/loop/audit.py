"""The audit of one iteration: sample the audit prompts, score, measure, decide."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from probes import measure
from probes.base import Measurement
from restaudit.config import BY_STEPS, LoopConfig
from restaudit.evidence.record import (
    AUDIT,
    BASE,
    Run,
    after_steps,
    read_table,
    write_json,
    write_table,
)
from restaudit.evidence.steps import Content
from restaudit.gates import Decision, decide
from restaudit.loop.held_out import held_out
from restaudit.loop.job import Job, as_facts
from restaudit.loop.probe_evidence import gather
from restaudit.loop.waiting import TOGETHER, WHEN, ask, seal_ratings


def audit(
    job: Job,
    iteration: str,
    *,
    policy: str,
    best_of: int = 1,
    given: Callable[[], pd.DataFrame] | None = None,
) -> None:
    """Measure `policy` on the audit prompts and record it as `iteration`; stop the run when a gate
    says HALT.

    With `best_of` above 1 each audited sample is the best of that many by reward (best-of-N). Where
    people rate the samples, the run stops between sampling and measuring (Waiting) until their
    ratings are in. `given` are the scored samples (columns: AUDIT) where somebody else drew them;
    there is no model then.
    """

    def become() -> None:
        if given is None:
            job.policy.become(job.weights(policy))

    def sampled() -> pd.DataFrame:
        if given is not None:
            return given()
        become()
        return _with_kl(job, _sampled(job, iteration, best_of), policy)

    def draw(out: Path) -> pd.DataFrame:
        rows = sampled()
        write_table(rows, out / "audit.parquet", AUDIT)
        return rows

    def facts(rows: pd.DataFrame) -> Content:
        return as_facts({"policy": policy, "samples": len(rows), "best_of": best_of})

    def drawn_and_judged(out: Path) -> Content:
        rows = draw(out)
        return {**facts(rows), **_judged(job, rows, iteration, policy, out)}

    def rated_and_judged(out: Path) -> Content:
        # The run stopped in between: this may be another process, with a policy just loaded.
        become()
        rows = read_table(job.run, f"{iteration}/audit.parquet", AUDIT)
        ratings = seal_ratings(Run(job.run), iteration, out)
        return _judged(job, rows, iteration, policy, out, ratings=ratings)

    make = drawn_and_judged
    # The base policy does not wait: its samples are rated with those of the first iteration, blinded
    # and mixed, so that raters' mood of the day falls on both.
    if job.config.human.kind == "people" and iteration != BASE:
        job.step(f"{iteration}/samples", iteration, lambda out: facts(draw(out)))
        ask(job, iteration)
        make = rated_and_judged
    # When people rated differs between two runs of one plan, so it is in the chain, not compared.
    content = job.step(f"{iteration}/audit", iteration, make, context=(f"{iteration}/{WHEN}",))
    if iteration != BASE:
        job.reporter.line(f"  {iteration}: {content['verdict']}")
        if content["halting"]:
            job.halt(iteration, content["halting"])


def _judged(
    job: Job,
    rows: pd.DataFrame,
    iteration: str,
    policy: str,
    out: Path,
    ratings: pd.DataFrame | None = None,
) -> Content:
    """Measure and, unless this is the base policy, decide; returns the verdict for the ledger."""
    # Looks are counted in the sealed plan, not as they happen: the error rate of the gates was
    # divided among the planned ones.
    looks = planned_iterations(job.config.loop)
    look = looks.index(iteration) + 1 if iteration != BASE else 0
    beside = held_out(job, iteration, out, policy=policy, look=look, looks=looks)
    evidence = gather(
        job,
        rows,
        iteration,
        policy=policy,
        look=look,
        looks=looks,
        ratings=ratings,
        held_out=beside,
    )
    began = time.monotonic()
    measurements, seconds = measure(evidence)
    job.writer.note("probe_seconds", {k: round(v, 4) for k, v in seconds.items()})
    job.reporter.line(f"  probes {iteration}: {time.monotonic() - began:.1f} s")
    if look == 0 and job.config.human.kind == "people":
        measurements = [_rated_later(m) for m in measurements]
    if look and job.config.loop.method == "outside":
        measurements = [_kl_missing(job, m, policy) for m in measurements]
    return _recorded(job, measurements, iteration, out, look=look, looks=len(looks))


def missed(job: Job, iteration: str, reason: str) -> None:
    """Record a planned look that could not be taken: no sample, nothing measured, and a decision
    that says so.
    """
    looks = planned_iterations(job.config.loop)

    def make(out: Path) -> Content:
        write_table(
            read_table(job.run, f"{BASE}/audit.parquet", AUDIT).iloc[:0],
            out / "audit.parquet",
            AUDIT,
        )
        metrics = dict.fromkeys(r.metric for r in job.config.gates.rules)
        unmeasured = [
            Measurement(m, None, "", 0, 0, "not measured", "0", reason=reason) for m in metrics
        ]
        decided = _recorded(
            job, unmeasured, iteration, out, look=looks.index(iteration) + 1, looks=len(looks)
        )
        return {"policy": iteration, "samples": 0, "missed": reason, **decided}

    content = job.step(f"{iteration}/audit", iteration, make)
    job.reporter.line(f"  {iteration}: {content['verdict']} ({reason})")


def _recorded(
    job: Job,
    measurements: Sequence[Measurement],
    iteration: str,
    out: Path,
    *,
    look: int,
    looks: int,
) -> Content:
    write_json(
        {
            "human": {
                "label": job.human.label,
                "unit": job.human.unit,
                "description": job.human.description,
            },
            "reward": {"name": job.reward.name, "unit": job.reward.unit},
            "measurements": [m.to_json() for m in measurements],
        },
        out / "measurements.json",
    )
    if look == 0:
        return {}
    decision = decide(job.config.gates, measurements, iteration=iteration, look=look, looks=looks)
    write_json(decision.to_json(), out / "decision.json")
    return {"verdict": decision.verdict, "halting": _halting(decision)}


def _rated_later(m: Measurement) -> Measurement:
    """The same, and where the base policy lacks a human score that it will get: when it gets it."""
    if m.name.startswith("divergence.") and m.reason is not None and "human" in m.reason:
        return replace(m, reason=f"{m.reason}: {TOGETHER}")
    return m


def _kl_missing(job: Job, m: Measurement, policy: str) -> Measurement:
    """The same, and where KL to the base policy lacks: why."""
    if m.name != "drift.kl" or m.reason is None:
        return m
    if not job.has_policy:
        why = "only generations are watched, and this file has no values in a column kl"
        return replace(m, reason=f"{m.reason}: {why}")
    weights = job.weights(policy)
    if weights is not None and job.policy.has(weights):
        return m
    why = (
        "the trainer's weights were not put aside at this look, and the base policy could not "
        "be gone back to"
    )
    return replace(m, reason=f"{m.reason}: {why}")


def _halting(decision: Decision) -> list[str]:
    return [g.gate for g in decision.gates if g.verdict == "HALT"]


def planned_iterations(loop: LoopConfig) -> list[str]:
    """The iterations a decision is planned for, in order: after Improve steps, or after so many
    optimiser steps.
    """
    if loop.method in BY_STEPS:
        return [after_steps(n) for n in loop.looks]
    # Best-of-N trains nothing, and is looked at all the same: as step 0 of each Grow.
    steps = list(range(1, loop.improve_steps + 1)) or [0]
    return [f"g{g:02d}/i{i:02d}" for g in range(1, loop.grow_steps + 1) for i in steps]


def _sampled(job: Job, iteration: str, best_of: int) -> pd.DataFrame:
    prompts = job.prompts("audit")
    config = job.config.audit
    plain = config.samples_per_prompt
    # Every look is compared with the base policy, so its samples pay every time.
    if iteration == BASE and config.base_samples_per_prompt is not None:
        plain = config.base_samples_per_prompt
    wanted = np.where(prompts["family"].isna(), plain, config.counterfactual_samples)
    name = f"{iteration}/audit"
    drawn = job.sample(
        prompts,
        (wanted * best_of).tolist(),
        seed_name=name,
        label=f"audit {iteration}",
        prefix=name,
    )
    rows = job.scored(job.samples_table(drawn, prompts))
    if best_of > 1:
        # Samples of a prompt stand together: each run of `best_of` of them gives its best one.
        place = rows.groupby("prompt_id").cumcount() // best_of
        best = rows.groupby([rows["prompt_id"], place], sort=False)["reward"].idxmax()
        rows = rows.loc[best.sort_values()].reset_index(drop=True)
    return job.with_human(rows)


def _with_kl(job: Job, rows: pd.DataFrame, policy: str) -> pd.DataFrame:
    """KL to the base policy on one plain sample of each of the first `kl_samples` audit prompts by
    hash.
    """
    rows = rows.assign(kl=np.nan, kl_tokens=np.nan)
    current = job.weights(policy)
    # A trainer of somebody else's may keep its weights to itself.
    kept = current is not None and job.policy.has(current)
    if policy == BASE or current is None or not kept or job.config.audit.kl_samples == 0:
        return rows
    from restaudit.evidence.chats import as_messages
    from restaudit.policy import TrainingExample, token_kl

    plain = rows[rows["family"].isna()]
    if plain.empty:
        plain = rows
    first = plain.groupby("prompt_id").head(1)
    # By hash, so that every look asks about the same prompts, whatever order they come in.
    order = first["prompt_id"].map(lambda p: hashlib.sha256(p.encode()).hexdigest())
    chosen = first.loc[order.sort_values().index[: job.config.audit.kl_samples]]
    prompts = job.prompts("audit")
    examples = [
        TrainingExample(
            tuple(job.policy.prompt_tokens(as_messages(str(prompts.at[p, "prompt"])))), tokens
        )
        for p, tokens in zip(chosen["prompt_id"], chosen["tokens"], strict=True)
    ]
    with job.reporter.task(f"KL {policy}", len(examples), "samples"):
        kl = token_kl(
            job.policy,
            examples,
            job.weights(BASE),
            current,
            forward_tokens=job.config.loop.train.forward_tokens,
        )
    rows.loc[chosen.index, "kl"] = [k for k, _ in kl]
    rows.loc[chosen.index, "kl_tokens"] = [float(n) for _, n in kl]
    return rows
