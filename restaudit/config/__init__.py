"""The whole configuration of a run, as strict models: an unknown key or a bad value is one clear message."""

from __future__ import annotations

from restaudit.config.audit import (
    AuditConfig,
    BenchmarksConfig,
    HatesonarToxicity,
    HumanTextConfig,
    NoToxicity,
    PythonToxicity,
    ToxicityConfig,
)
from restaudit.config.data import DataConfig, PromptSource, RowRules, SplitConfig, TableSource
from restaudit.config.gates import DEFAULT_GATES, GateCondition, GateConfig, GatePolicy
from restaudit.config.human import (
    HumanConfig,
    LexiconHuman,
    ModelHuman,
    NoHuman,
    PeopleHuman,
    PythonHuman,
    ReferenceHuman,
)
from restaudit.config.loop import (
    BcConfig,
    BcLoss,
    FixedThresholds,
    GoldLoss,
    InterpolatedThresholds,
    LoopConfig,
    LossConfig,
    PercentileThresholds,
    SamplingConfig,
    ThresholdConfig,
    TopThresholds,
    TrainConfig,
)
from restaudit.config.policy import LoraConfig, PolicyConfig
from restaudit.config.reward import (
    BackboneConfig,
    EnsembleConfig,
    HeadConfig,
    HfReward,
    PythonReward,
    RefitConfig,
    RewardConfig,
    TrainedReward,
)
from restaudit.config.run import Config
from restaudit.config.section import RowAction, Section, Split

__all__ = [
    "DEFAULT_GATES",
    "AuditConfig",
    "BackboneConfig",
    "BcConfig",
    "BcLoss",
    "BenchmarksConfig",
    "Config",
    "DataConfig",
    "EnsembleConfig",
    "FixedThresholds",
    "GateCondition",
    "GateConfig",
    "GatePolicy",
    "GoldLoss",
    "HatesonarToxicity",
    "HeadConfig",
    "HfReward",
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
    "PeopleHuman",
    "PercentileThresholds",
    "PolicyConfig",
    "PromptSource",
    "PythonHuman",
    "PythonReward",
    "PythonToxicity",
    "ReferenceHuman",
    "RefitConfig",
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
    "ToxicityConfig",
    "TrainConfig",
    "TrainedReward",
]
