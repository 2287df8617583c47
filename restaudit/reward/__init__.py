"""Rewards: trained here, a sequence-classification model, or a Python callable, all behind one
protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import assert_never

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

__all__ = ["Reward", "Scale", "Scores", "build_reward", "combine", "load_reward", "prepare_reward"]


def prepare_reward(
    config: RewardConfig, *, rules: RowRules, device: str, seed: int
) -> Callable[[Path], Reward]:
    """Open everything the reward needs, and return what trains it where it must be trained, and
    writes what describes it into a folder (docs/rewards.md lists the files).

    A run does this before its plan is sealed, so that whatever can be refused is refused then.
    Raises BadInput when something the configuration names cannot be used.
    """
    match config:
        case TrainedReward():
            from restaudit.reward.trained import prepare_trained

            return prepare_trained(config, rules=rules, device=device, seed=seed)
        case HfReward():
            from restaudit.reward.hf import prepare_hf

            return prepare_hf(config, device=device)
        case PythonReward():
            from restaudit.reward.python import prepare_python

            return prepare_python(config)
        case ColumnReward():
            from restaudit.reward.column import build_column

            return lambda out: build_column(config, out)
        case _ as unknown:
            assert_never(unknown)


def build_reward(
    config: RewardConfig, out: Path, *, rules: RowRules, device: str, seed: int
) -> Reward:
    """Train or load the reward and write what describes it into `out`.

    The files are the same bytes for the same configuration, data, seed and machine. Raises BadInput
    when something the configuration names cannot be used.
    """
    return prepare_reward(config, rules=rules, device=device, seed=seed)(out)


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
        case _ as unknown:
            assert_never(unknown)
