"""Validation against single people, circles of preference, and what is undefined: null with a
reason, never 0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from restaudit.reward.validation.baselines import baselines
from restaudit.reward.validation.calibration import calibration, spread
from restaudit.reward.validation.judged import residuals, votes_of
from restaudit.reward.validation.people import people, transitivity, triads
from restaudit.reward.validation.report import LearningCurveFit, validated
from restaudit.reward.validation.slices import slices
from tests.reward.judged_items import HOW, Kind, by_name, items, panel, sure, value

# --- people


def test_a_person_is_compared_with_the_others_and_the_reward_with_the_same_others() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1, 300)
    said = {r: truth + rng.normal(0, 1, 300) for r in ("ann", "bo", "cy")}
    votes = panel(said)
    found = people(items("ratings", truth, sum(said.values()) / 3, votes=votes), **HOW)
    own = np.concatenate([said[r] for r in said])
    others = np.concatenate([(sum(said.values()) - said[r]) / 2 for r in said])
    one, reward = np.corrcoef(own, others)[0, 1], np.corrcoef(np.tile(truth, 3), others)[0, 1]
    assert value(found, "one_person") == pytest.approx(one)
    assert value(found, "less_one_person") == pytest.approx(reward - one)
    assert reward - one > 0.1  # the truth predicts a person better than another person does
    noise = people(items("ratings", rng.normal(0, 1, 300), truth, votes=votes), **HOW)
    assert value(noise, "less_one_person") < -0.3


def test_two_judges_of_a_pair_and_one_against_the_rest_by_hand() -> None:
    votes = panel({"a": [1, 1, 1, 0], "b": [1, 1, 0, 0], "c": [1, 0, 0, 0.5]})
    found = people(items("pairs", [1, 1, -1, 1], [1, 2 / 3, 1 / 3, 1 / 6], votes=votes), **HOW)
    assert value(found, "pair_accuracy") == pytest.approx(3 / 4)
    assert value(found, "two_people_agree") == pytest.approx(
        (1 + 1 / 3 + 1 / 3 + 1) / 4
    )  # the tie is no vote
    # i0: all three agree with the rest. i1, i2: the odd one faces two others, the rest face a tie.
    # i3: both agree.
    person = by_name(found)["one_person"]
    assert person.value == pytest.approx(5 / 7)
    assert person.n == 7
    assert value(found, "less_one_person") == pytest.approx(3 / 7 - 5 / 7 + 2 / 7 - 0)


def test_concordance_is_kendalls_tau_on_a_scale_of_shares() -> None:
    rng = np.random.default_rng(0)
    judged = rng.integers(1, 6, 120).astype(float)
    reward = np.round(judged + rng.normal(0, 1.5, 120), 1)
    found = people(items("ratings", reward, judged), **HOW)
    assert value(found, "concordance") == pytest.approx(
        (1 + kendalltau(reward, judged).statistic) / 2
    )
    ends = by_name(found)["concordance"].interval()
    assert ends is not None
    assert 0.5 < ends.low < value(found, "concordance") < ends.high < 1


def test_which_response_stands_left_changes_nothing() -> None:
    difference, judged = sure(200)
    flip = np.random.default_rng(5).random(200) < 0.5
    sides = np.where(flip, -1, 1)
    one = items("pairs", difference, judged)
    other = items("pairs", difference * sides, np.where(flip, 1 - judged, judged))
    for measure in (people, calibration, spread):
        found, same = measure(one, **HOW), by_name(measure(other, **HOW))
        for name, m in by_name(found).items():
            assert m.value == (
                None if same[name].value is None else pytest.approx(same[name].value)
            )


# --- transitivity


def compared(prompt: str, results: dict[str, float]) -> pd.DataFrame:
    rows = [(prompt, *pair.split(">"), won) for pair, won in results.items()]
    return pd.DataFrame(rows, columns=["prompt", "left", "right", "judged"])


def test_circles_are_counted_and_orders_are_not() -> None:
    circle = compared("p", {"a>b": 1, "b>c": 1, "a>c": 0})
    order = compared("q", {"a>b": 1, "b>c": 1, "a>c": 1})
    open_ = compared("r", {"a>b": 1, "b>c": 1})
    tied = compared("s", {"a>b": 1, "b>c": 1, "a>c": 0.5})
    assert triads(pd.concat([circle, order, open_, tied]))[
        ["prompt_id", "cyclic"]
    ].to_numpy().tolist() == [["p", 1.0], ["q", 0.0]]
    # All of four responses compared: a > b > c > a is one circle of four triads; d loses to
    # everybody.
    four = compared("p", {"a>b": 1, "b>c": 1, "a>c": 0, "a>d": 0.9, "b>d": 0.9, "c>d": 0.9})
    assert triads(four)["cyclic"].tolist().count(1.0) == 1
    assert len(triads(four)) == 4


def test_people_may_go_in_circles_and_the_reward_cannot() -> None:
    parts = [compared(f"p{k}", {"a>b": 1, "b>c": 1, "a>c": float(k % 4 > 0)}) for k in range(40)]
    table = pd.concat(parts, ignore_index=True)
    columns: dict[str, Any] = {c: table[c].to_numpy() for c in ("prompt", "left", "right")}
    found = transitivity(
        items("pairs", np.ones(120), table["judged"], **columns, prompt_id=columns["prompt"]), **HOW
    )
    assert value(found, "transitivity.people") == 0.25
    assert by_name(found)["transitivity.people"].n == 40
    assert value(found, "transitivity.reward") == 0
    assert "not evidence" in str(by_name(found)["transitivity.reward"].reason)


def test_without_three_compared_responses_there_is_no_number_for_people_or_reward() -> None:
    for given in (items("pairs", *sure(50)), items("ratings", *sure(50))):
        found = transitivity(given, **HOW)
        assert [m.value for m in found] == [None, None]
        assert all(m.reason for m in found)


# --- what is undefined

RNG = np.random.default_rng(7)
SOME, SIDES = RNG.normal(0, 1, 60), RNG.integers(0, 2, 60).astype(float)
NOTHING_TO_MEASURE: dict[str, tuple[Kind, Any, Any]] = {
    "no rows": ("pairs", [], []),
    "no rated rows": ("ratings", [], []),
    "pairs nobody decides": ("pairs", SOME, np.full(60, 0.5)),
    "pairs nobody judged": ("pairs", SOME, np.full(60, np.nan)),
    "texts nobody rated": ("ratings", SOME, np.full(60, np.nan)),
    "one rated text": ("ratings", [1.0], [2.0]),
    "two rated texts": ("ratings", [1.0, 2.0], [2.0, 1.0]),
    "a constant reward": ("ratings", np.full(60, 0.1), SOME),
    "ratings all alike": ("ratings", SOME, np.full(60, 4.0)),
}


@pytest.mark.parametrize("case", NOTHING_TO_MEASURE)
def test_what_is_undefined_is_null_with_a_reason_and_never_zero(case: str) -> None:
    kind, reward, judged = NOTHING_TO_MEASURE[case]
    found = validated(items(kind, reward, judged), seed=0, resamples=100).measurements
    about_reward = [m for m in found if not m.name.startswith("validation.baseline.")]
    assert {m.name: m.value for m in about_reward if m.value is not None} == {}
    assert all(m.reason for m in about_reward)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("kind", ["pairs", "ratings"])
def test_a_few_items_give_values_without_intervals_or_nulls_and_always_say_why(
    kind: Kind, n: int
) -> None:
    found = validated(items(kind, SOME[:n], SIDES[:n]), seed=0, resamples=100).measurements
    assert all(m.reason for m in found if m.value is None or not m.intervals)
    if n == 1:
        assert not any(m.intervals for m in found)


def test_a_constant_reward_of_pairs_is_right_half_the_time_and_has_no_slope() -> None:
    found = validated(items("pairs", np.zeros(60), SIDES), seed=0, resamples=100).measurements
    assert value(found, "pair_accuracy") == 0.5
    for name in ("calibration.slope", "calibration.temperature", "spread.closeness", "spearman"):
        assert by_name(found)[name].value is None
    assert by_name(found)["calibration.slope"].reason == "no pair has two different rewards"


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_rewards_of_any_unit_are_measured_alike(scale: float) -> None:
    rng = np.random.default_rng(1)
    reward, texts = rng.normal(0, 1, 150), ["word " * (1 + k % 7) for k in range(150)]
    noisy = reward + rng.normal(0, 1, 150)
    for measure in (people, slices, lambda judged, **how: baselines(judged, None, **how)):
        one, other = (
            by_name(measure(items("ratings", k * reward, noisy, left=texts), **HOW))
            for k in (1.0, scale)
        )
        for name, m in one.items():
            assert other[name].value == (
                None if m.value is None else pytest.approx(m.value, abs=1e-9)
            ), name
        assert any(m.value is not None for m in one.values())


# --- all together


def test_the_same_input_gives_the_same_measurements_and_plain_json() -> None:
    difference, judged = sure(100)
    given = items("pairs", difference, judged)
    curve = LearningCurveFit(list(range(32)), lambda rows: difference)
    one, again = (validated(given, curve=curve, seed=3, resamples=100).to_json() for _ in range(2))
    assert one == again
    other = validated(given, curve=curve, seed=4, resamples=100).to_json()
    assert other != one
    names = [m["name"] for m in one["measurements"]]
    assert len(names) == len(set(names))


def test_the_unit_that_was_resampled_is_called_by_its_name() -> None:
    given = items("pairs", *sure(100))
    by_prompt, by_item = (
        by_name(validated(replace(given, unit=u), seed=0, resamples=100).measurements)[
            "pair_accuracy"
        ].method
        for u in ("prompt", "item")
    )
    assert "prompt" in by_prompt
    assert "item-clustered" in by_item
    assert "prompt" not in by_item


def test_votes_and_losses_as_they_are_defined() -> None:
    long = pd.DataFrame(
        {
            "item_id": ["i", "i", "i"],
            "rater": ["a", "b", "c"],
            "chosen": ["x", "y", "x"],
            "rejected": ["y", "x", "y"],
            "tied": [False, False, True],
        }
    )
    assert votes_of("pairs", long)["value"].tolist() == [1.0, 0.0, 0.5]
    rows = items("pairs", [1, 0, -1, 2], [1, 1, 1, 0.5]).usable
    assert rows["loss"].tolist() == [0, 0.5, 1]
    line = residuals(pd.DataFrame({"reward": [0.0, 1, 2, 3], "judged": [1.0, 3, 5, 8]}))
    fitted = np.polyval(np.polyfit(line["reward"], line["judged"], 1), line["reward"])
    assert line["over"].tolist() == pytest.approx((fitted - line["judged"]).tolist())
    assert (
        residuals(pd.DataFrame({"reward": [1.0, 1, 1], "judged": [1.0, 3, 5]}))["over"].isna().all()
    )


def test_items_without_their_columns_or_with_too_few_embeddings_are_refused() -> None:
    given = items("pairs", *sure(10))
    with pytest.raises(ValueError, match="lack the column"):
        replace(given, table=given.table.drop(columns="spread"))
    with pytest.raises(ValueError, match="9 embeddings for 10 items"):
        replace(given, embeddings=np.zeros((9, 2)))
    with pytest.raises(ValueError, match="one an item"):
        given.with_reward(np.zeros(9))
