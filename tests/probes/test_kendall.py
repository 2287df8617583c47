"""Kendall's tau-b: against scipy, with ties, and its two ways to an interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from probes.statistics import kendall, stats

HOW: Any = {"levels": (0.95,), "resamples": 400, "seed": 1}


def samples(seed: int, *, prompts: int = 30, each: int = 3, decimals: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.normal(0, 0.6, prompts), each)
    reward = level + rng.normal(0, 0.8, prompts * each)
    human = 0.6 * reward + 0.8 * rng.normal(size=prompts * each)
    ids = np.repeat([f"p{i:04d}" for i in range(prompts)], each)
    return pd.DataFrame(
        {"prompt_id": ids, "reward": reward.round(decimals), "human": human.round(decimals)}
    )


@pytest.mark.parametrize("prompts", [5, 30, 400])
@pytest.mark.parametrize("decimals", [0, 6])
def test_tau_is_scipys_with_and_without_ties(prompts: int, decimals: int) -> None:
    rows = samples(prompts, prompts=prompts, decimals=decimals)
    found = stats.correlation(table=rows, x="reward", y="human", kind="kendall", **HOW)
    assert found.value == pytest.approx(
        scipy.stats.kendalltau(rows["reward"], rows["human"]).statistic
    )
    assert found.value is not None
    assert found.intervals[0].low < found.value < found.intervals[0].high


def test_a_resample_counts_pairs_as_if_its_rows_were_repeated() -> None:
    rows = samples(3, prompts=9, decimals=0)
    a, b = rows["reward"].to_numpy(), rows["human"].to_numpy()
    place = np.repeat(np.arange(9), 3)
    weights = np.random.default_rng(2).integers(0, 4, size=(6, 9))
    pairs = kendall._pairs(a, b, place, 9)
    for w, ours in zip(weights, kendall._tau_b(pairs, weights.astype(float)), strict=True):
        drawn = np.repeat(np.arange(27), w[place])
        assert ours == pytest.approx(scipy.stats.kendalltau(a[drawn], b[drawn]).statistic)


def test_many_rows_take_the_jackknife_and_say_so_and_the_two_ways_agree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = samples(8, prompts=300)
    widths = []
    for most, name in ((10_000, "bootstrap"), (10, "jackknife")):
        monkeypatch.setattr(kendall, "MOST_ROWS", most)
        found = stats.correlation(table=rows, x="reward", y="human", kind="kendall", **HOW)
        assert name in found.method
        widths.append(found.intervals[0].high - found.intervals[0].low)
    assert widths[1] == pytest.approx(widths[0], rel=0.5)


def test_the_interval_covers_the_truth_92_to_985_times_in_1000() -> None:
    # Two normal scores with r = 0.6 have tau = 2 / π · arcsin(0.6).
    hits = 0
    for seed in range(300):
        rows = samples(1000 + seed, prompts=25, decimals=9)
        (i,) = stats.correlation(table=rows, x="reward", y="human", kind="kendall", **HOW).intervals
        hits += i.low <= 2 / np.pi * np.arcsin(0.6) <= i.high
    assert 0.92 <= hits / 300 <= 0.99


def test_something_constant_has_no_tau() -> None:
    rows = samples(1).assign(reward=0.3)
    found = stats.correlation(table=rows, x="reward", y="human", kind="kendall", **HOW)
    assert found.value is None
    assert "same for all" in str(found.reason)


def test_one_prompt_has_a_tau_without_an_interval() -> None:
    found = stats.correlation(
        table=samples(1, prompts=1, each=8), x="reward", y="human", kind="kendall", **HOW
    )
    assert found.value is not None
    assert found.intervals == ()
