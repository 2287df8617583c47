"""Harm to a part of the prompts is found, named, and not found where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from probes import Measurement
from probes.hacking.worst_slice import alike
from tests.probes.conftest import samples
from tests.probes.test_hacking import measured, policy

NAME = "hacking.worst_slice"
TOPICS = ("river", "garden", "engine")


def asked(table: pd.DataFrame) -> dict[str, str]:
    """A prompt about each topic in turn, half of them long."""
    return {
        p: f"Write about the {TOPICS[k % 3]}" + " with great care and at some length" * (k % 2)
        for k, p in enumerate(sorted(table["prompt_id"].unique()))
    }


def worst(now: pd.DataFrame, base: pd.DataFrame, **more: Any) -> Measurement:
    return measured(now, base, NAME, **{"prompts": asked(now), **more})[NAME]


def hurt(table: pd.DataFrame, topic: str, by: float) -> pd.DataFrame:
    prompts = asked(table)
    inside = np.array([topic in prompts[p] for p in table["prompt_id"]])
    return table.assign(human=table["human"] - by * inside)


def test_harm_to_one_topic_is_named_with_an_interval() -> None:
    m = worst(hurt(policy(1, per_prompt=4), "garden", 1.5), policy(2, per_prompt=8))
    assert m.detail["slice"] == 'with "garden"'
    assert m.value == pytest.approx(-1.5 / 1.18, abs=0.3)
    assert m.interval().high < -0.5
    assert m.detail["in_words"].startswith(
        'People\'s score fell most on the 16 prompts with "garden": -1.'
    )
    assert f"{m.detail['slices']} parts of the prompts were looked at." in m.detail["in_words"]
    assert m.detail["slices"] == len(m.detail["looked_at"]) >= 4


def test_harm_to_long_prompts_is_named() -> None:
    now = policy(1, per_prompt=4)
    long = np.array([len(asked(now)[p].split()) > 6 for p in now["prompt_id"]])
    m = worst(now.assign(human=now["human"] - 1.5 * long), policy(2, per_prompt=8))
    assert m.detail["slice"] in {"of 11 to 11 words", 'with "care"', 'with "great"'}


def test_a_column_of_the_prompts_makes_slices() -> None:
    def tagged(table: pd.DataFrame) -> pd.DataFrame:
        domain = ["law" if int(p[1:]) < 16 else "sport" for p in table["prompt_id"]]
        return table.assign(domain=domain, note=table["sample_id"])

    now, base = tagged(policy(1, per_prompt=4)), tagged(policy(2, per_prompt=4))
    now["human"] -= 1.5 * (now["domain"] == "law")
    m = worst(now, base, prompts={})
    assert m.detail["slice"] == 'whose domain is "law"'
    assert m.detail["slices"] == 2


def test_where_nobody_was_hurt_the_interval_says_so_in_95_of_100_runs() -> None:
    runs = [worst(policy(2 * r + 400), policy(2 * r + 401)) for r in range(60)]
    assert sum(m.interval().high < 0 for m in runs) <= 4


def test_a_fall_that_all_prompts_share_is_the_worst_slices_too() -> None:
    now = policy(1, per_prompt=4)
    m = worst(now.assign(human=now["human"] - 1.0), policy(2, per_prompt=8))
    assert m.interval().high < 0
    assert m.detail["all_prompts"] == pytest.approx(m.value, abs=0.4)


def test_prompts_that_are_alike_make_topics_where_texts_can_be_embedded() -> None:
    def embed(texts: Any) -> Any:
        return np.array([[float(topic in t) for topic in TOPICS] for t in texts])

    now, base = policy(1, per_prompt=4), policy(2, per_prompt=4)
    m = worst(now, base, embed=embed, prompts=asked(now))
    # The same prompts as those with the word, so they count once.
    assert [s["slice"] for s in m.detail["looked_at"]].count('with "garden"') == 1
    with pytest.raises(ValueError, match="embed: returned shape"):
        worst(now, base, embed=lambda texts: np.ones((2, 2)))


def test_clusters_are_the_same_whenever_they_are_made() -> None:
    rng = np.random.default_rng(1)
    vectors = np.concatenate([rng.normal(c, 0.1, size=(20, 2)) for c in (0, 3, 6)])
    found = alike(vectors, 3, seed=4)
    assert found.tolist() == alike(vectors, 3, seed=4).tolist()
    assert [len(set(found[k : k + 20].tolist())) for k in (0, 20, 40)] == [1, 1, 1]
    assert len(set(found.tolist())) == 3


def test_groups_are_slices_of_their_own() -> None:
    now, base = samples(seed=1, families=20), samples(seed=2, families=20)
    now.loc[now["group"] == "north", "human"] -= 3.0
    m = measured(now, base, NAME, human_label="SIMULATED")[NAME]
    assert m.detail["slice"] == 'of the group "north"'
    assert m.detail["in_words"].startswith("The human score (SIMULATED) fell most")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"prompts": {}}, "no topic, length, language, group or column"),
        ({"human_sampling": "unknown"}, "nobody says how"),
    ],
)
def test_what_cannot_be_told_is_null_with_the_reason(change: dict[str, Any], why: str) -> None:
    m = worst(policy(1), policy(2), **change)
    assert m.value is None
    assert why in str(m.reason)


def test_without_human_scores_or_a_base_policy_there_is_a_reason() -> None:
    blind = policy(1).assign(human=np.nan)
    assert "no prompt has human scores" in str(worst(blind, policy(2)).reason)
    alone = measured(policy(1), None, NAME)[NAME]
    assert "base policy" in str(alone.reason)
