"""ReST, from top to bottom as in Algorithm 1 of arXiv 2308.08998.

in: D, D_eval, loss L(x, y; θ), reward R(x, y), G Grow steps, I Improve steps, N samples per context
train π_θ on D with L
for g = 1..G
    GROW     D_g = {(x, y) : x ~ D, y ~ π_θ(.|x), N per x} ∪ D, scored once with R
    for i = 1..I
        IMPROVE  choose τ_1 > E[R], τ_{i+1} > τ_i, with a lower learning rate
                 while reward on D_eval improves: minimise E_{D_g}[ 1{R(x, y) > τ_i} · L(x, y; θ) ]

Its relatives in restaudit/config/loop.py are the same loop with other defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from restaudit.evidence.record import (
    ADAPTER,
    BASE,
    D_EVAL,
    GROW,
    KEPT,
    REWARD,
    SAMPLES,
    SCALE,
    TRAIN,
    read_table,
    write_json,
    write_table,
)
from restaudit.evidence.steps import Content
from restaudit.loop.audit import audit
from restaudit.loop.dpo import prefer
from restaudit.loop.job import Job, as_facts
from restaudit.loop.probe_evidence import remember_known
from restaudit.loop.refit import refit
from restaudit.loop.select import kept_set, learned_weights

if TYPE_CHECKING:
    from restaudit.policy import TrainingExample


def rest(job: Job) -> None:
    """Do every step that is not done yet.

    Raises Halted when a gate of the sealed policy stops the run.
    """
    loop = job.config.loop
    supervised_start(job)
    fit_scale(job)
    remember_known(job)
    audit(job, BASE, policy=BASE)
    policy = BASE
    for g in range(1, loop.grow_steps + 1):
        refit(job, g, policy)
        grow(job, g, policy)
        score(job, g)
        for i in range(1, loop.improve_steps + 1):
            start = BASE if loop.start_from == "base" else policy
            policy = improve(job, g, i, start=start)
            audit(job, policy, policy=policy)
        if loop.improve_steps == 0:
            # Best-of-N: nothing is trained, the audit sees the best of N samples by reward.
            audit(job, f"g{g:02d}/i00", policy=policy, best_of=loop.samples_per_prompt)
    job.end()


def supervised_start(job: Job) -> None:
    """Train π_θ on D with L, where D has references and the configuration asks for it."""
    bc = job.config.loop.bc
    if bc.epochs == 0:
        return

    def make(out: Path) -> Content:
        job.policy.become(None)
        d = references(job, "g00")
        log = _train(job, _examples(job, d), bc.learning_rate, bc.epochs, "g00/bc", out)
        job.policy.save(out / ADAPTER)
        return as_facts({"rows": len(d), "last_loss": log["loss"].iloc[-1]})

    job.step("g00/bc", BASE, make)


def fit_scale(job: Job) -> None:
    """Fit the map of rewards to (0, 1) on the base policy's D_eval samples, before the first Grow,
    once for all: τ then means the same reward at every Grow step, until the reward itself is fitted
    again.
    """
    from restaudit.reward.scale import Scale

    def make(out: Path) -> Content:
        job.policy.become(job.weights(BASE))
        rows = job.d_eval("scale", "D_eval, base policy", f"{BASE}/d_eval")
        scale = Scale.fit(rows["reward"].to_numpy())
        rows["reward_01"] = scale.apply(rows["reward"].to_numpy())
        write_json(scale.to_json(), out / REWARD / SCALE)
        write_table(rows, out / BASE / "d_eval.parquet", D_EVAL)
        return as_facts({"d_eval_reward": rows["reward"].mean(), **job.policy.parameters()})

    job.step("scale", "", make)


def grow(job: Job, g: int, policy: str) -> None:
    """GROW: N samples of the current policy for every prompt of D.

    Only this Grow's samples are ever in D_g.
    """

    def make(out: Path) -> Content:
        job.policy.become(job.weights(policy))
        prompts = job.prompts("grow")
        counts = [job.config.loop.samples_per_prompt] * len(prompts)
        drawn = job.sample(
            prompts, counts, seed_name=f"g{g:02d}/grow", label=f"Grow {g}", prefix=f"g{g:02d}"
        )
        table = pd.DataFrame(
            {
                "sample_id": [s.name for s in drawn],
                "prompt_id": [s.prompt_id for s in drawn],
                "token_ids": [np.asarray(s.tokens, dtype=np.int32) for s in drawn],
                "n_tokens": np.array([len(s.tokens) for s in drawn], dtype=np.int32),
                "finished": [s.finished for s in drawn],
                "logprob": [s.logprob for s in drawn],
            }
        )
        write_table(table, out / "samples.parquet", SAMPLES)
        return {"policy": policy, "samples": len(table), "tokens": int(table["n_tokens"].sum())}

    job.step(f"g{g:02d}/grow", f"g{g:02d}", make)


def score(job: Job, g: int) -> None:
    """Score every row of D_g = samples ∪ D once, and store it."""

    def make(out: Path) -> Content:
        samples = read_table(job.run, f"g{g:02d}/samples.parquet", SAMPLES)
        owners = job.prompts("grow").loc[samples["prompt_id"]]
        # Text is made from the tokens that were drawn; training takes those tokens, never the text
        # tokenized again, which can be another sequence.
        rows = samples.drop(columns="token_ids").assign(
            text=[job.policy.text(t) for t in samples["token_ids"]],
            group=owners["group"].to_list(),
            family=owners["family"].to_list(),
            origin="policy",
        )
        if job.config.loop.include_references:
            d = references(job, f"g{g:02d}")
            if len(d):
                rows = pd.concat([rows, d], ignore_index=True)
        rows = job.with_human(job.scored(rows))
        if job.config.human.kind == "reference":
            # A reference scored against itself is perfect, and says nothing.
            rows.loc[rows["origin"] == "reference", "human"] = np.nan
        write_table(rows, out / "grow.parquet", GROW)
        return as_facts(
            {
                "rows": len(rows),
                "references": int((rows["origin"] == "reference").sum()),
                "reward": rows["reward"].mean(),
            }
        )

    job.step(f"g{g:02d}/score", f"g{g:02d}", make)


def improve(job: Job, g: int, i: int, *, start: str) -> str:
    """IMPROVE: fine-tune from `start` on the rows of D_g above τ_i while reward on D_eval improves.

    The candidates are the policies after each epoch of this step: with `keep_best` the one with the
    highest mean reward on D_eval stays, and training ends at the first epoch that does not improve
    on the one before. With method `dpo` the step is one of preferences (`prefer`). Returns the
    iteration's name.
    """
    if job.config.loop.method == "dpo":
        return prefer(job, g, start=start)
    name = f"g{g:02d}/i{i:02d}"
    config = job.config.loop.train
    rate = config.learning_rate * config.lr_decay ** (i - 1)

    def make(out: Path) -> Content:
        rows = read_table(job.run, f"g{g:02d}/grow.parquet", GROW)
        kept = kept_set(job.config.loop, rows, i)
        write_table(kept, out / "kept.parquet", KEPT)
        job.policy.become(job.weights(start))
        before = read_table(job.run, f"{start}/d_eval.parquet", D_EVAL)
        if job.reward_folder != job.run / REWARD:
            # The reward was fitted again since these samples were scored: compare like with like.
            before = job.scored(before)
        best, best_epoch = before, 0
        means: list[float] = []

        def goes_on_after(epoch: int) -> bool:
            nonlocal best, best_epoch
            label = f"D_eval, {name} epoch {epoch}"
            now = job.d_eval(f"{name}/epoch{epoch}", label, f"{name}/d_eval/{epoch}")
            means.append(float(now["reward"].mean()))
            # The policy that the step started from is no candidate: it kept its place by a lucky
            # mean on D_eval, and four steps in a row were thrown away against it (decision 6).
            improves = means[-1] >= max(means)
            if improves or not config.keep_best:
                best, best_epoch = now, epoch
                job.policy.save(out / ADAPTER)
            return improves or not config.keep_best

        weights = learned_weights(job.config.loop, rows, kept)
        if len(weights) == 0:
            above = "every sample of each prompt" if len(kept) else "no row of the Grow set"
            job.reporter.line(
                f"  {name}: {above} is above its threshold; the policy stays as it was"
            )
            job.policy.save(out / ADAPTER)
            write_table(pd.DataFrame(columns=list(TRAIN)), out / "train.parquet", TRAIN)
        else:
            examples = _examples(job, rows, g, weights)
            _train(job, examples, rate, config.epochs, f"{name}/improve", out, goes_on_after)
        write_table(best, out / "d_eval.parquet", D_EVAL)
        return as_facts(
            {
                "start": start,
                "rows": len(rows),
                "kept": len(kept),
                "unlearned": int((weights < 0).sum()),
                "acceptance_rate": len(kept) / len(rows),
                "mean_reward_01": rows["reward_01"].mean(),
                "lowest_threshold": kept["threshold"].min() if len(kept) else None,
                "learning_rate": rate,
                "best_epoch": best_epoch,
                "d_eval_before": before["reward"].mean(),
                "d_eval_by_epoch": means,
            }
        )

    job.step(f"{name}/improve", name, make)
    return name


def references(job: Job, grow_name: str) -> pd.DataFrame:
    """The rows of D: one for each human reference of the grow prompts, as Grow rows that are not
    scored yet.
    """
    rows = []
    prompts: list[Any] = job.prompts("grow").to_dict("records")
    for prompt in prompts:
        for number, text in enumerate(prompt["references"]):
            rows.append(
                {
                    "sample_id": f"{grow_name}/{prompt['prompt_id']}/ref{number}",
                    "prompt_id": prompt["prompt_id"],
                    "group": prompt["group"],
                    "family": prompt["family"],
                    "text": text,
                    "n_tokens": len(job.policy.response_tokens(text)),
                }
            )
    columns = ["sample_id", "prompt_id", "group", "family", "text", "n_tokens"]
    table = pd.DataFrame(rows, columns=columns).astype({"n_tokens": np.int32})
    return table.assign(finished=True, logprob=np.nan, origin="reference")


def _examples(
    job: Job, rows: pd.DataFrame, g: int | None = None, weights: pd.Series[float] | None = None
) -> list[TrainingExample]:
    """The rows that have a weight as examples: the tokens that were sampled, or those of a
    reference's text.
    """
    from restaudit.policy import TrainingExample

    if weights is None:
        weights = pd.Series(1.0, index=rows["sample_id"])
    rows = rows[rows["sample_id"].isin(set(weights.index))]
    sampled = {} if g is None else job.sampled_tokens(g)
    prompts = job.grow_prompt_tokens(rows["prompt_id"].unique())
    # What the policy that drew a sample gave it: off-policy losses weigh by it, and a reference,
    # which nobody drew, has none.
    logprobs = rows["logprob"] if "logprob" in rows else pd.Series(np.nan, index=rows.index)
    examples = []
    for name, prompt, text, logprob in zip(
        rows["sample_id"], rows["prompt_id"], rows["text"], logprobs, strict=True
    ):
        response = sampled[name] if name in sampled else tuple(job.policy.response_tokens(text))
        drawn_at = 0.0 if np.isnan(logprob) else float(logprob)
        examples.append(TrainingExample(prompts[prompt], response, float(weights[name]), drawn_at))
    return examples


def _train(
    job: Job,
    examples: Sequence[TrainingExample],
    rate: float,
    epochs: int,
    seed_name: str,
    out: Path,
    goes_on_after: Callable[[int], bool] | None = None,
) -> pd.DataFrame:
    """Fine-tune, writing train.parquet; `goes_on_after` an epoch says whether there is another."""
    from restaudit.policy import fine_tune

    log: list[dict[str, Any]] = []
    total = epochs * sum(len(e.prompt) + len(e.response) for e in examples)
    with job.reporter.task(seed_name, total) as advance:
        # A generator: the next epoch is trained only when it is asked for.
        epochs_done = fine_tune(
            job.policy,
            examples,
            job.config.loop.train,
            learning_rate=rate,
            epochs=epochs,
            seed=job.seed(seed_name),
            progress=advance,
        )
        for epoch, results in enumerate(epochs_done, start=1):
            log += [asdict(result) for result in results]
            if goes_on_after is not None and not goes_on_after(epoch):
                break
    table = pd.DataFrame(log, columns=list(TRAIN))
    write_table(table, out / "train.parquet", TRAIN)
    return table
