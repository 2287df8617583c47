"""What the training data looks like before anybody trusts it: duplicates, balance of length,
contradictions, noise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import chdtri

from probes.base import Interval
from probes.statistics.resample import Estimate, prompt_weights, summarise, unmeasured
from restaudit.data.near_duplicates import near_pairs
from restaudit.evidence.chats import normalise
from restaudit.reward.examples import Examples, Numbers

VERSION = "1"
JACCARD = 0.8
NEAR = f"Jaccard of word 3-grams at least {JACCARD}; no pair that reaches it is missed"
METHOD = (
    "share ε of flipped labels by maximum likelihood on held-out pairs: P(left wins) = ε + "
    "(1 - 2ε)·σ(s·(r_left - r_right)), ε in 0..0.5, s > 0 (the lapse rate of psychometric "
    "functions, Wichmann & Hill 2001)"
)
LIMIT = (
    "Where the model is never sure, its own errors and flipped labels look alike, and the "
    "interval is wide. Errors it is sure of count as flips: the estimate is of labels and model "
    "together."
)
FEWEST, LEVEL = 50, 0.95
RESAMPLES = 200


def care(examples: Examples, left: Numbers, right: Numbers | None, *, seed: int) -> dict[str, Any]:
    """A report on the data, as plain JSON: near-duplicates across the split, length,
    contradictions, label noise.

    `left` and `right` (n,) are the combined rewards of the rows of `examples.table` (right None for
    ratings). What cannot be told is null with the reason.
    """
    pairs = right is not None
    table = examples.table.assign(words_left=_words(examples.table["left"]))
    if right is not None:
        table = table.assign(words_right=_words(table["right"]), difference=left - right)
    return {
        "near_duplicates_across_the_split": _across(table, pairs=pairs),
        "near_duplicates_in_training": _within(table, pairs=pairs),
        "length": _length_of_pairs(table) if pairs else _length_of_ratings(table),
        "contradictions": _contradictions(table, pairs=pairs),
        "label_noise": _noise(table, pairs=pairs, seed=seed),
    }


def _across(table: pd.DataFrame, *, pairs: bool) -> dict[str, Any]:
    """Held-out items that resemble one that trains: what validation would flatter."""
    held_out, train = _texts(table, pairs=pairs)
    near = {j for _, j, _ in near_pairs(train, held_out, JACCARD)}
    return {
        "share": len(near) / len(held_out),
        "items": len(near),
        "held_out": len(held_out),
        "method": NEAR,
    }


def _within(table: pd.DataFrame, *, pairs: bool) -> dict[str, Any]:
    """Training items that resemble an earlier one: what counts twice, or more often.

    They are counted, not removed.
    """
    _, train = _texts(table, pairs=pairs)
    near = {j for i, j, _ in near_pairs(train, train, JACCARD) if i < j}
    return {
        "share": len(near) / len(train),
        "items": len(near),
        "train": len(train),
        "method": NEAR,
    }


def _texts(table: pd.DataFrame, *, pairs: bool) -> tuple[list[str], list[str]]:
    """Normalised texts of the held-out items, and of those that train or decide when to stop."""
    texts = table["left"] + "\n" + table["right"] if pairs else table["left"]
    held_out = table["split"] == "held_out"
    return texts[held_out].map(normalise).tolist(), texts[~held_out].map(normalise).tolist()


def _length_of_pairs(table: pd.DataFrame) -> dict[str, Any]:
    rows = table[
        (table["split"] != "held_out") & table["target"].notna() & (table["target"] != 0.5)
    ]
    longer = np.sign(rows["words_left"] - rows["words_right"]) * np.sign(rows["target"] - 0.5)
    won = rows["words_left"].where(rows["target"] > 0.5, rows["words_right"])
    lost = rows["words_right"].where(rows["target"] > 0.5, rows["words_left"])
    return {
        "the_longer_response_won": float(((longer + 1) / 2).mean()),
        "mean_words_of_winners": float(won.mean()),
        "mean_words_of_losers": float(lost.mean()),
        "pairs": len(rows),
    }


def _length_of_ratings(table: pd.DataFrame) -> dict[str, Any]:
    rows = table[(table["split"] != "held_out") & table["target"].notna()]
    if rows["words_left"].nunique() < 2 or rows["target"].nunique() < 2:
        return {
            "correlation_of_words_and_rating": None,
            "reason": "all texts are as long, or all rated alike",
        }
    r = float(np.corrcoef(rows["words_left"], rows["target"])[0, 1])
    return {
        "correlation_of_words_and_rating": r,
        "mean_words": float(rows["words_left"].mean()),
        "items": len(rows),
    }


def _contradictions(table: pd.DataFrame, *, pairs: bool) -> dict[str, Any]:
    """Pairs that several judges decided both ways."""
    if not pairs:
        return {
            "share": None,
            "reason": (
                "ratings do not contradict one another; see ceiling_pearson of the validation"
            ),
        }
    twice = table[table["agreement"].notna()]
    if twice.empty:
        return {"share": None, "reason": "no pair has two judges"}
    both = int((twice["agreement"] < 1).sum())
    return {"share": both / len(twice), "pairs": both, "judged_by_two_or_more": len(twice)}


def _noise(table: pd.DataFrame, *, pairs: bool, seed: int) -> dict[str, Any]:
    if not pairs:
        return {
            "value": None,
            "reason": (
                "label noise is estimated for pairs; for ratings the raters' own agreement says it"
            ),
        }
    rows = table[
        (table["split"] == "held_out") & table["judged"].notna() & (table["judged"] != 0.5)
    ]
    estimate = label_noise(
        rows["difference"].to_numpy(dtype=np.float64),
        np.asarray(rows["judged"] > 0.5, dtype=np.float64),
        rows["unit"].to_numpy(),
        seed=seed,
    )
    measured = estimate.measured(
        "care.label_noise", unit="share of labels flipped", version=VERSION, direction="lower"
    )
    return {**measured.to_json(), "limit": LIMIT}


def _words(texts: pd.Series[str]) -> pd.Series[float]:
    return texts.map(lambda text: float(len(text.split())))


# --- how many labels are flipped: what a reward model that is sure of a pair still gets wrong


def label_noise(difference: Numbers, wins: Numbers, unit: NDArray[Any], *, seed: int) -> Estimate:
    """The share of flipped labels, 0..0.5, from held-out pairs.

    difference  (n,) reward of the left response less that of the right one
    wins        (n,) 1.0 where the judges prefer the left one, 0.0 where the right one
    unit        (n,) what is resampled together (the prompt)

    Null with the reason for fewer than 50 pairs, and where the rewards do not tell any two
    responses apart.
    """
    names, owner = np.unique(unit, return_inverse=True)
    if len(difference) < FEWEST:
        return unmeasured(
            f"{len(difference)} held-out pairs; at least {FEWEST} are needed", units=len(names)
        )
    scale = float(np.std(difference))
    if scale <= 1e-12:
        return unmeasured(
            "the reward of both responses is the same for every held-out pair", units=len(names)
        )
    d = difference / scale
    alike = np.ones(len(d))
    # The likelihood can have two peaks: few flips and a steep model, or many and a flat one.
    fits = [_fit(d, wins, alike, start) for start in ((0.05, 0.0), (0.3, 1.0))]
    best, least_loss = min(fits, key=lambda fitted: fitted[1])
    replicates = []
    for weight in prompt_weights(units=len(names), resamples=RESAMPLES, seed=seed):
        (epsilon, _), _ = _fit(d, wins, weight[owner].astype(np.float64), best)
        replicates.append(epsilon)
    estimate = summarise(
        value=best[0], replicates=np.array(replicates), n=len(d), units=len(names), levels=(LEVEL,)
    )
    if not estimate.intervals:
        # No resample leaves the edge (no flips at all): the likelihood says how far the truth may
        # be from it.
        grid = np.linspace(0.0, 0.499, 100)
        losses = [_fit(d, wins, alike, (epsilon, best[1]), fixed=True)[1] for epsilon in grid]
        drops = np.array(losses) - least_loss
        inside = grid[2 * len(d) * drops <= chdtri(1, 1 - LEVEL)]
        ends = (Interval(LEVEL, float(inside.min()), float(inside.max())),)
        estimate = replace(
            estimate, intervals=ends, reason=None, method="profile likelihood, every pair one trial"
        )
    return _clipped(estimate)


def _fit(
    d: Numbers, wins: Numbers, weight: Numbers, start: tuple[float, float], *, fixed: bool = False
) -> tuple[tuple[float, float], float]:
    """(ε, log s) for weighted pairs, and the mean loss there in nats; with `fixed`, ε stays at its
    start.
    """

    def loss(parameters: Numbers) -> float:
        epsilon, log_s = parameters
        p = epsilon + (1 - 2 * epsilon) / (1 + np.exp(-np.clip(np.exp(log_s) * d, -50, 50)))
        p = np.clip(p, 1e-9, 1 - 1e-9)
        return float(
            -(weight * (wins * np.log(p) + (1 - wins) * np.log(1 - p))).sum() / weight.sum()
        )

    # Not quite 0.5: there the pairs say nothing about s.
    bounds = [(start[0], start[0]) if fixed else (0.0, 0.499), (-4.0, 4.0)]
    fitted = minimize(loss, np.array(start), method="L-BFGS-B", bounds=bounds)
    return (float(fitted.x[0]), float(fitted.x[1])), float(fitted.fun)


def _clipped(estimate: Estimate) -> Estimate:
    """A share of flips is between 0 and 0.5, and so are the ends of its interval."""
    ends = tuple(replace(i, low=max(0.0, i.low), high=min(0.5, i.high)) for i in estimate.intervals)
    return replace(estimate, intervals=ends, method=f"{METHOD}; {estimate.method}")
