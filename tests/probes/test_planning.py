"""The smallest change an audit can see: GOVERNANCE.md's table, by simulation, and against the
gates' own figure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from probes.planning import mde_of_mean, ppi_narrowing, prompts_for
from probes.statistics.resample import normal_mean
from restaudit.gates import minimum_detectable_effect


@pytest.mark.parametrize(
    ("prompts", "mde"), [(30, 0.51), (50, 0.40), (100, 0.28), (200, 0.20), (400, 0.14)]
)
def test_it_is_the_table_of_governance_section_3(prompts: int, mde: float) -> None:
    assert mde_of_mean(sd=1.0, n_prompts=prompts) == pytest.approx(mde, abs=0.0055)


def test_a_change_of_that_size_is_found_8_times_in_10() -> None:
    rng = np.random.default_rng(1)
    effect = mde_of_mean(sd=1.0, n_prompts=60, per_prompt=3, icc=0.4)
    found = 0
    for _ in range(2000):
        level = rng.normal(0, np.sqrt(0.4), (60, 1))
        scores = effect + level + rng.normal(0, np.sqrt(0.6), (60, 3))
        found += normal_mean(values=scores.mean(axis=1), levels=(0.95,))[0].low > 0
    assert found / 2000 == pytest.approx(0.8, abs=0.03)


def test_it_is_what_the_gate_says_of_an_interval_of_that_width() -> None:
    half = 1.959964 / np.sqrt(100)
    assert mde_of_mean(sd=1.0, n_prompts=100) == pytest.approx(
        minimum_detectable_effect(half, 0.95), rel=1e-5
    )


def test_the_number_of_prompts_is_the_smallest_that_will_do() -> None:
    size: Any = {"sd": 1.3, "per_prompt": 2, "icc": 0.3, "level": 0.998}
    needed = prompts_for(effect=0.3, **size)
    assert mde_of_mean(n_prompts=needed, **size) <= 0.3 < mde_of_mean(n_prompts=needed - 1, **size)


def test_more_samples_of_a_prompt_help_only_as_far_as_they_differ() -> None:
    one, many = (mde_of_mean(sd=1.0, n_prompts=50, per_prompt=m, icc=1.0) for m in (1, 100))
    assert one == many
    assert mde_of_mean(sd=1.0, n_prompts=50, per_prompt=4) == pytest.approx(one / 2)


@pytest.mark.parametrize(
    ("rho", "narrower"), [(0.0, 1.0), (0.3, 0.956), (0.6, 0.811), (0.9, 0.478)]
)
def test_rewards_narrow_the_interval_as_in_governance_section_3(
    rho: float, narrower: float
) -> None:
    assert ppi_narrowing(rho=rho, rated=100, unrated=2000) == pytest.approx(narrower, abs=0.001)


WRONG: list[dict[str, Any]] = [
    {"sd": 0.0},
    {"sd": float("nan")},
    {"n_prompts": 1},
    {"icc": 1.5},
    {"level": 95},
    {"power": 0.1},
    {"per_prompt": 0},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_plan_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        mde_of_mean(**{"sd": 1.0, "n_prompts": 50, **wrong})
    with pytest.raises(ValueError, match="effect"):
        prompts_for(effect=0.0, sd=1.0)
    with pytest.raises(ValueError, match="rho"):
        ppi_narrowing(rho=2.0, rated=1, unrated=1)
