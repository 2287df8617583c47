"""Algorithm 1 and its relatives: sampling, thresholds, loss, fine-tuning, and the methods that are
defaults of all these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from restaudit.config.section import (
    Batch,
    LearningRate,
    Rows,
    Samples,
    Score,
    Section,
    Times,
    Tokens,
    Weight,
)


class SamplingConfig(Section):
    """How outputs are drawn. Paper: temperature 0.8."""

    temperature: float = Field(0.8, ge=1e-6, le=1000)
    top_k: int = Field(50, ge=0, le=100_000_000)
    max_tokens: Tokens = 40
    batch: Batch = 128


class FixedThresholds(Section):
    """The paper's fixed list on rewards scaled to [0, 1]."""

    kind: Literal["fixed"]
    values: tuple[Score, ...] = (0.0, 0.7, 0.8, 0.9, 0.95, 0.99)


class PercentileThresholds(Section):
    """Percentiles of the scored Grow set, over all prompts or within each prompt."""

    kind: Literal["percentile"]
    values: tuple[Annotated[float, Field(ge=0, le=100)], ...] = (70.0, 90.0)
    per: Literal["all", "prompt"] = "all"


class InterpolatedThresholds(Section):
    """τ = γ·max + (1-γ)·mean, within each prompt or over all, with rising γ."""

    kind: Literal["interpolated"]
    values: tuple[Score, ...] = (0.2, 0.5)
    per: Literal["all", "prompt"] = "prompt"


class TopThresholds(Section):
    """Keep the best `keep` samples of each prompt (RAFT, arXiv 2304.06767)."""

    kind: Literal["top"]
    # The paper keeps the one best.
    keep: Samples = 1


ThresholdConfig = Annotated[
    FixedThresholds | PercentileThresholds | InterpolatedThresholds | TopThresholds,
    Field(discriminator="kind"),
]


class BcLoss(Section):
    """Behaviour cloning: token negative log-likelihood of the response."""

    kind: Literal["bc"] = "bc"


class GoldLoss(Section):
    """GOLD (Pang and He 2020, arXiv 2009.07839): NLL weighted by the policy's own (detached) token
    probability.

    `window` is the paper's k: the summed reward-to-go of the next k tokens, here under the
    probability reward.
    """

    kind: Literal["gold"]
    window: Tokens = 5
    # Without a floor a token that the policy finds unlikely would never be learned.
    floor: float = Field(0.1, ge=0, lt=1)


class ToprLoss(Section):
    """Tapered off-policy REINFORCE (Le Roux et al. 2025, arXiv 2503.14286) on the filter's answer.

    A sample above its threshold is learned with the weight 1 - p, and any other sample of its
    prompt unlearned with the weight p, p being the share of the prompt's samples that are above.
    Prompts of which all or none are above teach nothing. A reference of the data is learned like a
    sample above the threshold, and never unlearned.
    """

    kind: Literal["topr"]


LossConfig = Annotated[BcLoss | GoldLoss | ToprLoss, Field(discriminator="kind")]


class TrainConfig(Section):
    """Fine-tuning on the kept set.

    The learning rate of Improve step i of a Grow is `learning_rate · lr_decay^(i-1)`. `batch`
    counts responses per optimiser step, `forward_tokens` bounds the tokens of one forward pass.
    """

    learning_rate: LearningRate = 5e-4
    # Falling within a Grow step, as in the paper: each Improve step trains on fewer samples than
    # the one before.
    lr_decay: float = Field(0.5, gt=0, le=1)
    epochs: Times = 2
    batch: Batch = 16
    forward_tokens: Rows = 2048
    weight_decay: Weight = 0.0
    # The default of transformers' Trainer.
    max_grad_norm: float = Field(1.0, gt=0, le=1e12)
    warmup_share: float = Field(0.1, ge=0, lt=1)
    # Algorithm 1 trains while the reward on D_eval improves. The candidates are this step's epochs
    # only: the start would win by its luck again and again (docs/decisions/0006).
    keep_best: bool = True
    # Behaviour cloning won the paper's own comparison of losses (docs/decisions/0013).
    loss: LossConfig = BcLoss()


class BcConfig(Section):
    """The supervised start on D, where references exist."""

    # None: the given checkpoint is then the base policy (docs/decisions/0001).
    epochs: int = Field(0, ge=0, le=100_000)
    learning_rate: LearningRate = 5e-4


class OnlineConfig(Section):
    """Online RL by TRL's trainers (GRPO: Shao et al. 2024, arXiv 2402.03300; RLOO: Ahmadian et al.
    2024, 2402.14740).

    One optimiser step takes `group` samples of each of `prompts_per_step` prompts. `beta` weighs
    the KL to the policy that training starts from, estimated as TRL does. The learning rate is
    constant.
    """

    learning_rate: LearningRate = 2e-4
    # TRL's own number. A group of one would have no other to be better than.
    group: int = Field(8, ge=2, le=1_000_000)
    prompts_per_step: Batch = 2
    # No penalty, as TRL's GRPO has it; drift is measured by the audit instead.
    beta: Weight = 0.0
    max_grad_norm: float = Field(1.0, gt=0, le=1e12)


class DpoConfig(Section):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290) on pairs of a Grow
    step's samples.

    Of each prompt the `pairs` best samples by reward are preferred to its `pairs` worst, best
    against worst first. The reference is the policy that wrote the samples.
    """

    learning_rate: LearningRate = 2e-4
    # The paper's usual value, and TRL's.
    beta: float = Field(0.1, gt=0, le=1_000_000)
    pairs: Samples = 2
    epochs: Times = 1
    batch: Batch = 8


Method = Literal["rest", "rest_em", "raft", "best_of_n", "dpo", "grpo", "rloo", "outside"]
ONLINE: tuple[Method, ...] = ("grpo", "rloo")
# Methods that are looked at after so many optimiser steps, and not after an Improve step.
BY_STEPS: tuple[Method, ...] = (*ONLINE, "outside")


class LoopConfig(Section):
    """Algorithm 1 of the ReST paper and its relatives (methods.py fills in what is not given).

    For `grpo` and `rloo`, grow_steps x the Grow step's number of samples is the budget, and there
    is a look after each Grow step's worth of samples. `outside` is training by a trainer of
    somebody else's, which gives `looks`: the optimiser steps after which the policy is audited,
    rising. For other methods `looks` are planned from the rest.
    """

    method: Method = "rest"
    # Two digits each, as the folders are called (g01/i02).
    grow_steps: int = Field(1, ge=1, le=99)
    improve_steps: int = Field(2, ge=0, le=99)
    samples_per_prompt: Samples = 8
    keep_per_prompt: Samples | None = None
    # The paper trains on the mixture of D and what the policy wrote.
    include_references: bool = True
    start_from: Literal["previous", "base"] = "previous"
    binary_reward_above: Score | None = None
    sampling: SamplingConfig = SamplingConfig()
    # Percentiles fit a reward of any scale; the paper's fixed list needs one in [0, 1]
    # (docs/decisions/0003).
    thresholds: ThresholdConfig = PercentileThresholds(kind="percentile")
    train: TrainConfig = TrainConfig()
    bc: BcConfig = BcConfig()
    dpo: DpoConfig = DpoConfig()
    online: OnlineConfig = OnlineConfig()
    looks: tuple[Annotated[int, Field(ge=1, le=999_999_999)], ...] = Field((), max_length=10_000)
    d_eval_samples: Samples = 2

    @model_validator(mode="before")
    @classmethod
    def _preset_was_its_name(cls, raw: Any) -> Any:
        """Plans sealed by version 0.1.0 call the method `preset`."""
        # A sealed plan may not be rewritten, so the old word is read for good.
        if isinstance(raw, dict) and "preset" in raw and "method" not in raw:
            return {**{k: v for k, v in raw.items() if k != "preset"}, "method": raw["preset"]}
        return raw

    @model_validator(mode="after")
    def _one_improve(self) -> LoopConfig:
        # The next Improve step would learn from pairs that its own policy did not write.
        if self.method == "dpo" and self.improve_steps != 1:
            raise ValueError("method dpo has one Improve step a Grow step: improve_steps must be 1")
        return self

    @model_validator(mode="after")
    def _rising_looks(self) -> LoopConfig:
        # A look twice, or out of order, could never be taken: steps only go forward.
        rising = list(self.looks) == sorted(set(self.looks)) and all(n >= 1 for n in self.looks)
        if self.looks and not (rising and self.method in BY_STEPS):
            raise ValueError(
                "looks are rising numbers of optimiser steps, for the methods "
                f"{', '.join(BY_STEPS)} only"
            )
        return self

    @model_validator(mode="after")
    def _enough_thresholds(self) -> LoopConfig:
        # Methods by steps, and DPO, filter nothing.
        values = getattr(self.thresholds, "values", None)
        if values is not None and self.method not in (*BY_STEPS, "dpo"):
            if len(values) < self.improve_steps:
                raise ValueError(
                    f"thresholds.values has {len(values)} entries, but improve_steps is "
                    f"{self.improve_steps}: give one rising value per Improve step"
                )
            # A threshold that falls would let back in what an Improve step has just left out.
            if list(values) != sorted(set(values)):
                raise ValueError("thresholds.values must rise from one Improve step to the next")
        return self


# --- methods: what a recipe is trained by, each a set of defaults for the section `loop`

METHODS: Mapping[str, Mapping[str, Any]] = {
    # Gulcehre et al. 2023, arXiv 2308.08998: the defaults of the loop are ReST's own.
    "rest": {},
    # Singh et al. 2023, arXiv 2312.06585: no D in the mixture, every iteration fine-tunes the base
    # policy, binary reward, one Improve per Grow, at most 10 kept samples a prompt, top-k 40, T =
    # 0.7.
    "rest_em": {
        "improve_steps": 1,
        "include_references": False,
        "start_from": "base",
        "keep_per_prompt": 10,
        "binary_reward_above": 0.5,
        "thresholds": {"kind": "fixed", "values": [0.5]},
        "sampling": {"temperature": 0.7, "top_k": 40},
    },
    # Dong et al. 2023, arXiv 2304.06767: one Improve per Grow on the best sample of each prompt.
    "raft": {
        "improve_steps": 1,
        "include_references": False,
        "thresholds": {"kind": "top", "keep": 1},
    },
    # No training at all: the audit sees the best of N samples by reward.
    "best_of_n": {"grow_steps": 1, "improve_steps": 0, "include_references": False},
    # Rafailov et al. 2023, arXiv 2305.18290, on pairs of the policy's own samples, drawn again at
    # every Grow step.
    "dpo": {"improve_steps": 1, "include_references": False},
    # Online RL: every optimiser step samples anew.
    "grpo": {"improve_steps": 1, "include_references": False},
    "rloo": {"improve_steps": 1, "include_references": False},
    # Somebody else's trainer, audited by restaudit.trainers.AuditCallback or `restaudit watch`.
    "outside": {"improve_steps": 1, "include_references": False},
}


def apply_method(raw: dict[str, Any]) -> dict[str, Any]:
    """Fill the `loop` section with its method's values where the config gives none."""
    loop = raw.get("loop")
    if not isinstance(loop, dict):
        return raw
    # An unknown method has no defaults here; validation refuses it by name later.
    defaults = METHODS.get(str(loop.get("method", loop.get("preset", "rest"))), {})
    return {**raw, "loop": _fill(loop, defaults)}


def with_method(raw: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The same recipe trained by another method: what the method defines replaces what the recipe
    says of it.
    """
    loop = {k: v for k, v in dict(raw.get("loop") or {}).items() if k != "preset"}
    return {**raw, "loop": {**_fill(METHODS.get(method, {}), loop), "method": method}}


def _fill(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(given)
    for key, value in defaults.items():
        if key not in out:
            out[key] = value
        # A section with a kind is one choice: half of one kind and half of another is neither.
        elif isinstance(value, Mapping) and isinstance(out[key], Mapping) and "kind" not in value:
            out[key] = _fill(out[key], value)
    return out
