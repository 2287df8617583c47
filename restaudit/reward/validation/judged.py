"""What a validation reads: items that people judged, with the reward of each, its spread, and every
single vote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack

import numpy as np
import pandas as pd

from probes.base import Array, Measurement
from probes.statistics.stats import (
    SHARE,
    Estimate,
    Resampling,
    bootstrap,
    correlation,
    ratio_of_sums,
    unmeasured,
)
from restaudit.config import EnsembleConfig
from restaudit.evidence.chats import as_text, normalise
from restaudit.reward.contract import Scores, combine
from restaudit.reward.examples import Examples

Kind = Literal["pairs", "ratings"]
Unit = Literal["prompt", "item"]
COLUMNS = ("item_id", "prompt_id", "prompt", "left", "right", "judged", "reward", "spread")


@dataclass(frozen=True)
class Judged:
    """Judged items and the reward of each.

    kind        pairs or ratings
    table       a row an item: item_id, prompt_id (what is resampled together), prompt, left, right
                (None for ratings), judged (mean rating in the source's unit, or share of votes for
                `left`, 0..1; NaN: nobody says), reward (of the text; for pairs of `left` less
                `right`), spread (the members' sd of that reward, ddof 1; NaN for one member), and
                perhaps source (the file it came from)
    votes       a row a judgement: item_id, rater (None: not named), value (a rating; for pairs 1
                left, 0 right, 0.5 tie). May be empty: then what needs single votes is null
    members     members of the reward
    unit        what `prompt_id` names: the prompt, or the item where texts stand alone
    embeddings  (items, d) embeddings of the items, in the order of `table`, or None
    """

    kind: Kind
    table: pd.DataFrame
    votes: pd.DataFrame
    members: int = 1
    unit: Unit = "prompt"
    embeddings: Array | None = None

    def __post_init__(self) -> None:
        missing = [c for c in COLUMNS if c not in self.table.columns]
        if missing:
            raise ValueError(
                f"judged items lack the column(s) {', '.join(missing)}; they have "
                f"{', '.join(COLUMNS)}"
            )
        if self.embeddings is not None and len(self.embeddings) != len(self.table):
            raise ValueError(
                f"{len(self.embeddings)} embeddings for {len(self.table)} items; expected one an "
                "item"
            )

    @property
    def usable(self) -> pd.DataFrame:
        """The items whose judges came to something: a rating, or more votes for one response than
        for the other.

        Columns more than `table` has: one (1.0), and loss, what the reward gets wrong about the
        item. Pairs: 0 right, 1 wrong, 0.5 where both rewards are equal, and wins = 1 - loss.
        Ratings: see `residuals`.
        """
        rows = self.table[self.table["judged"].notna()].assign(one=1.0)
        if self.kind == "ratings":
            return residuals(rows)
        rows = rows[rows["judged"] != 0.5]
        right = wins(rows["reward"], rows["judged"])
        return rows.assign(wins=right, loss=1 - right)

    @property
    def judgements(self) -> pd.DataFrame:
        """`usable` with a row a vote in place of a row an item: judged is the vote, and rater who
        gave it.
        """
        shown = self.table.drop(columns="judged")
        rows = self.votes.rename(columns={"value": "judged"}).merge(
            shown, on="item_id", how="inner"
        )
        return replace(self, table=rows, embeddings=None).usable

    def with_reward(self, reward: Array) -> Judged:
        """The same items under another reward of one member, (items,)."""
        if reward.shape != (len(self.table),):
            raise ValueError(
                f"rewards have shape {reward.shape}; expected ({len(self.table)},), one an item"
            )
        return replace(self, table=self.table.assign(reward=reward, spread=np.nan), members=1)


def wins(difference: pd.Series[float], judged: pd.Series[float]) -> pd.Series[float]:
    """1 where a difference prefers what the judges prefer, 0 where the other, 0.5 where it prefers
    neither.
    """
    prefers = np.sign(difference.to_numpy(dtype=np.float64))
    preferred = np.sign((judged - 0.5).to_numpy(dtype=np.float64))
    return pd.Series((prefers * preferred + 1) / 2, index=difference.index)


def residuals(rows: pd.DataFrame) -> pd.DataFrame:
    """With `over`: the least-squares line of judged on reward less judged, in rating units, and
    `loss`, its size.

    The line makes rewards of any unit comparable with ratings. NaN where the reward or the ratings
    do not vary.
    """
    x, y = (rows[c].to_numpy(dtype=np.float64) for c in ("reward", "judged"))
    over = np.full(len(rows), np.nan)
    if len(rows) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0:
        # Divided by the range, so that no square of a reward of any unit over- or underflows.
        u = (x - x.mean()) / np.ptp(x)
        over = y.mean() + float((u * (y - y.mean())).sum() / (u * u).sum()) * u - y
    return rows.assign(over=over, loss=np.abs(over))


def votes_of(kind: Kind, table: pd.DataFrame) -> pd.DataFrame:
    """Single votes of judgements in long form (restaudit.data.feedback): item_id, rater, value as
    `Judged` has them.

    The left response of a pair is the one that comes first in the order of texts, as in
    restaudit.reward.examples.
    """
    if kind == "ratings":
        return (
            table[["item_id", "rater", "score"]]
            .rename(columns={"score": "value"})
            .reset_index(drop=True)
        )
    first = (table["chosen"] <= table["rejected"]).astype(float)
    value = first.mask(table["tied"].astype(bool), 0.5) if "tied" in table.columns else first
    return table[["item_id", "rater"]].assign(value=value).reset_index(drop=True)


def from_examples(
    examples: Examples,
    left: Scores,
    right: Scores | None,
    ensemble: EnsembleConfig,
    *,
    table: pd.DataFrame | None = None,
    split: Literal["train", "stop", "held_out"] = "held_out",
    embeddings: Array | None = None,
) -> Judged:
    """The items of a split.

    left, right  member scores (items, members) of the rows of `examples.table`; right None for
                 ratings
    table        the judgements in long form the examples were made from, for measures of single
                 votes
    embeddings   (items, d) of the rows of `examples.table`
    """
    kind: Kind = "ratings" if right is None else "pairs"
    chosen = (examples.table["split"] == split).to_numpy()
    rows = examples.table[chosen].reset_index(drop=True)
    votes = _no_votes()
    if table is not None:
        judges = examples.raters.held_out or examples.raters.used
        judging = (
            table[table["rater"].astype(str).isin(judges)] if examples.raters.chosen else table
        )
        votes = votes_of(kind, judging[judging["item_id"].isin(set(rows["item_id"]))])
    return _judged(
        kind,
        rows.rename(columns={"unit": "prompt_id"}),
        left[chosen],
        None if right is None else right[chosen],
        ensemble,
        votes,
        examples.unit,
        None if embeddings is None else embeddings[chosen],
    )


def from_feedback(
    kind: Kind,
    table: pd.DataFrame,
    score: Callable[[Sequence[str], Sequence[str]], Scores],
    ensemble: EnsembleConfig,
    *,
    embed: Callable[[Sequence[str]], Any] | None = None,
) -> Judged:
    """Judgements in long form (restaudit.data.feedback; perhaps with a column `source`), scored.

    score  (prompts, texts) -> member scores (n, members); what it raises goes through
    embed  texts -> (n, d), for topics

    What is resampled is the prompt, or the item for texts without a prompt and where there is one
    prompt alone.
    """
    votes = votes_of(kind, table)
    rows = table.drop_duplicates("item_id").copy()
    if kind == "ratings":
        rows = rows.rename(columns={"response": "left"}).assign(right=None)
    else:
        first = rows["chosen"] <= rows["rejected"]
        rows["left"] = rows["chosen"].where(first, rows["rejected"])
        rows["right"] = rows["rejected"].where(first, rows["chosen"])
    rows["prompt"] = rows["prompt"].map(as_text)
    rows["judged"] = rows["item_id"].map(votes.groupby("item_id")["value"].mean())
    key = rows["prompt"].map(normalise)
    by_prompt = key[key != ""].nunique() > 1
    rows["prompt_id"] = key.where(key != "", rows["item_id"]) if by_prompt else rows["item_id"]
    rows = rows.reset_index(drop=True)
    prompts, texts = rows["prompt"].tolist(), rows["left"].tolist()
    left, right = score(prompts, texts), None
    if kind == "pairs":
        right = score(prompts, rows["right"].tolist())
    embeddings = embed(topic_texts(rows)) if embed is not None else None
    unit: Unit = "prompt" if by_prompt else "item"
    return _judged(kind, rows, left, right, ensemble, votes, unit, embeddings)


def topic_texts(rows: pd.DataFrame) -> list[str]:
    """What tells an item's topic: its prompt, or its texts where hardly any prompts differ."""
    if rows["prompt"].nunique() >= 10:
        return rows["prompt"].tolist()
    return [joined(texts) for texts in rows[["left", "right"]].to_numpy()]


def joined(texts: Iterable[Any]) -> str:
    """The texts of an item as one; a rating has no right one."""
    return " ".join(text for text in texts if isinstance(text, str))


def _judged(
    kind: Kind,
    rows: pd.DataFrame,
    left: Scores,
    right: Scores | None,
    ensemble: EnsembleConfig,
    votes: pd.DataFrame,
    unit: Unit,
    embeddings: Array | None,
) -> Judged:
    reward, spread = combine(left, ensemble)
    if right is not None:
        reward = reward - combine(right, ensemble)[0]
        # Of the members' differences, not of their rewards: members may differ about a text and
        # still agree about the pair.
        spread = combine(left - right, ensemble)[1]
    columns = [c for c in (*COLUMNS, "source") if c in {*rows.columns, "reward", "spread"}]
    table = rows.assign(reward=reward, spread=spread)[columns]
    return Judged(kind, table, votes, left.shape[1], unit, embeddings)


def _no_votes() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "item_id": pd.Series(dtype=object),
            "rater": pd.Series(dtype=object),
            "value": pd.Series(dtype=np.float64),
        }
    )


# --- two scores against the same judges: each alone, and the paired difference between them

VERSION = "1"
LEVEL = 0.95
CHANGE = (-1.0, 1.0)
UNDECIDED = "no pair has more votes for one response than for the other"


def measured(estimate: Estimate, name: str, unit: str, meaning: str, **detail: Any) -> Measurement:
    """The measurement `validation.<name>`; `meaning` says in words what it is."""
    return estimate.measured(
        f"validation.{name}", unit=unit, version=VERSION, detail={"meaning": meaning, **detail}
    )


def unit_of(judged: Judged) -> Literal["share", "r"]:
    """What agreement with people is measured in: the share of pairs, or Pearson's r."""
    return "share" if judged.kind == "pairs" else "r"


def agreement(
    judged: Judged, rows: pd.DataFrame, score: str = "reward", **resampling: Unpack[Resampling]
) -> Estimate:
    """How far a column of some rows agrees with `judged`: share of pairs, ties one half; or
    Pearson's r.
    """
    if judged.kind == "ratings":
        return correlation(table=rows, x=score, y="judged", kind="pearson", **resampling)
    if rows.empty:
        return unmeasured(UNDECIDED)
    counted = rows.assign(agrees=wins(rows[score], rows["judged"]))
    return ratio_of_sums(
        table=counted, numerator="agrees", denominator="one", bounds=SHARE, **resampling
    )


def advantage(
    judged: Judged, rows: pd.DataFrame, score: str, other: str, **resampling: Unpack[Resampling]
) -> Estimate:
    """How much better one column agrees with `judged` than another does on the same rows, paired;
    -1..1 or -2..2.
    """
    if judged.kind == "ratings":
        return correlation_difference(rows, score, other, "judged", **resampling)
    if rows.empty:
        return unmeasured(UNDECIDED)
    gained = wins(rows[score], rows["judged"]) - wins(rows[other], rows["judged"])
    return ratio_of_sums(
        table=rows.assign(gained=gained),
        numerator="gained",
        denominator="one",
        bounds=CHANGE,
        **resampling,
    )


def correlation_difference(
    rows: pd.DataFrame, x: str, other: str, y: str, **resampling: Unpack[Resampling]
) -> Estimate:
    """Pearson's r of x and y less that of `other` and y, on the rows where all three are defined;
    -2..2.
    """
    rows = rows[rows[[x, other, y]].notna().all(axis=1)]
    a, b, c = (_standard(rows[name].to_numpy(dtype=np.float64)) for name in (x, other, y))
    units = rows["prompt_id"].nunique()
    for name, values in ((x, a), (other, b), (y, c)):
        if len(rows) < 3 or not np.any(values):
            why = (
                f"{name} is the same for all {len(rows)} samples"
                if len(rows) >= 3
                else f"{len(rows)} samples"
            )
            return unmeasured(why, n=len(rows), units=units)
    parts = pd.DataFrame(
        {
            "n": np.ones(len(rows)),
            "a": a,
            "b": b,
            "c": c,
            "aa": a * a,
            "bb": b * b,
            "cc": c * c,
            "ac": a * c,
            "bc": b * c,
        }
    )
    totals = parts.groupby(rows["prompt_id"].to_numpy()).sum().to_numpy()

    def statistic(sums: Array) -> Array:
        n, sa, sb, sc, saa, sbb, scc, sac, sbc = sums.T
        va, vb, vc = (
            np.where(v > 1e-12 * n, v, np.nan)
            for v in (saa - sa**2 / n, sbb - sb**2 / n, scc - sc**2 / n)
        )
        difference: Array = (sac - sa * sc / n) / np.sqrt(va * vc) - (sbc - sb * sc / n) / np.sqrt(
            vb * vc
        )
        return difference

    return bootstrap(
        totals=totals, statistic=statistic, n=len(rows), bounds=(-2.0, 2.0), **resampling
    )


def _standard(values: Array) -> Array:
    """Centred and scaled to sd 1, so that sums of squares do not cancel; all 0 where the values do
    not vary.
    """
    if len(values) < 2 or np.ptp(values) <= 1e-12 * float(np.abs(values).max()):
        return np.zeros(len(values))
    centred = values - values.mean()
    centred = centred / np.abs(centred).max()
    out: Array = centred / centred.std()
    return out


def nothing(
    name: str, unit: str, meaning: str, reason: str, *, n: int = 0, **detail: Any
) -> Measurement:
    """A measurement without a value, and why."""
    return measured(unmeasured(reason, n=n), name, unit, meaning, **detail)


def words(texts: pd.Series[Any]) -> pd.Series[float]:
    """Number of words, split at white space."""
    return texts.map(lambda text: float(len(text.split()))).astype("float64")  # of no text too
