"""One member's training: transformers' Trainer with the reward's loss, stopped by its own split."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainingArguments

from restaudit.config import BackboneConfig
from restaudit.errors import BadInput
from restaudit.models.classifier import Classifier
from restaudit.models.devices import on_one_gpu
from restaudit.models.encoder import torch_kind
from restaudit.models.pretrained import quiet_loading

Encoded = dict[str, list[int]]


@dataclass(frozen=True)
class TrainingItem:
    """An item: token ids of one text and a standardised rating, or of two and the share of votes
    for the left one.
    """

    left: Encoded
    right: Encoded | None
    target: float
    weight: float


@dataclass(frozen=True)
class Fit:
    """How to train; checkpoints go into `scratch` and are of no use afterwards."""

    config: BackboneConfig
    learning_rate: float
    scratch: Path
    device: str
    seed: int


def train(
    classifier: Classifier, rows: Sequence[TrainingItem], stop: Sequence[TrainingItem], fit: Fit
) -> dict[str, Any]:
    """Train in place, keep the weights with the lowest loss on `stop`, and say how it went.

    The classifier is left in evaluation mode without gradients. Raises BadInput on a loss that is
    not finite.
    """
    config, cuda = fit.config, torch_kind(fit.device) == "cuda"
    # At least one of each: a small set of judgements is less than one batch.
    steps = max(1, math.ceil(len(rows) / config.batch))
    total = max(1, math.ceil(steps * config.epochs))
    every = max(1, steps // config.evaluations)
    trainable = sum(p.numel() for p in classifier.model.parameters() if p.requires_grad)
    arguments = TrainingArguments(
        output_dir=str(fit.scratch),
        max_steps=total,
        per_device_train_batch_size=config.batch,
        per_device_eval_batch_size=config.batch,
        learning_rate=fit.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=round(config.warmup_share * total),
        lr_scheduler_type="linear",
        seed=fit.seed,
        use_cpu=not cuda,
        bf16=cuda and torch.cuda.is_bf16_supported(),
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=1,
        save_only_model=True,  # nothing is resumed from here, so no optimiser states
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,  # it would drop what the model's forward does not name
        label_names=["target"],
        prediction_loss_only=True,
        dataloader_pin_memory=cuda,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
    )
    on_one_gpu(arguments, partial(warnings.warn, stacklevel=2))
    trainer = _RewardTrainer(
        model=classifier.model,
        args=arguments,
        train_dataset=_dataset(rows),
        eval_dataset=_dataset(stop),
        data_collator=_Collator(classifier.tokenizer),
        callbacks=[EarlyStoppingCallback(config.patience)],
    )
    trainer.remove_callback(PrinterCallback)  # prints every loss as a raw dict
    with quiet_loading():
        trainer.train()
    losses = [(e["step"], e["eval_loss"]) for e in trainer.state.log_history if "eval_loss" in e]
    # Trainer itself goes on with a loss that is no number.
    bad = next((step for step, loss in losses if not math.isfinite(loss)), None)
    if bad is not None or trainer.state.best_metric is None:
        raise BadInput(
            "reward model: the loss on the split that decides when to stop became not a number "
            f"at step {bad}; nothing was kept. Lower reward.backbone.learning_rate "
            f"({fit.learning_rate:g}) or look at the targets"
        )
    classifier.model.requires_grad_(False).eval()
    return {
        "steps": trainer.state.global_step,
        "planned_steps": total,
        "best_step": next(step for step, loss in losses if loss == trainer.state.best_metric),
        "stop_loss": float(trainer.state.best_metric),
        "trained_parameters": trainable,
    }


def _dataset(rows: Sequence[TrainingItem]) -> Dataset:
    """Rows with their longest side's length, by which batches are put together so that little is
    filled up.
    """
    records = []
    for row in rows:
        lengths = [len(row.left["input_ids"])]
        if row.right is not None:
            lengths.append(len(row.right["input_ids"]))
        records.append({**asdict(row), "length": max(lengths)})
    return Dataset.from_list(records)


class _Collator:
    """Both sides of a batch in one padded block: left rows first, then right ones."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        sides = [row["left"] for row in rows]
        sides += [row["right"] for row in rows if row["right"] is not None]
        block = dict(self.tokenizer.pad(sides, return_tensors="pt", verbose=False))
        block["target"] = torch.tensor([row["target"] for row in rows])
        block["weight"] = torch.tensor([row["weight"] for row in rows])
        return block


class _RewardTrainer(Trainer):  # type: ignore[misc]
    """Weighted squared error on ratings; -log σ(r_left - r_right), weighted by the votes, on
    pairs.
    """

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any
    ) -> Any:
        inputs = dict(inputs)
        target, weight = inputs.pop("target"), inputs.pop("weight")
        outputs = model(**inputs)
        # In float32: a loss in bfloat16 has no more than three digits.
        reward = outputs.logits[:, 0].float()
        # The collator put both sides of a pair into one block: twice as many rewards as targets.
        if len(reward) == len(target):
            loss = (weight * (reward - target) ** 2).mean()
        else:
            left, right = reward[: len(target)], reward[len(target) :]
            loss = binary_cross_entropy_with_logits(left - right, target, weight)
        return (loss, outputs) if return_outputs else loss
