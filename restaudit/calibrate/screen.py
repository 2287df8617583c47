"""Cheap values of the metrics that gates ask for, exactly those of the probes, without their
intervals.

A gate fires only when its whole interval is beyond the margin, and an interval holds its value. So
a value on the right side of the margin settles that the gate is silent, and the probe need not
resample.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from probes.base import Embed
from probes.divergence.expected import rated_gains, rated_totals
from probes.diversity.vendi import score
from probes.texts.grams import rarefied
from restaudit.calibrate.emulate import Audit
from restaudit.calibrate.pool import Floats, Rows

HUMAN = "divergence.human_change"
REWARD = "divergence.reward_change"
BEYOND = "divergence.beyond_expected"
EXPECTED = "divergence.expected"
GAP = "bias.human_gap"
PARTS = (EXPECTED, HUMAN, BEYOND)
VENDI = "diversity.vendi_ratio"
DISTINCT = "diversity.distinct_2_ratio"


def value_of(metric: str, now: Audit, base: Audit, embed: Embed | None = None) -> float | None:
    """The metric's value for `now` against `base`, NaN where it is undefined; None where only the
    probe can tell.
    """
    if now.rated is not None and metric in PARTS:
        return _rated(now, base)[PARTS.index(metric)]
    known: dict[str, Callable[[], float]] = {
        HUMAN: lambda: _change(now, base, "human"),
        REWARD: lambda: _change(now, base, "reward"),
        EXPECTED: lambda: _parts(now, base)[0],
        BEYOND: lambda: _parts(now, base)[2],
        GAP: lambda: _group_gap(now),
        DISTINCT: lambda: _distinct_ratio(now, base),
    }
    if metric == VENDI:
        return None if embed is None else _vendi_ratio(now, base, embed)
    return known[metric]() if metric in known else None


def _square(audit: Audit, values: Floats) -> Floats:
    return values[audit.plain].reshape(audit.size.prompts, audit.per_prompt)


def _means(values: Floats) -> Floats:
    """Mean of each line's defined values, NaN where there is none."""
    there = ~np.isnan(values)
    count = there.sum(axis=1)
    out: Floats = np.where(there, values, 0.0).sum(axis=1) / np.where(count > 0, count, np.nan)
    return out


def _change(now: Audit, base: Audit, column: str) -> float:
    then = _square(base, getattr(base, column))
    moved = _means(_square(now, getattr(now, column))) - _means(then)
    sd = float(np.nanstd(then[~np.isnan(moved)], ddof=1))
    return float(np.nanmean(moved)) / sd if sd > 0 else math.nan


def _parts(now: Audit, base: Audit) -> tuple[float, float, float]:
    """Expected, observed and beyond, on the rows that have both scores."""
    reward, human = _square(base, base.reward), _square(base, base.human)
    both = np.where(np.isnan(human), np.nan, reward)
    new_human = _square(now, now.human)
    new_reward = np.where(np.isnan(new_human), np.nan, _square(now, now.reward))
    prompts = ~np.isnan(_means(human)) & ~np.isnan(_means(new_human))
    reward, human, new_reward, new_human = (
        v[prompts] for v in (both, human, new_reward, new_human)
    )
    r = reward - _means(reward)[:, None]
    slope = np.nansum(r * (human - _means(human)[:, None])) / np.nansum(r * r)
    gains = (_means(new_reward) - _means(reward)).mean(), (_means(new_human) - _means(human)).mean()
    sd = np.nanstd(human, ddof=1)
    return (
        float(slope * gains[0] / sd),
        float(gains[1] / sd),
        float((slope * gains[0] - gains[1]) / sd),
    )


def _rated(now: Audit, base: Audit) -> tuple[float, float, float]:
    prompts = np.arange(now.size.prompts)
    there = ~np.isnan(base.human[base.plain])
    centre = (
        float(base.reward[base.plain][there].mean()),
        float(base.human[base.plain][there].mean()),
    )
    totals = [
        rated_totals(
            np.repeat(prompts, a.per_prompt),
            len(prompts),
            a.reward[a.plain] - centre[0],
            a.human[a.plain] - centre[1],
            None,
        )
        for a in (now, base)
    ]
    expected, observed = rated_gains(np.concatenate(totals, axis=1).sum(axis=0, keepdims=True))
    return float(expected[0]), float(observed[0]), float(expected[0] - observed[0])


def _group_gap(now: Audit) -> float:
    table = now.human[now.plain.stop :].reshape(-1, len(now.world.pool.groups))
    whole = table[~np.isnan(table).any(axis=1)]
    return float(np.ptp(whole.mean(axis=0))) if len(whole) else math.nan


def _vendi_ratio(now: Audit, base: Audit, embed: Embed) -> float:
    return _vendi(now, base, embed) / _vendi(base, now, embed)


def _vendi(audit: Audit, other: Audit, embed: Embed) -> float:
    if VENDI not in audit.known:
        v = np.asarray(embed(_texts(audit, _count(audit, other))), dtype=np.float64)
        audit.known[VENDI] = score(v @ v.T if len(v) <= v.shape[1] else v.T @ v, len(v))
    return audit.known[VENDI]


def _count(now: Audit, base: Audit) -> int:
    return min(now.per_prompt, base.per_prompt)


def _first(audit: Audit, count: int) -> Rows:
    """Rows of the pool: the first plain samples of every prompt."""
    rows: Rows = (
        audit.rows[audit.plain].reshape(audit.size.prompts, audit.per_prompt)[:, :count].ravel()
    )
    return rows


def _texts(audit: Audit, count: int) -> list[str]:
    return [str(t) for t in audit.world.pool.columns["text"][_first(audit, count)]]


def _distinct_ratio(now: Audit, base: Audit) -> float:
    pool, count = now.world.pool.bigrams, _count(now, base)
    sides = [_first(a, count) for a in (now, base)]
    limit = max(1, int(np.quantile(pool.words[sides[1]], 0.25)))
    counts = [np.unique(pool.of(rows, limit), return_counts=True)[1] for rows in sides]
    size = min(int(c.sum()) for c in counts)
    return rarefied(counts[0], size) / rarefied(counts[1], size) if size else math.nan
