"""Swapping two policies prompt by prompt: the tests keep their level, for one statistic and for the
largest of many.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from probes.statistics.flips import largest_of, p_of, signs


def test_p_is_the_share_of_all_swaps_that_reach_what_was_seen() -> None:
    differences = np.array([3.0, -1.0, 2.0, 0.5])
    every = np.array(list(product([1.0, -1.0], repeat=4)))
    exact = ((every @ differences) >= differences.sum()).mean()
    drawn = signs(prompts=4, flips=20_000, seed=1)
    assert p_of(differences.sum(), drawn @ differences) == pytest.approx(exact, abs=0.01)


def test_what_no_swap_reaches_has_the_least_p_there_is() -> None:
    assert p_of(5.0, np.zeros(99)) == 0.01
    assert p_of(0.0, np.zeros(99)) == 1.0


@pytest.mark.parametrize("shape", ["normal", "rare", "alike"])
def test_even_one_false_finding_among_many_is_as_rare_as_stated(shape: str) -> None:
    rng, wrong = np.random.default_rng(3), 0
    for run in range(300):
        values = rng.normal(size=(40, 25))
        if shape == "rare":
            values = rng.choice([-1.0, 0.0, 1.0], size=(40, 25), p=[0.03, 0.94, 0.03])
        if shape == "alike":
            values = values[:, :1] + 0.1 * values
        wrong += largest_of(values, signs(prompts=40, flips=199, seed=run)).p.min() <= 0.05
    # 5% of 300 are 15; more than 25 in one of 100.
    assert wrong <= 25


def test_an_interval_of_its_reach_holds_0_just_where_the_test_finds_nothing() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(np.linspace(0, 0.8, 8), 1, size=(60, 8))
    found = largest_of(values, signs(prompts=60, flips=999, seed=2))
    error = values.std(axis=0) / np.sqrt(59)
    above = values.mean(axis=0) - found.reach(0.95) * error > 0
    assert above.tolist() == (found.p <= 0.05).tolist()
    assert 0 < above.sum() < 8


def test_differences_that_are_all_0_are_no_finding() -> None:
    found = largest_of(np.zeros((20, 3)), signs(prompts=20, flips=99, seed=0))
    assert found.p.tolist() == [1.0] * 3
    assert found.t.tolist() == [0.0] * 3
