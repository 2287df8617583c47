"""The stress tests of a reward: what each change does, when a rule passes or fails, and what the
report says first.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from probes.base import Interval, Measurement
from restaudit.errors import BadInput
from restaudit.reward_audit.stress import StressReport, stress
from restaudit.reward_audit.stress.changes import FILLER, changed
from restaudit.reward_audit.stress.finding import ALIKE, Finding, Kind, PassRule
from restaudit.reward_audit.stress.subject import subject

ASKED = {
    "repeat_sentence",
    "shuffle_words",
    "truncate",
    "pad",
    "upper_case",
    "lower_case",
    "swap_case",
    "typos",
    "append_praise",
    "as_machine",
    "hedge",
    "bold",
    "bullets",
    "heading",
    "emoji",
    "exclaim",
    "other_language_added",
    "other_language_instead",
    "append_prompt",
    "empty",
    "gibberish",
}
NOUNS = (
    "river",
    "train",
    "garden",
    "engine",
    "market",
    "window",
    "teacher",
    "winter",
    "letter",
    "island",
)
VERBS = ("follows", "crosses", "explains", "repairs", "forgets", "paints", "measures", "leaves")


def texts_of(count: int, *, per_prompt: int = 2) -> tuple[list[str], list[str]]:
    """Made-up sentences of different lengths, `per_prompt` to a prompt."""
    rng = np.random.default_rng(3)
    texts = []
    for _ in range(count):
        said = [
            f"The {rng.choice(NOUNS)} {rng.choice(VERBS)} the {rng.choice(NOUNS)}."
            for _ in range(rng.integers(1, 5))
        ]
        texts.append(" ".join(said))
    return [f"Tell me about matter {k // per_prompt}." for k in range(count)], texts


def length(prompts: Sequence[str], texts: Sequence[str]) -> Any:
    return np.array([len(t.split()) / 10 for t in texts])


def nouns(prompts: Sequence[str], texts: Sequence[str]) -> Any:
    """How many different listed nouns a text has, whatever else is there; nonsense and silence get
    nothing.
    """
    return np.array([len({w for w in NOUNS if w in t.lower()}) for t in texts], dtype=np.float64)


def report_of(score: Any, count: int = 60, **more: Any) -> StressReport:
    prompts, texts = texts_of(count)
    return stress(
        score, prompts, texts, seed=1, **{"budget": 0, "words": False, "resamples": 200, **more}
    )


def by_name(report: StressReport) -> dict[str, Finding]:
    return {f.name: f for f in report.findings}


def test_every_asked_change_is_there_with_a_question_a_description_and_a_rule_in_words() -> None:
    found = by_name(report_of(nouns))
    assert set(found) >= ASKED
    for f in found.values():
        assert f.asks.endswith("?")
        assert f.does
        assert "PASS when" in f.rule or "No rule" in f.rule


def test_a_reward_of_length_fails_where_words_are_added_and_says_so_first() -> None:
    report = report_of(length)
    found = by_name(report)
    for name in ("pad", "repeat_sentence", "append_praise", "as_machine", "length_added"):
        assert found[name].verdict == "FAIL", name
    for name in ("truncate", "empty", "typos", "swap_case"):
        assert found[name].verdict == "PASS", name
    verdicts = [f.verdict for f in report.findings]
    assert verdicts[0] == "FAIL"
    order = ("FAIL", "INCONCLUSIVE", "PASS", "NO RULE")
    assert [order.index(v) for v in verdicts] == sorted(order.index(v) for v in verdicts)
    assert next(iter(report.to_json())) == "schema"
    assert list(report.to_json())[2] == "failures"
    assert any(said.startswith("pad: ") for said in report.failures)


def test_gibberish_fails_where_it_is_worth_as_much_as_the_text() -> None:
    assert by_name(report_of(length))["gibberish"].verdict == "FAIL"
    assert by_name(report_of(nouns))["gibberish"].verdict == "PASS"


def test_a_reward_that_none_of_it_moves_passes() -> None:
    found = by_name(report_of(nouns))
    for name in (
        "pad",
        "append_praise",
        "bold",
        "format_bold",
        "upper_case",
        "shuffle_words",
        "length_added",
    ):
        assert found[name].verdict == "PASS", name
        assert found[name].change.value == pytest.approx(0, abs=1e-12)
    assert "prompts change by +0 sd" in found["pad"].why


def test_the_mean_change_is_in_sd_of_the_unchanged_rewards_and_the_worst_example_has_both_texts() -> (
    None
):
    prompts, texts = texts_of(60)
    sd = float(length(prompts, texts).std(ddof=1))
    pad = by_name(report_of(length))["pad"]
    assert pad.change.value == pytest.approx(len(FILLER.split()) / 10 / sd)
    assert pad.rose is not None
    assert pad.rose.value == 1.0
    assert pad.rose.interval() is not None
    worst = pad.worst
    assert worst is not None
    assert worst.before in texts
    assert worst.after == f"{worst.before} {FILLER}"
    assert worst.reward_after - worst.reward_before == pytest.approx(len(FILLER.split()) / 10)


def test_the_interval_resamples_prompts_and_not_texts() -> None:
    prompts, texts = texts_of(60, per_prompt=6)
    report = stress(length, prompts, texts, seed=1, resamples=200, budget=0, words=False)
    change = by_name(report)["repeat_sentence"].change
    assert (change.n, change.n_prompts) == (60, 10)
    alone = stress(length, [""] * 60, texts, seed=1, resamples=200, budget=0, words=False)
    assert alone.prompts == len(set(texts))


def test_a_slope_of_length_within_prompts_is_found_whatever_the_prompts_are_worth() -> None:
    prompts, texts = texts_of(80, per_prompt=4)
    level = {p: float(k % 7) * 5 for k, p in enumerate(dict.fromkeys(prompts))}

    def score(p: Sequence[str], t: Sequence[str]) -> Any:
        return np.array([level[a] for a in p]) + 0.02 * np.array([len(b.split()) for b in t])

    report = stress(score, prompts, texts, seed=1, resamples=200, budget=0, words=False)
    found = by_name(report)
    assert report.sd is not None
    for name in ("length_within_prompt", "length_added"):
        assert found[name].change.value == pytest.approx(2 / report.sd)
    assert found["length_within_prompt"].verdict == "NO RULE"
    alone = stress(
        length, *texts_of(40, per_prompt=1), seed=1, resamples=200, budget=0, words=False
    )
    change = by_name(alone)["length_within_prompt"].change
    assert (change.value, change.reason) == (None, "no prompt has two texts of different length")


def test_a_reward_of_chance_fails_the_test_of_scoring_again() -> None:
    rng = np.random.default_rng(0)
    again = by_name(report_of(lambda p, t: rng.normal(size=len(t))))["scored_again"]
    assert again.verdict == "FAIL"
    assert by_name(report_of(length))["scored_again"].verdict == "PASS"


def test_no_text_is_scored_twice_but_for_the_test_of_scoring_again() -> None:
    asked: list[tuple[str, str]] = []

    def score(prompts: Sequence[str], texts: Sequence[str]) -> Any:
        asked.extend(zip(prompts, texts, strict=True))
        return length(prompts, texts)

    report = report_of(score, budget=400, words=True)
    assert len(asked) <= len(set(asked)) + report.texts


def test_a_reward_of_chance_fails_about_one_test_in_forty_where_the_margin_is_the_truth() -> None:
    prompts, texts = texts_of(40, per_prompt=1)
    failed = tried = 0
    for salt in range(25):

        def chance(p: Sequence[str], t: Sequence[str], salt: int = salt) -> Any:
            return np.array(
                [
                    float(zlib.crc32(f"{salt} {a} {b}".encode()) % 9973)
                    for a, b in zip(p, t, strict=True)
                ]
            )

        found = changed(subject(chance, prompts, texts), seed=salt, resamples=200, margin=0.0)
        verdicts = [
            f.verdict
            for f in found
            if "instead" not in f.name and f.name not in ("empty", "gibberish")
        ]
        failed, tried = failed + verdicts.count("FAIL"), tried + len(verdicts)
    assert tried == 450
    assert 0.005 < failed / tried < 0.05


def test_at_most_200_texts_are_used_and_the_rest_is_counted() -> None:
    report = report_of(nouns, 260)
    assert report.texts <= 200
    assert report.texts + report.texts_left_out == 260
    assert by_name(report)["pad"].change.detail["texts_left_out"] == report.texts_left_out


def test_the_report_does_not_depend_on_the_order_of_the_texts_and_is_plain_json() -> None:
    prompts, texts = texts_of(50)
    how: dict[str, Any] = {"seed": 4, "resamples": 200, "budget": 400}
    one = stress(length, prompts, texts, **how).to_json()
    other = stress(length, prompts[::-1], texts[::-1], **how).to_json()
    assert one == other
    assert json.loads(json.dumps(one, allow_nan=False)) == one
    assert one["paid_words"]["words"]
    assert one["exploits"]["exploits"]


def test_rewards_that_do_not_vary_give_reasons_and_no_number() -> None:
    report = report_of(lambda p, t: np.zeros(len(t)), words=True, budget=400)
    assert report.sd is None
    assert all(f.change.value is None for f in report.findings)
    assert {f.verdict for f in report.findings} == {"INCONCLUSIVE", "NO RULE"}
    assert all("do not vary" in str(f.change.reason) for f in report.findings)
    assert report.words is not None
    assert report.words.reason
    assert report.exploits is not None
    assert report.exploits.reason
    json.dumps(report.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("score", "prompts", "texts", "says"),
    [
        (length, [], [], "no texts"),
        (length, ["a"], ["b", "c"], "1 prompts for 2 texts"),
        (length, ["a"], [3], "texts: item 0 is int"),
        (length, ["a"], ["\ud800 half a pair"], "texts: item 0 holds half a character"),
        (lambda p, t: np.full(len(t), np.nan), ["a", "a"], ["b", "c"], "must be a finite number"),
        (lambda p, t: np.full(len(t), np.inf), ["a", "a"], ["b", "c"], "must be a finite number"),
        (lambda p, t: np.zeros((len(t), 2)), ["a", "a"], ["b", "c"], r"shape \(2, 2\) for 2 texts"),
        (lambda p, t: np.zeros(1), ["a", "a"], ["b", "c"], r"shape \(1,\) for 2 texts"),
        (lambda p, t: [object() for _ in t], ["a"], ["b"], "no numbers"),
    ],
)
def test_what_cannot_be_used_ends_in_one_clear_message(
    score: Any, prompts: Any, texts: Any, says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        stress(score, prompts, texts, seed=0)


def test_numbers_out_of_range_are_refused() -> None:
    prompts, texts = texts_of(10)
    for name, value in (
        ("resamples", 10),
        ("seed", -1),
        ("budget", 3),
        ("margin", -0.1),
        ("most", 0),
    ):
        given: dict[str, Any] = {"seed": 0, name: value}
        with pytest.raises(BadInput, match=name):
            stress(length, prompts, texts, **given)


def test_a_reward_that_is_nan_only_for_a_changed_text_is_named() -> None:
    def score(prompts: Sequence[str], texts: Sequence[str]) -> Any:
        return np.array([float("nan") if not t else float(len(t)) for t in texts])

    with pytest.raises(BadInput, match="the reward of the text '' is nan"):
        report_of(score)


@pytest.mark.parametrize(
    ("kind", "low", "high", "verdict"),
    [
        ("not_rise", -0.5, 0.1, "PASS"),
        ("not_rise", 0.05, 0.3, "INCONCLUSIVE"),
        ("not_rise", 0.11, 0.3, "FAIL"),
        ("fall", -0.5, -0.01, "PASS"),
        ("fall", -0.5, 0.0, "INCONCLUSIVE"),
        ("fall", 0.0, 0.5, "FAIL"),
        ("steady", -0.1, 0.1, "PASS"),
        ("steady", -0.3, 0.0, "INCONCLUSIVE"),
        ("steady", -0.3, -0.11, "FAIL"),
        ("steady", 0.11, 0.3, "FAIL"),
    ],
)
def test_the_rules_are_what_their_words_say(
    kind: Kind, low: float, high: float, verdict: str
) -> None:
    found = Measurement(
        "x", (low + high) / 2, "sd", 50, 50, "m", "1", intervals=(Interval(0.95, low, high),)
    )
    assert PassRule(kind, 0.1).judge(found)[0] == verdict


def test_without_an_interval_only_eight_prompts_that_all_change_alike_can_tell() -> None:
    for prompts, detail, verdict in (
        (8, {ALIKE: True}, "FAIL"),
        (7, {ALIKE: True}, "INCONCLUSIVE"),
        (8, {}, "INCONCLUSIVE"),
    ):
        found = Measurement(
            "x", 1.0, "sd", 9, prompts, "m", "1", reason="no interval", detail=detail
        )
        assert PassRule("not_rise").judge(found)[0] == verdict
