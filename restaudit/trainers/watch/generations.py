"""One step's file of generations as the audit's table: paired with the base policy's prompts,
scored, nothing lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from restaudit.config import (
    ColumnHuman,
    ColumnReward,
    Config,
    HfReward,
    PythonReward,
    TrainedReward,
)
from restaudit.data.generations import ALIASES, Generations, paired, read_generations
from restaudit.errors import BadInput
from restaudit.evidence.chats import digest, normalise
from restaudit.evidence.record import AUDIT

if TYPE_CHECKING:
    from restaudit.loop.job import Job
    from restaudit.loop.sealing import Prompts

# What verl, OpenRLHF and TRL call them in the rollouts they write.
MORE_ALIASES = {**ALIASES, "prompt": ("input", "query", "question"), "reward": ("score", "rewards")}
FORMAT = "generations"
NUMBERS = ("logprob", "reward", "reward_spread", "human", "kl", "kl_tokens")


@dataclass(frozen=True)
class PairedRows:
    """The rows of a file that answer the run's prompts (columns: AUDIT but for what is scored
    here), and the facts.
    """

    rows: pd.DataFrame
    facts: dict[str, Any]


def read(path: Path, columns: Mapping[str, str]) -> Generations:
    """Read a step's file; the columns may also be called as trainers call them.

    Raises BadInput as `probe` does.
    """
    generations = read_generations(path, columns=columns, aliases=MORE_ALIASES)
    if generations.keyed == "row":
        raise BadInput(
            f"{path}: nothing tells which rows answer the same prompt, so that steps cannot be "
            "compared; expected a "
            "column prompt or prompt_id (name it with --column prompt=<name in the file>)"
        )
    return generations


def prompts_of(base: Generations, config: Config) -> Prompts:
    """The prompts of the base policy's file, all of them audit prompts, as a plan seals them."""
    from restaudit.data.prompts import COLUMNS
    from restaudit.data.records import RowReport
    from restaudit.data.splits import make_splits
    from restaudit.evidence.steps import seed_of

    # The base policy's file says what is asked: steps are compared prompt by prompt.
    first = base.table.drop_duplicates("prompt_id")
    table = pd.DataFrame(
        {
            "prompt_id": first["prompt_id"].to_list(),
            "prompt": [base.prompts.get(p, "") for p in first["prompt_id"]],
            "references": [list(base.references.get(p, ())) for p in first["prompt_id"]],
            "group": _labels(first, "group"),
            "family": _labels(first, "family"),
            "source": FORMAT,
            "use": [("audit",)] * len(first),
        },
        columns=list(COLUMNS),
    )
    splits, overlap = make_splits(
        table, config.data.splits, seed_of(config.seed, "splits"), needed=("audit",)
    )
    further = len(base.table) - len(table)
    dropped = {"further answers to one prompt": further} if further else {}
    report = RowReport(base.source, len(base.table), len(table), dropped)
    return splits, overlap, [report]


def paired_rows(job: Job, generations: Generations, iteration: str, keyed: str) -> PairedRows:
    """A file's rows under the run's prompts; the rest is left out and counted.

    `keyed` is what told the prompts of the base policy's file apart. Raises BadInput where no
    prompt is the run's, and where a prompt_id stands for another prompt here.
    """
    prompts = job.prompts("audit")
    known = _as_generations(prompts, keyed)
    matched = paired(generations, known)[0]
    table = matched.table
    if keyed == "prompt_id" and matched.keyed == "prompt":  # this file has prompts only
        # The run's own ids, of one prompt under two of them the first.
        own_ids = {digest(normalise(p))[:16]: name for name, p in prompts["prompt"][::-1].items()}
        table = table.assign(prompt_id=[own_ids.get(p, p) for p in table["prompt_id"]])
    answers = table["prompt_id"].isin(prompts.index)
    prompts_in_file = table["prompt_id"].nunique()
    table = table[answers].reset_index(drop=True)
    rows = pd.DataFrame({"prompt_id": table["prompt_id"].to_list()})
    number = rows.groupby("prompt_id").cumcount()
    rows["sample_id"] = [
        f"{iteration}/audit/{p}/{k:03d}" for p, k in zip(rows["prompt_id"], number, strict=True)
    ]
    owners = prompts.loc[rows["prompt_id"]]
    for name in ("group", "family"):
        rows[name] = owners[name].to_list()
        if name in table.columns:
            rows[name] = _labels(table, name)
    rows["text"] = table["text"].to_list()
    rows["n_tokens"] = table["n_tokens"].to_numpy().astype(np.int32)
    # Whether a response ended by itself or was cut, nobody said.
    rows["finished"] = pd.array([None] * len(rows), dtype="boolean")
    for name in NUMBERS:
        rows[name] = np.nan
        if name in table.columns:
            rows[name] = table[name].to_numpy(dtype=np.float64)
    # The map to (0, 1) serves thresholds, and nothing is chosen here.
    rows["reward_01"] = np.nan
    answered = rows["prompt_id"].nunique()
    facts = {
        "rows": len(matched.table),
        "rows_left_out": int((~answers).sum()),
        "prompts": int(answered),
        "prompts_left_out": int(prompts_in_file - answered),
        "prompts_without_an_answer": int(len(prompts) - answered),
        "notes": [*generations.notes, *_unused(job.config, table)],
    }
    return PairedRows(rows, facts)


def scored(job: Job, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with reward and human score from the file where the configuration says so, else computed
    here.
    """
    if not isinstance(job.config.reward, ColumnReward):
        rows = job.scored(rows)
    if not isinstance(job.config.human, ColumnHuman):
        rows = job.with_human(rows)
    return rows[list(AUDIT)]


def check_readable(config: Config, base: Generations) -> None:
    """Raise BadInput where something that the configuration asks for reads prompts, which the files
    do not have.
    """
    if any(base.prompts.values()):
        return
    reward = config.reward
    reads = isinstance(reward, HfReward) or (
        isinstance(reward, TrainedReward) and reward.input == "prompt_response"
    )
    if isinstance(reward, PythonReward):
        from restaudit.reward.python import import_scorer

        reads = import_scorer(reward.callable, "reward.callable").arguments > 1
    if reads:
        raise BadInput(
            f"{base.source} has no column prompt, which the reward (kind {reward.kind}) reads; "
            "give one, or a reward of texts alone"
        )


def _as_generations(prompts: pd.DataFrame, keyed: str) -> Generations:
    """The run's prompts as one row each, to be paired with."""
    texts = {str(k): str(p) for k, p in prompts["prompt"].items()}
    asked = tuple(normalise(p) for p in texts.values()) if all(texts.values()) else None
    table = pd.DataFrame({"prompt_id": list(texts)})
    return Generations("the base policy's file", table, keyed, texts, {}, asked)  # type: ignore[arg-type]


def _unused(config: Config, table: pd.DataFrame) -> list[str]:
    """Which scores of the file are not used, because the configuration scores the texts itself."""
    scored_here = []
    if not isinstance(config.reward, ColumnReward):
        scored_here.append("reward")
    if not isinstance(config.human, ColumnHuman):
        scored_here.append("human")
    notes = []
    for name in scored_here:
        if name in table.columns and table[name].notna().any():
            notes.append(
                f"the file's column {name} is not used: the configuration's {name} scores every "
                "text here"
            )
    return notes


def _labels(table: pd.DataFrame, name: str) -> list[str | None]:
    if name not in table.columns:
        return [None] * len(table)
    return [_label(value) for value in table[name]]


def _label(value: Any) -> str | None:
    # A missing label is None in one file and NaN in another, which is unlike itself.
    if value is None or value != value:
        return None
    return str(value)
