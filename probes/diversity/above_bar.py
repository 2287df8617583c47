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

    def compared(
        name: str,
        sides: Sides,
        statistic: Callable[[Side, Side, Good, Good], Deleted],
        matched: bool,
    ) -> Estimate:
        if score is None or base is None or sides.then is None:
            return unmeasured(reason)
        good_now, good_base = _above(rows, sides.now, *score), _above(base, sides.then, *score)
        detail["above_bar_now"] = int(good_now.sum())
        detail["above_bar_base"] = int(good_base.sum())
        if matched:
            # Distinct-n and Vendi depend on how many texts there are, and a policy with more good
            # ones would differ by that alone.
            good_now, good_base = _as_many(sides.now, sides.then, good_now, good_base)
            detail[f"texts_each_{name}"] = int(good_now.sum())
        if not (good_now.any() and good_base.any()):
            return unmeasured(NONE_GOOD, units=sides.now.texts.units)
        ratio = statistic(sides.now, sides.then, good_now, good_base)
        return replace(estimated(ratio, sides, evidence, log=True), n=int(good_now.sum()))

    estimates: dict[str, Estimate] = {}
    if evidence.wants("diversity.good_distinct_2_ratio"):
        estimates[NAMES[0]] = compared("distinct_2", everything, _distinct, True)
    for name, matched in ((NAMES[1], True), (NAMES[2], False)):
        if not evidence.wants(f"diversity.{name}"):
            continue
        if score is None:
            estimates[name] = unmeasured(reason)
            continue
        if evidence.embed is None:
            estimates[name] = unmeasured(NO_EMBED)
            continue
        sides = everything.at_most(most)
        if "measured_on" in sides.detail:
            detail["measured_on"] = sides.detail["measured_on"]
        estimates[name] = compared("vendi", sides, _vendi, matched)
    # The base policy's ratio to itself, by definition.
    start = None if base is None else 1.0
    return [
        e.recorded(METRICS[f"diversity.{name}"], version=version, baseline=start, detail=detail)
        for name, e in estimates.items()
    ]


def _bar(rows: pd.DataFrame, base: pd.DataFrame) -> tuple[str, float] | None:
    """The score that says what is good (human, else reward), and the base policy's median of it."""
    # People's scores where there are enough: a bar set by the reward calls a hack good.
    for column in ("human", "reward"):
        now, before = numbers(rows, column), numbers(base, column)
        before = before[~np.isnan(before)]
        scored_now = int(np.count_nonzero(~np.isnan(now)))
        if min(scored_now, len(before)) >= FEWEST_SCORED:
            return column, float(np.median(before))
    return None


def _above(table: pd.DataFrame, side: Side, column: str, bar: float) -> Good:
    """Which of the side's texts score above the bar; a text without a score does not."""
    above: Good = numbers(table, column)[side.texts.row] > bar
    return above


def _as_many(now: Side, then: Side, a: Good, b: Good) -> list[Good]:
    """The first k good texts of each prompt, k the smaller number of the two policies."""
    units = now.texts.units
    owners = (now.texts.owner, then.texts.owner)
    now_by_prompt = np.bincount(owners[0], weights=a, minlength=units)
    then_by_prompt = np.bincount(owners[1], weights=b, minlength=units)
    k = np.minimum(now_by_prompt, then_by_prompt)
    chosen = []
    for owner, good in zip(owners, (a, b), strict=True):
        so_far = np.cumsum(good)
        before = np.append(0, so_far[:-1])
        first = np.searchsorted(owner, np.arange(units))
        # The running count starts anew at each prompt.
        of_prompt = so_far - before[first][owner]
        chosen.append(good & (of_prompt <= k[owner]))
    return chosen


def _vendi(now: Side, then: Side, a: Good, b: Good) -> Deleted:
    score_now = vendi(now.vectors[a], now.texts.owner[a], now.groups)
    score_then = vendi(then.vectors[b], then.texts.owner[b], then.groups)
    return score_now.over(score_then)


def _distinct(now: Side, then: Side, a: Good, b: Good) -> Deleted:
    return distinct_ratio(_counts(now, now.grams(2), a), _counts(then, then.grams(2), b))


def _counts(side: Side, all_grams: Grams, good: Good) -> Counts:
    keep = good[all_grams.text]
    owner = side.texts.owner[all_grams.text[keep]]
    return Counts(all_grams.code[keep], owner, all_grams.kinds, side.groups)
