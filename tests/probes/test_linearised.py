"""The analytic twins of the bootstrap: the textbook's intervals, and the bootstrap's on the same
tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.statistics.resample import bootstrap, linearised
from tests.probes.textbook import t_intervals

HOW: Any = {"levels": (0.9, 0.95), "resamples": 20_000, "seed": 3}


# kl is gamma(2, 1), tokens are 10 to 29.
KL_PER_TOKEN = 2 / 19.5


def by_prompt(seed: int, prompts: int) -> np.ndarray[Any, Any]:
    """Sums of kl and tokens over three samples of each prompt, (prompts, 2)."""
    rng = np.random.default_rng(seed)
    kl, tokens = rng.gamma(2, 1, (prompts, 3)), rng.integers(10, 30, (prompts, 3))
    return np.column_stack([kl.sum(axis=1), tokens.sum(axis=1)])


def ratio(sums: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return sums[:, 0] / sums[:, 1]


@given(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=30))
def test_the_twin_of_a_mean_is_the_textbook_interval(values: list[float]) -> None:
    x = np.array(values, dtype=np.float64) + np.arange(len(values))
    totals = np.column_stack([x, np.ones(len(x))])
    found = linearised(totals=totals, statistic=ratio, n=len(x), levels=(0.9, 0.99))
    if found.intervals:
        for a, b in zip(found.intervals, t_intervals(values=x, levels=(0.9, 0.99)), strict=True):
            assert (a.low, a.high) == pytest.approx((b.low, b.high), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("prompts", [20, 80])
def test_the_twin_of_a_ratio_of_sums_agrees_with_the_bootstrap(prompts: int) -> None:
    totals = by_prompt(prompts, prompts)
    boot = bootstrap(totals=totals, statistic=ratio, n=3 * prompts, **HOW)
    twin = linearised(totals=totals, statistic=ratio, n=3 * prompts, levels=HOW["levels"])
    assert twin.value == boot.value
    assert "linearisation" in twin.method
    for a, b in zip(twin.intervals, boot.intervals, strict=True):
        assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=0.08 * (b.high - b.low))


def test_the_twins_standard_error_of_a_ratio_is_the_delta_methods() -> None:
    rng = np.random.default_rng(1)
    totals = np.column_stack([rng.gamma(3, 1, 40), rng.gamma(9, 1, 40)])
    found = linearised(totals=totals, statistic=ratio, n=40, levels=(0.95,))
    # Cochran 1977, Sampling Techniques, equation 6.13: s²(y - Rx) / (P x̄²).
    value = totals[:, 0].sum() / totals[:, 1].sum()
    error = np.std(totals[:, 0] - value * totals[:, 1], ddof=1) / np.sqrt(40) / totals[:, 1].mean()
    assert found.intervals[0].high - value == pytest.approx(2.0226909 * error, rel=1e-5)


def test_the_twin_of_a_ratio_covers_the_truth_92_to_98_times_in_100() -> None:
    hits = 0
    for seed in range(400):
        totals = by_prompt(5000 + seed, 25)
        (i,) = linearised(totals=totals, statistic=ratio, n=75, levels=(0.95,)).intervals
        hits += i.low <= KL_PER_TOKEN <= i.high
    assert 0.92 <= hits / 400 <= 0.98


def test_a_twin_gives_no_number_for_what_is_undefined_or_does_not_vary() -> None:
    ones = np.ones((9, 2))
    alike = linearised(totals=ones, statistic=ratio, n=9, levels=(0.95,))
    assert (alike.value, alike.intervals) == (1.0, ())
    assert "same value" in str(alike.reason)
    empty = linearised(
        totals=ones * [1, 0], statistic=ratio, n=9, undefined="nothing below", levels=(0.95,)
    )
    assert (empty.value, empty.reason) == (None, "nothing below")
    one = linearised(totals=ones[:1], statistic=ratio, n=1, levels=(0.95,))
    assert "at least 2" in str(one.reason)
    assert (
        linearised(totals=-ones, statistic=lambda s: s[:, 0], n=9, levels=(0.95,), log=True).value
        is None
    )
    assert linearised(totals=np.empty((0, 2)), statistic=ratio, n=0, levels=(0.95,)).value is None
