"""The delete-a-group jackknife: reference values and simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.diversity.sameness import compression
from probes.diversity.vendi import vendi
from probes.statistics.jackknife import (
    Deleted,
    deletion_groups,
    grouped,
    jackknife,
    jackknifed,
    one_by_one,
)
from probes.texts.grams import distinct
from probes.texts.sets import Side, Texts, words_of


def test_the_jackknife_of_a_mean_is_its_textbook_standard_error() -> None:
    values = np.random.default_rng(2).normal(size=15)
    found = jackknife(
        statistic=lambda c: float(values[c].mean()), units=15, n=15, levels=(0.95,), seed=0
    )
    half = (found.intervals[0].high - found.intervals[0].low) / 2
    assert half == pytest.approx(2.144787 * values.std(ddof=1) / np.sqrt(15), rel=1e-6)


@given(st.integers(2, 200), st.integers(0, 1000))
def test_deletion_groups_hold_every_prompt_once_and_are_equally_large(
    units: int, seed: int
) -> None:
    parts = deletion_groups(units=units, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(units))
    sizes = {len(p) for p in parts}
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == min(units, 20)
    groups = grouped(units=units, seed=seed)
    assert [np.flatnonzero(groups.label == g).tolist() for g in range(groups.count)] == [
        p.tolist() for p in parts
    ]


@pytest.mark.parametrize("units", [25, 33])
def test_groups_of_unequal_size_still_cover_92_to_98_times_in_100(units: int) -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for run in range(500):
        values = rng.normal(size=units)
        (i,) = jackknife(
            statistic=lambda c, v=values: float(v[c].mean()),
            units=units,
            n=units,
            levels=(0.95,),
            seed=run,
        ).intervals
        hits += i.low <= 0 <= i.high
    assert 0.92 <= hits / 500 <= 0.98


def made_up(rng: np.random.Generator, embed: Callable[..., Any], vocabulary: int) -> Side:
    """24 prompts x 2 texts; the texts of a prompt share a topic."""
    texts = []
    for _ in range(24):
        topic = rng.integers(100, 200, size=5)
        texts += [
            " ".join(
                f"w{rng.choice(topic) if rng.random() < 0.4 else int(vocabulary * rng.random() ** 2)}"
                for _ in range(12)
            )
            for _ in range(2)
        ]
    owner = np.repeat(np.arange(24), 2)
    prompts = tuple(f"p{i}" for i in range(24))
    return Side(
        Texts(prompts, owner, np.arange(48), tuple(texts), tuple(map(words_of, texts))),
        grouped(units=24, seed=int(rng.integers(1000))),
        embed,
    )


SETWISE: dict[str, Callable[[Side], Deleted]] = {
    "distinct": lambda s: distinct(s.counts(2)),
    "vendi": lambda s: vendi(s.vectors, s.texts.owner, s.groups),
    "compression": lambda s: compression(s.texts, s.groups),
}


@pytest.mark.parametrize("name", SETWISE)
def test_intervals_of_set_statistics_cover_their_expectation_at_least_87_times_in_100(
    name: str, embed: Callable[..., Any]
) -> None:
    rng = np.random.default_rng(6)
    found = []
    for _ in range(120):
        some = made_up(rng, embed, 40)
        found.append(
            jackknifed(deleted=SETWISE[name](some), groups=some.groups, n=48, levels=(0.95,))
        )
    expectation = np.mean([e.value for e in found])
    spread = np.std([e.value for e in found])
    covered = np.mean([e.intervals[0].low <= expectation <= e.intervals[0].high for e in found])
    half = np.mean([(e.intervals[0].high - e.intervals[0].low) / 2 for e in found])
    assert covered >= 0.87
    assert 0.8 < half / (2.09 * spread) < 1.6


def test_a_bootstrap_would_have_moved_distinct_2_outside_its_own_interval(
    embed: Callable[..., Any],
) -> None:
    """Why these statistics are not bootstrapped: drawing prompts twice lowers them all."""
    rng = np.random.default_rng(7)
    some = made_up(rng, embed, 40)
    grams = some.grams(2)
    by_prompt = [grams.code[some.texts.owner[grams.text] == p] for p in range(24)]

    def of(chosen: Any) -> float:
        pool = np.concatenate([by_prompt[p] for p in chosen])
        return len(np.unique(pool)) / len(pool)

    value = distinct(some.counts(2)).value
    assert value == of(np.arange(24))
    drawn = [of(rng.integers(24, size=24)) for _ in range(200)]
    assert np.quantile(drawn, 0.975) < value


def test_a_set_that_no_prompt_changes_has_no_interval() -> None:
    found = jackknife(statistic=lambda c: 3.0, units=9, n=9, levels=(0.95,), seed=0)
    assert (found.value, found.intervals) == (3.0, ())
    assert "whichever" in str(found.reason)


def test_a_ratio_with_an_interval_without_end_has_none() -> None:
    found = jackknife(
        statistic=lambda c: float(np.exp(c.sum() - 0.5)),
        units=2,
        n=2,
        levels=(0.9999,),
        seed=0,
        log=True,
    )
    assert found.intervals == ()
    assert "without end" in str(found.reason)


def test_a_quotient_by_nothing_is_undefined_and_not_a_number() -> None:
    found = Deleted(1.0, np.array([1.0, 2.0])).over(Deleted(0.0, np.array([2.0, 0.0])))
    assert np.isnan(found.value)
    assert found.left[0] == 0.5
    assert np.isnan(found.left[1])


def test_one_by_one_leaves_each_group_out() -> None:
    groups = grouped(units=7, seed=1)
    found = one_by_one(lambda c: float(c.sum()), groups)
    assert found.value == 21
    assert found.left.tolist() == [21 - np.flatnonzero(groups.label == g).sum() for g in range(7)]
