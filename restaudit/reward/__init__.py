"""Rewards: trained here, a sequence-classification model, or a Python callable, all behind one
protocol.
"""

from __future__ import annotations

from pathlib import Path

from restaudit.config import (
    ColumnReward,
    HfReward,
    PythonReward,
    RewardConfig,
    RowRules,
    TrainedReward,
)
from restaudit.reward.contract import Reward, Scores, combine
from restaudit.reward.scale import Scale

__all__ = ["Reward", "Scale", "Scores", "build_reward", "combine", "load_reward"]


def build_reward(
    config: RewardConfig, out: Path, *, rules: RowRules, device: str, seed: int
) -> Reward:
    """Train or load the reward and write what describes it into `out` (docs/rewards.md lists the
    files).

    The files are the same bytes for the same configuration, data, seed and machine. Raises BadInput
    when something the configuration names cannot be used.
    """
    match config:
        case TrainedReward():
            from restaudit.reward.trained import build_trained

            return build_trained(config, out, rules=rules, device=device, seed=seed)
        case HfReward():
            from restaudit.reward.hf import build_hf

            return build_hf(config, out, device=device)
        case PythonReward():
            from restaudit.reward.python import build_python

            return build_python(config, out)
        case ColumnReward():
            from restaudit.reward.column import build_column

            return build_column(config, out)


def load_reward(config: RewardConfig, out: Path, *, device: str) -> Reward:
    """Load what `build_reward` left in `out`; training data is not needed.

    Raises BadInput when weights, encoder, model or source file are not the recorded ones.
    """
    match config:
        case TrainedReward():
            from restaudit.reward.trained import load_trained

            return load_trained(config, out, device=device)
        case HfReward():
            from restaudit.reward.hf import load_hf

            return load_hf(config, out, device=device)
        case PythonReward():
            from restaudit.reward.python import load_python

            return load_python(config, out)
        case ColumnReward():
            from restaudit.reward.column import load_column

            return load_column(config, out)
