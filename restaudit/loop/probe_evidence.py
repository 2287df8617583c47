"""What the probes get to read of one iteration: the run's tables and the job's models, as one
Evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.base import Array, Evidence, HumanSampling, Score, Scorer
from restaudit.config import ColumnHuman, ColumnReward, Config, TrainedReward
from restaudit.evidence.record import (
    AUDIT,
    BASE,
    D_EVAL,
    GROW,
    KEPT,
    REWARD,
    Run,
    read_table,
    with_ratings,
)
from restaudit.evidence.steps import Content, seed_of
from restaudit.files import plain
from restaudit.gates import levels_needed
from restaudit.loop.held_out import HeldOut
from restaudit.loop.job import Job

KNOWN, KNOWN_TEXTS = "known.npy", 512
# What a probe may read of earlier looks, under its own name -> the measurement it is.
HISTORY = {
    "kl": "drift.kl",
    "reward_change": "divergence.reward_change",
    "human_change": "divergence.human_change",
}


def gather(
    job: Job,
    rows: pd.DataFrame,
    iteration: str,
    *,
    policy: str,
    look: int,
    looks: Sequence[str],
    stage: int = 1,
    ratings: pd.DataFrame | None = None,
    held_out: HeldOut | None = None,
    only: frozenset[str] | None = None,
) -> Evidence:
    """Evidence about `rows`, the audited samples of `policy` recorded as `iteration`.

    `look` counts from 1 in the planned `looks`, and is 0 for the base policy, which nothing decides
    about; `stage` counts a look's stages from 1. `only` names what is measured (None: everything).
    `ratings` are people's, of samples of `rows` and of the base policy (see
    waiting.seal_ratings). `held_out` is what was read beside the audit prompts.
    """
    is_base = iteration == BASE
    base = None
    if not is_base:
        base = job.rescored(read_table(job.run, f"{BASE}/audit.parquet", AUDIT))
    if base is not None and ratings is not None:
        rows, base = with_ratings(rows, ratings), with_ratings(base, ratings)
    beside = held_out or HeldOut()
    # Intervals are computed at the levels that this look's gates ask for, and at 95% for people.
    levels: tuple[float, ...] = ()
    if not is_base:
        levels = levels_needed(job.config.gates, look=look, looks=len(looks), stage=stage)
    return Evidence(
        outputs=rows,
        base=base,
        grow=None if is_base else _grow(job, iteration),
        d_eval=_d_eval(job, policy),
        embed=job.embed,
        human_label=job.human.label,
        human_sampling=_sampling(job.config, ratings),
        ratings=ratings,
        prompts=_prompts(job),
        references=_references(job),
        score=_score(job),
        known=_known(job),
        toxicity=_toxicity(job),
        items=beside.items,
        base_items=beside.base_items,
        human_text=beside.human_text,
        base_human_text=beside.base_human_text,
        history=_history(job),
        levels=tuple(dict.fromkeys((0.95, *levels))),
        resamples=job.config.audit.resamples,
        seed=seed_of(job.config.seed, f"{iteration}/probes"),
        only=only,
    )


def _references(job: Job) -> dict[str, list[str]]:
    references = job.prompts("audit")["references"]
    return {str(name): list(texts) for name, texts in references.items() if len(texts)}


def _score(job: Job) -> Score | None:
    """The reward as a function of changed texts; None where it is a column, which nobody can ask."""
    if isinstance(job.config.reward, ColumnReward):
        return None
    return lambda prompts, texts: job.reward_of(list(prompts), list(texts))


def _sampling(config: Config, ratings: pd.DataFrame | None) -> HumanSampling:
    """How the rows that have a human score were chosen."""
    if ratings is not None:
        return "random"
    if isinstance(config.human, ColumnHuman):
        return config.human.sampling
    return "all"


def _grow(job: Job, iteration: str) -> pd.DataFrame | None:
    """The samples that this iteration was trained on; None where a trainer of somebody else's took
    them.
    """
    if job.config.loop.method == "outside":
        return None
    grow = read_table(job.run, f"{iteration.split('/')[0]}/grow.parquet", GROW)
    kept = f"{iteration}/kept.parquet"
    if plain.is_file(job.run, kept):
        grow["kept"] = grow["sample_id"].isin(set(read_table(job.run, kept, KEPT)["sample_id"]))
    return grow


def _d_eval(job: Job, policy: str) -> pd.DataFrame | None:
    name = f"{policy}/d_eval.parquet"
    return read_table(job.run, name, D_EVAL) if plain.is_file(job.run, name) else None


def _prompts(job: Job) -> dict[str, str]:
    from restaudit.evidence.chats import as_text

    return {
        str(name): as_text(str(prompt))
        for split in ("grow", "d_eval", "audit")
        for name, prompt in job.prompts(split)["prompt"].items()
        if prompt  # a watched file may have ids of prompts only
    }


def _toxicity(job: Job) -> Scorer | None:
    from restaudit.loop.toxicity import load_scorer
    from restaudit.models.devices import pick_device

    config = job.config
    return job.once(
        "toxicity", lambda: load_scorer(config.audit.toxicity, device=pick_device(config.device))
    )


def remembers_known(config: Config) -> bool:
    """Whether a run records what its reward model was trained on: one is trained here, and there is
    an encoder.
    """
    return isinstance(config.reward, TrainedReward) and config.audit.encoder is not None


def remember_known(job: Job) -> None:
    """Record embeddings of what the reward model was trained on, so that no audit needs the
    training data again.

    At most KNOWN_TEXTS distinct texts, chosen by hash.
    """
    if not remembers_known(job.config):
        return

    def make(out: Path) -> Content:
        vectors = _embedded(job)
        with plain.created(out, KNOWN) as f:
            np.save(f, vectors)
        return {"texts": len(vectors)}

    job.step("known", REWARD, make)


def _known(job: Job) -> Array | None:
    name = f"{REWARD}/{KNOWN}"
    if not plain.is_file(job.run, name):
        return None
    with plain.opened(job.run, name, plain.LARGEST) as f:
        known: Array = np.load(f, allow_pickle=False)
    return known


def _embedded(job: Job) -> Array:
    from restaudit.data.feedback import load_feedback
    from restaudit.evidence.chats import digest

    assert isinstance(job.config.reward, TrainedReward)
    assert job.embed is not None
    table = load_feedback(job.config.reward.data, job.config.data.rows).table
    columns = [c for c in ("response", "chosen", "rejected") if c in table.columns]
    texts = sorted({str(t) for c in columns for t in table[c]}, key=digest)[:KNOWN_TEXTS]
    return np.asarray(job.embed(texts), dtype=np.float32)


def _history(job: Job) -> pd.DataFrame:
    """What earlier looks of this run measured, one row each; NaN where a look has no value."""
    rows: list[dict[str, Any]] = []
    run = Run(job.run)
    for name in run.iterations()[1:]:
        # Read once a job: with hundreds of looks, reading all earlier ones at each would cost more
        # than the probes.
        values = job.once(f"history/{name}", lambda name=name: _values(run, name))  # type: ignore[misc]
        rows.append({"iteration": name, **{key: values.get(m) for key, m in HISTORY.items()}})
    table = pd.DataFrame(rows, columns=["iteration", *HISTORY])
    return table.astype(dict.fromkeys(HISTORY, "float64"))


def _values(run: Run, iteration: str) -> dict[str, float | None]:
    return {m.name: m.value for m in run.measurements(iteration) if m.name in HISTORY.values()}
