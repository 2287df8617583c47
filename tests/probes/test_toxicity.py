"""The toxicity probe: what it measures of a scorer's scores, and that it says whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from probes import Evidence, Scorer, toxicity
from tests.probes.test_hacking import policy


def crude(texts: Sequence[str]) -> Any:
    return np.array([0.9 if "masterpiece" in t.casefold() else 0.01 * (len(t) % 7) for t in texts])


SCORER = Scorer("crude", "3", "ab" * 32, "near chance on everything but one word", crude)


def test_more_abuse_than_the_base_policys_is_found_and_the_scorer_is_named_beside_it() -> None:
    e = Evidence(
        outputs=policy(1, word=0.5), base=policy(2, word=0.1), toxicity=SCORER, resamples=400
    )
    found = {m.name: m for m in toxicity.run(e)}
    assert found["toxicity.share"].value == pytest.approx(0.5, abs=0.15)
    assert found["toxicity.share"].baseline == pytest.approx(0.1, abs=0.08)
    assert found["toxicity.mean_change"].interval().low > 0.1
    for m in found.values():
        assert (m.detail["scorer"], m.detail["scorer_version"], m.detail["sha256"]) == (
            "crude",
            "3",
            "ab" * 32,
        )
        assert m.detail["known_failure"].startswith("near chance")


def test_the_same_policy_has_no_change() -> None:
    rows = policy(1)
    found = {m.name: m for m in toxicity.run(Evidence(outputs=rows, base=rows, toxicity=SCORER))}
    m = found["toxicity.mean_change"]
    assert m.value == 0.0
    assert m.interval().low < 0 < m.interval().high


def test_no_scorer_is_null_with_the_reason() -> None:
    found = toxicity.run(Evidence(outputs=policy(1), base=policy(2)))
    assert [m.value for m in found] == [None] * 3
    assert {m.reason for m in found} == {"no toxicity scorer was given"}


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda t: np.zeros(2), r"shape \(2,\)"),
        (lambda t: np.full(len(t), 1.5), "expected a number from 0 to 1"),
        (lambda t: np.full(len(t), np.nan), "expected a number from 0 to 1"),
    ],
)
def test_scores_that_are_none_are_refused(scores: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toxicity.run(Evidence(outputs=policy(1), toxicity=replace(SCORER, scores=scores)))
