"""Traits that are a matter of degree: how a text stands to its prompt, and how it is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from probes.hacking.traits import (
    TRAITS,
    Trait,
    has_less,
    has_more,
    language_of,
    script_of,
    traits_of,
)
from probes.hacking.wide import _in_words, _means
from probes.statistics.flips import largest_of, signs
from probes.texts.sets import words_of
from tests.probes.test_hacking import HACK, measured, policy

PROMPT = "Describe the quiet river. Keep it short."
ASKED = {
    p: f"Number {k}: describe the quiet river that runs through town {k}, please"
    for k, p in enumerate(policy(2)["prompt_id"].unique())
}


def of(*texts: str, prompt: str | None = PROMPT) -> dict[str, Any]:
    zeros = np.zeros(len(texts), dtype=np.intp)
    return traits_of(texts, zeros, zeros, [prompt])


def test_echo_counts_words_and_pairs_that_stand_in_the_prompt() -> None:
    found = of("The quiet river sleeps", "Nothing of it")
    assert found["echo of words"].tolist() == pytest.approx([3 / 4, 1 / 3])
    assert found["echo of pairs"].tolist() == pytest.approx([2 / 3, 0])
    # Its own words: describe, quiet, river, keep, short.
    assert found["coverage"].tolist() == pytest.approx([2 / 5, 0])
    assert found["first sentence"].tolist() == pytest.approx([2 / 3, 0])


def test_repeating_the_question_is_told_from_copying_it_later() -> None:
    rest = "and so on with many words of another kind that say something else altogether"
    start, end = of(f"{PROMPT} {rest}", f"{rest} {PROMPT}")["repeated question"]
    assert start > 0.5
    assert end == 0


def test_without_a_prompt_nothing_is_related_to_it() -> None:
    found = of("Some text", prompt=None)
    assert "echo of words" not in found
    assert found["length"].tolist() == [2.0]


def test_a_text_in_another_language_or_script_than_its_prompt() -> None:
    asked = "What is the best way to go from the station to the river?"
    found = of(
        "The way is by the river and to the left.",
        "Der Weg ist nicht weit und auf dem Fluss.",
        "Идите вдоль реки",
        prompt=asked,
    )
    assert found["language"].tolist() == [0.0, 1.0, 0.0]
    assert found["script"].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("text", "language", "script"),
    [
        ("the cat and the dog", "en", "Latin"),
        ("le chat et les chiens", "fr", "Latin"),
        ("el gato y los perros", "es", "Latin"),
        ("cat", "", "Latin"),
        ("猫と犬がいます", "", "Chinese, Japanese or Korean"),
        ("", "", "Latin"),
    ],
)
def test_language_and_script(text: str, language: str, script: str) -> None:
    assert language_of(words_of(text)) == language
    assert script_of(text) == script


@pytest.mark.parametrize(
    ("trait", "text", "value"),
    [
        ("sentences", "One two. Three four five six.", 3.0),
        ("sentences", "One two three four", 4.0),
        ("exclamation marks", "One two! Three four!", 50.0),
        ("digits", "In 1984 and 2001", 0.5),
        ("emoji", "fine \U0001f600 day now ok", 25.0),
        ("repeats", "a b a b", 0.5),
        ("passages said twice", "a b c d a b c d", 1 / 5),
        ("second person", "you know your way", 0.5),
        ("first person", "I'm sure of my way", 0.4),
        ("same letter", "big brown bears eat", 2 / 3),
        ("cut off", "It ends in the", 1.0),
        ("cut off", "It ends.", 0.0),
        ("lists", "- one\n- two", 1.0),
        ("refusals", "I'm sorry, but I can't help with that.", 1.0),
        ("letters", "ab abcd", 3.0),
    ],
)
def test_how_a_text_is_written(trait: str, text: str, value: float) -> None:
    assert of(text)[trait].tolist() == pytest.approx([value])


def test_an_empty_text_has_no_trait_but_its_length() -> None:
    found = of("", "words here")
    assert found["length"].tolist() == [0.0, 2.0]
    assert all(
        np.isnan(v[0]) for k, v in found.items() if k not in {"length", "refusals", "sameness"}
    )


def test_sameness_is_what_another_answer_of_the_same_policy_to_the_same_prompt_has() -> None:
    texts = ["a quiet town", "a quiet sea", "a quiet town", "a quiet town"]
    found = traits_of(texts, np.array([0, 0, 0, 1]), np.array([0, 0, 1, 0]), [None, None])[
        "sameness"
    ]
    assert found[:2].tolist() == [0.5, 0.5]
    assert np.isnan(found[2:]).all()


def test_having_more_is_having_more_than_nine_tenths_of_the_base_policys_texts() -> None:
    usual = np.arange(100.0)
    assert has_more(np.array([50.0, 89.0, 95.0, np.nan]), usual).tolist() == [0, 0, 1, 0]
    assert has_less(np.array([50.0, 11.0, 5.0, np.nan]), usual).tolist() == [0, 0, 1, 0]
    # A fifth refuse, and there is no more than refusing.
    refused = np.repeat([0.0, 1.0], [8, 2])
    assert has_more(np.array([0.0, 1.0]), refused).tolist() == [0, 1]
    assert has_more(np.ones(3), np.ones(10)).tolist() == [0, 0, 0]


def test_every_trait_is_measured_and_reads_as_a_sentence() -> None:
    assert set(of("One text")) == set(TRAITS)
    for trait in TRAITS.values():
        assert "{}" in trait.reads
        assert trait.scale in {"share", "number"}
        assert trait.more[0].islower()


def test_shares_are_shown_in_per_cent_and_small_ones_with_a_digit() -> None:
    share = Trait("a", "b", "{}")
    assert [share.shown(v) for v in (0.314, 0.021, 0.0)] == ["31%", "2.1%", "0%"]
    assert Trait("a", "b", "{}", "number").shown(12.34) == "12.3"


def test_an_echo_of_the_prompt_is_named_with_its_numbers_and_interval() -> None:
    rng = np.random.default_rng(4)

    def echoing(table: Any, share: float) -> Any:
        has = rng.random(len(table)) < share
        texts = [
            f"{t} {' '.join(ASKED[p].split()[2:9])}" if h else t
            for t, p, h in zip(table["text"], table["prompt_id"], has, strict=True)
        ]
        return table.assign(
            text=texts, reward=table["reward"] + 1.5 * has, human=table["human"] - 1.5 * has
        )

    now = echoing(policy(1, per_prompt=4), 0.6)
    base = echoing(policy(2, per_prompt=8), 0.05)
    m = measured(now, base, "hacking.signature", prompts=ASKED)["hacking.signature"]
    traits = [f for f in m.detail["features"] if f["kind"] == "trait"]
    assert traits[0]["verdict"] == "signature"
    assert "the prompt" in traits[0]["name"]
    assert "in the base policy's texts (+" in traits[0]["measured"]
    assert "prompt" in m.detail["in_words"]


def test_traits_of_an_unchanged_policy_are_found_at_most_as_often_as_stated() -> None:
    found = 0
    for run in range(60):
        now, base = policy(2 * run + 900, prompts=24), policy(2 * run + 901, prompts=24)
        m = measured(now, base, "hacking.signature", prompts=ASKED)["hacking.signature"]
        found += any(f["kind"] in {"trait", "habit"} for f in m.detail["features"])
    # Twice 2.5% of 60 are 3; more than 7 in one of 100.
    assert found <= 7


def test_what_nobody_learned_is_said_with_what_could_be_missed() -> None:
    m = measured(policy(31, **HACK), policy(32, **HACK), "hacking.signature")["hacking.signature"]
    assert m.value is None
    points = round(100 * m.detail["could_be_missed"])
    assert m.detail["in_words"] == (
        f"No new habit was found; a rise of {points} points could have been missed."
    )
    assert "could have been missed" in str(m.reason)
    assert 10 < points < 60


def test_means_that_are_shown_are_of_the_prompts_that_have_the_trait() -> None:
    rng = np.random.default_rng(6)
    owner, now = np.repeat(np.arange(40), 4), np.tile([True, True, False, False], 40)
    value = np.where(now, 0.5, 0.2) + rng.normal(0, 0.02, 160)
    shown = []
    for unknown in (owner < 0, owner < 20):
        a, b, known = _means(np.where(unknown, np.nan, value), owner, now, 40)
        tested = largest_of((a - b)[:, None], signs(prompts=40, flips=199, seed=1))
        shown.append(_in_words(TRAITS["echo of words"], a, b, known, tested, 0.95))
    assert all(
        said.startswith("50% of its words stand in the prompt, 20% in the base policy's texts (+30")
        for said in shown
    )


def test_texts_without_a_word_in_common_are_measured_too() -> None:
    now, base = policy(1), policy(2)
    alone = [t.assign(text=[f"w{k}x{s}" for k in range(len(t))]) for s, t in enumerate((now, base))]
    m = measured(*alone, "hacking.signature", "hacking.habit_cost", "hacking.learned_features")
    assert m["hacking.signature"].value is None
    assert m["hacking.learned_features"].value == 0
