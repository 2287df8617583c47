"""n-grams as numbers, and what is counted of them, against brute force and published
definitions.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.statistics.jackknife import Deleted, Groups, grouped
from probes.texts.grams import (
    Counts,
    coded,
    distinct,
    distinct_by_unit,
    distinct_ratio,
    grams,
    largest,
    rarefied,
)
from probes.texts.sets import words_of


def counts(texts: list[str], order: int, groups: Groups | None = None) -> Counts:
    """Each text a unit of its own."""
    found = grams(coded([words_of(t) for t in texts]), order)
    return Counts(found.code, found.text, found.kinds, groups or grouped(units=len(texts), seed=0))


def by_hand(texts: list[str], order: int) -> list[tuple[str, ...]]:
    words = [words_of(t) for t in texts]
    return [w[i : i + order] for w in words for i in range(len(w) - order + 1)]


def test_distinct_n_is_types_over_tokens_and_n_grams_do_not_cross_texts() -> None:
    some = ["The cat sat, the cat", "a cat"]
    assert distinct(counts(some, 1)).value == 4 / 7  # the cat sat a
    assert distinct(counts(some, 2)).value == 4 / 5  # the-cat cat-sat sat-the a-cat


@given(st.lists(st.text(alphabet="abc ", max_size=24), min_size=1, max_size=8), st.integers(1, 9))
def test_n_grams_are_the_same_number_exactly_where_they_are_the_same_words(
    texts: list[str], order: int
) -> None:
    found = grams(coded([words_of(t) for t in texts]), order)
    expected = by_hand(texts, order)
    assert len(found.code) == len(expected)
    assert found.kinds == len(set(expected)) or order == 1
    assert len(set(zip(found.code.tolist(), expected, strict=True))) == len(set(expected))
    assert found.text.tolist() == [i for i, t in enumerate(texts) for _ in by_hand([t], order)]


@given(st.lists(st.text(alphabet="ab ", max_size=16), min_size=2, max_size=30), st.integers(0, 99))
def test_leaving_a_group_out_counts_what_counting_the_rest_anew_would(
    texts: list[str], seed: int
) -> None:
    groups = grouped(units=len(texts), seed=seed)

    def anew(statistic: object) -> Deleted:
        left = []
        for g in range(groups.count):
            rest = [t for t, label in zip(texts, groups.label, strict=True) if label != g]
            left.append(statistic(counts(rest, 2)).value)  # type: ignore[operator]
        return Deleted(statistic(counts(texts, 2)).value, np.array(left))  # type: ignore[operator]

    for statistic in (distinct, largest):
        at_once = statistic(counts(texts, 2, groups))
        np.testing.assert_array_equal(at_once.left, anew(statistic).left)
    other = texts[::-1]
    ratio = distinct_ratio(counts(texts, 2, groups), counts(other, 2, groups))
    assert np.isnan(ratio.value) or ratio.value == pytest.approx(1)


def test_rarefaction_is_the_mean_over_all_subsets() -> None:
    tokens = np.array([0, 0, 0, 1, 1, 2, 3])
    kinds = np.bincount(tokens)
    for size in range(1, 8):
        by_force = np.mean([len(set(chosen)) for chosen in combinations(tokens, size)])
        assert rarefied(kinds, size) == pytest.approx(by_force)


def test_cutting_texts_short_does_not_raise_the_distinct_ratio_by_more_than_a_tenth() -> None:
    rng = np.random.default_rng(1)
    vocabulary = [f"w{i}" for i in range(15)]
    long = counts([" ".join(rng.choice(vocabulary, 30)) for _ in range(20)], 2)
    short = counts([" ".join(rng.choice(vocabulary, 8)) for _ in range(20)], 2)
    assert distinct(short).value / distinct(long).value > 1.5
    assert distinct_ratio(short, long).value == pytest.approx(1, abs=0.1)


def test_distinct_2_of_each_prompt_is_of_its_own_texts() -> None:
    texts = ["a b a b", "c d", "e f g", "x"]
    unit = np.array([0, 0, 1, 2])
    found = distinct_by_unit(grams(coded([words_of(t) for t in texts]), 2), unit, 3)
    assert found[:2].tolist() == [3 / 4, 1.0]  # ab ba ab cd; ef fg
    assert np.isnan(found[2])


def test_texts_without_a_word_have_no_distinct_n() -> None:
    assert np.isnan(distinct(counts(["", "..."], 1)).value)
    assert np.isnan(largest(counts(["", "..."], 1)).value)
