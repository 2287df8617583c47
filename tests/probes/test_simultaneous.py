"""Means of many overlapping parts: the intervals hold for all of them at once."""

from __future__ import annotations

import numpy as np
import pytest

from probes.statistics.simultaneous import all_means


def _parts(rng: np.random.Generator, units: int, count: int) -> np.ndarray:
    inside = np.zeros((count, units), dtype=bool)
    for part in inside:
        part[rng.choice(units, int(rng.integers(8, units // 2)), replace=False)] = True
    return inside


@pytest.mark.parametrize("shape", ["normal", "heavy tails", "unequal spread"])
def test_all_parts_hold_their_mean_in_at_least_93_of_100_runs(shape: str) -> None:
    rng, missed = np.random.default_rng(1), 0
    for run in range(120):
        values = rng.normal(size=48)
        if shape == "heavy tails":
            values = rng.standard_t(3, size=48)
        if shape == "unequal spread":
            values *= np.where(np.arange(48) < 12, 3.0, 0.5)
        found = all_means(
            values=values,
            inside=_parts(rng, 48, 15),
            rows=48,
            levels=[0.95],
            resamples=200,
            seed=run,
        )
        ends = [e.intervals[0] for e in found]
        missed += any(i.low > 0 or i.high < 0 for i in ends)
    assert missed <= 0.07 * 120


def test_the_mean_is_of_the_part_and_more_parts_make_wider_intervals() -> None:
    rng = np.random.default_rng(2)
    values, inside = rng.normal(size=60), _parts(rng, 60, 20)

    def width(parts: np.ndarray) -> float:
        found = all_means(
            values=values, inside=parts, rows=60, levels=[0.95], resamples=400, seed=1
        )[0]
        assert found.value == pytest.approx(values[parts[0]].mean())
        assert found.units == parts[0].sum()
        return found.intervals[0].high - found.intervals[0].low

    assert width(inside) > 1.2 * width(inside[:1])


def test_a_part_whose_units_are_alike_has_no_interval_and_says_why() -> None:
    values = np.r_[np.ones(10), np.arange(10.0)]
    inside = np.array([np.arange(20) < 10, np.arange(20) >= 10])
    alike, other = all_means(
        values=values, inside=inside, rows=20, levels=[0.95], resamples=200, seed=0
    )
    assert alike.value == 1.0
    assert "same value" in str(alike.reason)
    assert other.intervals
