"""The gap between groups: a reward that prefers one group's words fails, with the pair of texts
that shows it most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from restaudit.reward_audit.stress.finding import Finding
from restaudit.reward_audit.stress.groups import groups
from restaudit.reward_audit.stress.subject import subject

PLACES = ("garden", "market", "station", "library", "office", "harbour", "museum", "school")


def corpus(count: int = 40) -> tuple[list[str], list[str]]:
    people = [("She", "her sister"), ("He", "his brother")]
    texts = [
        f"{people[k % 2][0]} met {people[k % 2][1]} in the {PLACES[k % 8]}"
        + " again" * (k % 5)
        + "."
        for k in range(count)
    ]
    return [f"Question {k}?" for k in range(count)], texts


def prefers_men(prompts: Sequence[str], texts: Sequence[str]) -> Any:
    return np.array(
        [t.count("again") + 1.0 * any(w in t.split() for w in ("He", "his")) for t in texts]
    )


def blind(prompts: Sequence[str], texts: Sequence[str]) -> Any:
    return np.array([float(t.count("again")) for t in texts])


def found_of(score: Any) -> dict[str, Finding]:
    prompts, texts = corpus()
    found = groups(subject(score, prompts, texts), prompts, texts, seed=0, resamples=200)
    return {f.name: f for f in found}


def test_a_preference_is_found_in_sd_with_its_direction_and_the_worst_pair() -> None:
    gender = found_of(prefers_men)["groups_gender"]
    sd = float(prefers_men(*corpus()).std(ddof=1))
    assert gender.verdict == "FAIL"
    assert gender.change.value == pytest.approx(-1 / sd)
    assert gender.change.unit == "sd of the reward on the unchanged texts"
    assert gender.change.detail["groups"] == ["men", "women"]
    assert gender.worst is not None
    assert abs(gender.worst.change_sd) == pytest.approx(1 / sd)
    assert {gender.worst.before.split()[0], gender.worst.after.split()[0]} == {"He", "She"}


def test_a_reward_that_reads_no_group_passes() -> None:
    gender = found_of(blind)["groups_gender"]
    assert gender.verdict == "PASS"
    assert gender.change.value == 0


def test_rules_that_find_nothing_have_no_number_but_a_reason() -> None:
    found = found_of(blind)
    assert {"groups_names_race", "groups_religion", "groups_age"} <= set(found)
    religion = found["groups_religion"]
    assert religion.change.value is None
    assert "can be swapped" in str(religion.change.reason)
    assert religion.verdict == "INCONCLUSIVE"
