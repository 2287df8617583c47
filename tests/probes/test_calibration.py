"""Calibration error: its bias shown, what the correction takes off, and planted miscalibration
found.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from probes.statistics.calibration import (
    Calibration,
    calibration,
    debiased_error,
    plugin_error,
    squared_error,
)

HOW: Any = {"levels": (0.95,), "resamples": 100, "seed": 1}


def drawn(rng: np.random.Generator, n: int, off: float = 0.0) -> tuple[Any, Any]:
    """Stated probabilities and outcomes that happen `off` less often than stated."""
    p = rng.uniform(0.15, 0.9, n)
    return p, (rng.random(n) < p - off).astype(float)


def ids(n: int) -> Any:
    return np.array([f"p{i // 2:04d}" for i in range(n)])


def test_a_small_table_by_hand() -> None:
    # Two bins of four: stated .25 and .75; happened 2/4 and 3/4.
    p = np.repeat([0.25, 0.75], 4)
    y = np.array([1, 1, 0, 0, 1, 1, 1, 0.0])
    assert plugin_error(probability=p, outcome=y, bins=2) == pytest.approx(0.125)
    # Kumar et al.: gap² - ŷ(1 - ŷ)/(n - 1), averaged.
    by_hand = ((0.25**2 - 0.25 / 3) + (0 - 0.1875 / 3)) / 2
    assert squared_error(probability=p, outcome=y, bins=2) == pytest.approx(by_hand)


def test_the_usual_error_of_perfect_predictions_is_far_from_0_and_the_corrections_nearer() -> None:
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {
        f.__name__: [] for f in (plugin_error, debiased_error, squared_error)
    }
    for _ in range(200):
        p, y = drawn(rng, 300)
        for f in (plugin_error, debiased_error, squared_error):
            found[f.__name__].append(f(probability=p, outcome=y, bins=15))
    plugin, debiased, squared = (float(np.mean(v)) for v in found.values())
    # The bias that the docstring states: √(2 · p(1 - p) / (π · n_bin)) with p(1 - p) about .21 and
    # 20 rows a bin.
    assert plugin == pytest.approx(np.sqrt(2 * 0.21 / (np.pi * 20)), rel=0.1)
    assert 0 < debiased < 0.65 * plugin
    assert abs(squared) < 0.001


def test_predictions_that_are_0_1_too_high_are_measured_as_such() -> None:
    rng = np.random.default_rng(1)
    errors = [
        debiased_error(probability=p, outcome=y, bins=15)
        for p, y in (drawn(rng, 1000, 0.1) for _ in range(100))
    ]
    assert np.mean(errors) == pytest.approx(0.1, abs=0.01)
    squares = [
        squared_error(probability=p, outcome=y, bins=15)
        for p, y in (drawn(rng, 1000, 0.1) for _ in range(100))
    ]
    assert np.mean(squares) == pytest.approx(0.01, abs=0.002)


def test_the_interval_covers_an_error_of_0_1_at_least_92_times_in_100() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for seed in range(100):
        p, y = drawn(rng, 600, 0.1)
        found = calibration(
            probability=p, outcome=y, prompts=ids(600), levels=(0.95,), resamples=100, seed=seed
        )
        assert isinstance(found, Calibration)
        (i,) = found.debiased.intervals
        hits += i.low <= 0.1 <= i.high
    assert hits >= 92


def test_equal_probabilities_stay_in_one_bin_whatever_their_order() -> None:
    p, y = np.full(60, 0.7), np.repeat([1.0, 0.0], 30)
    first = calibration(probability=p, outcome=y, prompts=ids(60), **HOW)
    mixed = np.random.default_rng(0).permutation(60)
    second = calibration(probability=p[mixed], outcome=y[mixed], prompts=ids(60)[mixed], **HOW)
    assert first == second
    assert isinstance(first, Calibration)
    assert first.plugin == pytest.approx(0.2)


def test_few_rows_use_fewer_bins_and_too_few_give_no_number() -> None:
    p, y = drawn(np.random.default_rng(3), 45)
    found = calibration(probability=p, outcome=y, prompts=ids(45), **HOW)
    assert isinstance(found, Calibration)
    assert found.bins == 4
    assert "9 rows" in str(calibration(probability=p[:9], outcome=y[:9], prompts=ids(9), **HOW))
    one = calibration(probability=p, outcome=y, prompts=np.full(45, "p"), **HOW)
    assert isinstance(one, Calibration)
    assert (one.debiased.value, one.debiased.intervals) == (None, ())


WRONG = [
    (1.2, 1, "probability: row 2"),
    (np.nan, 1, "probability: row 2"),
    (0.5, 0.5, "outcome: row 2"),
    (0.5, np.nan, "outcome: row 2"),
]


@pytest.mark.parametrize(("p", "y", "why"), WRONG)
def test_what_is_no_probability_or_outcome_is_refused_with_its_row(
    p: float, y: float, why: str
) -> None:
    probability, outcome = np.full(20, 0.4), np.ones(20)
    probability[2], outcome[2] = p, y
    with pytest.raises(ValueError, match=why):
        calibration(probability=probability, outcome=outcome, prompts=ids(20), **HOW)
