"""Validation in depth: planted truths that each measure must find, controls where it must not, and
honest nulls.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from restaudit.errors import BadInput
from restaudit.reward.validation.baselines import bag_of_words, baselines, learning_curve
from restaudit.reward.validation.calibration import calibration, reliability, spread
from restaudit.reward.validation.judged import Judged
from restaudit.reward.validation.slices import slices, worse
from tests.reward.judged_items import HOW, Kind, Numbers, by_name, items, panel, sure, value

# --- slices


def wrong_at(judged: Numbers, share_wrong: Numbers, seed: int = 1) -> Numbers:
    """Reward differences that are wrong with a probability of its own for each pair."""
    wrong = np.random.default_rng(seed).random(len(judged)) < share_wrong
    return (judged - 0.5) * np.where(wrong, -1, 1)


def test_the_slice_that_is_worse_is_found_and_no_other() -> None:
    rng = np.random.default_rng(0)
    judged = rng.integers(0, 2, 300).astype(float)
    source = np.array(["mail", "chat", "code"])[np.arange(300) % 3]
    found = slices(
        items(
            "pairs", wrong_at(judged, np.where(source == "chat", 0.5, 0.1)), judged, source=source
        ),
        **HOW,
    )
    assert worse(found) == ["source.chat"]
    gap = by_name(found)["slice_gap.source.chat"]
    assert gap.value == pytest.approx(0.4, abs=0.15)
    tested = [m.detail for m in found if "p" in m.detail]
    assert len(tested) == gap.detail["slices_tested"] == 3
    assert gap.detail["p"] == min(d["p"] for d in tested)
    assert gap.detail["p_holm"] == pytest.approx(
        len(tested) * gap.detail["p"]
    )  # Holm: the smallest counts for all
    assert gap.detail["p_holm"] <= 0.05
    assert value(found, "slice.source.chat") < 0.7 < 0.8 < value(found, "slice.source.mail")


def test_no_slice_is_named_where_all_are_alike() -> None:
    named = 0
    for seed in range(10):
        judged = np.random.default_rng(seed).integers(0, 2, 240).astype(float)
        source = np.array(["mail", "chat", "code", "news"])[np.arange(240) % 4]
        given = items(
            "pairs", wrong_at(judged, np.full(240, 0.25), seed=50 + seed), judged, source=source
        )
        found = slices(given, **HOW)
        assert sum(m.detail.get("slices_tested", 0) > 0 for m in found) >= 4
        named += bool(worse(found))
    assert named <= 2  # 5% of ten, after Holm


def test_a_slice_that_is_better_is_not_called_worse() -> None:
    judged = np.tile([0.0, 1.0], 150)
    source = np.repeat(["mail", "chat"], 150)
    found = slices(
        items(
            "pairs", wrong_at(judged, np.where(source == "chat", 0.05, 0.5)), judged, source=source
        ),
        **HOW,
    )
    assert worse(found) == ["source.mail"]
    assert (by_name(found)["slice_gap.source.chat"].value or 0) < -0.3


def test_long_texts_that_are_overrated_are_found_with_the_sign_of_the_error() -> None:
    rng = np.random.default_rng(0)
    judged, long = rng.normal(0, 1, 300), np.arange(300) % 3 == 0
    texts = [("word " * (60 if big else 10 + k % 9)).strip() for k, big in enumerate(long)]
    found = slices(
        items("ratings", judged + 2.0 * long + rng.normal(0, 0.3, 300), judged, left=texts), **HOW
    )
    assert "length.long" in worse(found)
    assert value(found, "slice_over.length.long") > 0.3
    assert value(found, "slice_over.length.short") < -0.2


def test_an_annotator_whom_the_reward_does_not_predict_is_a_slice() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200).astype(float)
    votes = panel({"ann": truth, "bo": truth, "cy": rng.integers(0, 2, 200).astype(float)})
    judged = (
        votes.groupby("item_id")["value"].mean().reindex([f"i{k}" for k in range(200)]).to_numpy()
    )
    found = slices(items("pairs", wrong_at(truth, np.full(200, 0.1)), judged, votes=votes), **HOW)
    assert worse(found) == ["annotator.cy"]
    assert value(found, "slice.annotator.ann") > 0.8
    assert value(found, "slice.annotator.cy") == pytest.approx(0.5, abs=0.12)
    disagree = by_name(found)["slice.hard.judges_disagree"]
    assert disagree.n == int(((judged > 0) & (judged < 1)).sum())


def test_a_slice_below_thirty_items_or_of_all_items_has_no_number() -> None:
    judged = np.tile([0.0, 1.0], 50)
    source = np.where(np.arange(100) < 29, "few", "many")
    found = by_name(
        slices(items("pairs", wrong_at(judged, np.full(100, 0.2)), judged, source=source), **HOW)
    )
    assert found["slice.source.few"].value is found["slice_gap.source.few"].value is None
    assert found["slice.source.few"].reason == "29 items; at least 30 are needed"
    assert found["slice.source.many"].value is not None
    assert found["slice_gap.source.many"].reason == "29 items are outside; at least 30 are needed"
    assert found["slice.mentions"].reason == "no item names a listed group"


def test_topics_part_texts_about_different_things_and_are_named_by_their_words() -> None:
    about = {"garden": "roses soil spade compost lawn", "kitchen": "oven flour butter recipe salt"}
    rng = np.random.default_rng(0)
    kinds = np.array(list(about))[np.arange(80) % 2]
    texts = [
        f"{' '.join(rng.choice(about[k].split(), 4))} {k} number{n}" for n, k in enumerate(kinds)
    ]
    reward = rng.normal(0, 1, 80)
    judged = reward + np.where(kinds == "garden", 2.0, 0.1) * rng.normal(0, 1, 80)
    found = slices(items("ratings", reward, judged, left=texts, prompt=""), **HOW)
    said = {
        m.name: m.detail["meaning"] for m in found if m.name.startswith("validation.slice.topic.")
    }
    assert len(said) == 2
    named = [name for name in worse(found) if name.startswith("topic.")]
    assert len(named) == 1
    words = set(said[f"validation.slice.{named[0]}"].rpartition(": ")[2].split(", "))
    assert words <= {"garden", *about["garden"].split()}


# --- calibration


def test_a_calibrated_reward_has_slope_one_and_a_doubled_one_half_the_slope() -> None:
    difference, judged = sure(2000)
    true = calibration(items("pairs", difference, judged), **HOW)
    doubled = calibration(items("pairs", 2 * difference, judged), **HOW)
    assert value(true, "calibration.slope") == pytest.approx(1, abs=0.15)
    assert value(true, "calibration.temperature") == pytest.approx(1, abs=0.15)
    assert value(doubled, "calibration.slope") == pytest.approx(
        value(true, "calibration.slope") / 2
    )
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
        interval = by_name(calibration(items("pairs", *sure(150, seed)), **HOW))[
            "calibration.slope"
        ].interval()
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
    found = by_name(calibration(items("pairs", sign * (judged - 0.5), judged), **HOW))[
        "calibration.slope"
    ]
    assert found.value is None
    assert f"{which} about every pair" in str(found.reason)


def test_the_line_of_ratings_is_found_in_their_units() -> None:
    rng = np.random.default_rng(0)
    reward = rng.normal(1e4, 2, 500)
    found = calibration(
        items("ratings", reward, 3 + 0.5 * (reward - 1e4) + rng.normal(0, 0.2, 500)), **HOW
    )
    assert value(found, "calibration.slope") == pytest.approx(0.5, abs=0.02)
    assert value(found, "calibration.intercept") == pytest.approx(3 - 0.5 * 1e4, rel=0.03)
    same = calibration(items("ratings", reward, reward + rng.normal(0, 0.2, 500)), **HOW)
    assert value(same, "calibration.slope") == pytest.approx(1, abs=0.02)


# --- spread


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
    knows, blind = (
        by_name(spread(doubting(kind, knows=k), **HOW))["spread.error"] for k in (True, False)
    )
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
    found = by_name(spread(items("pairs", difference, judged, members=2, spread=0.0), **HOW))[
        "spread.error"
    ]
    assert found.value is None
    assert "same for all" in str(found.reason)


# --- baselines


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
    texts = [
        [" ".join([w, *rng.choice(other, 4)]) for w in rng.permutation(["splendid", "dreary"])]
        for _ in range(n)
    ]
    target = np.array([float("splendid" in t[0]) for t in texts])
    return pd.DataFrame(
        {
            "left": [t[0] for t in texts],
            "target": target,
            "right": [t[1] for t in texts] if kind == "pairs" else None,
        }
    )


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


# --- learning curve


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
        return np.asarray(
            new_x @ np.linalg.solve(x.T @ x + np.eye(20), x.T @ train_y[rows]), dtype=np.float64
        )

    found = learning_curve(judged, units.tolist(), fit, **HOW)
    values = [value(found, f"learning_curve.{s}") for s in ("12.5", "25", "50", "100")]
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.2
    assert [len(s) for s in seen] == [10, 20, 40, 80]
    assert all(a < b for a, b in pairwise(seen))
    assert all({r ^ 1 for r in s} == s for s in seen)  # rows 2k and 2k + 1 are of one unit
    last = by_name(found)["learning_curve.last_doubling"]
    assert last.value == pytest.approx(values[3] - values[2])
    flat = learning_curve(
        judged, units.tolist(), lambda rows: new_x @ truth + 0.0 * len(rows), **HOW
    )
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
