"""The audit of one iteration: sample the audit prompts, score, measure, decide."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
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
    stage_file,
    write_json,
    write_table,
)
from restaudit.evidence.steps import Content
from restaudit.gates import AGREEMENT, PEOPLE, Decision, GateResult, decide, metrics_of
from restaudit.loop.held_out import HeldOut, held_out
from restaudit.loop.job import Job, as_facts
from restaudit.loop.probe_evidence import gather
from restaudit.loop.stressing import stress_reward
from restaudit.loop.waiting import TOGETHER, WHEN, ask, ask_on, seal_ratings

# The rows of a look, sampled on to a stage (from 1) for the gates that are undecided.
More = Callable[[pd.DataFrame, int, Sequence[GateResult]], pd.DataFrame]
Counts = npt.NDArray[np.int64]


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

    def more(rows: pd.DataFrame, stage: int, gates: Sequence[GateResult]) -> pd.DataFrame:
        become()
        return _sampled_on(job, rows, iteration, best_of, stage, gates)

    def facts(rows: pd.DataFrame) -> Content:
        return as_facts({"policy": policy, "samples": len(rows), "best_of": best_of})

    def draw(out: Path) -> Content:
        rows = sampled()
        write_table(rows, out / "audit.parquet", AUDIT)
        return facts(rows)

    def drawn_and_judged(out: Path) -> Content:
        rows, judged = _judged(
            job, sampled(), iteration, policy, out, more=more if given is None else None
        )
        write_table(rows, out / "audit.parquet", AUDIT)
        return {**facts(rows), **judged}

    def drawn() -> pd.DataFrame:
        # The run stopped in between: this may be another process, with a policy just loaded.
        become()
        return read_table(job.run, f"{iteration}/audit.parquet", AUDIT)

    def still_open(rated: Sequence[pd.DataFrame], out: Path) -> list[str]:
        return _open_to_people(_look(job, iteration, policy, out), drawn(), rated)

    def rated_and_judged(out: Path) -> Content:
        rows = drawn()
        rated = seal_ratings(Run(job.run), iteration, out)
        return _judged(job, rows, iteration, policy, out, rated=rated)[1]

    make = drawn_and_judged
    # The base policy does not wait: its samples are rated with those of the first iteration, blinded
    # and mixed, so that raters' mood of the day falls on both.
    if job.config.human.kind == "people" and iteration != BASE:
        job.step(f"{iteration}/samples", iteration, draw)
        ask(job, iteration)
        for stage in range(2, job.config.stages + 1):
            ask_on(job, iteration, stage, still_open)
        make = rated_and_judged
    # When people rated differs between two runs of one plan, so it is in the chain, not compared.
    content = job.step(f"{iteration}/audit", iteration, make, context=(f"{iteration}/{WHEN}",))
    if iteration == BASE:
        stress_reward(job)
    else:
        job.reporter.line(f"  {iteration}: {content['verdict']}")
        if content["halting"]:
            job.halt(iteration, content["halting"])


@dataclass(frozen=True)
class _Look:
    """One look at a policy: what is measured of it, and what the gates say at each of its stages.

    `number` counts from 1 in the planned `looks`, and is 0 for the base policy, which nothing
    decides about; `beside` is what was read beside the audit prompts.
    """

    job: Job
    iteration: str
    policy: str
    number: int
    looks: Sequence[str]
    beside: HeldOut

    def measured(
        self,
        rows: pd.DataFrame,
        stage: int,
        ratings: pd.DataFrame | None,
        only: frozenset[str] | None = None,
    ) -> list[Measurement]:
        """What the probes say of the rows at a stage; `only` names what is measured (None:
        everything).
        """
        evidence = gather(
            self.job,
            rows,
            self.iteration,
            policy=self.policy,
            look=self.number,
            looks=self.looks,
            stage=stage,
            ratings=ratings,
            held_out=self.beside,
            only=only,
        )
        began = time.monotonic()
        measurements, seconds = measure(evidence)
        self.job.writer.note("probe_seconds", {k: round(v, 4) for k, v in seconds.items()})
        if only is None:
            self.job.reporter.line(f"  probes {self.iteration}: {time.monotonic() - began:.1f} s")
        return measurements

    def decided(
        self, measurements: Sequence[Measurement], stage: int, earlier: Decision | None
    ) -> Decision:
        """What the gates say of these measurements after the stages before."""
        return decide(
            self.job.config.gates,
            measurements,
            iteration=self.iteration,
            look=self.number,
            looks=len(self.looks),
            stage=stage,
            earlier=earlier,
        )


def _look(job: Job, iteration: str, policy: str, out: Path) -> _Look:
    # Looks are counted in the sealed plan, not as they happen: the error rate of the gates was
    # divided among the planned ones.
    looks = planned_iterations(job.config.loop)
    number = looks.index(iteration) + 1 if iteration != BASE else 0
    beside = held_out(job, iteration, out, policy=policy, look=number, looks=looks)
    return _Look(job, iteration, policy, number, looks, beside)


def _open_to_people(look: _Look, rows: pd.DataFrame, rated: Sequence[pd.DataFrame]) -> list[str]:
    """The gates that more ratings could decide; `rated` are the ratings known after each stage."""
    gates = look.job.config.gates
    decision: Decision | None = None
    measurements: Sequence[Measurement] = ()
    for stage, ratings in enumerate(rated, start=1):
        measurements = look.measured(rows, stage, ratings, metrics_of(gates))
        decision = look.decided(measurements, stage, decision)
    assert decision is not None
    if decision.verdict == "HALT":
        return []
    # Few ratings may give no interval, and ratings that are all alike no value: more of them do,
    # unless it is known already that their raters do not agree.
    alpha = next((m.value for m in measurements if m.name == AGREEMENT), None)
    disagree = alpha is not None and alpha < gates.min_alpha
    few = [g for g in decision.undecided if g.ok_low is None and not disagree]
    # A gate that reads no ratings gains nothing from more of them.
    of_people = {m.name for m in measurements if m.detail.get("human_label") == PEOPLE}
    reads = {r.name: {r.metric, *([r.when.metric] if r.when else [])} for r in gates.rules}
    return [g.gate for g in (*decision.wants_more, *few) if reads[g.gate] & of_people]


def _judged(
    job: Job,
    rows: pd.DataFrame,
    iteration: str,
    policy: str,
    out: Path,
    *,
    rated: Sequence[pd.DataFrame] | None = None,
    more: More | None = None,
) -> tuple[pd.DataFrame, Content]:
    """Measure and, unless this is the base policy, decide, stage by stage while the look is
    undecided: `more` samples on, or `rated` are people's ratings as they are known after each stage
    that they were asked at.

    Returns all rows, and the verdict for the ledger.
    """
    look = _look(job, iteration, policy, out)
    gates, stage = job.config.gates, 1
    staged = look.number > 0 and (more is not None or rated is not None)
    decision: Decision | None = None

    def known() -> pd.DataFrame | None:
        return None if rated is None else rated[min(stage, len(rated)) - 1]

    while staged and stage < len(gates.shares):
        # Whether to go on is a question to the gates alone: the other probes wait for the stage
        # that is the last.
        measurements = look.measured(rows, stage, known(), metrics_of(gates))
        now = look.decided(measurements, stage, decision)
        # What people were asked for counts. Where only gates that read no ratings are open, the
        # later stages cost nothing, and have their own part of the error rates to decide by.
        asked_on = rated is not None and stage < len(rated)
        if not (now.wants_more or asked_on):
            break
        decision = now
        _write_measurements(job, measurements, out / stage_file(stage))
        stage += 1
        if more is not None:
            open_gates = ", ".join(g.gate for g in decision.wants_more)
            job.reporter.line(
                f"  {iteration}: undecided after stage {stage - 1} of {len(gates.shares)} "
                f"({open_gates}): sampling on"
            )
            rows = more(rows, stage, decision.wants_more)
    measurements = look.measured(rows, stage, known())
    if look.number == 0 and job.config.human.kind == "people":
        measurements = [_rated_later(m) for m in measurements]
    if look.number and job.config.loop.method == "outside":
        measurements = [_kl_missing(job, m, policy) for m in measurements]
    content = _recorded(
        job,
        measurements,
        iteration,
        out,
        look=look.number,
        looks=len(look.looks),
        stage=stage,
        earlier=decision,
    )
    return rows, content


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
    stage: int = 1,
    earlier: Decision | None = None,
) -> Content:
    _write_measurements(job, measurements, out / "measurements.json")
    if look == 0:
        return {}
    decision = decide(
        job.config.gates,
        measurements,
        iteration=iteration,
        look=look,
        looks=looks,
        stage=stage,
        earlier=earlier,
    )
    write_json(decision.to_json(), out / "decision.json")
    return {"verdict": decision.verdict, "halting": _halting(decision)}


def _write_measurements(job: Job, measurements: Sequence[Measurement], path: Path) -> None:
    document = {
        "human": {
            "label": job.human.label,
            "unit": job.human.unit,
            "description": job.human.description,
        },
        "reward": {"name": job.reward.name, "unit": job.reward.unit},
        "measurements": [m.to_json() for m in measurements],
    }
    write_json(document, path)


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
    """The samples of a look's first stage; all of the base policy's, and where people rate."""
    prompts = job.prompts("audit")
    # Where people rate, they are what is asked in stages: texts are cheap beside their time.
    first = -1 if job.config.human.kind == "people" else 0
    plain, of_families = job.config.audit.stages[first]
    # Every look is compared with the base policy, so its samples pay every time.
    if iteration == BASE:
        plain = job.config.audit.base_samples
    wanted = np.where(prompts["family"].isna(), plain, of_families)
    return _drawn(job, iteration, best_of, prompts, first=np.zeros_like(wanted), wanted=wanted)


def _sampled_on(
    job: Job,
    rows: pd.DataFrame,
    iteration: str,
    best_of: int,
    stage: int,
    gates: Sequence[GateResult],
) -> pd.DataFrame:
    """The rows so far and those of the next stage, of the prompts that the undecided gates read."""
    prompts = job.prompts("audit")
    plain, of_families = job.config.audit.stages[stage - 1]
    # Gaps between groups are read off the counterfactual families, everything else off the plain
    # prompts: whichever is decided is not sampled on.
    by_families = any(g.metric.startswith("bias.") for g in gates)
    by_plain = any(not g.metric.startswith("bias.") for g in gates)
    in_family = prompts["family"].notna().to_numpy()
    upto = np.where(in_family, of_families, plain)
    counts = rows["prompt_id"].value_counts().reindex(prompts["prompt_id"], fill_value=0)
    there: Counts = np.asarray(counts, dtype=np.int64)
    asked = np.where(in_family, by_families, by_plain)
    wanted = np.where(asked, np.maximum(upto - there, 0), 0)
    if not wanted.any():
        return rows
    drawn = _drawn(job, iteration, best_of, prompts, first=there, wanted=wanted)
    every = pd.concat([rows, drawn.assign(kl=np.nan, kl_tokens=np.nan)], ignore_index=True)
    # Samples of a prompt stand together, as if they had been drawn at once.
    place = {name: k for k, name in enumerate(prompts["prompt_id"])}
    order = every["prompt_id"].map(place).to_numpy().argsort(kind="stable")
    return every.iloc[order].reset_index(drop=True)


def _drawn(
    job: Job, iteration: str, best_of: int, prompts: pd.DataFrame, *, first: Counts, wanted: Counts
) -> pd.DataFrame:
    name = f"{iteration}/audit"
    drawn = job.sample(
        prompts,
        (wanted * best_of).tolist(),
        seed_name=name,
        label=f"audit {iteration}",
        prefix=name,
        first=(first * best_of).tolist(),
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
