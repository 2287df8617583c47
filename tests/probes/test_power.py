"""The change that an audit of this size would find."""

from __future__ import annotations

import numpy as np
import pytest

from probes.base import Interval, Measurement
from probes.statistics.jackknife import jackknife
from probes.statistics.largest import largest_difference
from probes.statistics.power import finds
from probes.statistics.resample import Estimate, prompt_weights
from probes.statistics.stats import mean_of

LEVEL = 0.99


def measured(estimate: Estimate) -> Measurement:
    return estimate.measured("a.b", unit="", version="1")


def mean(rng: np.random.Generator, truth: float) -> Measurement:
    values = truth + rng.normal(size=40)
    estimate = mean_of(values=values, n=40, levels=(LEVEL,), resamples=400, seed=1)
    return measured(estimate)


def gap(rng: np.random.Generator, truth: float) -> Measurement:
    means = rng.normal(size=(12, 4)) + np.linspace(0, truth, 4)
    weights = prompt_weights(units=12, resamples=400, seed=1)
    estimate = largest_difference(
        values=means.mean(axis=0), replicates=weights @ means / 12, n=48, units=12, levels=(LEVEL,)
    )
    return measured(estimate)


@pytest.mark.parametrize(("measure", "margin"), [(mean, 0.1), (gap, 0.5)])
def test_what_would_be_found_8_times_in_10_is_found_about_8_times_in_10(measure, margin) -> None:
    said = [
        finds(measure(np.random.default_rng(seed), 0.0), level=LEVEL, margin=margin, beyond="above")
        for seed in range(30)
    ]
    truth = float(np.median(said))
    found = 0
    for seed in range(100, 350):
        found += measure(np.random.default_rng(seed), truth).interval(LEVEL).low > margin
    assert 0.7 <= found / 250 <= 0.9


def test_a_fall_is_found_as_far_below_its_margin_as_a_rise_above() -> None:
    m = mean(np.random.default_rng(1), 0.0)
    above = finds(m, level=LEVEL, margin=0.0, beyond="above")
    assert finds(m, level=LEVEL, margin=0.0, beyond="below") == pytest.approx(-above)


def test_an_end_that_was_cut_at_a_bound_does_not_make_it_look_sharper() -> None:
    ends = (Interval(LEVEL, 0.0, 1.5),)
    whole = measured(Estimate(0.2, 9, 9, "t", ends, error=0.5))
    assert finds(whole, level=LEVEL, margin=1.0, beyond="above") == pytest.approx(
        1.0 + 1.3 + 0.8416 * 0.5, abs=1e-3
    )


def test_nothing_is_claimed_where_the_spread_is_not_known_or_moves_with_the_value() -> None:
    m = mean(np.random.default_rng(1), 0.0)
    assert finds(m, level=0.5, margin=0.0, beyond="above") is None
    ratio = jackknife(
        statistic=lambda at: float(at.mean() + 1), units=30, n=30, levels=(LEVEL,), seed=1, log=True
    )
    assert ratio.intervals
    assert finds(measured(ratio), level=LEVEL, margin=0.5, beyond="below") is None


def test_a_rescaled_estimate_has_its_ends_and_error_in_the_new_unit() -> None:
    ends = (Interval(LEVEL, -1.0, 3.0),)
    turned = Estimate(1.0, 9, 9, "t", ends, ok_intervals=ends, error=0.5).rescaled(-2.0)
    assert (turned.value, turned.error) == (-2.0, 1.0)
    assert turned.intervals == turned.ok_intervals == (Interval(LEVEL, -6.0, 2.0),)
