"""Intervals: against published values, against the analytic twin, and by simulation of how often
they cover.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.statistics import stats
from probes.statistics.resample import bootstrap, interval_ends, prompt_weights, wilson
from tests.probes.textbook import t_intervals

HOW = {"levels": (0.95,), "resamples": 400}


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_matches_the_published_table_of_newcombe_1998(
    successes: int, trials: int, low: float, high: float
) -> None:
    found = wilson(successes=successes, trials=trials, level=0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_each_resample_draws_as_many_prompts_as_there_are() -> None:
    weights = prompt_weights(units=30, resamples=500, seed=1)
    assert weights.shape == (500, 30)
    assert (weights.sum(axis=1) == 30).all()
    # Multinomial counts: mean 1, variance 1 - 1/30.
    assert weights.mean() == pytest.approx(1)
    assert weights.var() == pytest.approx(1 - 1 / 30, rel=0.05)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(0).normal(size=25)
    one, same, other = (stats.mean_of(values=values, n=25, seed=s, **HOW) for s in (1, 1, 2))
    assert one == same
    assert one.intervals != other.intervals


@pytest.mark.parametrize("units", [5, 12, 60])
def test_the_bootstrapped_mean_agrees_with_its_analytic_twin(units: int) -> None:
    values = np.random.default_rng(units).normal(3, 2, size=units)
    found = stats.mean_of(values=values, n=units, levels=(0.9, 0.95), resamples=20_000, seed=3)
    for ours, twin in zip(
        found.intervals, t_intervals(values=values, levels=(0.9, 0.95)), strict=True
    ):
        width = twin.high - twin.low
        assert abs(ours.low - twin.low) < 0.06 * width
        assert abs(ours.high - twin.high) < 0.06 * width


def test_the_analytic_twin_is_the_textbook_interval() -> None:
    # Student's sleep data, paired differences: the 95% interval that R's t.test prints.
    differences = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    (found,) = t_intervals(values=differences, levels=(0.95,))
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)


@pytest.mark.parametrize("prompts", [6, 20])
def test_a_95_percent_interval_of_clustered_samples_covers_the_truth_92_to_98_times_in_100(
    prompts: int,
) -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for run in range(400):
        # 4 samples a prompt that share half their variance.
        values = rng.normal(size=(prompts, 1)) + rng.normal(size=(prompts, 4))
        (i,) = stats.mean_of(values=values.mean(axis=1), n=4 * prompts, seed=run, **HOW).intervals
        hits += i.low <= 0 <= i.high
    assert 0.92 <= hits / 400 <= 0.98


def test_intervals_that_took_samples_for_prompts_would_be_too_narrow() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(30, 1)) + 0.3 * rng.normal(size=(30, 8))
    by_prompt = stats.mean_of(values=values.mean(axis=1), n=240, seed=1, **HOW).intervals[0]
    by_sample = stats.mean_of(values=values.ravel(), n=240, seed=1, **HOW).intervals[0]
    assert by_prompt.high - by_prompt.low > 2 * (by_sample.high - by_sample.low)


def test_one_prompt_gives_a_value_without_an_interval_and_the_reason() -> None:
    found = stats.mean_of(values=np.array([2.0]), n=4, seed=1, **HOW)
    assert (found.value, found.intervals) == (2.0, ())
    assert "at least 2" in str(found.reason)


def test_nothing_gives_no_value_and_the_reason() -> None:
    found = stats.mean_of(values=np.empty(0), n=0, undefined="no sample has a score", seed=1, **HOW)
    assert (found.value, found.intervals, found.reason) == (None, (), "no sample has a score")


def test_prompts_that_all_agree_give_no_interval_of_width_zero() -> None:
    found = stats.mean_of(values=np.full(9, 0.3), n=9, seed=1, **HOW)
    assert found.value == pytest.approx(0.3)
    assert found.intervals == ()
    assert "same value" in str(found.reason)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_none_or_all_still_has_an_interval(share: float) -> None:
    found = stats.mean_of(values=np.full(20, share), n=80, bounds=stats.SHARE, seed=1, **HOW)
    (i,) = found.intervals
    assert i.low <= share <= i.high
    assert i.high - i.low == pytest.approx(0.1611, abs=1e-4)
    assert "Wilson" in found.method


def test_a_statistic_that_most_resamples_leave_undefined_has_no_interval() -> None:
    # Defined only where the one prompt that has a denominator was drawn: in about 63 of 100
    # resamples.
    totals = np.stack([np.ones(10), np.eye(10)[0]], axis=1)
    found = bootstrap(totals=totals, statistic=lambda s: s[:, 0] / s[:, 1], n=10, seed=1, **HOW)
    assert found.value == 10
    assert found.intervals == ()
    assert "undefined in" in str(found.reason)


@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=40), st.integers(0, 2**31 - 1))
def test_a_higher_level_gives_an_interval_that_holds_the_lower_ones(
    values: list[float], seed: int
) -> None:
    found = stats.mean_of(
        values=np.array(values), n=len(values), levels=(0.8, 0.95, 0.99), resamples=200, seed=seed
    )
    for inner, outer in zip(found.intervals, found.intervals[1:], strict=False):
        assert outer.low <= inner.low + 1e-9
        assert inner.high <= outer.high + 1e-9


def test_levels_too_far_out_for_the_resamples_fall_back_on_the_standard_error() -> None:
    replicates = np.random.default_rng(0).normal(size=200)
    _, near = interval_ends(value=0.0, replicates=replicates, units=40, levels=(0.9,))
    _, far = interval_ends(value=0.0, replicates=replicates, units=40, levels=(0.9, 0.999))
    assert (near, far) == ("expanded percentile", "t with bootstrap standard error")
