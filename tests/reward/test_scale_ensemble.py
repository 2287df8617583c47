"""The recorded map of rewards to (0, 1), and members into one reward."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restaudit.config import EnsembleConfig
from restaudit.errors import BadInput
from restaudit.reward import Scale, combine

BASE = np.random.default_rng(0).normal(2.0, 3.0, 4000)
REWARDS = st.floats(-1e6, 1e6, allow_nan=False)


def test_the_base_median_goes_to_one_half_and_thresholds_lie_where_the_docstring_says() -> None:
    scale = Scale.fit(BASE)
    assert scale.apply(np.array([np.median(BASE)]))[0] == 0.5
    assert scale.sd == pytest.approx(3.0, rel=0.06)
    sds = np.array([0.424, 0.693, 1.099, 1.472, 2.3])
    found = scale.apply(scale.median + sds * scale.sd)
    assert found == pytest.approx([0.7, 0.8, 0.9, 0.95, 0.99], abs=0.002)


def test_rewards_far_beyond_the_base_range_keep_their_order() -> None:
    scale = Scale.fit(BASE)
    far = scale.median + scale.sd * np.array([5.0, 10, 18, 20, 50, 100, 500, 1000, 2000, 4000])
    assert (np.diff(scale.apply(far)) > 0).all()
    assert (np.diff(scale.apply(2 * scale.median - far)) < 0).all()
    assert scale.apply(np.array([-1e300]))[0] > 0
    assert scale.apply(np.array([1e300]))[0] < 1


@given(st.lists(REWARDS, min_size=1, max_size=30), REWARDS, REWARDS)
def test_the_map_never_turns_an_order_round_and_stays_inside(
    base: list[float], a: float, b: float
) -> None:
    low, high = Scale.fit(np.array(base)).apply(np.array(sorted([a, b])))
    assert 0 < low <= high < 1


def test_the_curve_and_its_slope_are_continuous_at_the_knee() -> None:
    scale = Scale(0.0, 2.0, "", 1)  # x equals the reward: sd * STEEPNESS is 1
    below, at, above = scale.apply(np.array([4 - 1e-5, 4, 4 + 1e-5]))
    assert at - below == pytest.approx(above - at, rel=1e-3)


def test_values_that_are_all_equal_are_scaled_by_one_reward_unit() -> None:
    scale = Scale.fit(np.full(9, 0.25))
    assert scale.sd == 1.0
    assert "same" in scale.spread_from
    assert scale.apply(np.array([0.25, 0.26])).tolist() == [0.5, pytest.approx(0.505, abs=1e-4)]


def test_a_middle_half_of_one_value_falls_back_to_the_standard_deviation() -> None:
    scale = Scale.fit(np.array([0.0] * 9 + [1.0]))
    assert scale.sd == pytest.approx(0.3)


def test_rewards_that_float64_cannot_tell_apart_are_scaled_by_one_reward_unit() -> None:
    scale = Scale.fit(np.array([0.0] * 4 + [1.4e-307]))
    assert scale.sd == 1.0
    assert "same" in scale.spread_from
    assert scale.apply(np.array([0.0])).tolist() == [0.5]


def test_a_reward_beyond_every_float_of_spreads_stays_inside() -> None:
    scale = Scale.fit(np.linspace(0, 1e-300, 9))
    low, high = scale.apply(np.array([-1e10, 1e10]))
    assert 0 < low < 0.5 < high < 1


def test_a_scale_comes_back_from_json_exactly() -> None:
    scale = Scale.fit(BASE)
    assert Scale.from_json(json.loads(json.dumps(scale.to_json()))) == scale


@pytest.mark.parametrize("bad", [np.array([]), np.array([1.0, np.nan]), np.array([np.inf])])
def test_nothing_and_values_that_are_not_finite_cannot_fit_a_scale(bad: np.ndarray) -> None:
    with pytest.raises(BadInput):
        Scale.fit(bad)


def test_a_reward_of_nan_is_refused_with_its_row() -> None:
    with pytest.raises(BadInput, match="row 2"):
        Scale.fit(BASE).apply(np.array([0.0, 1.0, np.nan]))


def test_a_scale_of_another_version_or_shape_is_refused() -> None:
    raw = Scale.fit(BASE).to_json()
    with pytest.raises(BadInput, match="version"):
        Scale.from_json({**raw, "version": "9"})
    with pytest.raises(BadInput, match="mdian"):
        Scale.from_json({**raw, "mdian": 1})


def test_members_combine_by_mean_minimum_and_mean_minus_variance() -> None:
    members = np.array([[1.0, 3.0], [2.0, 2.0]])
    mean, spread = combine(members, EnsembleConfig(size=2))
    assert mean.tolist() == [2.0, 2.0]
    assert spread.tolist() == pytest.approx([2**0.5, 0.0])
    assert combine(members, EnsembleConfig(size=2, combine="min"))[0].tolist() == [1.0, 2.0]
    careful = EnsembleConfig(size=2, combine="mean_minus_variance", variance_weight=0.5)
    assert combine(members, careful)[0].tolist() == [1.5, 2.0]  # variance with divisor m: 1


def test_one_member_has_no_spread_rather_than_a_spread_of_zero() -> None:
    reward, spread = combine(np.array([[1.0], [2.0]]), EnsembleConfig(size=1))
    assert reward.tolist() == [1.0, 2.0]
    assert np.isnan(spread).all()


def test_scores_without_a_member_column_are_refused() -> None:
    with pytest.raises(BadInput, match="column a member"):
        combine(np.zeros(3), EnsembleConfig())
