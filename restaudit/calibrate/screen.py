"""Cheap values of the metrics that gates ask for, exactly those of the probes, without their
intervals.

A gate fires only when its whole interval is beyond the margin, and an interval holds its value. So
a value on the right side of the margin settles that the gate does not fire. Where it cannot say OK
either (alarm-only rules), or has said it at an earlier stage, the probe need not resample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.sparse import csc_array, csr_array
from scipy.special import stdtrit

from probes.base import Embed
from probes.divergence.expected import Scored, gains_of, rated_gains, rated_relation, rated_totals
from probes.diversity.probe import MOST_EMBEDDED
from probes.diversity.vendi import score
from probes.hacking.effects import FEWEST_FOR_COST, Effects, effects
from probes.hacking.features import FEWEST_PROMPTS, MOST_TEXTS, is_long, is_short, mine
from probes.texts.grams import rarefied
from probes.texts.sets import first, words_of
from restaudit.calibrate.emulate import EmulatedAudit, sample_names
from restaudit.calibrate.pool import Flags, Floats, Pool, Rows

HUMAN = "divergence.human_change"
REWARD = "divergence.reward_change"
BEYOND = "divergence.beyond_expected"
EXPECTED = "divergence.expected"
GAP = "bias.human_gap"
PARTS = (EXPECTED, HUMAN, BEYOND)
VENDI = "diversity.vendi_ratio"
DISTINCT = "diversity.distinct_2_ratio"


def value_of(
    metric: str, now: EmulatedAudit, base: EmulatedAudit, embed: Embed | None = None
) -> float | None:
    """The metric's value for `now` against `base`, NaN where it is undefined; None where only the
    probe can tell.
    """
    # A look's later stages may have the same plain samples: what is known of them stays known.
    if metric not in now.known:
        value = _plain_value(metric, now, base, embed)
        if value is None:
            return _group_gap(now) if metric == GAP else None
        now.known[metric] = value
    return now.known[metric]


def _plain_value(
    metric: str, now: EmulatedAudit, base: EmulatedAudit, embed: Embed | None
) -> float | None:
    """The value of a metric of plain samples; None for others."""
    match metric:
        case "divergence.expected" | "divergence.human_change" | "divergence.beyond_expected" if (
            now.rated is not None
        ):
            return _rated(now, base)[PARTS.index(metric)]
        case "divergence.human_change":
            return _change(now, base, "human")
        case "divergence.reward_change":
            return _change(now, base, "reward")
        case "divergence.expected" | "divergence.beyond_expected":
            parts = _parts(now, base)
            now.known[EXPECTED], now.known[BEYOND] = parts[0], parts[2]
            return now.known[metric]
        case "diversity.distinct_2_ratio":
            return _distinct_ratio(now, base)
        case "diversity.vendi_ratio":
            # Of more texts the probe takes a part, which is its own choice.
            few = now.size.prompts * _count(now, base) <= MOST_EMBEDDED
            return _vendi_ratio(now, base, embed) if few and embed is not None else None
    return None


def _square(audit: EmulatedAudit, values: Floats) -> Floats:
    return values[audit.plain].reshape(audit.size.prompts, audit.per_prompt)


def _means(values: Floats) -> Floats:
    """Mean of each line's defined values, NaN where there is none."""
    # np.nanmean warns of lines with no value, and warnings are errors in the tests.
    there = ~np.isnan(values)
    count = there.sum(axis=1)
    means: Floats = np.where(there, values, 0.0).sum(axis=1) / np.where(count > 0, count, np.nan)
    return means


def _change(now: EmulatedAudit, base: EmulatedAudit, column: str) -> float:
    then = _square(base, getattr(base, column))
    moved = _means(_square(now, getattr(now, column))) - _means(then)
    sd = float(np.nanstd(then[~np.isnan(moved)], ddof=1))
    return float(np.nanmean(moved)) / sd if sd > 0 else math.nan


def scored(now: EmulatedAudit, base: EmulatedAudit) -> tuple[Scored, Scored, int]:
    """The rows of both that have both scores, of the prompts that have such rows in both, and how
    many prompts these are.
    """
    there: Flags = ~np.isnan(_square(base, base.human))
    new_there: Flags = ~np.isnan(_square(now, now.human))
    prompts: Flags = np.logical_and(there.any(axis=1), new_there.any(axis=1))
    number = np.cumsum(prompts) - 1

    def rows(audit: EmulatedAudit, has: Flags) -> Scored:
        at = np.nonzero(has & prompts[:, None])
        both = _square(audit, audit.reward)[at], _square(audit, audit.human)[at]
        return Scored(number[at[0]], *both)

    return rows(now, new_there), rows(base, there), int(prompts.sum())


def _parts(now: EmulatedAudit, base: EmulatedAudit) -> tuple[float, float, float]:
    """Expected, observed and beyond, on the rows that have both scores."""
    expected, observed = gains_of(*scored(now, base)[:2])
    return expected, observed, expected - observed


def _rated(now: EmulatedAudit, base: EmulatedAudit) -> tuple[float, float, float]:
    prompts = np.arange(now.size.prompts)
    sides = []
    for audit in (now, base):
        owner = np.repeat(prompts, audit.per_prompt)
        sides.append(Scored(owner, audit.reward[audit.plain], audit.human[audit.plain]))
    relation = rated_relation(sides[1])
    totals = rated_totals(sides[0], sides[1], relation, prompts=len(prompts))
    expected, observed = rated_gains(totals.sum(axis=0, keepdims=True), relation.pieces)
    return float(expected[0]), float(observed[0]), float(expected[0] - observed[0])


def cell_means(now: EmulatedAudit) -> Floats:
    """Mean human score of every group's texts of every family, (families, groups); NaN where none
    has one.
    """
    cells = now.human[now.plain.stop :].reshape(-1, max(now.per_group, 1))
    return _means(cells).reshape(-1, len(now.world.pool.groups))


def _group_gap(now: EmulatedAudit) -> float:
    table = cell_means(now)
    # Only families of which every group was scored, so that groups are compared on the same
    # questions.
    complete = table[~np.isnan(table).any(axis=1)]
    return float(np.ptp(complete.mean(axis=0))) if len(complete) else math.nan


def _vendi_ratio(now: EmulatedAudit, base: EmulatedAudit, embed: Embed) -> float:
    return _vendi(now, base, embed) / _vendi(base, now, embed)


def _vendi(audit: EmulatedAudit, other: EmulatedAudit, embed: Embed) -> float:
    # The base policy's audit is compared with those of several stages.
    count = _count(audit, other)
    key = f"{VENDI} of {count}"
    if key not in audit.known:
        v = np.asarray(embed(first_texts(audit, count)), dtype=np.float64)
        # Both products have the same eigenvalues but for zeros; the smaller one is quicker.
        product = v @ v.T if len(v) <= v.shape[1] else v.T @ v
        audit.known[key] = score(product, len(v))
    return audit.known[key]


def _count(now: EmulatedAudit, base: EmulatedAudit) -> int:
    return min(now.per_prompt, base.per_prompt)


def _first(audit: EmulatedAudit, count: int) -> Rows:
    """Rows of the pool: the first plain samples of every prompt."""
    rows: Rows = (
        audit.rows[audit.plain].reshape(audit.size.prompts, audit.per_prompt)[:, :count].ravel()
    )
    return rows


def first_texts(audit: EmulatedAudit, count: int) -> list[str]:
    """The first plain texts of every prompt."""
    return [str(t) for t in audit.world.pool.columns["text"][_first(audit, count)]]


def _distinct_ratio(now: EmulatedAudit, base: EmulatedAudit) -> float:
    pool, count = now.world.pool.bigrams, _count(now, base)
    rows, base_rows = _first(now, count), _first(base, count)
    # As the probe cuts: at the lower quartile of the base policy's lengths, and to as many pairs of
    # both, so that longer texts do not look less varied.
    limit = max(1, int(np.quantile(pool.words[base_rows], 0.25)))
    counts = np.unique(pool.of(rows, limit), return_counts=True)[1]
    base_counts = np.unique(pool.of(base_rows, limit), return_counts=True)[1]
    size = min(int(counts.sum()), int(base_counts.sum()))
    if not size:
        return math.nan
    return rarefied(counts, size) / rarefied(base_counts, size)


# --- whether a habit could have been paid for at people's expense
#
# What is in each text of the pool is found once; a look then needs only the rows it drew.

LOOKED = "features looked at"


@dataclass(frozen=True)
class Habits:
    """Features of the pool's texts: `has` (rows, features), and how many words each text has."""

    has: csr_array
    words: Rows


def habits(pool: Pool, fall_back: Rows) -> Habits:
    """All features that some audit drawn from this pool could look at, apart from being long or
    short for it.

    A collapsing policy gives the `fall_back` texts to any prompt, so theirs count as if many
    prompts had them.
    """
    # A row more for each copy, under a prompt of its own.
    rows = np.concatenate([np.arange(len(pool.table)), np.repeat(fall_back, FEWEST_PROMPTS)])
    prompt = np.unique(pool.columns["prompt_id"].astype(str), return_inverse=True)[1]
    copies = len(prompt) + np.arange(len(rows) - len(prompt))
    every = np.ones(len(rows), dtype=bool)
    texts = [str(t) for t in pool.columns["text"][rows]]
    tokens = pool.columns["n_tokens"][rows].astype(np.float64)
    features = mine(texts, np.concatenate([prompt, copies]), every, every, tokens, most=None)
    words = np.array([len(words_of(t)) for t in texts[: len(prompt)]], dtype=np.intp)
    return Habits(csr_array(features.has)[: len(prompt)], words)


def highest_cost(now: EmulatedAudit, base: EmulatedAudit, known: Habits, tail: float) -> float:
    """At least what the lower end of `hacking.habit_cost` can be at an interval that leaves `tail`
    to each side; infinite where there are so many texts that the probe takes a part of them.

    The lower end of each feature as if fewer were looked at than the probe looks at, which has
    lower ones. Only those that surely rose by this are followed further. 0 where there is none.
    """
    count = _count(now, base)
    prompts = now.size.prompts
    if prompts * max(count, base.per_prompt) > MOST_TEXTS:
        return math.inf
    sides = []
    for audit in (now, base):
        sides.append((audit.rows[audit.plain], _picked(prompts, audit.per_prompt, count)))
    drawn = np.concatenate([rows[places] for rows, places in sides])
    sign = np.repeat([1.0, -1.0], prompts * count)
    table = known.has[drawn]
    rise = np.bincount(table.indices, np.repeat(sign, np.diff(table.indptr)), table.shape[1]) / (
        prompts * count
    )
    reach = float(stdtrit(max(prompts - 1, 1), 1 - tail / 2 / _fewest_looked_at(base, known)))
    # A standard error is at least 1 / prompts (below), so a smaller rise cannot be told from none.
    likely = np.flatnonzero(rise > reach / prompts)
    usual = known.words[sides[1][0]]

    def chosen(rows: Rows) -> Floats:
        words = known.words[rows]
        return np.column_stack(
            [known.has[rows][:, likely].toarray(), is_long(words, usual), is_short(words, usual)]
        ).astype(np.float64)

    moved = (chosen(drawn) * sign[:, None]).reshape(2, prompts, count, -1).sum(axis=(0, 2)) / count
    error = np.maximum(moved.std(axis=0, ddof=1) / np.sqrt(prompts), 1 / prompts)
    rise = moved.mean(axis=0) - reach * error
    rose = rise > 0
    if not rose.any():
        return 0.0
    has = chosen(np.concatenate([rows for rows, _ in sides]))[:, rose]
    every_prompt = np.arange(prompts)
    owner = np.concatenate(
        [np.repeat(every_prompt, now.per_prompt), np.repeat(every_prompt, base.per_prompt)]
    )
    policy = np.repeat([0, 1], [len(rows) for rows, _ in sides])
    cells = owner * 2 + policy, owner

    def paid(column: str) -> Effects:
        new, old = getattr(now, column), getattr(base, column)
        score = np.concatenate([new[now.plain], old[base.plain]])
        return effects(has=csc_array(has), score=score, cells=cells, prompt=owner)

    human = paid("human")
    loss = np.maximum(-human.value - human.reach(tail / 2), 0) / np.nanstd(
        base.human[base.plain], ddof=1
    )
    # The reward's effects take as long as people's, and matter only where people lose.
    if not np.nansum(loss):
        return 0.0
    reward = paid("reward")
    cost = rise[rose] * loss * (reward.value > reward.reach(tail / 2))
    return float(np.nanmax(cost, initial=0.0))


def _fewest_looked_at(base: EmulatedAudit, known: Habits) -> float:
    """At least so many features are looked at: half of those of enough prompts in the base policy's
    samples alone.

    Half, since some that the pool tells apart may be in the very same texts of an audit, and count
    once there.
    """
    if LOOKED not in base.known:
        scored = ~np.isnan(base.human[base.plain])
        table = known.has[base.rows[base.plain][scored]]
        owner = np.repeat(np.arange(base.size.prompts), base.per_prompt)[scored]
        sizes = np.bincount(owner, minlength=base.size.prompts)
        by_prompt = csr_array(
            (np.ones(len(owner)), (owner, np.arange(len(owner)))), (base.size.prompts, len(owner))
        )
        counts = csr_array(by_prompt @ table)
        # A feature that all of a prompt's samples have cannot be compared within that prompt.
        mixed = counts.data < np.repeat(sizes, np.diff(counts.indptr))
        base.known[LOOKED] = float(
            (np.bincount(counts.indices[mixed], minlength=counts.shape[1]) >= FEWEST_FOR_COST).sum()
        )
    return max(base.known[LOOKED] / 2, 1.0)


@lru_cache(maxsize=16)
def _picked(prompts: int, per_prompt: int, count: int) -> Rows:
    """Which of an audit's plain samples are compared, `count` of each prompt: the probe's own
    choice.
    """
    # The choice is by hash of the names, which all audits of this size share: it is made once.
    names = [f"{k:05d}" for k in np.repeat(np.arange(prompts), per_prompt).tolist()]
    table = pd.DataFrame({"prompt_id": names, "sample_id": sample_names(prompts, per_prompt)})
    quota = pd.Series(count, index=table["prompt_id"].unique())
    return first(table, quota).index.to_numpy()
