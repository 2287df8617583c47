"""What the training data looks like before anybody trusts it: duplicates, balance of length,
contradictions, noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from restaudit.data.near import near_pairs
from restaudit.evidence.chats import normalise
from restaudit.reward.examples import Examples, Numbers
from restaudit.reward.noise import LIMIT, label_noise

VERSION = "1"
JACCARD = 0.8
NEAR = f"Jaccard of word 3-grams at least {JACCARD}; no pair that reaches it is missed"


def care(examples: Examples, left: Numbers, right: Numbers | None, *, seed: int) -> dict[str, Any]:
    """A report on the data, as plain JSON: near-duplicates across the split, length,
    contradictions, label noise.

    `left` and `right` (n,) are the combined rewards of the rows of `examples.table` (right None for
    ratings). What cannot be told is null with the reason.
    """
    table = examples.table.assign(words_left=_words(examples.table["left"]))
    if right is not None:
        table = table.assign(words_right=_words(table["right"]), difference=left - right)
    return {
        "near_duplicates_across_the_split": _across(table, pairs=right is not None),
        "near_duplicates_in_training": _within(table, pairs=right is not None),
        "length": _length_of_pairs(table) if right is not None else _length_of_ratings(table),
        "contradictions": _contradictions(table, pairs=right is not None),
        "label_noise": _noise(table, pairs=right is not None, seed=seed),
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
    whole = table["left"] + "\n" + table["right"] if pairs else table["left"]
    held_out, train = (
        [normalise(t) for t in whole[(table["split"] == "held_out") == part]]
        for part in (True, False)
    )
    return held_out, train


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
