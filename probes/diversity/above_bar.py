"""Diversity among the texts that are good enough: those that score above the base policy's median.

Shypula et al. 2025 (arXiv 2504.12522): a policy that babbles is diverse, and one that writes more
good texts may look narrower though it says more that is worth saying.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probes.base import Evidence, Measurement
from probes.diversity import METRICS
from probes.diversity.vendi import vendi
from probes.rows import IS_BASE, NO_EMBED, NO_TEXT, numbers
from probes.statistics.jackknife import Deleted
from probes.statistics.resample import Estimate, unmeasured
from probes.texts.grams import Counts, Grams, distinct_ratio
from probes.texts.sets import Side, Sides, estimated

NAMES = ("good_distinct_2_ratio", "good_vendi_ratio", "effective_vendi_ratio")
FEWEST_SCORED = 20
NONE_GOOD = "no prompt has a text above the bar from both policies"

Good = NDArray[np.bool_]


def compare(
    everything: Sides,
    rows: pd.DataFrame,
    base: pd.DataFrame | None,
    evidence: Evidence,
    version: str,
    most: int,
) -> list[Measurement]:
    """The three ratios of diversity among good texts; `rows` and `base` are the tables the texts
    came from.

    The bar is the median score of the base policy's samples. `good_…`: as many good texts of each
    prompt from both (the first ones), so that only their variety differs. `effective_…`: all good
    texts among equally many samples, so that being good more often counts too.
    """
    reason, detail = IS_BASE, dict(everything.detail)
    score: tuple[str, float] | None = None
    if not everything.now.texts.n:
        reason = NO_TEXT
    elif base is not None:
        score = _bar(rows, base)
        reason = (
            f"fewer than {FEWEST_SCORED} samples of each policy have a human score, and as "
            "few a reward"
        )
    if score is not None:
        detail |= {
            "score": score[0],
            "bar": score[1],
            "bar_is": "median of the base policy's samples",
        }

    def of(
        name: str,
        sides: Sides,
        statistic: Callable[[Side, Side, Good, Good], Deleted],
        matched: bool,
    ) -> Estimate:
        if score is None or base is None or sides.then is None:
            return unmeasured(reason)
        good = [_above(rows, sides.now, *score), _above(base, sides.then, *score)]
        detail.update(
            {
                f"above_bar_{which}": int(g.sum())
                for which, g in zip(("now", "base"), good, strict=True)
            }
        )
        if matched:
            good = _as_many(sides.now, sides.then, good[0], good[1])
            detail[f"texts_each_{name}"] = int(good[0].sum())
        if not (good[0].any() and good[1].any()):
            return unmeasured(NONE_GOOD, units=sides.now.texts.units)
        ratio = statistic(sides.now, sides.then, good[0], good[1])
        return replace(estimated(ratio, sides, evidence, log=True), n=int(good[0].sum()))

    estimates: dict[str, Estimate] = {}
    if evidence.wants("diversity.good_distinct_2_ratio"):
        estimates[NAMES[0]] = of("distinct_2", everything, _distinct, True)
    for name, matched in ((NAMES[1], True), (NAMES[2], False)):
        if not evidence.wants(f"diversity.{name}"):
            continue
        if evidence.embed is None or score is None:
            estimates[name] = unmeasured(reason if score is None else NO_EMBED)
            continue
        sides = everything.at_most(most)
        detail |= {k: v for k, v in sides.detail.items() if k == "measured_on"}
        estimates[name] = of("vendi", sides, _vendi, matched)
    start = None if base is None else 1.0
    return [
        e.recorded(METRICS[f"diversity.{name}"], version=version, baseline=start, detail=detail)
        for name, e in estimates.items()
    ]


def _bar(rows: pd.DataFrame, base: pd.DataFrame) -> tuple[str, float] | None:
    """The score that says what is good (human, else reward), and the base policy's median of it."""
    # People's scores where there are enough: a bar set by the reward calls a hack good.
    for column in ("human", "reward"):
        both = [v[~np.isnan(v)] for v in (numbers(rows, column), numbers(base, column))]
        if all(len(v) >= FEWEST_SCORED for v in both):
            return column, float(np.median(both[1]))
    return None


def _above(table: pd.DataFrame, side: Side, column: str, bar: float) -> Good:
    """Which of the side's texts score above the bar; a text without a score does not."""
    found: Good = numbers(table, column)[side.texts.row] > bar
    return found


def _as_many(now: Side, then: Side, a: Good, b: Good) -> list[Good]:
    """The first k good texts of each prompt, k the smaller number of the two policies."""
    units = now.texts.units
    owners = (now.texts.owner, then.texts.owner)
    k = np.min(
        [np.bincount(o, weights=g, minlength=units) for o, g in zip(owners, (a, b), strict=True)],
        axis=0,
    )
    out = []
    for owner, good in zip(owners, (a, b), strict=True):
        so_far = np.cumsum(good)
        before = np.append(0, so_far[:-1])
        first = np.searchsorted(owner, np.arange(units))
        out.append(good & (so_far - before[first][owner] <= k[owner]))
    return out


def _vendi(now: Side, then: Side, a: Good, b: Good) -> Deleted:
    one, other = (vendi(s.vectors[g], s.texts.owner[g], s.groups) for s, g in ((now, a), (then, b)))
    return one.over(other)


def _distinct(now: Side, then: Side, a: Good, b: Good) -> Deleted:
    return distinct_ratio(_counts(now, now.grams(2), a), _counts(then, then.grams(2), b))


def _counts(side: Side, all_grams: Grams, good: Good) -> Counts:
    keep = good[all_grams.text]
    return Counts(
        all_grams.code[keep], side.texts.owner[all_grams.text[keep]], all_grams.kinds, side.groups
    )
