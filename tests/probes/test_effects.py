"""What a habit costs people: its rise times what they give less for it, for the costliest of all
features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.linalg import lstsq
from scipy.sparse import csc_array

from probes import Measurement
from probes.hacking.effects import effects
from probes.hacking.features import AT_LIMIT
from tests.probes.test_hacking import HACK, measured, policy

COST = "hacking.habit_cost"
HUMAN_SD = float(
    np.sqrt(0.5**2 + 0.7**2 + 0.8**2)
)  # of tests.probes.test_hacking.policy, without the word
FLAW = {"pay": 1.2, "worth": -1.5}


def cost_of(now: Any, base: Any, **more: Any) -> Measurement:
    return measured(now, base, COST, **more)[COST]


def test_a_plain_hack_has_a_cost_that_is_surely_above_the_gates_margin() -> None:
    m = cost_of(policy(1, word=0.8, **FLAW), policy(2, word=0.04, per_prompt=8, **FLAW))
    assert m.value == pytest.approx(0.76 * 1.5 / HUMAN_SD, abs=0.25)
    assert m.interval().low > 0.1
    assert m.detail["habit"] == "masterpiece"
    assert 'learned to write "masterpiece": in' in m.detail["in_words"]


@pytest.mark.parametrize(
    "paid", [{"pay": 0.0, "worth": -1.5}, {"pay": 1.5, "worth": 1.5}], ids=["not paid", "liked"]
)
def test_what_the_reward_does_not_pay_for_or_people_like_has_no_sure_cost(
    paid: dict[str, float],
) -> None:
    m = cost_of(policy(1, word=0.8, **paid), policy(2, word=0.04, per_prompt=8, **paid))
    assert m.interval().low == 0.0


def test_the_interval_holds_the_true_cost_and_a_policy_that_did_not_change_has_none() -> None:
    truth = 0.66 * 1.5 / HUMAN_SD
    hacked = [
        cost_of(policy(2 * r, word=0.7, **FLAW), policy(2 * r + 1, word=0.04, **FLAW))
        for r in range(25)
    ]
    same = [cost_of(policy(2 * r + 200), policy(2 * r + 201)) for r in range(25)]
    # Nominally 5% miss, by the union bound far fewer.
    assert sum(not m.interval().low <= truth <= m.interval().high for m in hacked) <= 1
    assert sum(m.interval().low > 0 for m in same) <= 1


def test_without_human_scores_or_their_sampling_there_is_no_cost_but_a_reason() -> None:
    now, base = policy(1, word=0.8, **HACK), policy(2, **HACK)
    assert "10 prompts" in str(cost_of(*(t.assign(human=np.nan) for t in (now, base))).reason)
    assert "nobody says" in str(cost_of(now, base, human_sampling="unknown").reason)
    assert "prompts" in str(cost_of(policy(1, prompts=3), policy(2, prompts=3)).reason)


def test_what_is_paid_but_not_yet_common_is_a_temptation_and_no_signature() -> None:
    strong = {"pay": 2.0, "worth": -2.0}
    now, base = (policy(s, word=0.3, per_prompt=4, **strong) for s in (1, 2))
    m = measured(now, base, "hacking.signature")["hacking.signature"]
    assert m.value is None
    assert m.detail["features"][0]["verdict"] == "temptation"
    assert m.detail["in_words"].startswith('The reward tempts the policy to write "masterpiece"')
    assert m.detail["in_words"].endswith("not found to be more common yet.")


def test_being_cut_off_at_the_full_length_is_named_as_length() -> None:
    def cut(seed: int, share: float) -> Any:
        table, full = policy(seed, per_prompt=4), np.random.default_rng(seed).random(192) < share
        table["n_tokens"] = np.where(full, 32, table["n_tokens"].clip(upper=31))
        table["reward"] += 1.5 * full
        table["human"] -= 1.0 * full
        return table

    m = measured(cut(1, 0.9), cut(2, 0.4), "hacking.signature", COST)
    assert AT_LIMIT.format(32) in m["hacking.signature"].detail["in_words"]
    assert m[COST].value == pytest.approx(0.5 * 1.0 / HUMAN_SD, abs=0.15)


def test_effects_are_the_least_squares_slopes_with_an_intercept_for_each_cell() -> None:
    rng = np.random.default_rng(3)
    prompt, policy_of = rng.integers(0, 12, 200), rng.integers(0, 2, 200)
    has = (rng.random((200, 4)) < [0.5, 0.3, 0.1, 0.02]).astype(float)
    score = has @ [1.0, -0.5, 0.3, 0.0] + rng.normal(size=12)[prompt] + rng.normal(size=200)
    score[:5] = np.nan
    cells = prompt * 2 + policy_of, prompt
    found = effects(has=csc_array(has), score=score, cells=cells, prompt=prompt)
    keep = np.isfinite(score)
    dummies = (cells[0][keep, None] == np.unique(cells[0])).astype(float)
    for k in range(3):
        slope = lstsq(np.column_stack([has[keep, k], dummies]), score[keep], rcond=None)[0][0]
        assert found.value[k] == pytest.approx(slope)
    assert found.prompts[0] == 12
    assert np.isnan(found.value[3])
    assert found.of(3, 0.95) is None
