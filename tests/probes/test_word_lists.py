"""Sentiment, refusal and mentions by word lists: what they see, and how often people agree with
them.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from probes.texts.word_lists import DATA, groups, mentions, refusals, refuses, sentiment, word_list

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(p.stem for p in DATA.glob("*.json")))
def test_every_list_says_what_it_is_where_it_comes_from_and_what_it_cannot_do(name: str) -> None:
    found = word_list(name)
    assert all(found[key] for key in ("what", "source", "limits"))


# --- sentiment


def test_sentiment_rises_with_good_words_falls_with_bad_ones_and_turns_round_after_a_negation() -> (
    None
):
    texts = [
        "A good and charming film.",
        "A good film.",
        "A film.",
        "Not a good film.",
        "Isn’t boring.",
        "Awful, dull.",
        "…",
    ]
    values, words = sentiment(texts)
    assert values[0] > values[1] > values[2] == 0 > values[3]
    assert values[4] > 0 > values[5]
    assert np.isnan(values[6])
    assert words.tolist() == [2, 1, 0, 1, 1, 2, 0]
    assert np.nanmax(np.abs(values)) < 1


def test_no_word_is_listed_as_both_positive_and_negative() -> None:
    data = word_list("sentiment")
    assert not set(data["positive"]) & set(data["negative"])


# Pearson r with the mean of 15 to 29 people's ratings, and the share of texts with a listed word.
RATED = {
    "movieReviewSnippets_GroundTruth.txt.gz": (0.492, 0.71),
    "amazonReviewSnippets_GroundTruth.txt": (0.567, 0.52),
    "nytEditorialSnippets_GroundTruth.txt.gz": (0.434, 0.33),
    "tweets_GroundTruth.txt": (0.726, 0.63),
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", RATED)
def test_sentiment_goes_with_what_people_felt_as_closely_as_the_documentation_says(
    shared_data: Path, name: str
) -> None:
    path = shared_data / "vader" / name
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = [line.split("\t") for line in raw.decode("utf-8").splitlines() if line]
    values, words = sentiment([line[-1] for line in lines])
    people = np.array([float(line[1]) for line in lines])
    there = ~np.isnan(values)
    r, covered = RATED[name]
    assert np.corrcoef(values[there], people[there])[0, 1] == pytest.approx(r, abs=0.005)
    assert (words > 0).mean() == pytest.approx(covered, abs=0.005)


# --- refusal


def test_refusals_are_found_in_written_replies_as_often_as_the_documentation_says() -> None:
    replies = json.loads((HERE / "replies.json").read_text(encoding="utf-8"))
    assert len(replies["refuses"]) == len(replies["answers"]) == 40
    assert sum(map(refuses, replies["refuses"])) == 29
    assert sum(map(refuses, replies["answers"])) == 1


def test_a_reply_without_words_neither_refuses_nor_answers() -> None:
    assert np.isnan(refusals(["", " …"])).all()
    assert refusals(["Yes.", "I'm sorry, but I can't help with that."]).tolist() == [0, 1]
    late = "word " * 60 + "I can't help with that."
    assert not refuses(late)


# (found refusals, of, false alarms, of)
LABELLED = {"random": (1, 4, 0, 106), "net": (10, 14, 1, 66), "fresh": (7, 9, 8, 51)}


@pytest.mark.realdata
@pytest.mark.parametrize("which", LABELLED)
def test_refusals_of_a_real_assistant_are_found_as_often_as_the_documentation_says(
    shared_data: Path, which: str
) -> None:
    labels = json.loads((HERE / "refusal_labels.json").read_text(encoding="utf-8"))[which]
    with gzip.open(
        shared_data / "hh_harmless_base_test" / "test.jsonl.gz", "rt", encoding="utf-8"
    ) as f:
        rows = [json.loads(line) for line in f]
    sides = {"c": "chosen", "r": "rejected"}
    replies = [rows[i][sides[s]].rsplit("\n\nAssistant:", 1)[1].strip() for i, s, _ in labels]
    found = np.array([refuses(r) for r in replies])
    true = np.array([bool(label) for *_, label in labels])
    assert (
        int(found[true].sum()),
        int(true.sum()),
        int(found[~true].sum()),
        int((~true).sum()),
    ) == LABELLED[which]


# --- mentions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She met an old Black man.", {"women", "men", "Black people", "older people"}),
        ("A black comedy about an old, white house.", set()),
        ("They are non-binary.", {"nonbinary people"}),
        ("A trans woman in a wheelchair.", {"trans people", "women", "disabled people"}),
        ("A trans-Siberian train, then the theme.", set()),
        ("Muslims, Jews and a CATHOLIC teacher", {"Muslims", "Jews", "Christians"}),
        ("", set()),
    ],
)
def test_who_is_mentioned_is_whom_a_listed_word_names(text: str, expected: set[str]) -> None:
    assert {g for g, there in zip(groups(), mentions([text])[0], strict=True) if there} == expected


@pytest.mark.realdata
def test_gendered_pronouns_of_winogender_are_mentions_of_that_gender_only(
    shared_data: Path,
) -> None:
    lines = (
        (shared_data / "winogender" / "all_sentences.tsv")
        .read_text(encoding="utf-8")
        .splitlines()[1:]
    )
    pairs = [line.split("\t") for line in lines]
    found = mentions([text for _, text in pairs])
    for k, group in enumerate(("women", "men")):
        assert groups()[k] == group
        expected = [(".female." in name, ".male." in name)[k] for name, _ in pairs]
        assert found[:, k].astype(bool).tolist() == expected
