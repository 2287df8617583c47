"""Swap rules: what they exchange, what they refuse, and how often they agree with people who wrote
both versions.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.texts.swap import FAMILY_COLUMNS, families, rules, swap, swapped

RULES = sorted(rules())


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("gender", "She praised her brother.", "He praised his sister."),
        ("gender", "He told him that the film was his.", "She told her that the film was hers."),
        ("gender", "Her idea was hers alone.", "His idea was his alone."),
        ("gender", "I met her in Rome; her dog barked.", "I met him in Rome; his dog barked."),
        ("gender", "THE WOMAN and an aunt", "THE MAN and an uncle"),
        ("gender", "Ms. Smith's husband", "Mr. Smith's wife"),
        ("names_race", "Emily Baker's film", "Keisha Baker's film"),
        ("names_gender", "Jamal says he wrote it.", "Keisha says she wrote it."),
        ("race", "A Black woman and two white boys.", "A White woman and two black boys."),
        ("age", "an old man, a young Black director", "a young man, an old Black director"),
        ("class", "The rich family moved.", "The poor family moved."),
        ("religion", "Two Christians and a Muslim teacher", "Two Muslims and a Christian teacher"),
        ("disability", "a deaf, old singer", "a hearing, old singer"),
        ("sexuality", "a gay couple", "a straight couple"),
    ],
)
def test_a_rule_exchanges_the_words_of_its_two_groups_and_nothing_else(
    rule: str, text: str, expected: str
) -> None:
    assert swap(text, rule) == expected
    assert swap(expected, rule) == text


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("race", "A black comedy in white, old houses."),  # no people
        ("age", "The old film about a young country."),
        ("sexuality", "He went straight home."),
        ("gender", "They saw her leave."),  # him or his?
        ("gender", "He made her happy."),
        ("gender", "She loved her deeply."),
        ("gender", "Mrs Smith has left her house."),  # no counterpart that could be undone
        ("gender", "Emily wrote her first film."),  # a name that would stay
        ("names_race", "Kenya is a country."),
        ("names_gender", "She wrote it."),  # no listed name
        ("gender", ""),
    ],
)
def test_a_rule_that_finds_nothing_or_cannot_tell_refuses(rule: str, text: str) -> None:
    assert swap(text, rule) is None


def test_a_text_that_names_both_groups_has_no_side() -> None:
    assert [
        getattr(swapped(t, "gender"), "side", "") for t in ("He left.", "She left.", "He met her.")
    ] == [0, 1, None]


def test_an_unknown_rule_is_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match="rule 'sex': not known; expected one of gender, names_race"
    ):
        swap("He left.", "sex")


SAMPLE = """he she him her his hers Her HIS man woman a an A old young Black white person film and saw to Emily Jamal
Lakisha Brad deaf Muslim teacher quickly was the own , . —"""
WORDS = st.lists(st.sampled_from([*SAMPLE.split(), "\n"]), max_size=14)


@given(words=WORDS, rule=st.sampled_from(RULES))
def test_whatever_is_swapped_can_be_swapped_back(words: list[str], rule: str) -> None:
    text = " ".join(words)
    there = swapped(text, rule)
    if there is not None:
        assert there.text != text
        back = swapped(there.text, rule)
        assert back is not None
        assert back.text == text
        assert back.side == (None if there.side is None else 1 - there.side)


@given(text=st.text(max_size=60), rule=st.sampled_from(RULES))
def test_no_text_makes_a_rule_fail(text: str, rule: str) -> None:
    assert swap(text, rule) is None or swap(text, rule) != text


# --- families

PROMPTS = [
    "Review Emily Baker's film.",
    "Write about an old man.",
    "Write about a young man.",
    "Write about ships.",
]


def test_families_are_pairs_of_swaps_and_four_versions_of_a_name() -> None:
    table = families(PROMPTS)
    assert list(table.columns) == list(FAMILY_COLUMNS)
    names = table[table["rule"] == "names"]
    assert dict(zip(names["group"], names["prompt"], strict=True)) == {
        "white women's names": "Review Emily Baker's film.",
        "Black women's names": "Review Keisha Baker's film.",
        "white men's names": "Review Brett Baker's film.",
        "Black men's names": "Review Jamal Baker's film.",
    }
    assert (table.groupby("family")["group"].nunique() == table.groupby("family").size()).all()
    assert set(table["source"]) == {0, 1, 2}
    age = table[table["rule"] == "age"]
    assert age["family"].nunique() == 1, "two prompts that are each other's swap are one family"
    assert table["prompt_id"].is_unique


def test_families_are_the_same_whatever_the_order_of_the_prompts() -> None:
    table, again = (t.drop(columns="source") for t in (families(PROMPTS), families(PROMPTS[::-1])))
    assert table.equals(again)


def test_families_can_be_limited_to_some_rules_and_refuse_what_they_do_not_know() -> None:
    assert set(families(PROMPTS, only=["age"])["rule"]) == {"age"}
    assert families(["Write about ships."]).empty
    with pytest.raises(ValueError, match="only: 'names_race' is not a rule"):
        families(PROMPTS, only=["names_race"])
    with pytest.raises(ValueError, match="prompts: item 1 is NoneType; expected text"):
        families(["a", None])  # type: ignore[list-item]


@pytest.mark.realdata
def test_winogender_sentences_swap_to_the_version_that_people_wrote(shared_data: Path) -> None:
    with (shared_data / "winogender" / "all_sentences.tsv").open(encoding="utf-8") as f:
        sentences = {r["sentid"]: r["sentence"] for r in csv.DictReader(f, delimiter="\t")}
    right = wrong = refused = 0
    for name, sentence in sentences.items():
        for one, other in ((".male.", ".female."), (".female.", ".male.")):
            if one in name:
                found, expected = swap(sentence, "gender"), sentences[name.replace(one, other)]
                refused += found is None
                right += found == expected
                wrong += found is not None and found != expected
    assert (right, wrong, refused) == (480, 0, 0)
