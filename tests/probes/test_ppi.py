"""Few ratings and many rewards: against PPI++'s own formulas, by simulated coverage, and on ratings
not at random.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.statistics import stats
from probes.statistics.ppi import Rated, corrected_change, corrected_mean, ppi_change, ppi_mean
from tests.probes.textbook import t_intervals

HOW: Any = {"levels": (0.95,), "resamples": 200, "seed": 1}
IDS = np.array([f"p{i:04d}" for i in range(2100)])


def one_row_a_prompt(
    rng: np.random.Generator, *, rho: float, n: int = 100, more: int = 2000
) -> dict[str, Any]:
    """A human score of mean 0 and sd 1, rated on the first n rows; a reward that is 1.5 too high
    and agrees by rho.
    """
    score = rng.normal(size=n + more)
    reward = 1.5 + rho * score + np.sqrt(1 - rho**2) * rng.normal(size=n + more)
    human = np.where(np.arange(n + more) < n, score, np.nan)
    return {"human": human, "prediction": reward, "prompts": IDS[: n + more]}


def policy(
    rng: np.random.Generator,
    *,
    prompts: int = 60,
    rated: int = 50,
    shift: float = 0.0,
    hack: float = 0.0,
    level: Any = None,
    like: Rated | None = None,
) -> tuple[Rated, Any, Any]:
    """Two samples a prompt that share its level, all true scores, the levels; `hack` raises all
    rewards, no score.
    """
    level = rng.normal(0, 0.6, prompts) if level is None else level
    place = np.repeat(np.arange(prompts), 2)
    score = level[place] + rng.normal(0, 0.8, len(place)) + shift
    reward = 0.7 * score + rng.normal(0, 0.7, len(place)) + hack
    chosen = np.isin(np.arange(len(place)), rng.choice(len(place), rated, replace=False))
    if like is not None:
        chosen = ~np.isnan(like.human)
    return Rated(IDS[place], np.where(chosen, score, np.nan), reward), score, level


def tables(seed: int, **how: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A policy's table and its base policy's, on the same prompts."""
    rng = np.random.default_rng(seed)
    base, _, level = policy(rng, **how)
    now, _, _ = policy(rng, shift=0.4, level=level, **how)
    one, other = (
        pd.DataFrame({"prompt_id": r.prompts, "human": r.human, "reward": r.prediction})
        for r in (now, base)
    )
    return one, other


GOVERNANCE = [(0.0, 0.0, 1.0), (0.3, 0.29, 0.95), (0.6, 0.57, 0.81), (0.9, 0.85, 0.48)]


@pytest.mark.parametrize(("rho", "weight", "narrower"), GOVERNANCE)
def test_100_ratings_beside_2000_rewards_cover_the_truth_93_to_97_times_in_100(
    rho: float, weight: float, narrower: float
) -> None:
    rng = np.random.default_rng(21)
    hits, lambdas, ratios = 0, [], []
    for _ in range(500):
        rows = one_row_a_prompt(rng, rho=rho)
        found, lam = ppi_mean(**rows, levels=(0.95,))
        (i,) = found.intervals
        (alone,) = t_intervals(values=rows["human"][:100], levels=(0.95,))
        hits += i.low <= 0 <= i.high
        assert lam is not None
        lambdas.append(lam)
        ratios.append((i.high - i.low) / (alone.high - alone.low))
    assert 0.93 <= hits / 500 <= 0.97
    # The figures of GOVERNANCE.md, section 3, which are ρ / (1 + n/N) and √(1 - ρ² / (1 + n/N)).
    assert np.mean(lambdas) == pytest.approx(weight, abs=0.015)
    assert np.mean(ratios) == pytest.approx(narrower, abs=0.015)


def test_with_one_row_a_prompt_it_is_the_estimator_of_the_paper() -> None:
    rows = one_row_a_prompt(np.random.default_rng(3), rho=0.6, n=300, more=1500)
    found, lam = ppi_mean(**rows, levels=(0.95,))
    y, f = rows["human"][:300], rows["prediction"]
    assert lam is not None
    # λ = cov(Y, f) / ((1 + n/N) var(f)); ours takes the variance at the rated rows, as the
    # linearised variance does.
    paper = np.cov(y, f[:300])[0, 1] / ((1 + 300 / 1500) * np.var(f[:300], ddof=1))
    assert lam == pytest.approx(paper, rel=0.03)
    theta = y.mean() + lam * (f[300:].mean() - f[:300].mean())
    assert found.value == pytest.approx(theta)
    error = np.sqrt(
        np.var(y - lam * f[:300], ddof=1) / 300 + lam**2 * np.var(f[300:], ddof=1) / 1500
    )
    assert found.intervals[0].high - theta == pytest.approx(1.968 * error, rel=0.01)


def test_a_wrong_reward_shifts_nothing_and_another_unit_changes_only_lambda() -> None:
    rows = one_row_a_prompt(np.random.default_rng(5), rho=0.7)
    first, lam = ppi_mean(**rows, levels=(0.95,))
    second, other = ppi_mean(**{**rows, "prediction": 40 - 10 * rows["prediction"]}, levels=(0.95,))
    assert second.value == pytest.approx(first.value)
    assert second.intervals[0].low == pytest.approx(first.intervals[0].low)
    assert lam is not None
    assert other == pytest.approx(-lam / 10)


@pytest.mark.parametrize("rated", [20, 50])
def test_samples_of_one_prompt_are_not_taken_for_independent(rated: int) -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(400):
        rows, _, _ = policy(rng, prompts=48, rated=rated)
        found, _ = ppi_mean(
            human=rows.human, prediction=rows.prediction, prompts=rows.prompts, levels=(0.95,)
        )
        hits += found.intervals[0].low <= 0 <= found.intervals[0].high
    assert 0.915 <= hits / 400 <= 0.98


@pytest.mark.parametrize(("hack", "same_rows"), [(0.0, True), (2.0, False)])
def test_a_paired_change_covers_the_truth_although_the_reward_was_hacked(
    hack: float, same_rows: bool
) -> None:
    rng = np.random.default_rng(6)
    hits = 0
    for _ in range(400):
        then, _, level = policy(rng, prompts=80, rated=60)
        now, _, _ = policy(
            rng,
            prompts=80,
            rated=60,
            shift=0.3,
            hack=hack,
            level=level,
            like=then if same_rows else None,
        )
        (i,) = ppi_change(now=now, then=then, levels=(0.95,))[0].intervals
        hits += i.low <= 0.3 <= i.high
    assert 0.92 <= hits / 400 <= 0.98


def test_ratings_of_the_filters_favourites_need_their_inclusion_probabilities() -> None:
    rng = np.random.default_rng(8)
    hits, naive = 0, 0
    for _ in range(200):
        rows, score, _ = policy(rng, prompts=300, rated=1)
        chance = np.clip(0.15 * np.exp(rows.prediction), 0.03, 1)
        human = np.where(rng.random(len(score)) < chance, score, np.nan)
        given_chances = ppi_mean(
            human=human,
            prediction=rows.prediction,
            prompts=rows.prompts,
            inclusion=chance,
            levels=(0.95,),
        )[0].intervals[0]
        # With a reward that tells nothing, nothing takes the favour out.
        noise = rng.normal(size=len(score))
        without = ppi_mean(human=human, prediction=noise, prompts=rows.prompts, levels=(0.95,))[
            0
        ].intervals[0]
        hits += given_chances.low <= 0 <= given_chances.high
        naive += without.low <= 0 <= without.high
    assert 0.9 <= hits / 200 <= 0.985
    assert naive / 200 < 0.2


def test_ratings_of_which_nobody_knows_how_they_were_chosen_give_no_value() -> None:
    table, _ = tables(1)
    for found, lam in (
        corrected_mean(table=table, sampling="unknown", **HOW),
        corrected_change(table=table, base=table, sampling="unknown", **HOW),
    ):
        assert (found.value, found.intervals, lam) == (None, (), None)
        assert "inclusion probability" in str(found.reason)


def test_inclusion_probabilities_of_some_rated_rows_only_give_no_value() -> None:
    table, _ = tables(1)
    chance = np.where(np.arange(len(table)) < 60, 0.4, np.nan)
    found, _ = corrected_mean(table=table.assign(inclusion=chance), sampling="random", **HOW)
    assert found.value is None
    assert "have no inclusion probability" in str(found.reason)


@pytest.mark.parametrize("chance", [0.0, -0.1, 1.2])
def test_a_chance_that_is_none_is_refused_with_its_row(chance: float) -> None:
    human = np.array([np.nan, 1.0, 2.0])
    with pytest.raises(ValueError, match="inclusion: row 1 was rated with a chance of"):
        ppi_mean(
            human=human,
            prediction=human,
            prompts=IDS[:3],
            inclusion=np.full(3, chance),
            levels=(0.95,),
        )


def test_where_every_row_is_rated_it_is_the_plain_mean_and_the_plain_change() -> None:
    now, base = tables(4, rated=120)
    assert corrected_mean(table=now, sampling="random", **HOW) == (
        stats.mean(table=now, column="human", **HOW),
        None,
    )
    plain = stats.change(table=now, base=base, columns=["human"], standardise=False, **HOW)
    assert corrected_change(table=now, base=base, sampling="random", **HOW) == (plain, None)
    found, _ = corrected_change(table=now, base=base, sampling="random", standardise_by=2.0, **HOW)
    assert plain.value is not None
    assert found.value == plain.value / 2
    assert found.intervals[0].high == plain.intervals[0].high / 2


def test_the_array_form_with_every_row_rated_is_the_analytic_twin() -> None:
    values = np.random.default_rng(0).normal(size=30)
    found, lam = ppi_mean(human=values, prediction=values**2, prompts=IDS[:30], levels=(0.9, 0.99))
    assert lam is None
    for ours, twin in zip(
        found.intervals, t_intervals(values=values, levels=(0.9, 0.99)), strict=True
    ):
        assert (ours.low, ours.high) == pytest.approx((twin.low, twin.high))


def test_two_policies_that_share_only_some_prompts_are_compared_on_those() -> None:
    rng = np.random.default_rng(9)
    sides = [
        Rated(
            IDS[k : k + 40],
            np.where(np.arange(40) % 3 > 0, rng.normal(size=40), np.nan),
            rng.normal(size=40),
        )
        for k in (0, 10)
    ]
    found, _ = ppi_change(now=sides[0], then=sides[1], levels=(0.95,))
    shared = slice(10, 40), slice(0, 30)
    cut = [
        Rated(s.prompts[k], s.human[k], s.prediction[k]) for s, k in zip(sides, shared, strict=True)
    ]
    assert found == ppi_change(now=cut[0], then=cut[1], levels=(0.95,))[0]


@pytest.mark.parametrize(
    ("rated", "says"),
    [
        (0, "has been rated"),
        (1, "at least 2"),
        (2, "mean of rated rows"),
        (4, "too few rated prompts"),
    ],
)
def test_few_ratings_say_what_they_cannot_tell(rated: int, says: str) -> None:
    rng = np.random.default_rng(rated)
    human = np.where(np.arange(50) < rated, rng.normal(size=50), np.nan)
    found, lam = ppi_mean(
        human=human, prediction=rng.normal(size=50), prompts=IDS[:50], levels=(0.95,)
    )
    assert lam is None
    assert says in f"{found.reason} {found.method}"
    assert (found.value is None) == (rated == 0)
    assert bool(found.intervals) == (rated >= 2)


def test_ratings_that_are_all_alike_give_no_interval_of_width_zero() -> None:
    human = np.where(np.arange(50) < 20, 3.0, np.nan)
    found, _ = ppi_mean(human=human, prediction=np.full(50, 0.2), prompts=IDS[:50], levels=(0.95,))
    assert (found.value, found.intervals) == (3.0, ())
    assert "same value" in str(found.reason)


def test_one_reward_far_out_does_not_decide_lambda_alone() -> None:
    rows = one_row_a_prompt(np.random.default_rng(5), rho=0.7)
    rows["prediction"][3] = 1e6
    found, lam = ppi_mean(**rows, levels=(0.95,))
    assert lam is None
    assert found.value == pytest.approx(np.nanmean(rows["human"]))
    assert "one prompt would decide it" in found.method


def test_rows_without_a_reward_are_left_out_and_counted_and_no_reward_at_all_gives_no_value() -> (
    None
):
    table, _ = tables(1)
    some = table.assign(reward=table["reward"].where(table.index % 10 > 0))
    assert (
        "12 rows without a prediction left out"
        in corrected_mean(table=some, sampling="random", **HOW)[0].method
    )
    none, lam = corrected_mean(table=table.assign(reward=np.nan), sampling="random", **HOW)
    assert (none.value, lam) == (None, None)
    assert "no row has a reward" in str(none.reason)
    change, _ = corrected_change(
        table=table, base=table.assign(reward=np.nan), sampling="random", **HOW
    )
    assert change.value is None


def test_an_infinite_score_a_missing_row_and_a_unit_of_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="human: row 1 is infinite"):
        Rated(IDS[:2], np.array([1.0, np.inf]), np.zeros(2))
    with pytest.raises(ValueError, match="arrays of one length"):
        Rated(IDS[:2], np.zeros(3), np.zeros(2))
    table, _ = tables(1)
    with pytest.raises(ValueError, match="standardise_by: 0"):
        corrected_change(table=table, base=table, sampling="random", standardise_by=0.0, **HOW)


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    table, base = tables(seed, prompts=12, rated=14)
    mixed, mixed_base = (t.sample(frac=1, random_state=seed) for t in (table, base))
    one, same = (corrected_mean(table=t, sampling="random", **HOW) for t in (table, mixed))
    assert one == same
    one, same = (
        corrected_change(table=t, base=b, sampling="random", **HOW)
        for t, b in ((table, base), (mixed, mixed_base))
    )
    assert one == same
