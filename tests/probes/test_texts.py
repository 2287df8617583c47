"""Set statistics of texts and their jackknife: reference values, brute force, and simulation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.jackknife import deletion_groups, jackknife
from probes.texts import (
    Texts,
    compression,
    distinct,
    distinct_ratio,
    duplicates,
    match,
    prompt_distances,
    rarefied,
    vendi,
    words_of,
)


def texts(*prompts: list[str], vectors: list[list[list[float]]] | None = None) -> Texts:
    given = None if vectors is None else tuple(np.array(v, dtype=float) for v in vectors)
    return Texts(tuple(map(tuple, prompts)), tuple(tuple(words_of(t) for t in p) for p in prompts), given)


def everything(of: Callable[[Any], float], set_: Texts) -> float:
    return of(np.arange(len(set_.texts)))


# --- the statistics --------------------------------------------------------------------------------------------------


def test_distinct_n_is_types_over_tokens_and_n_grams_do_not_cross_texts() -> None:
    some = texts(["The cat sat, the cat"], ["a cat"])
    assert everything(distinct(some, 1), some) == 4 / 7  # the cat sat a
    assert everything(distinct(some, 2), some) == 4 / 5  # the-cat cat-sat sat-the a-cat


@pytest.mark.parametrize(
    ("shares", "expected", "dimensions"),
    [([4], 1.0, 3), ([4], 1.0, 9), ([1, 1, 1, 1], 4.0, 9), ([2, 2], 2.0, 2), ([2, 1, 1], 2**1.5, 3),
     ([2, 1, 1], 2**1.5, 9)],
)  # fmt: skip
def test_vendi_of_orthogonal_clusters_is_exp_of_their_entropy(
    shares: list[int], expected: float, dimensions: int
) -> None:
    rows = [np.eye(dimensions)[c] for c, count in enumerate(shares) for _ in range(count)]
    some = texts(*[["x"]] * 4, vectors=[[row.tolist()] for row in rows])
    assert everything(vendi(some), some) == pytest.approx(expected)


def test_vendi_is_the_same_from_the_kernel_and_from_the_smaller_matrix() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(12, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    wide = np.pad(rows, ((0, 0), (0, 20)))
    few, many = (texts(*[["x"]] * 12, vectors=[[r] for r in v.tolist()]) for v in (rows, wide))
    assert everything(vendi(few), few) == pytest.approx(everything(vendi(many), many))


def test_within_prompt_distance_is_the_mean_over_pairs() -> None:
    some = texts(["a", "b", "c"], vectors=[[[1, 0], [0, 1], [1, 0]]])
    assert prompt_distances(some)[0] == pytest.approx((1 + 0 + 1) / 3)


def test_rarefaction_is_the_mean_over_all_subsets() -> None:
    tokens = np.array([0, 0, 0, 1, 1, 2, 3])
    counts = np.unique(tokens, return_counts=True)[1]
    for size in range(1, 8):
        by_force = np.mean([len(set(chosen)) for chosen in combinations(tokens, size)])
        assert rarefied(counts, size) == pytest.approx(by_force)


def test_cutting_texts_short_does_not_raise_the_distinct_ratio_by_more_than_a_tenth() -> None:
    rng = np.random.default_rng(1)
    vocabulary = [f"w{i}" for i in range(15)]
    long = texts(*[[" ".join(rng.choice(vocabulary, 30))] for _ in range(20)])
    short = texts(*[[" ".join(rng.choice(vocabulary, 8))] for _ in range(20)])
    naive = everything(distinct(short, 2), short) / everything(distinct(long, 2), long)
    matched = everything(distinct_ratio(short, long, 2), short)
    assert naive > 1.5
    assert matched == pytest.approx(1, abs=0.1)


def test_repetition_compresses_better() -> None:
    varied = texts(*[[f"{i * 7919 % 1000} birds cross river {i}"] for i in range(30)])
    repeated = texts(*[["a fine film with a fine cast"]] * 30)
    assert everything(compression(repeated), repeated) < 0.5 * everything(compression(varied), varied)


def test_duplicates_ignore_case_punctuation_and_spacing() -> None:
    some = texts(["A fine film.", "a  fine film!"], ["A fine cast", "?!"])
    assert everything(duplicates(some), some) == 0.25


def test_texts_without_a_word_have_no_distinct_n_and_no_compression() -> None:
    some = texts(["", "..."], ["!", " "])
    assert np.isnan(everything(distinct(some, 1), some))
    assert np.isnan(everything(compression(some), some))


@given(st.lists(st.text(alphabet="ab c.", max_size=12), min_size=1, max_size=12))
def test_shares_stay_between_0_and_1(found: list[str]) -> None:
    some = texts(*[[t] for t in found])
    for of in (distinct(some, 1), distinct(some, 2), duplicates(some)):
        value = everything(of, some)
        assert np.isnan(value) or 0 <= value <= 1


# --- the same amount of text -----------------------------------------------------------------------------------------


def rows(*prompts: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"prompt_id": f"p{p}", "sample_id": f"p{p}/{k}", "text": t}
            for p, prompt in enumerate(prompts) for k, t in enumerate(prompt)
        ]
    )  # fmt: skip


def test_both_policies_are_cut_to_the_same_samples_and_the_base_policys_words() -> None:
    now = rows(["a b c d e f", "a b"], ["c d e", "e f g h"])
    base = rows(["a b c", "d e f", "g h i"], ["a b c", "d e f"])
    one, other, matched = match(now, base, None)
    assert other is not None
    assert matched == {"samples_per_prompt": 2, "words_per_text": 3, "short_texts": 0.25, "short_texts_base": 0.0}
    assert [[len(w) for w in prompt] for prompt in one.words] == [[3, 2], [3, 3]]
    assert other.n == one.n == 4


def test_an_embedding_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\) for 2 texts"):
        match(rows(["a"], ["b"]), None, lambda texts: np.ones(3, dtype=np.float32))
    with pytest.raises(ValueError, match="unit norm"):
        match(rows(["a"], ["b"]), None, lambda texts: np.ones((2, 3), dtype=np.float32))


# --- the jackknife ---------------------------------------------------------------------------------------------------


def test_the_jackknife_of_a_mean_is_its_textbook_standard_error() -> None:
    values = np.random.default_rng(2).normal(size=15)
    found = jackknife(statistic=lambda c: float(values[c].mean()), units=15, n=15, levels=(0.95,), seed=0)
    half = (found.intervals[0].high - found.intervals[0].low) / 2
    assert half == pytest.approx(2.144787 * values.std(ddof=1) / np.sqrt(15), rel=1e-6)


@given(st.integers(2, 200), st.integers(0, 1000))
def test_deletion_groups_hold_every_prompt_once_and_are_equally_large(units: int, seed: int) -> None:
    parts = deletion_groups(units=units, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(units))
    sizes = {len(p) for p in parts}
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == min(units, 20)


@pytest.mark.parametrize("units", [25, 33])
def test_groups_of_unequal_size_still_cover_92_to_98_times_in_100(units: int) -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for run in range(500):
        values = rng.normal(size=units)
        (i,) = jackknife(
            statistic=lambda c, v=values: float(v[c].mean()), units=units, n=units, levels=(0.95,), seed=run
        ).intervals
        hits += i.low <= 0 <= i.high
    assert 0.92 <= hits / 500 <= 0.98


def made_up(rng: np.random.Generator, embed: Callable[..., Any], vocabulary: int) -> Texts:
    """24 prompts x 2 texts; the texts of a prompt share a topic."""
    prompts = []
    for _ in range(24):
        topic = rng.integers(100, 200, size=5)
        prompts.append([
            " ".join(f"w{rng.choice(topic) if rng.random() < 0.4 else int(vocabulary * rng.random() ** 2)}"
                     for _ in range(12)) for _ in range(2)
        ])  # fmt: skip
    return texts(*prompts, vectors=[embed(p) for p in prompts])


@pytest.mark.parametrize("name", ["distinct", "vendi", "compression"])
def test_intervals_of_set_statistics_cover_their_expectation_at_least_87_times_in_100(
    name: str, embed: Callable[..., Any]
) -> None:
    of: Any = {"distinct": lambda t: distinct(t, 2), "vendi": vendi, "compression": compression}[name]
    rng = np.random.default_rng(6)
    found = []
    for run in range(120):
        some = made_up(rng, embed, 40)
        found.append(jackknife(statistic=of(some), units=24, n=48, levels=(0.95,), seed=run))
    expectation = np.mean([e.value for e in found])
    spread = np.std([e.value for e in found])
    covered = np.mean([e.intervals[0].low <= expectation <= e.intervals[0].high for e in found])
    half = np.mean([(e.intervals[0].high - e.intervals[0].low) / 2 for e in found])
    assert covered >= 0.87
    assert 0.8 < half / (2.09 * spread) < 1.6


def test_a_bootstrap_would_have_moved_distinct_2_outside_its_own_interval(embed: Callable[..., Any]) -> None:
    """Why these statistics are not bootstrapped: drawing prompts twice lowers them all."""
    rng = np.random.default_rng(7)
    some = made_up(rng, embed, 40)
    of = distinct(some, 2)
    value = of(np.arange(24))
    drawn = [of(rng.integers(24, size=24)) for _ in range(200)]
    assert np.quantile(drawn, 0.975) < value


def test_a_set_that_no_prompt_changes_has_no_interval() -> None:
    found = jackknife(statistic=lambda c: 3.0, units=9, n=9, levels=(0.95,), seed=0)
    assert (found.value, found.intervals) == (3.0, ())
    assert "whichever" in str(found.reason)


def test_a_ratio_with_an_interval_without_end_has_none() -> None:
    found = jackknife(
        statistic=lambda c: float(np.exp(c.sum() - 0.5)), units=2, n=2, levels=(0.9999,), seed=0, log=True
    )
    assert found.intervals == ()
    assert "without end" in str(found.reason)
