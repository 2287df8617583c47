"""The analytic twins of the bootstrap: the textbook's intervals, and the bootstrap's on the same
tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.base import Interval
from probes.statistics import stats
from probes.statistics.resample import linearised, normal_mean

HOW: Any = {"levels": (0.9, 0.95), "resamples": 20_000, "seed": 3}


def policies(seed: int, prompts: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    level, ids = (
        rng.normal(0, 0.6, (prompts, 1)),
        np.repeat([f"p{i:03d}" for i in range(prompts)], 3),
    )
    tables = []
    for shift in (0.5, 0.0):
        reward = level + rng.normal(shift, 0.8, (prompts, 3))
        human = 0.6 * reward + rng.normal(0, 0.6, (prompts, 3))
        tokens = rng.integers(10, 30, (prompts, 3)).astype(float)
        tables.append(
            pd.DataFrame(
                {
                    "prompt_id": ids,
                    "reward": reward.ravel(),
                    "human": human.ravel(),
                    "kl": rng.gamma(2, 1, prompts * 3),
                    "tokens": tokens.ravel(),
                }
            )
        )
    return tables[0], tables[1]


def agree(one: tuple[Interval, ...], other: tuple[Interval, ...], within: float) -> None:
    for a, b in zip(one, other, strict=True):
        width = b.high - b.low
        assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=within * width)


@given(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=30))
def test_the_twin_of_a_mean_is_the_textbook_interval(values: list[float]) -> None:
    x = np.array(values, dtype=np.float64) + np.arange(len(values))
    totals = np.column_stack([x, np.ones(len(x))])
    found = linearised(
        totals=totals, statistic=lambda s: s[:, 0] / s[:, 1], n=len(x), levels=(0.9, 0.99)
    )
    if found.intervals:
        for a, b in zip(found.intervals, normal_mean(values=x, levels=(0.9, 0.99)), strict=True):
            assert (a.low, a.high) == pytest.approx((b.low, b.high), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("prompts", [20, 80])
@pytest.mark.parametrize("columns", [["human"], ["reward", "human"]])
def test_the_twin_of_a_paired_change_agrees_with_the_bootstrap(
    prompts: int, columns: list[str]
) -> None:
    now, base = policies(prompts, prompts)
    boot = stats.change(table=now, base=base, columns=columns, **HOW)
    twin = stats.change(table=now, base=base, columns=columns, analytic=True, **HOW)
    assert (twin.value, twin.n, twin.units) == (boot.value, boot.n, boot.units)
    assert "linearisation" in twin.method
    agree(twin.intervals, boot.intervals, 0.08)


@pytest.mark.parametrize("prompts", [20, 80])
def test_the_twin_of_a_ratio_of_sums_agrees_with_the_bootstrap(prompts: int) -> None:
    now, _ = policies(prompts, prompts)
    boot, twin = (
        stats.ratio_of_sums(table=now, numerator="kl", denominator="tokens", analytic=a, **HOW)
        for a in (False, True)
    )
    assert twin.value == boot.value
    agree(twin.intervals, boot.intervals, 0.08)


def test_the_twins_standard_error_of_a_ratio_is_the_delta_methods() -> None:
    rng = np.random.default_rng(1)
    totals = np.column_stack([rng.gamma(3, 1, 40), rng.gamma(9, 1, 40)])
    found = linearised(totals=totals, statistic=lambda s: s[:, 0] / s[:, 1], n=40, levels=(0.95,))
    # Cochran 1977, Sampling Techniques, equation 6.13: s²(y - Rx) / (P x̄²).
    ratio = totals[:, 0].sum() / totals[:, 1].sum()
    error = np.std(totals[:, 0] - ratio * totals[:, 1], ddof=1) / np.sqrt(40) / totals[:, 1].mean()
    assert found.intervals[0].high - ratio == pytest.approx(2.0226909 * error, rel=1e-5)


def test_a_paired_changes_twin_covers_the_truth_92_to_98_times_in_100() -> None:
    hits = 0
    for seed in range(400):
        now, base = policies(5000 + seed, 25)
        (i,) = stats.change(
            table=now,
            base=base,
            columns=["reward"],
            analytic=True,
            levels=(0.95,),
            resamples=100,
            seed=0,
        ).intervals
        hits += i.low <= 0.5 <= i.high
    assert 0.92 <= hits / 400 <= 0.98


def test_a_twin_gives_no_number_for_what_is_undefined_or_does_not_vary() -> None:
    ones = np.ones((9, 2))
    ratio: Any = lambda s: s[:, 0] / s[:, 1]  # noqa: E731
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
