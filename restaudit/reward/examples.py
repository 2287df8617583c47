"""Feedback as training examples: targets from the training raters (who may be unequally good), splits
by hash, nothing embedded yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from restaudit.errors import BadInput
from restaudit.evidence.chats import as_text, fraction, normalise

Objective = Literal["bradley_terry", "regression"]
STOP_SHARE = 0.1
MIN_PROMPTS = 10
ROUNDS, TOLERANCE = 200, 1e-8
SMALLEST_SHARE = 0.01  # a rater's error variance is at least this share of the panel's
# A rater who judged little is taken for one of the panel's usual ones: as if so many judgements had
# been seen already.
PRIOR_JUDGEMENTS, PRIOR_ACCURACY = 6.0, 0.75
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Raters:
    """Who the targets come from: `used` train the model, `held_out` judge it.

    `chosen` is False where the configuration chose nobody: then every judgement trains, also those
    of raters without a name, and nobody is held out.
    """

    used: tuple[str, ...]
    held_out: tuple[str, ...]
    chosen: bool


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


@dataclass(frozen=True)
class Examples:
    """A row an item.

    Columns of `table`: item_id, prompt (plain text), left, right (None for ratings), split (train,
    stop, held_out), unit (the prompt or the item: what a split and a resample keep together),
    target (mean rating, or share of votes for `left`, by the training raters; NaN where they gave
    none), weight (what the loss counts an item for, about 1; NaN where there is no target), judged
    (the same by the held-out raters, or by all raters where none is held out), agreement (how far
    the judges agree among themselves on this item, NaN for one judge), half_a, half_b (means of two
    halves of the judges, ratings only). `panel`: what a rater model found about each training
    rater.
    """

    objective: Objective
    table: pd.DataFrame
    raters: Raters
    unit: Literal["prompt", "item"]
    panel: tuple[dict[str, Any], ...] = ()

    def count(self, split: str) -> int:
        """Items of a split."""
        return int((self.table["split"] == split).sum())


def choose_raters(table: pd.DataFrame, wanted: Sequence[int | str] | None) -> Raters:
    """Divide the raters.

    Raises BadInput when one that is wanted is not in the data, or nobody is named there.
    """
    # By length first, so that "10" comes after "9".
    names = sorted({str(r) for r in table["rater"].dropna()}, key=lambda r: (len(r), r))
    if wanted is None:
        return Raters(tuple(names), (), chosen=False)
    if not names:
        raise BadInput(
            "raters are chosen in the configuration, but the data names no rater; leave "
            "train_raters out"
        )
    used = [str(r) for r in wanted]
    unknown = [r for r in used if r not in names]
    if unknown or not used:
        first = names[:20] if len(names) <= 20 else [*names[:20], "…"]
        raise BadInput(
            f"rater(s) {', '.join(unknown) or '(none)'} are not in the data; it has: "
            f"{', '.join(first)}"
        )
    return Raters(tuple(used), tuple(n for n in names if n not in used), chosen=True)


def examples(
    kind: Literal["ratings", "pairs"],
    table: pd.DataFrame,
    *,
    objective: Literal["auto", "bradley_terry", "regression"] = "auto",
    train_raters: Sequence[int | str] | None = None,
    held_out_share: float = 0.2,
    rater_model: Literal["mean", "reliability"] = "mean",
) -> Examples:
    """Turn judgements in long form (restaudit.data.feedback) into examples.

    Items are held out by a hash of their prompt, so that responses to one prompt never straddle the
    split, or of the response where there is no prompt or the data has fewer than 10 (texts that
    stand alone). The seed plays no part: the same data always holds out the same items. Raises
    BadInput when the objective does not fit the data or a split is empty.
    """
    fitting: Objective = "bradley_terry" if kind == "pairs" else "regression"
    if objective not in ("auto", fitting):
        raise BadInput(
            f"the objective {objective} does not fit data of {kind}; use {fitting} or auto"
        )
    raters = choose_raters(table, train_raters)
    # A rater 3 of one file is the rater "3" of another.
    long = table.assign(rater=table["rater"].map(lambda r: None if pd.isna(r) else str(r)))
    if kind == "ratings":
        rows, panel = _rated(long, raters, rater_model)
        text = rows["left"]
    else:
        rows, panel = _paired(long, raters, rater_model)
        text = rows["left"] + "\0" + rows["right"]
    rows["prompt"] = rows["prompt"].map(as_text)
    key = rows["prompt"].map(normalise)
    # With a handful of prompts a split by prompt would hold out none, or half of the data.
    by_prompt = key.nunique() >= MIN_PROMPTS
    rows["unit"] = key.where(by_prompt & (key != ""), text.map(normalise))
    rows["split"] = _split(rows["unit"], held_out_share)
    # An item that the training raters never rated cannot train; it can still be judged.
    rows = rows[(rows["split"] == "held_out") | rows["target"].notna()].reset_index(drop=True)
    for split in ("train", "stop", "held_out"):
        if not (rows["split"] == split).any():
            units = "prompts" if by_prompt else "texts"
            raise BadInput(
                f"no item is left for the split '{split}': the data has {len(rows)} items in "
                f"{rows['unit'].nunique()} {units} (held_out_share {held_out_share}); give more "
                "data"
            )
    return Examples(fitting, rows, raters, "prompt" if by_prompt else "item", panel)


def _split(units: pd.Series[Any], held_out_share: float) -> pd.Series[Any]:
    distinct = pd.Series(units.unique())
    # By hash, and without the seed: another seed must not be able to choose kinder held-out items.
    held_out = distinct.map(lambda u: fraction(u, "held out") < held_out_share)
    training = sorted(distinct[~held_out], key=lambda u: fraction(u, "stop"))
    # A share of what trains, and not of all: it must not be empty where little is left.
    stop = training[: max(1, round(STOP_SHARE * len(training)))]
    names = dict.fromkeys(training, "train")
    names.update(dict.fromkeys(stop, "stop"))
    names.update(dict.fromkeys(distinct[held_out], "held_out"))
    return units.map(names)


def _divide(
    long: pd.DataFrame, raters: Raters
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """The judgements that train, those that judge, and the names of the judges."""
    if not raters.chosen:
        return long, long, raters.used
    # Where all raters train nobody else can judge; the items are held out all the same.
    judges = raters.held_out or raters.used
    return long[long["rater"].isin(raters.used)], long[long["rater"].isin(judges)], judges


def _rated(
    long: pd.DataFrame, raters: Raters, rater_model: Literal["mean", "reliability"]
) -> tuple[pd.DataFrame, tuple[dict[str, Any], ...]]:
    used, judging, judges = _divide(long, raters)
    # Every other judge: two halves of one size, whose agreement says how reliable the judges are.
    half = {r: i % 2 for i, r in enumerate(judges)}
    by_half = judging.assign(half=judging["rater"].map(half)).pivot_table(
        index="item_id", columns="half", values="score"
    )
    rows = long.drop_duplicates("item_id").set_index("item_id")[["prompt", "response"]]
    rows = rows.rename(columns={"response": "left"})
    rows["right"] = None
    panel = rated(used) if rater_model == "reliability" else _mean(used, "score")
    rows["target"], rows["weight"] = panel.target, panel.weight
    rows["judged"] = judging.groupby("item_id")["score"].mean()
    rows["agreement"] = np.nan
    for side, name in enumerate(("half_a", "half_b")):
        rows[name] = by_half.get(side, np.nan)
    return rows.reset_index(), panel.raters


def _paired(
    long: pd.DataFrame, raters: Raters, rater_model: Literal["mean", "reliability"]
) -> tuple[pd.DataFrame, tuple[dict[str, Any], ...]]:
    # The side a response is on must not tell who won: the order of the two texts decides it.
    first = long["chosen"] <= long["rejected"]
    votes = long.assign(
        left=long["chosen"].where(first, long["rejected"]),
        right=long["rejected"].where(first, long["chosen"]),
        vote=first.astype(float).mask(long["tied"], 0.5),
    )
    used, judging, _ = _divide(votes, raters)
    rows = votes.drop_duplicates("item_id").set_index("item_id")[["prompt", "left", "right"]]
    panel = voted(used) if rater_model == "reliability" else _mean(used, "vote")
    rows["target"], rows["weight"] = panel.target, panel.weight
    rows["judged"] = judging.groupby("item_id")["vote"].mean()
    decided = judging[~judging["tied"]].groupby("item_id")["vote"].agg(["count", "sum"])
    n, k = decided["count"], decided["sum"]
    # The chance that two judges of the pair, drawn without replacement, prefer the same.
    rows["agreement"] = ((k * (k - 1) + (n - k) * (n - k - 1)) / (n * (n - 1))).where(n > 1)
    rows["half_a"] = rows["half_b"] = np.nan
    return rows.reset_index(), panel.raters


def _mean(used: pd.DataFrame, column: str) -> Panel:
    """Every rater counts alike."""
    target = used.groupby("item_id")[column].mean()
    return Panel(target, pd.Series(1.0, target.index), ())


# --- raters who are not equally good: their errors are estimated from how they agree with one another


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
        # The mean of the others: with the rater's own score in it, whoever judges most would come
        # ever closer to the mean, and one variance would shrink to nothing.
        left = np.where(shared, total[item] - weight, 1.0)
        others = np.where(shared, (weighted[item] - weight * (y - bias[rater])) / left, 0.0)
        error = y - bias[rater] - others
        # The others' mean has an error of its own, 1 / left, which is not this rater's.
        squares = np.where(shared, error**2 - 1 / left, 0.0)
        n = np.bincount(rater, shared.astype(float), minlength=len(raters))
        panel = float(squares.sum() / shared.sum())
        floor = SMALLEST_SHARE * max(panel, 1e-12)
        known = n + PRIOR_JUDGEMENTS
        noise = np.bincount(rater, squares, minlength=len(raters))
        new_variance = (noise + PRIOR_JUDGEMENTS * max(panel, floor)) / known
        new_variance = np.maximum(new_variance, floor)
        lean = np.bincount(rater, np.where(shared, y - others, 0.0), minlength=len(raters))
        new_bias = lean / known
        # Only differences of biases are determined: items and biases could move together.
        new_bias -= new_bias.mean()
        step = max(
            float(np.abs(new_variance - variance).max()), float(np.abs(new_bias - bias).max())
        )
        bias, variance = new_bias, new_variance
        if step < TOLERANCE:
            break
    error_of_mean = 1 / np.bincount(item, 1 / variance[rater])
    between = max(float(np.var(mean) - error_of_mean.mean()), 1e-12)
    weight = 1 / (between + error_of_mean)
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
        right = np.bincount(rater, agrees, minlength=len(raters))
        new_accuracy = (right + PRIOR_JUDGEMENTS * PRIOR_ACCURACY) / (n + PRIOR_JUDGEMENTS)
        # A tie has sign 0 and so no weight.
        odds = np.log(new_accuracy / (1 - new_accuracy))[rater] * np.sign(v - 0.5)
        share = 1 / (1 + np.exp(-np.bincount(item, odds)))
        step = float(np.abs(new_accuracy - accuracy).max())
        accuracy = new_accuracy
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
