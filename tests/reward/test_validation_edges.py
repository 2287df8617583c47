"""Where a validation could mislead quietly: shares of thirds, topics without words, many slices,
unsaid reasons.
"""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from restaudit.reward.validation.people import people
from restaudit.reward.validation.report import validated
from restaudit.reward.validation.slices import slices, topics, worse
from restaudit.reward_audit.validation import show
from tests.reward.judged_items import HOW, by_name, items, sure


def test_shares_of_thirds_are_one_rank_whichever_response_stands_left() -> None:
    rng = np.random.default_rng(5)
    difference, votes = rng.normal(size=300), rng.integers(0, 4, size=300)
    flip = rng.random(300) < 0.5
    one = by_name(people(items("pairs", difference, votes / 3), **HOW))
    turned = items(
        "pairs", np.where(flip, -difference, difference), np.where(flip, 1 - votes / 3, votes / 3)
    )
    assert one["spearman"].value == pytest.approx(
        by_name(people(turned, **HOW))["spearman"].value, abs=1e-12
    )


def test_topics_from_embeddings_need_no_common_words() -> None:
    n = 80
    side = np.arange(n) < n // 2
    embeddings = np.where(side[:, None], [1.0, 0.0], [0.0, 1.0])
    judged = items("pairs", np.ones(n), np.ones(n), prompt=[f"unheard{k}" for k in range(n)])
    found = topics(replace(judged, embeddings=embeddings))
    assert {tuple(one.rows) for one in found} == {tuple(side), tuple(~side)}
    assert all(one.says.endswith(": none") for one in found)
    assert topics(judged) == []


def test_with_five_alike_sources_a_slice_is_seldom_called_worse() -> None:
    wrong = 0
    for seed in range(40):
        difference, judged = sure(300, seed)
        table = items("pairs", difference, judged, source=[f"s{k % 5}" for k in range(300)])
        wrong += bool(worse(slices(table, **{**HOW, "resamples": 100})))
    assert wrong <= 5  # 2 are expected; more than 5 have a chance of 1.4%


def printed(judged: Any) -> str:
    found = validated(judged, seed=0, resamples=200)
    reward = SimpleNamespace(name="planted", members=1)
    out = StringIO()
    show(
        SimpleNamespace(judged=judged, measured=found, reward=reward, data=(), overlap=None),  # type: ignore[arg-type]
        Console(file=out, width=100),
    )
    return " ".join(out.getvalue().split())


def test_a_value_without_an_interval_is_printed_with_its_reason() -> None:
    difference, judged = sure(60)
    said = printed(
        items("pairs", np.abs(difference), judged)
    )  # always prefers the left one: the slope may be 0
    assert "the slope may be 0" in said or "no temperature" in said
    assert "not measured: no three responses" in said


def test_names_from_data_are_printed_as_they_are() -> None:
    difference, judged = sure(80)
    names = np.where(np.arange(80) % 2 == 0, "[red]a\x1b[31m", "b")
    said = printed(items("pairs", difference, judged, source=names))
    assert "source.[red]a" in said
    assert "\x1b" not in said
