"""Repeated looks: published boundaries of group-sequential designs, and sequences that hold at
every look.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from probes.sequences import confidence_sequence, mean_so_far
from scipy.special import ndtr
from scipy.stats import multivariate_normal

from probes.statistics.multiplicity import Spending, increments

# Boundaries of a two-sided 5% test at t = .2, .4, .6, .8, 1 (as ldbounds, PASS and gsDesign print
# them).
PUBLISHED: dict[Spending, list[float]] = {
    "obrien_fleming": [4.8769, 3.3569, 2.6803, 2.2898, 2.0310],
    "pocock": [2.4380, 2.4268, 2.4101, 2.3966, 2.3859],
}


@pytest.mark.parametrize("spending", PUBLISHED)
def test_what_is_spent_at_each_look_is_what_the_published_boundaries_spend(
    spending: Spending,
) -> None:
    t = np.arange(1, 6) / 5
    together = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    bounds, passed = PUBLISHED[spending], [0.0]
    for k in range(1, 6):
        within = (
            ndtr(bounds[0])
            if k == 1
            else multivariate_normal(cov=together[:k, :k], seed=0).cdf(bounds[:k])
        )
        passed.append(1 - float(within))
    spent = increments(alpha=0.025, looks=5, spending=spending)
    assert spent == pytest.approx(np.diff(passed), abs=1e-4)


@pytest.mark.parametrize(
    ("alpha", "spending", "by_then"),
    [
        (0.05, "obrien_fleming", [0.00001, 0.0019, 0.0114, 0.0284, 0.05]),
        (0.025, "obrien_fleming", [0.0, 0.0004, 0.0038, 0.0122, 0.025]),
        (0.025, "pocock", [0.0074, 0.0131, 0.0177, 0.0216, 0.025]),
        (0.05, "uniform", [0.01, 0.02, 0.03, 0.04, 0.05]),
    ],
)
def test_the_spending_functions_of_lan_and_demets(
    alpha: float, spending: Spending, by_then: list[float]
) -> None:
    assert np.cumsum(increments(alpha=alpha, looks=5, spending=spending)) == pytest.approx(
        by_then, abs=6e-5
    )


@pytest.mark.parametrize("spending", ["uniform", "pocock", "obrien_fleming"])
def test_looking_five_times_errs_no_more_often_than_planned_and_plain_tests_do(
    spending: Spending,
) -> None:
    rng = np.random.default_rng(0)
    p = 1 - ndtr(np.cumsum(rng.normal(size=(20_000, 5)), axis=1) / np.sqrt(np.arange(1, 6)))
    errs = (p < increments(alpha=0.05, looks=5, spending=spending)).any(axis=1).mean()
    assert errs <= 0.053
    assert (p < 0.05).any(axis=1).mean() > 0.1


@pytest.mark.parametrize(("alpha", "looks"), [(0.0, 3), (1.0, 3), (0.05, 0)])
def test_a_plan_without_looks_or_error_is_refused(alpha: float, looks: int) -> None:
    with pytest.raises(ValueError, match="expected 0 < alpha < 1"):
        increments(alpha=alpha, looks=looks)


# --- confidence sequences


def draws(kind: str, rng: np.random.Generator, n: int) -> tuple[Any, float]:
    """Scores from 1 to 5 and their mean."""
    if kind == "skewed":
        return 1 + 4 * rng.beta(2, 5, n), 1 + 8 / 7
    if kind == "rare":
        return 1 + 4.0 * (rng.random(n) < 0.1), 1.4
    return rng.integers(1, 6, n).astype(float), 3.0


@pytest.mark.parametrize("kind", ["skewed", "rare", "steps"])
def test_a_sequence_holds_the_mean_at_all_of_800_looks_95_times_in_100(kind: str) -> None:
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(300):
        values, truth = draws(kind, rng, 800)
        low, high = confidence_sequence(values=values, bounds=(1, 5), level=0.95)
        missed += bool(((low > truth) | (high < truth)).any())
    assert missed / 300 <= 0.05


def test_an_interval_for_one_look_fails_if_one_looks_all_the_time() -> None:
    rng = np.random.default_rng(6)
    missed = 0
    for _ in range(200):
        values, truth = draws("steps", rng, 800)
        t = np.arange(1, 801)
        mean = np.cumsum(values) / t
        error = np.sqrt(np.maximum(np.cumsum(values**2) / t - mean**2, 0) / t)
        missed += bool((np.abs(mean - truth) > 1.96 * error)[20:].any())
    assert missed / 200 > 0.25


def test_a_sequence_never_widens_and_does_narrow() -> None:
    values, _ = draws("steps", np.random.default_rng(1), 2000)
    low, high = confidence_sequence(values=values, bounds=(1, 5), level=0.95)
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) <= 0).all()
    assert (low[0], high[0]) == (1, 5)
    assert high[-1] - low[-1] < 0.35


def test_the_ends_use_only_what_was_seen_and_do_not_depend_on_the_unit() -> None:
    values, _ = draws("skewed", np.random.default_rng(2), 300)
    low, high = confidence_sequence(values=values, bounds=(1, 5), level=0.9)
    early = confidence_sequence(values=values[:120], bounds=(1, 5), level=0.9)
    assert (low[119], high[119]) == pytest.approx((early[0][-1], early[1][-1]))
    scaled = confidence_sequence(values=10 * values - 7, bounds=(3, 43), level=0.9)
    assert scaled[0] == pytest.approx(10 * low - 7)


def test_the_latest_look_is_an_estimate_at_every_level() -> None:
    values, _ = draws("steps", np.random.default_rng(3), 200)
    found = mean_so_far(values=values, bounds=(1, 5), levels=(0.9, 0.99))
    assert found.value == pytest.approx(values.mean())
    assert (
        found.intervals[1].low
        < found.intervals[0].low
        < found.intervals[0].high
        < found.intervals[1].high
    )
    none = mean_so_far(values=np.empty(0), bounds=(1, 5), levels=(0.9,))
    assert (none.value, none.reason) == (None, "nothing has been rated")


def test_ratings_whose_mean_moved_on_the_way_give_no_interval_once_the_looks_contradict_each_other() -> (
    None
):
    values = np.concatenate([np.ones(500), np.full(500, 5.0)])
    found = mean_so_far(values=values, bounds=(1, 5), levels=(0.95,))
    assert found.intervals == ()
    assert "contradict" in str(found.reason)


@pytest.mark.parametrize("wrong", [np.nan, 0.5, 5.1])
def test_a_value_outside_the_bounds_is_refused_with_its_place(wrong: float) -> None:
    with pytest.raises(ValueError, match="value 1 is"):
        confidence_sequence(values=np.array([2.0, wrong]), bounds=(1, 5), level=0.95)
    with pytest.raises(ValueError, match="two finite numbers"):
        confidence_sequence(values=np.array([2.0]), bounds=(1, np.inf), level=0.95)
