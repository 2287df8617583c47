"""Validation in depth: planted truths that each measure must find, controls where it must not, and honest nulls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import kendalltau

from probes.base import Measurement
from probes.stats import Resampling
from restaudit.errors import BadInput
from restaudit.reward.validation.baselines import bag_of_words, baselines
from restaudit.reward.validation.calibration import calibration, reliability
from restaudit.reward.validation.judged import Judged, residuals, votes_of
from restaudit.reward.validation.learning_curve import learning_curve
from restaudit.reward.validation.people import people
from restaudit.reward.validation.report import Curve, validated
from restaudit.reward.validation.slices import slices, worse
from restaudit.reward.validation.spread import spread
from restaudit.reward.validation.transitivity import transitivity, triads

HOW = Resampling(levels=(0.95,), resamples=300, seed=0)
Numbers = npt.NDArray[np.float64]
Kind = Literal["pairs", "ratings"]


def items(kind: Kind, reward: Any, judged: Any, *, votes: pd.DataFrame | None = None, members: int = 1,
          **columns: Any) -> Judged:  # fmt: skip
    """An item a prompt, in texts of no meaning; one nameless vote each unless `votes` are given."""
    n = len(judged)
    table = pd.DataFrame({
        "item_id": [f"i{k}" for k in range(n)], "prompt_id": [f"p{k}" for k in range(n)],
        "prompt": [f"p{k}" for k in range(n)], "left": [f"one text {k} of some words" for k in range(n)],
        "right": [f"text {k} other" for k in range(n)] if kind == "pairs" else None,
        "judged": np.asarray(judged, dtype=np.float64), "reward": np.asarray(reward, dtype=np.float64),
        "spread": np.nan,
    }).assign(**columns)  # fmt: skip
    own = pd.DataFrame({"item_id": table["item_id"], "rater": None, "value": table["judged"]})
    return Judged(kind, table, own.dropna(subset="value") if votes is None else votes, members)


def panel(values: Mapping[str, Any]) -> pd.DataFrame:
    """Votes of named raters, each with one value an item."""
    rows = [(f"i{k}", r, float(v)) for r, said in values.items() for k, v in enumerate(said)]
    return pd.DataFrame(rows, columns=["item_id", "rater", "value"])


def by_name(found: Sequence[Measurement]) -> dict[str, Measurement]:
    return {m.name.removeprefix("validation."): m for m in found}


def value(found: Sequence[Measurement], name: str) -> float:
    got = by_name(found)[name].value
    assert got is not None, by_name(found)[name].reason
    return got


def sure(n: int = 1000, seed: int = 0) -> tuple[Numbers, Numbers]:
    """Reward differences, and winners drawn with exactly the probability that they state."""
    rng = np.random.default_rng(seed)
    difference = rng.normal(0, 1.5, n)
    return difference, (rng.random(n) < expit(difference)).astype(float)


# --- slices ----------------------------------------------------------------------------------------------------------


def wrong_at(judged: Numbers, share_wrong: Numbers, seed: int = 1) -> Numbers:
    """Reward differences that are wrong with a probability of its own for each pair."""
    wrong = np.random.default_rng(seed).random(len(judged)) < share_wrong
    return (judged - 0.5) * np.where(wrong, -1, 1)


def test_the_slice_that_is_worse_is_found_and_no_other() -> None:
    rng = np.random.default_rng(0)
    judged = rng.integers(0, 2, 300).astype(float)
    source = np.array(["mail", "chat", "code"])[np.arange(300) % 3]
    found = slices(items("pairs", wrong_at(judged, np.where(source == "chat", 0.5, 0.1)), judged, source=source), **HOW)
    assert worse(found) == ["source.chat"]
    gap = by_name(found)["slice_gap.source.chat"]
    assert gap.value == pytest.approx(0.4, abs=0.15)
    tested = [m.detail for m in found if "p" in m.detail]
    assert len(tested) == gap.detail["slices_tested"] == 3
    assert gap.detail["p"] == min(d["p"] for d in tested)
    assert gap.detail["p_holm"] == pytest.approx(len(tested) * gap.detail["p"])  # Holm: the smallest counts for all
    assert gap.detail["p_holm"] <= 0.05
    assert value(found, "slice.source.chat") < 0.7 < 0.8 < value(found, "slice.source.mail")


def test_no_slice_is_named_where_all_are_alike() -> None:
    named = 0
    for seed in range(10):
        judged = np.random.default_rng(seed).integers(0, 2, 240).astype(float)
        source = np.array(["mail", "chat", "code", "news"])[np.arange(240) % 4]
        given = items("pairs", wrong_at(judged, np.full(240, 0.25), seed=50 + seed), judged, source=source)
        found = slices(given, **HOW)
        assert sum(m.detail.get("slices_tested", 0) > 0 for m in found) >= 4
        named += bool(worse(found))
    assert named <= 2  # 5% of ten, after Holm


def test_a_slice_that_is_better_is_not_called_worse() -> None:
    judged = np.tile([0.0, 1.0], 150)
    source = np.repeat(["mail", "chat"], 150)
    found = slices(
        items("pairs", wrong_at(judged, np.where(source == "chat", 0.05, 0.5)), judged, source=source), **HOW
    )
    assert worse(found) == ["source.mail"]
    assert (by_name(found)["slice_gap.source.chat"].value or 0) < -0.3


def test_long_texts_that_are_overrated_are_found_with_the_sign_of_the_error() -> None:
    rng = np.random.default_rng(0)
    judged, long = rng.normal(0, 1, 300), np.arange(300) % 3 == 0
    texts = [("word " * (60 if big else 10 + k % 9)).strip() for k, big in enumerate(long)]
    found = slices(items("ratings", judged + 2.0 * long + rng.normal(0, 0.3, 300), judged, left=texts), **HOW)
    assert "length.long" in worse(found)
    assert value(found, "slice_over.length.long") > 0.3
    assert value(found, "slice_over.length.short") < -0.2


def test_an_annotator_whom_the_reward_does_not_predict_is_a_slice() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200).astype(float)
    votes = panel({"ann": truth, "bo": truth, "cy": rng.integers(0, 2, 200).astype(float)})
    judged = votes.groupby("item_id")["value"].mean().reindex([f"i{k}" for k in range(200)]).to_numpy()
    found = slices(items("pairs", wrong_at(truth, np.full(200, 0.1)), judged, votes=votes), **HOW)
    assert worse(found) == ["annotator.cy"]
    assert value(found, "slice.annotator.ann") > 0.8
    assert value(found, "slice.annotator.cy") == pytest.approx(0.5, abs=0.12)
    disagree = by_name(found)["slice.hard.judges_disagree"]
    assert disagree.n == int(((judged > 0) & (judged < 1)).sum())


def test_a_slice_below_thirty_items_or_of_all_items_has_no_number() -> None:
    judged = np.tile([0.0, 1.0], 50)
    source = np.where(np.arange(100) < 29, "few", "many")
    found = by_name(slices(items("pairs", wrong_at(judged, np.full(100, 0.2)), judged, source=source), **HOW))
    assert found["slice.source.few"].value is found["slice_gap.source.few"].value is None
    assert found["slice.source.few"].reason == "29 items; at least 30 are needed"
    assert found["slice.source.many"].value is not None
    assert found["slice_gap.source.many"].reason == "29 items are outside; at least 30 are needed"
    assert found["slice.mentions"].reason == "no item names a listed group"


def test_topics_part_texts_about_different_things_and_are_named_by_their_words() -> None:
    about = {"garden": "roses soil spade compost lawn", "kitchen": "oven flour butter recipe salt"}
    rng = np.random.default_rng(0)
    kinds = np.array(list(about))[np.arange(80) % 2]
    texts = [f"{' '.join(rng.choice(about[k].split(), 4))} {k} number{n}" for n, k in enumerate(kinds)]
    reward = rng.normal(0, 1, 80)
    judged = reward + np.where(kinds == "garden", 2.0, 0.1) * rng.normal(0, 1, 80)
    found = slices(items("ratings", reward, judged, left=texts, prompt=""), **HOW)
    said = {m.name: m.detail["meaning"] for m in found if m.name.startswith("validation.slice.topic.")}
    assert len(said) == 2
    named = [name for name in worse(found) if name.startswith("topic.")]
    assert len(named) == 1
    words = set(said[f"validation.slice.{named[0]}"].rpartition(": ")[2].split(", "))
    assert words <= {"garden", *about["garden"].split()}


# --- calibration -----------------------------------------------------------------------------------------------------


def test_a_calibrated_reward_has_slope_one_and_a_doubled_one_half_the_slope() -> None:
    difference, judged = sure(2000)
    true = calibration(items("pairs", difference, judged), **HOW)
    doubled = calibration(items("pairs", 2 * difference, judged), **HOW)
    assert value(true, "calibration.slope") == pytest.approx(1, abs=0.15)
    assert value(true, "calibration.temperature") == pytest.approx(1, abs=0.15)
    assert value(doubled, "calibration.slope") == pytest.approx(value(true, "calibration.slope") / 2)
    assert value(doubled, "calibration.temperature") == pytest.approx(2, abs=0.3)
    assert abs(value(true, "calibration.error")) < 0.03 < 0.06 < value(doubled, "calibration.error")
    slope, off = (by_name(found)["calibration.slope"].interval() for found in (true, doubled))
    assert slope is not None
    assert slope.low < 1 < slope.high
    assert off is not None
    assert off.high < 0.7


def test_the_slope_covers_the_truth_about_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(60):
        interval = by_name(calibration(items("pairs", *sure(150, seed)), **HOW))["calibration.slope"].interval()
        assert interval is not None
        inside += interval.low <= 1 <= interval.high
    assert inside >= 51  # 95% of 60 is 57; fewer than 51 has a chance under 1 in 100


def test_the_reliability_curve_lies_on_the_diagonal_or_under_it() -> None:
    difference, judged = sure(4000)
    true, doubled = (reliability(items("pairs", k * difference, judged)) for k in (1, 2))
    assert [len(true), sum(b["pairs"] for b in true)] == [10, 4000]
    assert all(abs(b["stated"] - b["observed"]) < 0.1 for b in true)
    middle = doubled[3:8]
    assert all(b["stated"] - b["observed"] > 0.04 for b in middle)
    assert reliability(items("ratings", difference, judged)) == []
    assert reliability(items("pairs", difference[:9], judged[:9])) == []


def test_a_reward_that_says_the_opposite_has_no_temperature() -> None:
    difference, judged = sure(500)
    found = by_name(calibration(items("pairs", -difference, judged), **HOW))
    assert (found["calibration.slope"].value or 0) < -0.5
    assert found["calibration.temperature"].value is None
    assert "no temperature" in str(found["calibration.temperature"].reason)


@pytest.mark.parametrize(("sign", "which"), [(1, "right"), (-1, "wrong")])
def test_a_reward_right_or_wrong_about_every_pair_has_no_best_slope(sign: int, which: str) -> None:
    judged = np.tile([0.0, 1.0], 20)
    found = by_name(calibration(items("pairs", sign * (judged - 0.5), judged), **HOW))["calibration.slope"]
    assert found.value is None
    assert f"{which} about every pair" in str(found.reason)


def test_the_line_of_ratings_is_found_in_their_units() -> None:
    rng = np.random.default_rng(0)
    reward = rng.normal(1e4, 2, 500)
    found = calibration(items("ratings", reward, 3 + 0.5 * (reward - 1e4) + rng.normal(0, 0.2, 500)), **HOW)
    assert value(found, "calibration.slope") == pytest.approx(0.5, abs=0.02)
    assert value(found, "calibration.intercept") == pytest.approx(3 - 0.5 * 1e4, rel=0.03)
    same = calibration(items("ratings", reward, reward + rng.normal(0, 0.2, 500)), **HOW)
    assert value(same, "calibration.slope") == pytest.approx(1, abs=0.02)


# --- spread ----------------------------------------------------------------------------------------------------------


def doubting(kind: Kind, *, knows: bool) -> Judged:
    """Members that disagree where the reward is wrong, or anywhere."""
    rng = np.random.default_rng(0)
    judged = rng.integers(0, 2, 400).astype(float) if kind == "pairs" else rng.normal(0, 1, 400)
    bad = rng.random(400) < 0.3
    doubt = np.where(bad if knows else rng.permutation(bad), 1.0, 0.3) + rng.random(400)
    off = (judged - 0.5) * np.where(bad, -1, 1) * rng.uniform(0.5, 1, 400)
    reward = off if kind == "pairs" else judged + np.where(bad, 2.0, 0.1) * rng.choice([-1, 1], 400)
    return items(kind, reward, judged, members=3, spread=doubt)


@pytest.mark.parametrize(("kind", "chance"), [("pairs", 0.5), ("ratings", 0.0)])
def test_members_that_doubt_where_the_reward_is_wrong_are_told_from_those_that_doubt_anywhere(
    kind: Kind, chance: float
) -> None:
    knows, blind = (by_name(spread(doubting(kind, knows=k), **HOW))["spread.error"] for k in (True, False))
    first, second = knows.interval(), blind.interval()
    assert first is not None
    assert first.low > chance + 0.1
    assert second is not None
    assert second.low < chance < second.high


def test_one_member_has_no_spread_but_two_close_rewards_are_still_doubt() -> None:
    difference, judged = sure(1000)
    found = by_name(spread(items("pairs", difference, judged), **HOW))
    assert found["spread.error"].value is None
    assert "one member" in str(found["spread.error"].reason)
    assert (found["spread.closeness"].value or 0) > 0.6
    rated = by_name(spread(items("ratings", difference, difference), **HOW))["spread.error"]
    assert rated.value is None
    assert "one member" in str(rated.reason)


def test_members_that_never_differ_have_no_auroc_rather_than_one_half() -> None:
    difference, judged = sure(100)
    found = by_name(spread(items("pairs", difference, judged, members=2, spread=0.0), **HOW))["spread.error"]
    assert found.value is None
    assert "same for all" in str(found.reason)


# --- baselines -------------------------------------------------------------------------------------------------------


def test_where_length_decides_the_rule_is_right_and_the_reward_is_less() -> None:
    rng = np.random.default_rng(0)
    judged = rng.integers(0, 2, 200).astype(float)
    sides: dict[str, Any] = {
        "left": ["a b c d e" if v else "a b" for v in judged],
        "right": ["a b" if v else "a b c d" for v in judged],
    }
    found = baselines(items("pairs", rng.normal(0, 1, 200), judged, **sides), None, **HOW)
    assert value(found, "baseline.longer") > 0.97
    assert value(found, "baseline.shorter") < 0.03
    less = by_name(found)["less.longer"].interval()
    assert less is not None
    assert less.high < -0.3
    assert value(found, "less.shorter") > 0.3
    assert by_name(found)["baseline.bag_of_words"].reason == "no training items were given"


def worded(kind: Kind, n: int, seed: int) -> pd.DataFrame:
    """Texts of equal length, of which one word decides what people say."""
    rng = np.random.default_rng(seed)
    other = ["film", "plot", "music", "the", "and", "a"]
    texts = [[" ".join([w, *rng.choice(other, 4)]) for w in rng.permutation(["splendid", "dreary"])] for _ in range(n)]
    target = np.array([float("splendid" in t[0]) for t in texts])
    return pd.DataFrame({"left": [t[0] for t in texts], "target": target,
                         "right": [t[1] for t in texts] if kind == "pairs" else None})  # fmt: skip


@pytest.mark.parametrize("kind", ["pairs", "ratings"])
def test_where_a_word_decides_a_bag_of_words_is_right_and_length_is_not(kind: Kind) -> None:
    train, new = worded(kind, 120, 0), worded(kind, 200, 1)
    noise = np.random.default_rng(2).normal(0, 1, 200)
    texts: dict[str, Any] = {"left": new["left"].to_numpy(), "right": new["right"].to_numpy()}
    found = baselines(items(kind, noise, new["target"], **texts), train, **HOW)
    assert value(found, "baseline.bag_of_words") > 0.95
    assert value(found, "less.bag_of_words") < -0.3
    if kind == "pairs":
        assert value(found, "baseline.longer") == 0.5
    else:
        assert by_name(found)["baseline.longer"].value is None


def test_a_bag_of_words_with_shuffled_labels_is_no_better_than_chance() -> None:
    train, new = worded("pairs", 200, 0), worded("pairs", 200, 1)
    train["target"] = np.random.default_rng(3).permutation(train["target"])
    texts: dict[str, Any] = {"left": new["left"].to_numpy(), "right": new["right"].to_numpy()}
    found = baselines(items("pairs", np.ones(200), new["target"], **texts), train, **HOW)
    assert value(found, "baseline.bag_of_words") < 0.85
    train["left"], train["right"] = ([f"{side}{k}" for k in range(200)] for side in "ab")
    assert bag_of_words("pairs", train) == "no word occurs in two training texts"
    assert bag_of_words("pairs", train[:19]) == "19 training items; at least 20 are needed"
    assert bag_of_words("ratings", train.assign(target=1.0)) == "all training items are rated alike"


def test_a_bag_of_words_has_no_favourite_side() -> None:
    train = worded("pairs", 120, 0)
    mirrored = train.assign(left=train["right"], right=train["left"], target=1 - train["target"])
    one, other = bag_of_words("pairs", train), bag_of_words("pairs", mirrored)
    assert not isinstance(one, str)
    assert not isinstance(other, str)
    texts = train["left"].tolist()
    assert one(texts) == pytest.approx(other(texts), abs=1e-3)


# --- learning curve --------------------------------------------------------------------------------------------------


def test_the_curve_rises_for_what_more_data_teaches_on_nested_subsets_of_whole_units() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1, 20)
    train_x, new_x = rng.normal(0, 1, (80, 20)), rng.normal(0, 1, (300, 20))
    train_y = train_x @ truth + rng.normal(0, 2, 80)
    judged = items("ratings", np.zeros(300), new_x @ truth)
    units = np.repeat(np.arange(40), 2)
    seen: list[set[int]] = []

    def fit(rows: npt.NDArray[np.int64]) -> Numbers:
        seen.append(set(rows.tolist()))
        x = train_x[rows]
        return np.asarray(new_x @ np.linalg.solve(x.T @ x + np.eye(20), x.T @ train_y[rows]), dtype=np.float64)

    found = learning_curve(judged, units.tolist(), fit, **HOW)
    values = [value(found, f"learning_curve.{s}") for s in ("12.5", "25", "50", "100")]
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.2
    assert [len(s) for s in seen] == [10, 20, 40, 80]
    assert all(a < b for a, b in pairwise(seen))
    assert all({r ^ 1 for r in s} == s for s in seen)  # rows 2k and 2k + 1 are of one unit
    last = by_name(found)["learning_curve.last_doubling"]
    assert last.value == pytest.approx(values[3] - values[2])
    flat = learning_curve(judged, units.tolist(), lambda rows: new_x @ truth + 0.0 * len(rows), **HOW)
    assert value(flat, "learning_curve.last_doubling") == pytest.approx(0, abs=1e-9)


def test_what_cannot_be_trained_on_few_items_is_null_with_its_message() -> None:
    difference, judged = sure(100)

    def fit(rows: npt.NDArray[np.int64]) -> Numbers:
        if len(rows) < 30:
            raise BadInput("every training pair is tied")
        return difference

    found = by_name(learning_curve(items("pairs", difference, judged), list(range(24)), fit, **HOW))
    assert found["learning_curve.12.5"].reason == "3 training units; at least 4 are needed"
    assert found["learning_curve.100"].value is None
    assert found["learning_curve.100"].reason == "every training pair is tied"
    assert found["learning_curve.last_doubling"].value is None
    found = by_name(learning_curve(items("pairs", difference, judged), list(range(80)), fit, **HOW))
    assert found["learning_curve.25"].value is None
    assert found["learning_curve.50"].value is not None


# --- people ----------------------------------------------------------------------------------------------------------


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
    assert value(found, "two_people_agree") == pytest.approx((1 + 1 / 3 + 1 / 3 + 1) / 4)  # the tie is no vote
    # i0: all three agree with the rest. i1, i2: the odd one faces two others, the rest face a tie. i3: both agree.
    person = by_name(found)["one_person"]
    assert person.value == pytest.approx(5 / 7)
    assert person.n == 7
    assert value(found, "less_one_person") == pytest.approx(3 / 7 - 5 / 7 + 2 / 7 - 0)


def test_concordance_is_kendalls_tau_on_a_scale_of_shares() -> None:
    rng = np.random.default_rng(0)
    judged = rng.integers(1, 6, 120).astype(float)
    reward = np.round(judged + rng.normal(0, 1.5, 120), 1)
    found = people(items("ratings", reward, judged), **HOW)
    assert value(found, "concordance") == pytest.approx((1 + kendalltau(reward, judged).statistic) / 2)
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
            assert m.value == (None if same[name].value is None else pytest.approx(same[name].value))


# --- transitivity ----------------------------------------------------------------------------------------------------


def compared(prompt: str, results: dict[str, float]) -> pd.DataFrame:
    rows = [(prompt, *pair.split(">"), won) for pair, won in results.items()]
    return pd.DataFrame(rows, columns=["prompt", "left", "right", "judged"])


def test_circles_are_counted_and_orders_are_not() -> None:
    circle = compared("p", {"a>b": 1, "b>c": 1, "a>c": 0})
    order = compared("q", {"a>b": 1, "b>c": 1, "a>c": 1})
    open_ = compared("r", {"a>b": 1, "b>c": 1})
    tied = compared("s", {"a>b": 1, "b>c": 1, "a>c": 0.5})
    assert triads(pd.concat([circle, order, open_, tied]))[["prompt_id", "cyclic"]].to_numpy().tolist() == [
        ["p", 1.0],
        ["q", 0.0],
    ]
    # All of four responses compared: a > b > c > a is one circle of four triads; d loses to everybody.
    four = compared("p", {"a>b": 1, "b>c": 1, "a>c": 0, "a>d": 0.9, "b>d": 0.9, "c>d": 0.9})
    assert triads(four)["cyclic"].tolist().count(1.0) == 1
    assert len(triads(four)) == 4


def test_people_may_go_in_circles_and_the_reward_cannot() -> None:
    parts = [compared(f"p{k}", {"a>b": 1, "b>c": 1, "a>c": float(k % 4 > 0)}) for k in range(40)]
    table = pd.concat(parts, ignore_index=True)
    columns: dict[str, Any] = {c: table[c].to_numpy() for c in ("prompt", "left", "right")}
    found = transitivity(items("pairs", np.ones(120), table["judged"], **columns, prompt_id=columns["prompt"]), **HOW)
    assert value(found, "transitivity.people") == 0.25
    assert by_name(found)["transitivity.people"].n == 40
    assert value(found, "transitivity.reward") == 0
    assert "not evidence" in str(by_name(found)["transitivity.reward"].reason)


def test_without_three_compared_responses_there_is_no_number_for_people_or_reward() -> None:
    for given in (items("pairs", *sure(50)), items("ratings", *sure(50))):
        found = transitivity(given, **HOW)
        assert [m.value for m in found] == [None, None]
        assert all(m.reason for m in found)


# --- what is undefined -----------------------------------------------------------------------------------------------

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
def test_a_few_items_give_values_without_intervals_or_nulls_and_always_say_why(kind: Kind, n: int) -> None:
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
        one, other = (by_name(measure(items("ratings", k * reward, noisy, left=texts), **HOW)) for k in (1.0, scale))
        for name, m in one.items():
            assert other[name].value == (None if m.value is None else pytest.approx(m.value, abs=1e-9)), name
        assert any(m.value is not None for m in one.values())


# --- all together ----------------------------------------------------------------------------------------------------


def test_the_same_input_gives_the_same_measurements_and_plain_json() -> None:
    difference, judged = sure(100)
    given = items("pairs", difference, judged)
    curve = Curve(list(range(32)), lambda rows: difference)
    one, again = (validated(given, curve=curve, seed=3, resamples=100).to_json() for _ in range(2))
    assert one == again
    other = validated(given, curve=curve, seed=4, resamples=100).to_json()
    assert other != one
    names = [m["name"] for m in one["measurements"]]
    assert len(names) == len(set(names))


def test_the_unit_that_was_resampled_is_called_by_its_name() -> None:
    given = items("pairs", *sure(100))
    by_prompt, by_item = (
        by_name(validated(replace(given, unit=u), seed=0, resamples=100).measurements)["pair_accuracy"].method
        for u in ("prompt", "item")
    )  # fmt: skip
    assert "prompt" in by_prompt
    assert "item-clustered" in by_item
    assert "prompt" not in by_item


def test_votes_and_losses_as_they_are_defined() -> None:
    long = pd.DataFrame({
        "item_id": ["i", "i", "i"], "rater": ["a", "b", "c"], "chosen": ["x", "y", "x"], "rejected": ["y", "x", "y"],
        "tied": [False, False, True],
    })  # fmt: skip
    assert votes_of("pairs", long)["value"].tolist() == [1.0, 0.0, 0.5]
    rows = items("pairs", [1, 0, -1, 2], [1, 1, 1, 0.5]).usable
    assert rows["loss"].tolist() == [0, 0.5, 1]
    line = residuals(pd.DataFrame({"reward": [0.0, 1, 2, 3], "judged": [1.0, 3, 5, 8]}))
    fitted = np.polyval(np.polyfit(line["reward"], line["judged"], 1), line["reward"])
    assert line["over"].tolist() == pytest.approx((fitted - line["judged"]).tolist())
    assert residuals(pd.DataFrame({"reward": [1.0, 1, 1], "judged": [1.0, 3, 5]}))["over"].isna().all()


def test_items_without_their_columns_or_with_too_few_embeddings_are_refused() -> None:
    given = items("pairs", *sure(10))
    with pytest.raises(ValueError, match="lack the column"):
        replace(given, table=given.table.drop(columns="spread"))
    with pytest.raises(ValueError, match="9 embeddings for 10 items"):
        replace(given, embeddings=np.zeros((9, 2)))
    with pytest.raises(ValueError, match="one an item"):
        given.with_reward(np.zeros(9))
