"""What the human score should have gained: E[human | reward] of the base policy, applied to the new
rewards.

Selecting by an imperfect reward always buys less human score than reward (regressional Goodhart:
Manheim & Garrabrant 2018, arXiv 1803.04585). That part is expected: it is what the base policy's
own samples say a reward is worth. What is missing beyond it is divergence: the relation itself no
longer holds (extremal and adversarial Goodhart).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from probes.rows import defined, numbers, on_prompts
from probes.statistics.resample import (
    Array,
    Estimate,
    Resampling,
    bootstrap,
    prompt_weights,
    summarise,
    unmeasured,
)

Rows = NDArray[np.intp]

BOTH = ("reward", "human")
# Refitting the isotonic curve costs a sort a resample, so it is done for fewer of them.
ISOTONIC_RESAMPLES = 400
CONSTANT = "the base policy's scores do not vary"


@dataclass(frozen=True)
class Decomposition:
    """The human gain in three parts, in standard deviations of the base policy's human scores, and
    what was fitted.

    observed = expected - beyond. `slope` is in human units per reward unit, `low`..`high` the base
    policy's rewards. `inflation` is `beyond` in the human score's own unit: how much more the
    rewards promise, read by the base policy's relation, than people gave.
    """

    expected: Estimate
    observed: Estimate
    beyond: Estimate
    beyond_isotonic: Estimate
    slope: float | None = None
    low: float | None = None
    high: float | None = None
    inflation: float | None = None


def decompose(
    *,
    table: pd.DataFrame,
    base: pd.DataFrame,
    isotonic: bool = True,
    **resampling: Unpack[Resampling],
) -> Decomposition:
    """Decompose the change of the human score from `base` to `table`, paired by prompt, on rows
    that have both scores.

    The line E[human | reward] is least squares on the base policy's rows about their prompt means,
    since a policy is compared with itself on the same prompts: what one prompt scores above another
    says nothing about what a better answer to it is worth. Fit, gains and unit are all taken anew
    in every resample of prompts. The line is used as it is beyond the base policy's rewards too
    (`low`..`high` say where that begins); the isotonic curve (on all rows, not about prompt means)
    stays flat there. Where a prompt has one base row only, it adds nothing to the slope.
    """
    rows, before = defined(table, BOTH), defined(base, BOTH)
    prompts = set(rows["prompt_id"]) & set(before["prompt_id"])
    rows, before = on_prompts(rows, before, prompts)
    why = _why_not(before)
    if len(prompts) == 0 or why is not None:
        none = unmeasured(
            why or "no prompt has both scores for both policies", n=len(rows), units=len(prompts)
        )
        return Decomposition(none, none, none, none)
    totals = _totals(rows, before)

    def part(which: Callable[[Array, Array], Array]) -> Estimate:
        def statistic(sums: Array) -> Array:
            expected, observed = _gains(sums)
            return which(expected, observed)

        return bootstrap(
            totals=totals, statistic=statistic, n=len(rows), undefined=CONSTANT, **resampling
        )

    sums = totals.sum(axis=0, keepdims=True)
    slope = float(sums[0, 3] / sums[0, 2]) if sums[0, 2] > 0 else None
    reward = numbers(before, "reward")
    line = "E[human | reward] linear within prompts"
    expected = _named(part(lambda expected, _: expected), line)
    observed = _named(part(lambda _, observed: observed), line)
    # The difference is resampled itself: its two parts share the slope and the unit, so their
    # intervals cannot be subtracted.
    beyond = _named(part(lambda expected, observed: expected - observed), line)
    curve = unmeasured("not asked for")
    if isotonic:
        curve = _beyond_isotonic(rows, before, totals, resampling)
    inflation = _times(beyond.value, float(np.std(numbers(before, "human"), ddof=1)))
    return Decomposition(
        expected,
        observed,
        beyond,
        curve,
        slope,
        float(reward.min()),
        float(reward.max()),
        inflation,
    )


def _named(estimate: Estimate, relation: str) -> Estimate:
    """The estimate whose method also says how E[human | reward] was fitted."""
    if estimate.value is None:
        return estimate
    return replace(estimate, method=f"{estimate.method}, {relation}")


def _times(value: float | None, unit: float) -> float | None:
    return None if value is None else value * unit


def outside(values: Array, low: float, high: float) -> Array:
    """1.0 where a reward lies outside low..high, 0.0 inside, NaN where it is undefined."""
    return np.where(np.isnan(values), np.nan, ((values < low) | (values > high)).astype(float))


def _why_not(before: pd.DataFrame, *, per_prompt: bool = True) -> str | None:
    if before.empty:
        return "the base policy has no sample with both scores"
    for column in BOTH:
        values = numbers(before, column)
        if float(np.ptp(values)) <= 1e-12 * float(np.abs(values).max()):
            return f"the base policy's {column} is the same for all {len(before)} samples"
    if per_prompt and before["prompt_id"].value_counts().max() < 2:
        return (
            "the base policy has one sample a prompt: at least 2 are needed to see what a "
            "reward is worth"
        )
    return None


def _by_prompt(table: pd.DataFrame) -> tuple[pd.Index[str], Array, Array, Array]:
    names, place = np.unique(table["prompt_id"].to_numpy(dtype=str), return_inverse=True)
    count = np.bincount(place).astype(np.float64)
    means = [np.bincount(place, numbers(table, c)) / count for c in BOTH]
    return pd.Index(names), place, *means


def _totals(rows: pd.DataFrame, before: pd.DataFrame) -> Array:
    """Per prompt: gains of reward and human mean, within-prompt Σrr and Σrh of base rows, base n,
    Σh, Σhh, and 1.
    """
    _, _, reward_now, human_now = _by_prompt(rows)
    _, place, reward_then, human_then = _by_prompt(before)
    r, h = numbers(before, "reward") - reward_then[place], numbers(before, "human")
    # About the mean of all, so that the sum of squares does not cancel.
    h_all = h - h.mean()
    terms = (r * r, r * (h - human_then[place]), np.ones(len(h)), h_all, h_all * h_all)
    sums = [np.bincount(place, term) for term in terms]
    ones = np.ones(len(reward_now))
    return np.column_stack([reward_now - reward_then, human_now - human_then, *sums, ones])


def _gains(sums: Array) -> tuple[Array, Array]:
    """Expected and observed human gain (base sd) from summed totals of prompts, shape (m, 8)."""
    reward, human, rr, rh, n, h, hh, prompts = sums.T
    variance = (hh - h * h / n) / (n - 1)
    sd = np.sqrt(np.where(variance > 1e-12 * hh / n, variance, np.nan))
    slope = rh / np.where(rr > 0, rr, np.nan)
    return slope * reward / prompts / sd, human / prompts / sd


def _beyond_isotonic(
    rows: pd.DataFrame, before: pd.DataFrame, totals: Array, resampling: Resampling
) -> Estimate:
    """Expected by a rising curve through all base rows, minus observed; the curve is flat outside
    the base rewards.
    """
    prompts, place, _, _ = _by_prompt(before)
    order = np.argsort(numbers(before, "reward"), kind="stable")
    x, y, owner = numbers(before, "reward")[order], numbers(before, "human")[order], place[order]
    new_place = prompts.get_indexer(pd.Index(rows["prompt_id"].astype(str)))
    new, per_new = numbers(rows, "reward"), np.bincount(new_place)
    per_old = np.bincount(place)

    def beyond(weights: Array) -> float:
        # Prompts that were not drawn have weight 0, which the regression does not take.
        inside = weights[owner] > 0
        fitted = isotonic_regression(y[inside], weights=weights[owner][inside]).x
        at_new = np.bincount(new_place, np.interp(new, x[inside], fitted)) / per_new
        at_old = (
            np.bincount(owner, np.interp(x, x[inside], fitted), minlength=len(per_old)) / per_old
        )
        expected = float((weights * (at_new - at_old)).sum() / weights.sum())
        sums = (weights[None, :] @ totals)[0]
        sd = np.sqrt((sums[6] - sums[5] ** 2 / sums[4]) / (sums[4] - 1))
        if not sd > 0:
            return float("nan")
        return float((expected - sums[1] / sums[7]) / sd)

    units = len(totals)
    resamples = min(resampling["resamples"], ISOTONIC_RESAMPLES)
    drawn = prompt_weights(units=units, resamples=resamples, seed=resampling["seed"])
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = summarise(
            value=beyond(np.ones(units)),
            replicates=np.array([beyond(w) for w in drawn]),
            n=len(rows),
            units=units,
            levels=resampling["levels"],
        )
    return replace(
        estimate,
        method=f"{estimate.method}, E[human | reward] isotonic, flat beyond the base rewards",
    )


# --- people's ratings of some rows


def decompose_rated(
    *, table: pd.DataFrame, base: pd.DataFrame, **resampling: Unpack[Resampling]
) -> Decomposition:
    """The same decomposition where people rated a random part of the rows and the reward is known
    for all.

    Each policy's human mean is that of its rated rows, corrected by the reward: rated mean +
    c·(mean reward of all rows less mean reward of the rated ones), c the least-squares slope among
    that policy's own rated rows. This is PPI++ with its optimal λ for a linear prediction
    (Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453); rows are weighted by 1 / inclusion.
    E[human | reward] is the line through the base policy's rated rows. All prompts count, rated or
    not; they are resampled with everything that belongs to them.
    """
    rows, before = defined(table, ["reward"]), defined(base, ["reward"])
    rated = defined(before, ["human"])
    prompts = np.union1d(rows["prompt_id"].astype(str), before["prompt_id"].astype(str))
    why = _why_not(rated, per_prompt=False)
    if why is None and defined(rows, ["human"]).empty:
        why = "no sample of this policy has been rated"
    if why is not None:
        none = unmeasured(why, n=len(defined(rows, ["human"])), units=len(prompts))
        return Decomposition(none, none, none, none)
    # About the base policy's means, so that squares do not cancel; both policies about the same ones,
    # so that differences stay.
    reward_centre = float(numbers(rated, "reward").mean())
    human_centre = float(numbers(rated, "human").mean())

    def totals_of(policy: pd.DataFrame) -> Array:
        return rated_totals(
            np.searchsorted(prompts, policy["prompt_id"].to_numpy(dtype=str)),
            len(prompts),
            numbers(policy, "reward") - reward_centre,
            numbers(policy, "human") - human_centre,
            numbers(policy, "inclusion"),
        )

    totals = np.concatenate([totals_of(rows), totals_of(before)], axis=1)

    def part(which: Callable[[Array, Array], Array]) -> Estimate:
        def statistic(sums: Array) -> Array:
            return which(*rated_gains(sums))

        estimate = bootstrap(
            totals=totals,
            statistic=statistic,
            n=len(defined(rows, ["human"])),
            undefined=CONSTANT,
            **resampling,
        )
        if estimate.value is None:
            return estimate
        return replace(estimate, method=f"{estimate.method}, PPI++ on rated rows")

    reward = numbers(rated, "reward")
    slope = float(_slope(totals.sum(axis=0, keepdims=True)[:, 8:])[0])
    beyond = part(lambda expected, observed: expected - observed)
    return Decomposition(
        part(lambda expected, _: expected),
        part(lambda _, observed: observed),
        beyond,
        unmeasured("the isotonic curve is fitted only where every row has a human score"),
        slope if np.isfinite(slope) else None,
        float(reward.min()),
        float(reward.max()),
        _times(beyond.value, float(np.std(numbers(rated, "human")))),
    )


def rated_totals(
    place: Rows, prompts: int, reward: Array, human: Array, inclusion: Array | None
) -> Array:
    """Per prompt: all rows' n and Σr, then the rated rows' weighted n, Σr, Σh, Σrr, Σrh, Σhh; shape
    (prompts, 8).

    `place` (n,) is the prompt each row belongs to; `human` is NaN where nobody rated. Scores should
    be centred.
    """
    rated = ~np.isnan(human)
    chance = np.ones(len(reward))
    if inclusion is not None:
        chance = np.where(np.isnan(inclusion), 1.0, inclusion)
    # A row that was drawn with chance p stands for 1/p rows (Horvitz & Thompson 1952).
    w, h = np.where(rated, 1 / chance, 0.0), np.where(rated, human, 0.0)
    sums = (
        np.ones(len(reward)),
        reward,
        w,
        w * reward,
        w * h,
        w * reward**2,
        w * reward * h,
        w * h * h,
    )
    return np.column_stack([np.bincount(place, v, minlength=prompts) for v in sums])


def _slope(sums: Array) -> Array:
    n, r, h, rr, rh = sums[:, 2:7].T
    variance = rr - r * r / n
    slope: Array = (rh - r * h / n) / np.where(variance > 1e-12 * rr, variance, np.nan)
    return slope


def _corrected(sums: Array) -> Array:
    slope = _slope(sums)
    reward_of_all = sums[:, 1] / sums[:, 0]
    reward_of_rated = sums[:, 3] / sums[:, 2]
    human_of_rated = sums[:, 4] / sums[:, 2]
    # Without a slope the rated rows' own mean stays, which is right on average, only wider.
    weight = np.where(np.isfinite(slope), slope, 0.0)
    corrected: Array = human_of_rated + weight * (reward_of_all - reward_of_rated)
    return corrected


def rated_gains(sums: Array) -> tuple[Array, Array]:
    """Expected and observed human gain (base sd) from summed totals of both policies, shape (m,
    16).
    """
    now, then = sums[:, :8], sums[:, 8:]
    variance = then[:, 7] / then[:, 2] - (then[:, 4] / then[:, 2]) ** 2
    sd = np.sqrt(np.where(variance > 1e-12 * then[:, 7] / then[:, 2], variance, np.nan))
    expected = _slope(then) * (now[:, 1] / now[:, 0] - then[:, 1] / then[:, 0])
    return expected / sd, (_corrected(now) - _corrected(then)) / sd
