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
from scipy.special import ndtri

from probes.rows import defined, numbers, on_prompts
from probes.statistics.resample import (
    Array,
    Estimate,
    Resampling,
    bootstrap,
    prompt_weights,
    resampled_sums,
    summarise,
    unmeasured,
)

Rows = NDArray[np.intp]

BOTH = ("reward", "human")
# Refitting the isotonic curve costs a sort a resample, so it is done for fewer of them.
ISOTONIC_RESAMPLES = 400
CONSTANT = "the base policy's scores do not vary"


# The share of base rows in each outer piece of the curve, chosen by measurement (docs/probes.md has the
# figures), and the fewest rows one can be fitted to.
OUTER_SHARE = 0.2
FEWEST_OUTER = 10
# Where the curve is told (`Decomposition.curve`): quantiles of the base policy's rewards.
TOLD_AT = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class Decomposition:
    """The human gain in three parts, in standard deviations of the base policy's human scores, and
    what was fitted.

    observed = expected - beyond. `low`..`high` are the base policy's rewards. `slope` is the fitted
    relation's mean slope between the 10th and the 90th percentile of them, in human units per
    reward unit; `pieces` how many linear pieces it has, and `curve` points of it: (reward, expected
    human score less that at the median reward). `inflation` is `beyond` in the human score's own
    unit: how much more the rewards promise, read by the base policy's relation, than people gave.
    """

    expected: Estimate
    observed: Estimate
    beyond: Estimate
    beyond_isotonic: Estimate
    slope: float | None = None
    low: float | None = None
    high: float | None = None
    inflation: float | None = None
    pieces: int | None = None
    curve: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Scored:
    """Rows that have both scores, arrays (n,): the number of each one's prompt (from 0), its reward
    and its human score.
    """

    prompt: Rows
    reward: Array
    human: Array

    def means(self, values: Array) -> Array:
        """Mean of the values, (n,) or (n, k), of every prompt; every prompt must have a row."""
        columns = values.reshape(len(values), -1).T
        sums = np.column_stack([np.bincount(self.prompt, column) for column in columns])
        means: Array = sums / np.bincount(self.prompt)[:, None]
        return means.reshape(len(means), *values.shape[1:])


@dataclass(frozen=True)
class Relation:
    """The form of E[human | reward]: what `basis` holds is fitted by least squares.

    With `knots` it is a continuous curve, linear in between them on the scale of normal scores
    (each base reward's rank as a quantile of the normal distribution: van der Waerden 1952), so
    that no single extreme reward decides it. The scale goes on linearly beyond the base rewards, as
    steep as it is from the outer knot to the last base reward, or over all of them if that is
    flatter. Without knots it is a straight line in the reward itself.

    knots    rewards, none to two, rising
    rewards  distinct base rewards, rising, and their `scores`, both (m,)
    """

    knots: tuple[float, ...]
    rewards: Array
    scores: Array

    @property
    def pieces(self) -> int:
        """How many linear pieces it has."""
        return len(self.knots) + 1

    def basis(self, reward: Array) -> Array:
        """What is fitted to the human score, shape (n, pieces), for rewards (n,)."""
        if not self.knots:
            return reward[:, None]
        score = self._scale(reward)
        lower, upper = self._scale(np.array(self.knots))[[0, -1]]
        columns = [score, np.maximum(score - upper, 0.0)]
        if len(self.knots) == 2:
            columns.append(np.maximum(lower - score, 0.0))
        return np.column_stack(columns)

    def _scale(self, reward: Array) -> Array:
        low, high = self.rewards[[0, -1]]
        score = np.interp(reward, self.rewards, self.scores)
        whole = (self.scores[-1] - self.scores[0]) / (high - low)
        for knot, end, beyond in (
            (self.knots[0], low, np.minimum(reward - low, 0.0)),
            (self.knots[-1], high, np.maximum(reward - high, 0.0)),
        ):
            ends = np.interp([knot, end], self.rewards, self.scores)
            # From the knot and not from the last rewards but one: these lie where chance put them.
            # And no steeper than the whole: many ties just beside an end would send it anywhere.
            score = score + beyond * min((ends[1] - ends[0]) / (end - knot), whole)
        return score


def relation_of(base: Scored) -> Relation:
    """The form that the base policy's rows can carry.

    The knots are the 20th and the 80th percentile, moved inwards to the next reward with 10 rows
    strictly beyond it, where those have none. Rows of prompts whose rewards do not vary tell
    nothing and are not counted. With fewer than 30 rows that count, or where the knots would cross
    (rewards of two values), the relation is a straight line.
    """
    rewards, count = np.unique(base.reward, return_counts=True)
    about = base.reward - base.means(base.reward)[base.prompt]
    square = np.bincount(base.prompt, about**2) > 1e-12 * np.bincount(base.prompt, base.reward**2)
    telling = np.sort(base.reward[square[base.prompt]])
    straight = Relation((), rewards, rewards)
    if len(telling) < 3 * FEWEST_OUTER:
        return straight
    below = np.searchsorted(telling, rewards, side="left")
    above = len(telling) - np.searchsorted(telling, rewards, side="right")
    low, high = np.quantile(telling, [OUTER_SHARE, 1 - OUTER_SHARE])
    lower = rewards[(rewards >= low) & (below >= FEWEST_OUTER)]
    upper = rewards[(rewards <= high) & (above >= FEWEST_OUTER)]
    if not (len(lower) and len(upper)) or lower[0] > upper[-1]:
        return straight
    # Ties share the middle of their ranks.
    scores = ndtri((np.cumsum(count) - count / 2) / len(base.reward))
    knots = np.unique([lower[0], upper[-1]])
    return Relation(tuple(knots.tolist()), rewards, scores)


def decompose(
    *,
    table: pd.DataFrame,
    base: pd.DataFrame,
    isotonic: bool = True,
    **resampling: Unpack[Resampling],
) -> Decomposition:
    """Decompose the change of the human score from `base` to `table`, paired by prompt, on rows
    that have both scores.

    The curve E[human | reward] (`Relation`; its knots and scale are those of all base rows) is
    least squares on the base policy's rows about their prompt means, since a policy is compared
    with itself on the same prompts: what one prompt scores above another says nothing about what a
    better answer to it is worth. Fit, gains and unit are all taken anew in every resample of
    prompts. The curve goes on beyond the base policy's rewards (`low`..`high` say where that
    begins); the isotonic one (on all rows, not about prompt means) stays flat there. Where a prompt
    has one base row only, it adds nothing to the curve.
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
    now, then = _scored(rows), _scored(before)
    relation = relation_of(then)
    totals = _totals(now, then, relation)
    units = len(totals)
    resampled = resampled_sums(
        totals=totals, resamples=resampling["resamples"], seed=resampling["seed"]
    )
    whole = totals.sum(axis=0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        value, drawn = _gains(whole, relation.pieces), _gains(resampled, relation.pieces)

    def part(of: Callable[[Array, Array], Array]) -> Estimate:
        estimate = summarise(
            value=float(of(*value)[0]),
            replicates=of(*drawn),
            n=len(rows),
            units=units,
            undefined=CONSTANT,
            levels=resampling["levels"],
        )
        return _named(estimate, f"E[human | reward] within prompts, {_form(relation)}")

    # The difference is resampled itself: its two parts share the curve and the unit, so their
    # intervals cannot be subtracted.
    beyond = part(lambda expected, observed: expected - observed)
    isotonic_beyond = unmeasured("not asked for")
    if isotonic:
        isotonic_beyond = _beyond_isotonic(rows, before, totals[:, :5], resampling)
    slope, curve = _told(relation, then.reward, _fit(whole, relation.pieces)[0])
    return Decomposition(
        part(lambda expected, _: expected),
        part(lambda _, observed: observed),
        beyond,
        isotonic_beyond,
        slope,
        float(then.reward.min()),
        float(then.reward.max()),
        _times(beyond.value, float(np.std(then.human, ddof=1))),
        relation.pieces,
        curve,
    )


def _form(relation: Relation) -> str:
    if not relation.knots:
        return "straight line"
    return f"{relation.pieces} linear pieces on normal scores of the base rewards"


def _told(
    relation: Relation, reward: Array, fitted: Array
) -> tuple[float | None, tuple[tuple[float, float], ...]]:
    """The curve's mean slope from the 10th to the 90th percentile of the base rewards, and points
    of it.
    """
    if not np.isfinite(fitted).all():
        return None, ()
    at = np.unique(np.quantile(reward, TOLD_AT))
    middle = float(np.median(reward))

    def height(x: Array) -> Array:
        of_curve: Array = relation.basis(x) @ fitted
        return of_curve

    heights = height(at) - height(np.array([middle]))
    low, high = np.quantile(reward, [0.1, 0.9])
    if low == high:
        low, high = at[[0, -1]]
    ends = height(np.array([low, high]))
    slope = float((ends[1] - ends[0]) / (high - low))
    return slope, tuple(zip(at.tolist(), heights.tolist(), strict=True))


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


def _scored(table: pd.DataFrame) -> Scored:
    _, place = np.unique(table["prompt_id"].to_numpy(dtype=str), return_inverse=True)
    return Scored(place, numbers(table, "reward"), numbers(table, "human"))


def gains_of(now: Scored, base: Scored) -> tuple[float, float]:
    """Expected and observed human gain in base sd, as `decompose` has them; NaN where undefined.

    Both policies must have rows of the same prompts, and the base rewards must vary within one.
    """
    relation = relation_of(base)
    sums = _totals(now, base, relation).sum(axis=0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected, observed = _gains(sums, relation.pieces)
    return float(expected[0]), float(observed[0])


def resampled_gains(now: Scored, base: Scored, weights: Array) -> tuple[Array, Array]:
    """Expected and observed human gain in base sd, shape (1 + m,) each: of all prompts, then of each
    resample, as `decompose` has them. `weights` (m, prompts) says how often each prompt is drawn.

    Both policies must have rows of the same prompts, and the base rewards must vary within one.
    """
    relation = relation_of(base)
    totals = _totals(now, base, relation)
    sums = np.concatenate([totals.sum(axis=0, keepdims=True), weights @ totals])
    with np.errstate(divide="ignore", invalid="ignore"):
        return _gains(sums, relation.pieces)


def _totals(now: Scored, then: Scored, relation: Relation) -> Array:
    """Per prompt: gain of the human mean, 1, base n, Σh, Σhh; then k gains of the basis, and of
    base rows within the prompt k sums of basis × h and k² of basis × basis; shape (prompts, 5 + 2k
    + k²).
    """
    basis, k = relation.basis(then.reward), relation.pieces
    basis_then, human_then = then.means(basis), then.means(then.human)
    about = basis - basis_then[then.prompt]
    # About the mean of all, so that the sum of squares does not cancel.
    h = then.human - then.human.mean()
    terms = [np.ones(len(h)), h, h * h]
    products = [about[:, i] * (then.human - human_then[then.prompt]) for i in range(k)]
    squares = [about[:, i] * about[:, j] for i in range(k) for j in range(k)]
    gains = now.means(relation.basis(now.reward)) - basis_then
    human = now.means(now.human) - human_then

    def sums(of_rows: list[Array]) -> list[Array]:
        return [np.bincount(then.prompt, term).astype(np.float64) for term in of_rows]

    return np.column_stack(
        [human, np.ones(len(human)), *sums(terms), gains, *sums(products), *sums(squares)]
    )


def _fit(sums: Array, k: int) -> Array:
    """The basis' coefficients, shape (m, k), from summed totals; NaN where the rewards do not vary
    within prompts.
    """
    products, squares = sums[:, 5 + k : 5 + 2 * k], sums[:, 5 + 2 * k :].reshape(-1, k, k)
    return solved(squares, products, least=np.zeros(len(sums)))


def solved(squares: Array, products: Array, *, least: Array) -> Array:
    """Least-squares coefficients, shape (m, k), from m sums of squares (m, k, k) and products (m,
    k); NaN where the first square is not above `least` (m,).
    """
    first = squares[:, 0, 0]
    varies = first > least
    # A resample may hold no row of an outer piece. A touch of ridge leaves its coefficient at 0
    # there, and moves the others' ninth digit.
    ridge = 1e-9 * np.where(varies, first, 1.0)[:, None, None] * np.eye(squares.shape[1])
    whole = np.where(varies[:, None, None], squares, 0.0) + ridge
    fitted = np.linalg.solve(whole, products[:, :, None])[:, :, 0]
    return np.where(varies[:, None], fitted, np.nan)


def _gains(sums: Array, k: int) -> tuple[Array, Array]:
    """Expected and observed human gain (base sd) from summed totals of prompts."""
    human, prompts, n, h, hh = sums[:, :5].T
    variance = (hh - h * h / n) / (n - 1)
    sd = np.sqrt(np.where(variance > 1e-12 * hh / n, variance, np.nan))
    expected = (_fit(sums, k) * sums[:, 5 : 5 + k]).sum(axis=1)
    return expected / prompts / sd, human / prompts / sd


def _beyond_isotonic(
    rows: pd.DataFrame, before: pd.DataFrame, totals: Array, resampling: Resampling
) -> Estimate:
    """Expected by a rising curve through all base rows, minus observed; the curve is flat outside
    the base rewards.
    """
    names, place = np.unique(before["prompt_id"].to_numpy(dtype=str), return_inverse=True)
    prompts = pd.Index(names)
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
        human, drawn, n, h, hh = sums
        sd = np.sqrt((hh - h**2 / n) / (n - 1))
        if not sd > 0:
            return float("nan")
        return float((expected - human / drawn) / sd)

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

    E[human | reward] is the curve through the base policy's rated rows, with as many pieces as they
    carry (`relation_of`, as if they were of one prompt: mostly one or two of a prompt are rated,
    and a curve within prompts would be twice as uncertain). Each policy's human mean is that of its
    rated rows, corrected by what the curve predicts: rated mean + c·(mean prediction of all rows
    less that of the rated ones), c the least-squares slope of the human score on the prediction
    among that policy's own rated rows. This is PPI++ with its optimal λ (Angelopoulos, Duchi &
    Zrnic 2023, arXiv 2311.01453); rows are weighted by 1 / inclusion. All prompts count, rated or
    not; they are resampled with everything that belongs to them.
    """
    rows, before = defined(table, ["reward"]), defined(base, ["reward"])
    rated = defined(before, ["human"])
    prompts = np.union1d(rows["prompt_id"].astype(str), before["prompt_id"].astype(str))
    n = len(defined(rows, ["human"]))
    why = _why_not(rated, per_prompt=False)
    if why is None and n == 0:
        why = "no sample of this policy has been rated"
    if why is not None:
        none = unmeasured(why, n=n, units=len(prompts))
        return Decomposition(none, none, none, none)

    def of(policy: pd.DataFrame) -> tuple[Scored, Array | None]:
        place = np.searchsorted(prompts, policy["prompt_id"].to_numpy(dtype=str))
        scored = Scored(place, numbers(policy, "reward"), numbers(policy, "human"))
        return scored, numbers(policy, "inclusion")

    (now, now_chance), (then, then_chance) = of(rows), of(before)
    relation = rated_relation(then)
    totals = rated_totals(
        now, then, relation, prompts=len(prompts), inclusion=(now_chance, then_chance)
    )

    def part(which: Callable[[Array, Array], Array]) -> Estimate:
        def statistic(sums: Array) -> Array:
            return which(*rated_gains(sums, relation.pieces))

        estimate = bootstrap(
            totals=totals, statistic=statistic, n=n, undefined=CONSTANT, **resampling
        )
        estimate = _named(estimate, "PPI++ on rated rows")
        return _named(estimate, f"E[human | reward] of rated rows, {_form(relation)}")

    whole = totals.sum(axis=0, keepdims=True)[:, totals.shape[1] // 2 :]
    fitted = _Rated.of(whole, relation.pieces).fit()[0]
    reward = numbers(rated, "reward")
    slope, curve = _told(relation, reward, fitted)
    beyond = part(lambda expected, observed: expected - observed)
    return Decomposition(
        part(lambda expected, _: expected),
        part(lambda _, observed: observed),
        beyond,
        unmeasured("the isotonic curve is fitted only where every row has a human score"),
        slope,
        float(reward.min()),
        float(reward.max()),
        _times(beyond.value, float(np.std(numbers(rated, "human")))),
        relation.pieces,
        curve,
    )


def rated_relation(base: Scored) -> Relation:
    """The form that the base policy's rated rows (whose human score is not NaN) can carry."""
    rated = ~np.isnan(base.human)
    together = np.zeros(int(rated.sum()), dtype=np.intp)
    return relation_of(Scored(together, base.reward[rated], base.human[rated]))


def rated_totals(
    now: Scored,
    base: Scored,
    relation: Relation,
    *,
    prompts: int,
    inclusion: tuple[Array | None, Array | None] = (None, None),
) -> Array:
    """Per prompt, first of the policy and then of the base policy: all rows' n and k sums of the
    basis; then the rated rows' weighted n, Σh, Σhh, k sums of the basis, k of basis × h and k² of
    basis × basis; shape (prompts, 2·(4 + 3k + k²)).

    `human` is NaN where nobody rated. All prompts' rows count, of whichever policy.
    """
    rated = ~np.isnan(base.human)
    # About the base policy's means, so that squares do not cancel; both policies about the same ones,
    # so that differences stay.
    centre = relation.basis(base.reward[rated]).mean(axis=0), float(base.human[rated].mean())
    sides = [
        _rated_sums(policy, relation, centre, prompts, chance)
        for policy, chance in zip((now, base), inclusion, strict=True)
    ]
    return np.concatenate(sides, axis=1)


def _rated_sums(
    policy: Scored,
    relation: Relation,
    centre: tuple[Array, float],
    prompts: int,
    inclusion: Array | None,
) -> Array:
    rated = ~np.isnan(policy.human)
    chance = np.ones(len(rated))
    if inclusion is not None:
        chance = np.where(np.isnan(inclusion), 1.0, inclusion)
    # A row that was drawn with chance p stands for 1/p rows (Horvitz & Thompson 1952).
    w = np.where(rated, 1 / chance, 0.0)
    h = np.where(rated, policy.human - centre[1], 0.0)
    x = list((relation.basis(policy.reward) - centre[0]).T)
    sums = [np.ones(len(w)), *x, w, w * h, w * h * h]
    sums += [w * a for a in x] + [w * h * a for a in x] + [w * a * b for a in x for b in x]
    return np.column_stack([np.bincount(policy.prompt, v, minlength=prompts) for v in sums])


@dataclass(frozen=True)
class _Rated:
    """One policy's moments in m resamples: the basis' mean over all rows and over rated ones (m, k),
    and of the rated rows the human mean and variance (m,), the basis' covariances with it (m, k)
    and with itself (m, k, k).
    """

    of_all: Array
    of_rated: Array
    human: Array
    human_variance: Array
    with_human: Array
    squares: Array

    @classmethod
    def of(cls, sums: Array, k: int) -> _Rated:
        """From summed totals of one policy, (m, 4 + 3k + k²)."""
        weight, h, hh = sums[:, k + 1 : k + 4].T
        x, xh, xx = np.split(sums[:, k + 4 :] / weight[:, None], [k, 2 * k], axis=1)
        mean = h / weight
        return cls(
            of_all=sums[:, 1 : k + 1] / sums[:, :1],
            of_rated=x,
            human=mean,
            human_variance=hh / weight - mean**2,
            with_human=xh - x * mean[:, None],
            squares=xx.reshape(-1, k, k) - x[:, :, None] * x[:, None, :],
        )

    def fit(self) -> Array:
        """Coefficients of the basis, shape (m, k); NaN where the rewards do not vary."""
        return solved(self.squares, self.with_human, least=1e-12 * self.of_rated[:, 0] ** 2)

    def corrected(self, fitted: Array) -> Array:
        """The human mean of all rows, by the curve of these coefficients."""
        slope = (fitted * self.with_human).sum(axis=1)
        variance = np.einsum("mi,mij,mj->m", fitted, self.squares, fitted)
        # Without a prediction that varies the rated rows' own mean stays, which is right on average,
        # only wider.
        tells = np.isfinite(variance) & (variance > 1e-12 * self.human_variance)
        slope = np.divide(slope, variance, out=np.zeros(len(slope)), where=tells)
        ahead = np.nan_to_num((fitted * (self.of_all - self.of_rated)).sum(axis=1))
        corrected: Array = self.human + slope * ahead
        return corrected


def rated_gains(sums: Array, pieces: int) -> tuple[Array, Array]:
    """Expected and observed human gain (base sd) from summed totals of both policies."""
    now, then = (_Rated.of(side, pieces) for side in np.split(sums, 2, axis=1))
    fitted = then.fit()
    least = 1e-12 * (then.human_variance + then.human**2)
    sd = np.sqrt(np.where(then.human_variance > least, then.human_variance, np.nan))
    expected = (fitted * (now.of_all - then.of_all)).sum(axis=1)
    return expected / sd, (now.corrected(fitted) - then.corrected(fitted)) / sd
