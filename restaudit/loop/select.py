"""What an Improve step trains on: thresholds on the scored Grow set, and the rows strictly above
them.
"""

from __future__ import annotations

from typing import Any, Literal, assert_never

import numpy as np
import pandas as pd

from restaudit.config import (
    BcLoss,
    FixedThresholds,
    GoldLoss,
    InterpolatedThresholds,
    LoopConfig,
    PercentileThresholds,
    ThresholdConfig,
    ToprLoss,
    TopThresholds,
)
from restaudit.errors import BadInput
from restaudit.evidence.record import KEPT, PAIRS


def kept_set(config: LoopConfig, grow: pd.DataFrame, improve: int) -> pd.DataFrame:
    """The rows an Improve step trains on (columns: record.KEPT), in the order of the Grow set.

    Rows of D (origin "reference") are filtered by τ like any other row. With `binary_reward_above`,
    rewards become 0 or 1 first. With `keep_per_prompt`, the best that many samples of a prompt
    stay. Of a method that learns from preferences these are the chosen samples, and the threshold
    is the reward of the one each is preferred to.
    """
    if config.method == "dpo":
        names = {
            "chosen": "sample_id",
            "chosen_reward_01": "reward_01",
            "rejected_reward_01": "threshold",
        }
        return preference_pairs(config, grow).rename(columns=names)[list(KEPT)]
    rows = grow.copy()
    if config.binary_reward_above is not None:
        rows["reward_01"] = (rows["reward_01"] > config.binary_reward_above).astype(float)
    _check_rewards(rows)
    rows["threshold"] = thresholds(config.thresholds, rows, improve)
    # Strictly above, as in Algorithm 1: at τ = the highest reward nothing is kept, and a reward
    # that is the same for all keeps nothing either.
    rows = rows[rows["reward_01"] > rows["threshold"]]
    if isinstance(config.thresholds, TopThresholds):
        rows = rows[_rank_in_prompt(rows) <= config.thresholds.keep]
    if config.keep_per_prompt is not None:
        rows = rows[_rank_in_prompt(rows) <= config.keep_per_prompt]
    return rows[list(KEPT)].reset_index(drop=True)


def thresholds(config: ThresholdConfig, grow: pd.DataFrame, improve: int) -> pd.Series[Any]:
    """τ for every row of the Grow set (index of `grow`), for Improve step `improve` (1, 2, …).

    Fixed values and interpolation work on rewards scaled to [0, 1]. Percentiles and maxima are
    those of the rows the configuration names (all rows, or the row's own prompt) and of nothing
    else. A row is kept when its reward is strictly above its τ (ReST paper, Algorithm 1).
    """
    reward = grow["reward_01"]
    match config:
        case FixedThresholds():
            return pd.Series(float(config.values[improve - 1]), index=grow.index)
        case PercentileThresholds():
            percent = config.values[improve - 1]
            if config.per == "all":
                return pd.Series(float(np.percentile(reward, percent)), index=grow.index)
            by_prompt = reward.groupby(grow["prompt_id"])
            return by_prompt.transform(lambda own: np.percentile(own, percent))
        case InterpolatedThresholds():
            share = config.values[improve - 1]
            top = _over(config.per, grow, "max")
            return share * top + (1 - share) * _over(config.per, grow, "mean")
        case TopThresholds():
            # Just under the last row that may stay, so that two equal best rows do not exclude each
            # other.
            best = reward.where(_rank_in_prompt(grow) <= config.keep)
            last = best.groupby(grow["prompt_id"]).transform("min")
            return pd.Series(np.nextafter(last.to_numpy(), -np.inf), index=grow.index)
        case _ as unknown:
            assert_never(unknown)


def preference_pairs(config: LoopConfig, grow: pd.DataFrame) -> pd.DataFrame:
    """Pairs of a prompt's samples, the better one chosen (columns: record.PAIRS), by prompt as the
    Grow set has them.

    The best `dpo.pairs` samples against the worst as many, best against worst first; a sample is in
    one pair only, and two of equal reward are no pair. References of the data are left out: the
    policy did not write them.
    """
    _check_rewards(grow)
    pairs = []
    for prompt, rows in grow[grow["origin"] == "policy"].groupby("prompt_id", sort=False):
        order = _best_first(rows)
        names, rewards = order["sample_id"].to_list(), order["reward_01"].to_list()
        for k in range(min(config.dpo.pairs, len(names) // 2)):
            worst = -1 - k
            if rewards[k] > rewards[worst]:
                pairs.append((prompt, names[k], names[worst], rewards[k], rewards[worst]))
    return pd.DataFrame(pairs, columns=list(PAIRS))


def learned_weights(config: LoopConfig, grow: pd.DataFrame, kept: pd.DataFrame) -> pd.Series[float]:
    """What an Improve step trains on and how much each row counts (index: sample_id, in the order
    of the Grow set).

    The kept rows count 1 each; under the loss `topr` as config.ToprLoss says, where rows that were
    not kept count below zero and what counts nothing is left out.
    """
    prompts = grow.set_index("sample_id")["prompt_id"]
    is_kept = prompts.index.isin(set(kept["sample_id"]))
    match config.train.loss:
        case BcLoss() | GoldLoss():
            return pd.Series(1.0, index=prompts.index[is_kept])
        case ToprLoss():
            return _topr_weights(grow, prompts, is_kept)
        case _ as unknown:
            assert_never(unknown)


def _topr_weights(
    grow: pd.DataFrame, prompts: pd.Series[Any], is_kept: np.ndarray[Any, np.dtype[np.bool_]]
) -> pd.Series[float]:
    # p, the share of a prompt's samples that are kept, is what a baseline is to a policy gradient:
    # where the filter keeps nearly all, being kept teaches little and being dropped teaches much.
    sampled = (grow["origin"] == "policy").to_numpy()
    share = pd.Series(is_kept[sampled]).groupby(prompts.to_numpy()[sampled]).mean()
    p = prompts.map(share).fillna(0.0).to_numpy()
    # A reference is a person's text: it may be learned, and is never unlearned.
    unlearned = np.where(sampled, -p, 0.0)
    weights = pd.Series(np.where(is_kept, 1 - p, unlearned), index=prompts.index)
    return weights[weights != 0]


def _check_rewards(rows: pd.DataFrame) -> None:
    if not np.isfinite(rows["reward_01"]).all():
        raise BadInput(
            "the scored Grow set has rewards that are not numbers; nothing can be selected from it"
        )


def _over(
    per: Literal["all", "prompt"], grow: pd.DataFrame, statistic: Literal["max", "mean"]
) -> pd.Series[Any]:
    """The statistic of the rewards for every row: of all rows, or of those of its own prompt."""
    reward = grow["reward_01"]
    if per == "prompt":
        return reward.groupby(grow["prompt_id"]).transform(statistic)
    return pd.Series(reward.agg(statistic), index=grow.index)


def _rank_in_prompt(rows: pd.DataFrame) -> pd.Series[Any]:
    """1 for the best row of each prompt; ties go to the earlier sample name."""
    return (_best_first(rows).groupby("prompt_id").cumcount() + 1).reindex(rows.index)


def _best_first(rows: pd.DataFrame) -> pd.DataFrame:
    """By falling reward. Ties are broken by name, and the sort is stable: the same rows always give
    the same order, whatever order they came in.
    """
    return rows.sort_values(["reward_01", "sample_id"], ascending=[False, True], kind="stable")
