"""The reward model: trained here, a sequence classifier, or a Python callable."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from restaudit.config.data import TableSource
from restaudit.config.section import (
    Batch,
    LearningRate,
    Line,
    Rater,
    Score,
    Section,
    Text,
    Times,
    Weight,
)


class EnsembleConfig(Section):
    """How member rewards become one (Coste et al. 2023, arXiv 2310.02743)."""

    # More than one, so that where members disagree can be seen at all.
    size: int = Field(3, ge=1, le=1000)
    combine: Literal["mean", "min", "mean_minus_variance"] = "mean"
    variance_weight: Weight = 0.5


class HeadConfig(Section):
    """The trained head on a frozen encoder."""

    hidden: int = Field(128, ge=0, le=1 << 16)
    learning_rate: LearningRate = 2e-3
    weight_decay: Weight = 1e-3
    epochs: Times = 60
    batch: Batch = 256
    # Epochs without a lower loss on the split that decides when to stop.
    patience: Times = 8


class BackboneConfig(Section):
    """How the encoder itself is trained with a scalar head (`training: lora` or `full`), by
    transformers' Trainer.

    `evaluations` an epoch on the split that decides when to stop; training ends after `patience` of
    them without a lower loss. `rank`, `alpha` and `dropout` are LoRA's.
    """

    # None: 5e-5 for full, 5e-4 for LoRA, whose few weights need larger steps.
    learning_rate: LearningRate | None = None
    epochs: float = Field(2, gt=0, le=100_000)
    batch: Batch = 16
    weight_decay: Weight = 0.01
    warmup_share: float = Field(0.1, ge=0, lt=1)
    evaluations: Times = 2
    patience: Times = 2
    rank: Batch = 16
    alpha: float = Field(32, gt=0, le=1_000_000)
    dropout: float = Field(0.0, ge=0, lt=1)


class RefitConfig(Section):
    """Fit the reward again before every later Grow step, with people's judgements of the newest
    policy's texts.

    The run pauses before each (exit code 3) until `samples` D_eval texts are judged on `scale`,
    which must be that of the ratings the reward was trained on; for a reward of pairs any scale
    will do.
    """

    samples: int = Field(60, ge=2, le=1_000_000)
    scale: tuple[Score, Score] = (1, 7)

    @model_validator(mode="after")
    def _scale(self) -> RefitConfig:
        if self.scale[0] >= self.scale[1]:
            raise ValueError(
                "scale: expected the lowest and a larger highest score, for example [1, 7]"
            )
        return self


class TrainedReward(Section):
    """A reward model trained here: Bradley-Terry on pairs, regression on scalar ratings.

    training          head: a small head on the frozen encoder; lora, full: the encoder with a
                      scalar head
    ties              half: a tie counts as half a vote for each side; leave_out: it is counted and
                      left out
    rater_model       mean: every rater counts alike; reliability: by how they agree with the others
    label_smoothing   share moved from a pair's label to the other side (pairs only)
    """

    kind: Literal["trained"]
    training: Literal["head", "lora", "full"] = "head"
    encoder: Line
    encoder_sha256: Line | None = None
    encoder_licence: Text | None = None
    data: TableSource
    objective: Literal["auto", "bradley_terry", "regression"] = "auto"
    input: Literal["response", "prompt_response"] = "response"
    train_raters: tuple[Rater, ...] | None = None
    # Without held-out judgements nothing could be said about the reward at all.
    held_out_share: float = Field(0.2, gt=0, lt=1)
    max_tokens: int = Field(256, ge=4, le=1 << 24)
    # A tie is often a rater who could not decide, so it counts only where somebody says that it
    # should.
    ties: Literal["leave_out", "half"] = "leave_out"
    rater_model: Literal["mean", "reliability"] = "mean"
    # Half would make either side as likely: nothing could be learned.
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    head: HeadConfig = HeadConfig()
    backbone: BackboneConfig = BackboneConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
    refit: RefitConfig | None = None


class HfReward(Section):
    """One or more sequence-classification reward models, by name or path."""

    kind: Literal["hf"]
    models: tuple[Line, ...] = Field(min_length=1)
    label: int = Field(0, ge=0, le=100_000_000)
    max_tokens: int = Field(512, ge=4, le=1 << 24)
    batch: Batch = 32
    chat: bool = False
    licence: Text | None = None
    # One model is one member, unless more are named.
    ensemble: EnsembleConfig = EnsembleConfig(size=1)


class PythonReward(Section):
    """A Python callable: `package.module:callable` from texts (or from prompts and texts) to
    floats.
    """

    kind: Literal["python"]
    callable: Line
    ensemble: EnsembleConfig = EnsembleConfig(size=1)


class ColumnReward(Section):
    """The rewards that the watched generation files hold in their column `reward`; no other text
    can be scored.

    `description` says what gave them, for every page that shows them.
    """

    kind: Literal["column"]
    description: Text | None = None
    ensemble: EnsembleConfig = EnsembleConfig(size=1)


RewardConfig = Annotated[
    TrainedReward | HfReward | PythonReward | ColumnReward, Field(discriminator="kind")
]
