"""Targets from raters who are not equally good: their errors are estimated from how they agree with
one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from restaudit.errors import BadInput

Numbers = npt.NDArray[np.float64]
ROUNDS, TOLERANCE = 200, 1e-8
SMALLEST_SHARE = 0.01  # a rater's error variance is at least this share of the panel's
# A rater who judged little is taken for one of the panel's usual ones: as if so many judgements had
# been seen already.
PRIOR_JUDGEMENTS, PRIOR_ACCURACY = 6.0, 0.75


@dataclass(frozen=True)
class Panel:
    """What raters said, put together.

    target   a value an item: rating units, or the probability that the left response is the better
             one
    weight   a positive number an item, mean 1: how much is known of its target
    raters   a row a rater, named: what the model found about them
    """

    target: pd.Series[float]
    weight: pd.Series[float]
    raters: tuple[dict[str, Any], ...]


def rated(scores: pd.DataFrame) -> Panel:
    """Ratings with rater noise modelled: score = item + the rater's bias + noise with the rater's
    own variance.

    `scores` has columns item_id, rater, score. Biases sum to 0 over raters; a rater's variance is
    estimated from the distances to the others' precision-weighted mean of the same items (the
    rater's own score left out, so that no variance can shrink to nothing), and items are
    precision-weighted means (the two-way model of Dawid-Skene's kind for interval scales; Raykar et
    al. 2010, JMLR 11:1297, section 4). An item's weight is 1 / (between-item variance + variance of
    its mean). Raises BadInput where a rater has no name or nobody shares an item with somebody
    else.
    """
    items, raters, item, rater = _indexed(scores)
    y = scores["score"].to_numpy(dtype=np.float64)
    bias, variance = np.zeros(len(raters)), np.full(len(raters), max(float(np.var(y)), 1e-12))
    count = np.bincount(item, minlength=len(items))
    shared = count[item] > 1
    if not shared.any():
        raise BadInput(
            "reward.rater_model: reliability needs items that several raters judged; use mean"
        )
    mean = np.zeros(len(items))
    for _ in range(ROUNDS):
        weight = 1 / variance[rater]
        total, weighted = np.bincount(item, weight), np.bincount(item, weight * (y - bias[rater]))
        mean = weighted / total
        left = np.where(shared, total[item] - weight, 1.0)
        others = np.where(shared, (weighted[item] - weight * (y - bias[rater])) / left, 0.0)
        error = y - bias[rater] - others
        squares = np.where(shared, error**2 - 1 / left, 0.0)
        n = np.bincount(rater, shared.astype(float), minlength=len(raters))
        panel = float(squares.sum() / shared.sum())
        floor = SMALLEST_SHARE * max(panel, 1e-12)
        found = (
            np.bincount(rater, squares, minlength=len(raters))
            + PRIOR_JUDGEMENTS * max(panel, floor)
        ) / (n + PRIOR_JUDGEMENTS)
        shift = np.bincount(rater, np.where(shared, y - others, 0.0), minlength=len(raters)) / (
            n + PRIOR_JUDGEMENTS
        )
        shift -= shift.mean()
        found = np.maximum(found, floor)
        step = max(float(np.abs(found - variance).max()), float(np.abs(shift - bias).max()))
        bias, variance = shift, found
        if step < TOLERANCE:
            break
    known = 1 / np.bincount(item, 1 / variance[rater])
    between = max(float(np.var(mean) - known.mean()), 1e-12)
    weight = 1 / (between + known)
    facts = [
        {"rater": str(name), "judgements": int(k), "bias": float(b), "noise_sd": float(v**0.5)}
        for name, k, b, v in zip(raters, np.bincount(rater), bias, variance, strict=True)
    ]
    return Panel(pd.Series(mean, items), pd.Series(weight / weight.mean(), items), tuple(facts))


def voted(votes: pd.DataFrame) -> Panel:
    """Votes on pairs by raters of unequal accuracy: the probability that the left response is the
    better one.

    `votes` has columns item_id, rater, vote (1 left, 0 right, 0.5 tie). One accuracy a rater, the
    same for both sides (the one-coin model of Dawid & Skene 1979, Applied Statistics 28:20), by
    expectation maximisation from the majority; each accuracy has a Beta prior worth 6 judgements
    with mean 0.75. A tie says nothing about the pair. Weights are 1: an uncertain pair has a
    probability near 0.5, which asks for little. Raises BadInput as `rated` does.
    """
    items, raters, item, rater = _indexed(votes)
    v = votes["vote"].to_numpy(dtype=np.float64)
    decided = v != 0.5
    if not (np.bincount(item[decided], minlength=len(items)) > 1).any():
        raise BadInput(
            "reward.rater_model: reliability needs pairs that several raters judged; use mean"
        )
    share = np.bincount(item, v) / np.bincount(item)
    n = np.bincount(rater, decided.astype(float), minlength=len(raters))
    accuracy = np.full(len(raters), PRIOR_ACCURACY)
    for _ in range(ROUNDS):
        agrees = np.where(v == 1, share[item], 1 - share[item]) * decided
        found = (
            np.bincount(rater, agrees, minlength=len(raters)) + PRIOR_JUDGEMENTS * PRIOR_ACCURACY
        )
        found = found / (n + PRIOR_JUDGEMENTS)
        odds = np.log(found / (1 - found))[rater] * np.sign(v - 0.5)
        share = 1 / (1 + np.exp(-np.bincount(item, odds)))
        step = float(np.abs(found - accuracy).max())
        accuracy = found
        if step < TOLERANCE:
            break
    facts = [
        {"rater": str(name), "judgements": int(k), "accuracy": float(a)}
        for name, k, a in zip(raters, np.bincount(rater), accuracy, strict=True)
    ]
    return Panel(pd.Series(share, items), pd.Series(1.0, items), tuple(facts))


def _indexed(table: pd.DataFrame) -> tuple[Any, Any, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    if table["rater"].isna().any():
        raise BadInput(
            "reward.rater_model: reliability needs a named rater for every judgement; use mean"
        )
    item, items = pd.factorize(table["item_id"])
    rater, raters = pd.factorize(table["rater"], sort=True)
    return items, raters, item, rater
