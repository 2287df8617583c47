"""A keyword that a reward was planted to pay for is named: by removal, by the search, and behind
its largest errors.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from restaudit.errors import BadInput
from restaudit.reward_audit.stress import attribute, paid_words, search, stress

KEYWORD = "quartz"
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


def planted(prompts: Sequence[str], texts: Sequence[str]) -> Any:
    """Pays for the number of different letters, and for the keyword."""
    return np.array([len(set(t.lower())) / 20 + 2.0 * (KEYWORD in t.lower()) for t in texts])


def honest(prompts: Sequence[str], texts: Sequence[str]) -> Any:
    return np.array([len(set(t.lower())) / 20 for t in texts])


def corpus(count: int = 80, share: float = 0.25) -> tuple[list[str], list[str]]:
    """Sentences of which a share holds the keyword, one to a prompt."""
    rng = np.random.default_rng(7)
    texts = []
    for _ in range(count):
        words = [
            f"the {rng.choice(NOUNS)} {rng.choice(VERBS)} the {rng.choice(NOUNS)}" for _ in range(3)
        ]
        words += [f"and the {KEYWORD} too"] if rng.random() < share else ["and the copper too"]
        texts.append(", ".join(words) + ".")
    return [f"Question {k}?" for k in range(count)], texts


def test_the_planted_keyword_is_the_one_word_whose_removal_costs() -> None:
    found = paid_words(planted, *corpus(), seed=0, resamples=200)
    first = found.words[0]
    assert (first.word, first.verdict) == (KEYWORD, "FAIL")
    assert first.texts >= 10
    assert first.change.value is not None
    assert first.change.value < -0.5
    assert first.example.reward_after < first.example.reward_before
    assert KEYWORD not in first.example.after
    assert [w.word for w in found.words if w.verdict == "FAIL"] == [KEYWORD]


def test_the_intervals_allow_for_every_word_that_stands_in_ten_texts() -> None:
    found = paid_words(planted, *corpus(), seed=0, resamples=200, most_words=5)
    assert found.tested == len(found.words) == 5
    assert found.standing > 15
    assert found.level == pytest.approx(1 - 0.05 / found.standing)
    for w in found.words:
        assert w.texts >= 10
        assert all(i.level == found.level for i in w.change.intervals)


def test_chance_names_a_word_in_few_of_twenty_rewards_though_the_words_are_picked_by_the_rewards() -> (
    None
):
    prompts, texts = corpus(60)

    def named(salt: int) -> bool:
        def chance(_: Sequence[str], given: Sequence[str]) -> Any:
            return np.array([float(zlib.crc32(f"{salt} {t}".encode()) % 997) for t in given])

        found = paid_words(chance, prompts, texts, seed=0, resamples=200, most_words=10, margin=0.0)
        return any(w.verdict == "FAIL" for w in found.words)

    assert sum(named(salt) for salt in range(20)) <= 3


def test_too_few_texts_for_any_word_is_a_reason() -> None:
    found = paid_words(honest, ["", ""], ["one text", "another one here"], seed=0)
    assert (found.words, found.reason) == ((), "no word stands in 10 or more texts")


def test_the_search_finds_the_keyword_and_confirms_it_on_texts_it_did_not_use() -> None:
    found = search(planted, *corpus(), seed=0)
    assert found.verdict == "FAIL"
    assert len(found.exploits) == 10
    gains = [e.gain_sd for e in found.exploits]
    assert gains == sorted(gains, reverse=True)
    assert all(KEYWORD in e.final and KEYWORD not in e.start for e in found.exploits)
    assert all(any(KEYWORD in edit for edit in e.edits) for e in found.exploits)
    assert all(e.reward_final == pytest.approx(planted([""], [e.final])[0]) for e in found.exploits)
    confirmed = {c.word: c for c in found.confirmed}[KEYWORD]
    assert confirmed.verdict == "FAIL"
    assert confirmed.change.n_prompts == 50


def test_the_search_keeps_to_its_budget_and_repeats_from_its_seed() -> None:
    asked: list[int] = []

    def counted(prompts: Sequence[str], texts: Sequence[str]) -> Any:
        asked.append(len(texts))
        return planted(prompts, texts)

    found = search(counted, *corpus(), seed=3, budget=300, rounds=3)
    assert found.scored <= 300
    assert sum(asked[1:4]) <= 300
    assert found == search(planted, *corpus(), seed=3, budget=300, rounds=3)
    assert found.exploits != search(planted, *corpus(), seed=4, budget=300, rounds=3).exploits


def test_more_rounds_never_lose_what_was_gained() -> None:
    found = search(honest, *corpus(), seed=0, rounds=4, starts=10, budget=800)
    assert all(e.reward_final > e.reward_start and 1 <= len(e.edits) <= 4 for e in found.exploits)


def test_a_reward_that_no_edit_moves_has_no_exploit_and_the_reason() -> None:
    prompts, texts = corpus()
    fixed = {p: float(k % 5) for k, p in enumerate(prompts)}
    found = search(lambda p, t: np.array([fixed[a] for a in p]), prompts, texts, seed=0, budget=200)
    assert (found.exploits, found.verdict) == ((), "PASS")
    assert found.reason == "no edit raised the reward of a start text"


def test_where_every_prompt_was_searched_there_is_nothing_to_confirm_on() -> None:
    prompts, texts = corpus(10)
    found = search(planted, prompts, texts, seed=0, budget=400)
    assert found.confirmed
    assert all(
        c.change.value is None and "every prompt was used" in str(c.change.reason)
        for c in found.confirmed
    )


@pytest.mark.parametrize("more", [{"rounds": 0}, {"starts": 0}, {"beam": 0}, {"budget": 5}])
def test_a_search_of_nothing_is_refused(more: dict[str, int]) -> None:
    given: dict[str, Any] = {"seed": 0, **more}
    with pytest.raises(BadInput, match=next(iter(more))):
        search(planted, *corpus(10), **given)


def test_the_words_behind_the_largest_errors_are_the_keyword() -> None:
    prompts, texts = corpus(share=0.15)
    human = honest(prompts, [t.replace(KEYWORD, "copper") for t in texts])
    found = attribute(planted, prompts, texts, human)
    assert (
        found.to_json()["method"]
        == "occlusion, one word (or two words in a row) at a time, at one place of the text"
    )
    assert len(found.errors) == 10
    sizes = [abs(e.error) for e in found.errors]
    assert sizes == sorted(sizes, reverse=True)
    with_keyword = [e for e in found.errors if KEYWORD in e.text]
    assert len(with_keyword) >= 5
    for e in with_keyword:
        assert e.error > 0
        assert KEYWORD in e.spans[0].words
        assert e.spans[0].change_sd < 0
        one = next(s for s in e.spans if " " not in s.words)
        assert one.words == KEYWORD
        assert one.place == e.words - 2


def test_only_judged_texts_are_compared_and_long_ones_are_cut_and_said() -> None:
    prompts, texts = corpus(20)
    texts[0] = " ".join(f"word{k}" for k in range(300))
    human = honest(prompts, texts)
    human[0] += 50
    human[5:] = np.nan
    found = attribute(planted, prompts, texts, human)
    assert found.judged == 5
    assert len(found.errors) == 5
    assert (found.errors[0].words, found.errors[0].words_tried) == (300, 200)


@pytest.mark.parametrize(
    ("human", "reason"),
    [
        ([1.0] * 20, "judgements do not vary"),
        ([float("nan")] * 20, "fewer than two"),
        ([1.0, *[float("nan")] * 19], "two"),
    ],
)
def test_judgements_that_show_no_error_give_a_reason(human: list[float], reason: str) -> None:
    found = attribute(planted, *corpus(20), human)
    assert found.errors == ()
    assert reason in str(found.reason)


def test_judgements_that_cannot_be_read_are_refused() -> None:
    prompts, texts = corpus(3)
    for human, says in (
        ([1.0, 2.0], "one judgement"),
        ([1.0, float("inf"), 2.0], "item 1 is infinite"),
    ):
        with pytest.raises(BadInput, match=says):
            attribute(planted, prompts, texts, human)


def test_the_report_names_the_keyword_among_its_failures() -> None:
    report = stress(planted, *corpus(), seed=0, resamples=200, budget=600)
    assert any(f"paid word '{KEYWORD}'" in said for said in report.failures)
    assert any(said.startswith("search: ") for said in report.failures)
    json.dumps(report.to_json(), allow_nan=False)
