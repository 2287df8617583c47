"""What an Improve step trains on: thresholds on the scored Grow set, and the rows strictly above
them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from restaudit.config import (
    FixedThresholds,
    InterpolatedThresholds,
    LoopConfig,
    PercentileThresholds,
    ThresholdConfig,
    TopThresholds,
)
from restaudit.errors import BadInput
from restaudit.evidence.record import KEPT, PAIRS


def thresholds(config: ThresholdConfig, grow: pd.DataFrame, improve: int) -> pd.Series[Any]:
    """τ for every row of the Grow set (index of `grow`), for Improve step `improve` (1, 2, …).

    Fixed values and interpolation work on rewards scaled to [0, 1]. Percentiles and maxima are
    those of the rows the configuration names (all rows, or the row's own prompt) and of nothing
    else. A row is kept when its reward is strictly above its τ (ReST paper, Algorithm 1).
    """
    reward = grow["reward_01"]
    prompt = grow["prompt_id"]
    if isinstance(config, TopThresholds):
        # Just under the last row that may stay, so that two equal best rows do not exclude each
        # other.
        last = reward.where(_rank_in_prompt(grow) <= config.keep).groupby(prompt).transform("min")
        return pd.Series(np.nextafter(last.to_numpy(), -np.inf), index=grow.index)
    value = config.values[improve - 1]
    if isinstance(config, FixedThresholds):
        return pd.Series(float(value), index=grow.index)
    by_prompt = config.per == "prompt"
    if isinstance(config, PercentileThresholds):
        if by_prompt:
            return reward.groupby(prompt).transform(lambda r: np.percentile(r, value))
        return pd.Series(float(np.percentile(reward, value)), index=grow.index)
    assert isinstance(config, InterpolatedThresholds)
    top = (
        reward.groupby(prompt).transform("max")
        if by_prompt
        else pd.Series(reward.max(), index=grow.index)
    )
    mean = (
        reward.groupby(prompt).transform("mean")
        if by_prompt
        else pd.Series(reward.mean(), index=grow.index)
    )
    return value * top + (1 - value) * mean


def preference_pairs(config: LoopConfig, grow: pd.DataFrame) -> pd.DataFrame:
    """Pairs of a prompt's samples, the better one chosen (columns: record.PAIRS), by prompt as the
    Grow set has them.

    The best `dpo.pairs` samples against the worst as many, best against worst first; a sample is in
    one pair only, and two of equal reward are no pair. References of the data are left out: the
    policy did not write them.
    """
    if not np.isfinite(grow["reward_01"]).all():
        raise BadInput(
            "the scored Grow set has rewards that are not numbers; nothing can be selected from it"
        )
    found = []
    for prompt, rows in grow[grow["origin"] == "policy"].groupby("prompt_id", sort=False):
        order = rows.sort_values(["reward_01", "sample_id"], ascending=[False, True], kind="stable")
        names, rewards = order["sample_id"].to_list(), order["reward_01"].to_list()
        for k in range(min(config.dpo.pairs, len(names) // 2)):
            if rewards[k] > rewards[-1 - k]:
                found.append((prompt, names[k], names[-1 - k], rewards[k], rewards[-1 - k]))
    return pd.DataFrame(found, columns=list(PAIRS))


def kept_set(config: LoopConfig, grow: pd.DataFrame, improve: int) -> pd.DataFrame:
    """The rows an Improve step trains on (columns: record.KEPT), in the order of the Grow set.

    Rows of D (origin "reference") are filtered by τ like any other row. With `binary_reward_above`,
    rewards become 0 or 1 first. With `keep_per_prompt`, the best that many samples of a prompt
    stay. Of a method that learns from preferences these are the chosen samples, and the threshold
    is the reward of the one each is preferred to.
    """
    if config.method == "dpo":
        chosen = preference_pairs(config, grow)
        names = {
            "chosen": "sample_id",
            "chosen_reward_01": "reward_01",
            "rejected_reward_01": "threshold",
        }
        return chosen.rename(columns=names)[list(KEPT)]
    rows = grow.copy()
    if config.binary_reward_above is not None:
        rows["reward_01"] = (rows["reward_01"] > config.binary_reward_above).astype(float)
    if not np.isfinite(rows["reward_01"]).all():
        raise BadInput(
            "the scored Grow set has rewards that are not numbers; nothing can be selected from it"
        )
    rows["threshold"] = thresholds(config.thresholds, rows, improve)
    rows = rows[rows["reward_01"] > rows["threshold"]]
    if isinstance(config.thresholds, TopThresholds):
        rows = rows[_rank_in_prompt(rows) <= config.thresholds.keep]
    if config.keep_per_prompt is not None:
        rows = rows[_rank_in_prompt(rows) <= config.keep_per_prompt]
    return rows[list(KEPT)].reset_index(drop=True)


def learned_weights(config: LoopConfig, grow: pd.DataFrame, kept: pd.DataFrame) -> pd.Series[float]:
    """What an Improve step trains on and how much each row counts (index: sample_id, in the order
    of the Grow set).

    The kept rows count 1 each; under the loss `topr` as config.ToprLoss says, where rows that were
    not kept count below zero and what counts nothing is left out.
    """
    names = grow.set_index("sample_id")["prompt_id"]
    is_kept = names.index.isin(set(kept["sample_id"]))
    if config.train.loss.kind != "topr":
        return pd.Series(1.0, index=names.index[is_kept])
    sampled = (grow["origin"] == "policy").to_numpy()
    share = pd.Series(is_kept[sampled]).groupby(names.to_numpy()[sampled]).mean()
    p = names.map(share).fillna(0.0).to_numpy()
    weights = pd.Series(np.where(is_kept, 1 - p, np.where(sampled, -p, 0.0)), index=names.index)
    return weights[weights != 0]


def _rank_in_prompt(rows: pd.DataFrame) -> pd.Series[Any]:
    """1 for the best row of each prompt; ties go to the earlier sample name."""
    order = rows.sort_values(["reward_01", "sample_id"], ascending=[False, True], kind="stable")
    return (order.groupby("prompt_id").cumcount() + 1).reindex(rows.index)
