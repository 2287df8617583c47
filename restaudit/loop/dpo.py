"""DPO as an Improve step: pairs of the Grow set by reward, trained by TRL's DPOTrainer on the
sampled tokens.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from restaudit.evidence.record import (
    ADAPTER,
    D_EVAL,
    GROW,
    KEPT,
    PAIRS,
    TRAIN,
    read_table,
    write_table,
)
from restaudit.evidence.steps import Content
from restaudit.loop.job import Job, as_facts
from restaudit.loop.select import kept_set, preference_pairs
from restaudit.models.devices import on_one_gpu
from restaudit.policy.loading import train_in_float32


def prefer(job: Job, g: int, *, start: str) -> str:
    """Train `start` to prefer the better samples of each prompt of Grow step `g` to the worse ones.

    Returns the iteration's name. The reference is `start` itself, the policy that wrote the
    samples. There is one candidate, the policy after the last epoch.
    """
    name = f"g{g:02d}/i01"

    def make(out: Path) -> Content:
        rows = read_table(job.run, f"g{g:02d}/grow.parquet", GROW)
        pairs, kept = preference_pairs(job.config.loop, rows), kept_set(job.config.loop, rows, 1)
        write_table(pairs, out / "pairs.parquet", PAIRS)
        write_table(kept, out / "kept.parquet", KEPT)
        job.policy.become(job.weights(start))
        before = read_table(job.run, f"{start}/d_eval.parquet", D_EVAL)
        if len(pairs):
            log = _train(job, g, pairs, out)
        else:
            log = pd.DataFrame(columns=list(TRAIN))
            job.reporter.line(
                f"  {name}: no two samples of a prompt differ in reward; the policy stays as it was"
            )
        write_table(log, out / "train.parquet", TRAIN)
        job.policy.save(out / ADAPTER)
        after = job.d_eval(f"{name}/epoch1", f"D_eval, {name}", f"{name}/d_eval/1")
        write_table(after, out / "d_eval.parquet", D_EVAL)
        return as_facts(
            {
                "start": start,
                "rows": len(rows),
                "kept": len(kept),
                "pairs": len(pairs),
                "acceptance_rate": len(kept) / len(rows),
                "mean_reward_01": rows["reward_01"].mean(),
                "lowest_threshold": None,
                "learning_rate": job.config.loop.dpo.learning_rate,
                "best_epoch": job.config.loop.dpo.epochs,
                "d_eval_before": before["reward"].mean(),
                "d_eval_by_epoch": [float(after["reward"].mean())],
            }
        )

    job.step(f"{name}/improve", name, make)
    return name


def _train(job: Job, g: int, pairs: pd.DataFrame, out: Path) -> pd.DataFrame:
    """Train in place; the log as train.parquet has it (`tokens`: of both responses of a pair)."""
    from restaudit.loop.look import no_telemetry

    no_telemetry()
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    policy, config = job.policy, job.config.loop.dpo
    data = Dataset.from_list(_tokens(job, g, pairs))
    steps = config.epochs * math.ceil(len(pairs) / config.batch)
    seed = job.seed(f"g{g:02d}/i01/improve")
    arguments = DPOConfig(
        output_dir=str(out / "never written"),
        max_steps=steps,
        learning_rate=config.learning_rate,
        beta=config.beta,
        per_device_train_batch_size=config.batch,
        lr_scheduler_type="linear",
        warmup_steps=0.1,  # below 1, and so a share of the steps
        max_length=None,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=job.device == "cpu",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=seed,
        data_seed=seed,
    )
    on_one_gpu(arguments, job.reporter.line)

    class OnTokens(DPOTrainer):  # type: ignore[misc]
        """Leaves tokens as they are: TRL would tokenize text, and what was sampled is not always
        what its text is tokenized to.
        """

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    train_in_float32(policy.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, about settings that are as they shall be
        trainer = OnTokens(
            policy.model, None, arguments, train_dataset=data, processing_class=policy.tokenizer
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    # Where TRL made its reference as an adapter of the policy: it is no part of what was trained.
    if "ref" in getattr(policy.model, "peft_config", {}):
        policy.model.delete_adapter("ref")
    policy.model.eval()
    policy.take()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    # TRL does not log which pairs a step took: the tokens are those of an average step, rounded so
    # that they add up to what was trained on.
    in_all = sum(len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in data)
    so_far = np.round(np.arange(len(log) + 1) * (in_all * config.epochs / steps))
    return pd.DataFrame(
        {
            "epoch": [math.ceil(entry["epoch"]) for entry in log],
            "step": [entry["step"] for entry in log],
            "loss": [float(entry["loss"]) for entry in log],
            "learning_rate": [float(entry["learning_rate"]) for entry in log],
            "tokens": np.diff(so_far.astype(int)),
            "grad_norm": [float(entry.get("grad_norm", math.nan)) for entry in log],
        }
    )


def _tokens(job: Job, g: int, pairs: pd.DataFrame) -> list[dict[str, Any]]:
    """Pairs as TRL's trainer takes what is tokenized already."""
    tokens = job.sampled_tokens(g)
    prompts = job.grow_prompt_tokens(pairs["prompt_id"].unique())
    return [
        {
            "prompt_ids": list(prompts[prompt]),
            "chosen_ids": list(tokens[chosen]),
            "rejected_ids": list(tokens[rejected]),
        }
        for prompt, chosen, rejected in zip(
            pairs["prompt_id"], pairs["chosen"], pairs["rejected"], strict=True
        )
    ]
