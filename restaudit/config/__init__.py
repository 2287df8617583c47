"""The whole configuration of a run, as strict models: an unknown key or a bad value is one clear
message.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from restaudit.config.audit import (
    AuditConfig,
    BenchmarksConfig,
    HfToxicity,
    HumanTextConfig,
    NoToxicity,
    PythonToxicity,
    RetiredToxicity,
    ToxicityConfig,
)
from restaudit.config.data import DataConfig, PromptSource, RowRules, SplitConfig, TableSource
from restaudit.config.gates import DEFAULT_GATES, GateCondition, GateConfig, GatePolicy
from restaudit.config.human import (
    ColumnHuman,
    HumanConfig,
    LexiconHuman,
    ModelHuman,
    NoHuman,
    PeopleHuman,
    PythonHuman,
    ReferenceHuman,
)
from restaudit.config.loop import (
    BY_STEPS,
    ONLINE,
    BcConfig,
    BcLoss,
    DpoConfig,
    FixedThresholds,
    GoldLoss,
    InterpolatedThresholds,
    LoopConfig,
    LossConfig,
    OnlineConfig,
    PercentileThresholds,
    SamplingConfig,
    ThresholdConfig,
    ToprLoss,
    TopThresholds,
    TrainConfig,
)
from restaudit.config.policy import LoraConfig, PolicyConfig
from restaudit.config.reward import (
    BackboneConfig,
    ColumnReward,
    EnsembleConfig,
    HeadConfig,
    HfReward,
    PythonReward,
    RefitConfig,
    RewardConfig,
    TrainedReward,
)
from restaudit.config.section import RowAction, Section, Seed, Split, Text

__all__ = [
    "BY_STEPS",
    "DEFAULT_GATES",
    "ONLINE",
    "AuditConfig",
    "BackboneConfig",
    "BcConfig",
    "BcLoss",
    "BenchmarksConfig",
    "ColumnHuman",
    "ColumnReward",
    "Config",
    "DataConfig",
    "DpoConfig",
    "EnsembleConfig",
    "FixedThresholds",
    "GateCondition",
    "GateConfig",
    "GatePolicy",
    "GoldLoss",
    "HeadConfig",
    "HfReward",
    "HfToxicity",
    "HumanConfig",
    "HumanTextConfig",
    "InterpolatedThresholds",
    "LexiconHuman",
    "LoopConfig",
    "LoraConfig",
    "LossConfig",
    "ModelHuman",
    "NoHuman",
    "NoToxicity",
    "OnlineConfig",
    "PeopleHuman",
    "PercentileThresholds",
    "PolicyConfig",
    "PromptSource",
    "PythonHuman",
    "PythonReward",
    "PythonToxicity",
    "ReferenceHuman",
    "RefitConfig",
    "RetiredToxicity",
    "RewardConfig",
    "RowAction",
    "RowRules",
    "SamplingConfig",
    "Section",
    "Split",
    "SplitConfig",
    "TableSource",
    "ThresholdConfig",
    "TopThresholds",
    "ToprLoss",
    "ToxicityConfig",
    "TrainConfig",
    "TrainedReward",
]


class Config(Section):
    """A complete run."""

    # It becomes a part of a folder's name.
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)
    description: Text = ""
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    policy: PolicyConfig
    data: DataConfig
    reward: RewardConfig
    # Never a stand-in by default: who names no human score has none, and every page says so.
    human: HumanConfig = NoHuman()
    loop: LoopConfig = LoopConfig()
    audit: AuditConfig = AuditConfig()
    gates: GatePolicy = DEFAULT_GATES

    @model_validator(mode="after")
    def _refit(self) -> Config:
        # Before the first Grow no policy has written anything new that people could judge.
        asked = isinstance(self.reward, TrainedReward) and self.reward.refit is not None
        has_grow_steps = self.loop.method not in ("grpo", "rloo", "outside")
        if asked and not (
            has_grow_steps and self.loop.grow_steps >= 2 and self.loop.improve_steps >= 1
        ):
            raise ValueError(
                "reward.refit: the reward is fitted again between Grow steps, after a policy was "
                "trained; it needs a loop.method with Grow steps (not grpo, rloo or outside), "
                "loop.grow_steps of 2 or more and loop.improve_steps of 1 or more"
            )
        return self

    @property
    def stages(self) -> int:
        """In how many stages a look may sample, or ask people where people rate: their time is what
        is dear there. One where somebody else drew the samples.
        """
        if isinstance(self.human, PeopleHuman):
            return len(self.human.counts)
        if self.policy.model.startswith("watch:"):
            return 1
        return len(self.audit.stages)

    @model_validator(mode="after")
    def _shares_of_stages(self) -> Config:
        shares = len(self.gates.stage_shares)
        if shares not in (0, self.stages):
            people = isinstance(self.human, PeopleHuman)
            key = "human.samples" if people else "audit.samples_per_prompt"
            raise ValueError(
                f"gates.stage_shares: {shares} shares, but {key} has {self.stages} stages; give "
                "one share a stage, or none to have them chosen"
            )
        return self

    @model_validator(mode="after")
    def _columns(self) -> Config:
        watched = self.loop.method == "outside" and self.policy.model.startswith("watch:")
        for key, section in (("reward", self.reward), ("human", self.human)):
            if isinstance(section, ColumnReward | ColumnHuman) and not watched:
                raise ValueError(
                    f"{key}.kind column: scores that files hold already are read by `restaudit "
                    "watch` only; whatever samples texts itself needs a score that can be asked"
                )
        return self

    @model_validator(mode="after")
    def _stressed(self) -> Config:
        if self.audit.reward_stress is not None and isinstance(self.reward, ColumnReward):
            raise ValueError(
                "audit.reward_stress: a stress test asks the reward about changed texts, and "
                "reward.kind column holds scores of the texts as they are; leave it out"
            )
        return self
