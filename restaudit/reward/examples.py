"""Feedback as training examples: targets from the training raters, splits by hash, nothing embedded
yet.
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
from restaudit.reward.raters import Panel, rated, voted

Objective = Literal["bradley_terry", "regression"]
STOP_SHARE = 0.1
MIN_PROMPTS = 10
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
        shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        raise BadInput(
            f"rater(s) {', '.join(unknown) or '(none)'} are not in the data; it has: {shown}"
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
    long = table.assign(rater=table["rater"].map(lambda r: None if pd.isna(r) else str(r)))
    rows, panel = (
        _rated(long, raters, rater_model)
        if kind == "ratings"
        else _paired(long, raters, rater_model)
    )
    rows["prompt"] = rows["prompt"].map(as_text)
    key = rows["prompt"].map(normalise)
    by_prompt = key.nunique() >= MIN_PROMPTS
    text = rows["left"] if kind == "ratings" else rows["left"] + "\0" + rows["right"]
    rows["unit"] = key.where(by_prompt & (key != ""), text.map(normalise))
    rows["split"] = _split(rows["unit"], held_out_share)
    # An item that the training raters never rated cannot train; it can still be judged.
    rows = rows[(rows["split"] == "held_out") | rows["target"].notna()].reset_index(drop=True)
    for split in ("train", "stop", "held_out"):
        if not (rows["split"] == split).any():
            raise BadInput(
                f"no item is left for the split '{split}': the data has {len(rows)} items in "
                f"{rows['unit'].nunique()} {'prompts' if by_prompt else 'texts'} (held_out_share "
                f"{held_out_share}); give more data"
            )
    return Examples(fitting, rows, raters, "prompt" if by_prompt else "item", panel)


def _split(units: pd.Series[Any], held_out_share: float) -> pd.Series[Any]:
    distinct = pd.Series(units.unique())
    held_out = distinct.map(lambda u: fraction(u, "held out") < held_out_share)
    training = sorted(distinct[~held_out], key=lambda u: fraction(u, "stop"))
    stop = set(training[: max(1, round(STOP_SHARE * len(training)))])
    names = {
        u: "held_out" if h else "stop" if u in stop else "train"
        for u, h in zip(distinct, held_out, strict=True)
    }
    return units.map(names)


def _divide(
    long: pd.DataFrame, raters: Raters
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """The judgements that train, those that judge, and the names of the judges."""
    if not raters.chosen:
        return long, long, raters.used
    judges = raters.held_out or raters.used
    return long[long["rater"].isin(raters.used)], long[long["rater"].isin(judges)], judges


def _rated(
    long: pd.DataFrame, raters: Raters, rater_model: Literal["mean", "reliability"]
) -> tuple[pd.DataFrame, tuple[dict[str, Any], ...]]:
    used, judging, judges = _divide(long, raters)
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
    rows["agreement"] = ((k * (k - 1) + (n - k) * (n - k - 1)) / (n * (n - 1))).where(n > 1)
    rows["half_a"] = rows["half_b"] = np.nan
    return rows.reset_index(), panel.raters


def _mean(used: pd.DataFrame, column: str) -> Panel:
    """Every rater counts alike."""
    target = used.groupby("item_id")[column].mean()
    return Panel(target, pd.Series(1.0, target.index), ())
