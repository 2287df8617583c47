"""The Vendi score and mean distances: published cases, brute force, and the formula for groups left
out.
"""

from __future__ import annotations

import numpy as np
import pytest

from probes.diversity.vendi import across_prompts, entropies_without, entropy, vendi, within_prompt
from probes.statistics.jackknife import Groups, grouped


def unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    rows = rng.normal(size=(n, d)) + 0.7 * rng.normal(size=d)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def score(rows: np.ndarray) -> float:
    return float(np.exp(entropy(np.linalg.eigvalsh(rows @ rows.T / len(rows)))))


@pytest.mark.parametrize(
    ("shares", "expected", "dimensions"),
    [
        ([4], 1.0, 3),
        ([4], 1.0, 9),
        ([1, 1, 1, 1], 4.0, 9),
        ([2, 2], 2.0, 2),
        ([2, 1, 1], 2**1.5, 3),
        ([2, 1, 1], 2**1.5, 9),
    ],
)
def test_vendi_of_orthogonal_clusters_is_exp_of_their_entropy(
    shares: list[int], expected: float, dimensions: int
) -> None:
    rows = np.array([np.eye(dimensions)[c] for c, count in enumerate(shares) for _ in range(count)])
    assert vendi(rows, np.arange(4), grouped(units=4, seed=0)).value == pytest.approx(expected)


@pytest.mark.parametrize("d", [20, 200])  # more texts than dimensions, and fewer
@pytest.mark.parametrize("units", [3, 48])
@pytest.mark.parametrize("copies", [1, 2, 96])
def test_leaving_a_group_out_scores_what_the_rest_scores(d: int, units: int, copies: int) -> None:
    owner = np.repeat(np.arange(units), 2)
    rows = unit(np.random.default_rng(d), len(owner), d)[np.arange(len(owner)) // copies]
    groups = grouped(units=units, seed=1)
    found = vendi(rows, owner, groups)
    assert found.value == pytest.approx(score(rows))
    expected = [score(rows[groups.label[owner] != g]) for g in range(groups.count)]
    np.testing.assert_allclose(found.left, expected, rtol=1e-6)


def test_the_formula_for_groups_left_out_is_right_to_8_digits_whatever_the_spectrum() -> None:
    rng = np.random.default_rng(4)
    label = np.arange(90) % 15
    for rank in (2, 30, 90):
        rows = unit(rng, 90, rank)
        found = np.exp(entropies_without(rows @ rows.T / 90, label, 15))
        np.testing.assert_allclose(found, [score(rows[label != g]) for g in range(15)], rtol=5e-8)


def test_texts_that_are_all_alike_show_no_spread_at_all() -> None:
    rows = np.repeat(unit(np.random.default_rng(0), 1, 384), 96, axis=0)
    found = vendi(rows, np.arange(96), grouped(units=96, seed=0))
    np.testing.assert_allclose(found.left, found.value, rtol=1e-13)


def test_distances_within_and_across_prompts_are_means_over_their_pairs() -> None:
    rng = np.random.default_rng(5)
    owner = np.array([0, 0, 0, 1, 2, 2])
    rows = unit(rng, 6, 7)
    groups = Groups(np.arange(3), 3)
    away = 1 - rows @ rows.T
    pairs = [(i, j) for i in range(6) for j in range(6) if owner[i] != owner[j]]
    found = across_prompts(rows, owner, groups)
    assert found.value == pytest.approx(np.mean([away[p] for p in pairs]))
    without = [p for p in pairs if 0 not in (owner[p[0]], owner[p[1]])]
    assert found.left[0] == pytest.approx(np.mean([away[p] for p in without]))
    inside = within_prompt(rows, owner, 3)
    assert inside[0] == pytest.approx((away[0, 1] + away[0, 2] + away[1, 2]) / 3)
    assert np.isnan(inside[1])


def test_one_prompt_has_no_distance_across_prompts() -> None:
    rows = unit(np.random.default_rng(6), 3, 5)
    assert np.isnan(across_prompts(rows, np.zeros(3, dtype=int), grouped(units=1, seed=0)).value)
