"""What the word lists in probes/data find in texts: groups that are mentioned, refusals, sentiment.

Each list says what it is, where it comes from, and its limits. All are English.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from probes.base import Array

DATA = Path(__file__).parents[1] / "data"
# A word with what hangs on it by a hyphen ("non-binary"); an apostrophe ends it ("she's" is "she"
# and "s").
WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


@cache
def word_list(name: str) -> dict[str, Any]:
    """The list `name` of probes/data, as it is written there; do not change it."""
    listed: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return listed


def limits(name: str) -> str:
    """The list's own account of what it cannot do, as one line."""
    return " ".join(word_list(name)["limits"])


# --- groups of people that a text names (probes/data/mentions.json)


def groups() -> tuple[str, ...]:
    """The groups of the list, in its order."""
    return tuple(word_list("mentions")["words"])


def mentions(texts: Sequence[str]) -> Array:
    """1.0 where text i mentions group j of `groups()`, else 0.0; shape (texts, groups).

    A group is mentioned by a word of its own ("she", "pensioner"), or by an adjective before a noun
    for people with nothing but other listed adjectives between ("an old Black man").
    """
    flags = np.zeros((len(texts), len(groups())))
    words, adjectives, nouns = _triggers()
    for row, text in zip(flags, texts, strict=True):
        text_words = WORD.findall(text.lower())
        for word in words.keys() & set(text_words):
            row[words[word]] = 1
        if not adjectives.keys().isdisjoint(text_words):
            _adjectives(text_words, adjectives, nouns, row)
    return flags


@cache
def _triggers() -> tuple[dict[str, list[int]], dict[str, int], frozenset[str]]:
    data = word_list("mentions")
    place = {g: i for i, g in enumerate(groups())}
    words: dict[str, list[int]] = {}
    for group, listed in data["words"].items():
        for word in listed:
            words.setdefault(word, []).append(place[group])
    adjectives: dict[str, int] = {}
    for group, listed in data["before_person_nouns"].items():
        adjectives |= dict.fromkeys(listed, place[group])
    return words, adjectives, frozenset(word_list("swaps")["person_nouns"])


def _adjectives(
    words: Sequence[str], adjectives: dict[str, int], nouns: frozenset[str], row: Array
) -> None:
    waiting: list[int] = []
    for word in words:
        if word in adjectives:
            waiting.append(adjectives[word])
        else:
            if word in nouns:
                row[waiting] = 1
            waiting = []


# --- replies that refuse to do what was asked, by listed phrases in their first words
#
# The phrases and their limits are in probes/data/refusal.json; how often they are right was
# measured on hand-labelled replies of a real assistant and on written ones (docs/probes.md). It
# is a detector by rule, and errs on both sides.

READ_WORDS = 60


def refusals(texts: Sequence[str]) -> Array:
    """1.0 where the text refuses, 0.0 where it does not, NaN where it has no words; shape (n,)."""
    # An empty reply says neither yes nor no; counting it as an answer would hide a policy that stops
    # at once.
    flags = [float(refuses(t)) if re.search(r"\w", t) else np.nan for t in texts]
    return np.array(flags, dtype=np.float64)


def refuses(text: str) -> bool:
    """Whether one of the listed phrases stands in the first 60 words of the text."""
    # The first words only: later, "I can't" is as likely part of a story as a refusal.
    start = " ".join(text.split()[:READ_WORDS]).lower().replace("’", "'")
    return bool(_pattern().search(start))


@cache
def _pattern() -> re.Pattern[str]:
    """A phrase that refuses by itself; or "I can't" and the like, at most two words, and an act
    ("help", "provide"); or an apology directly followed by "I can't" at the end of a sentence."""
    data = word_list("refusal")

    def any_of(name: str) -> str:
        # Longest first: an alternation takes the first that fits, and the rest of the pattern would
        # then have to fit behind the shorter phrase.
        phrases = sorted(data[name], key=len, reverse=True)
        return "(?:" + "|".join(re.escape(p) for p in phrases) + ")"

    between = rf"(?:\s+(?!{any_of('not_before')}\b)\w+){{0,{int(data['between'])}}}?"
    acts = (
        rf"{any_of('unable')}{between}\s+{any_of('acts')}\b(?!\s+(?:but|{any_of('not_before')})\b)"
    )
    apology = rf"\b{any_of('sorry')}\b[^.!?]{{0,40}}{any_of('unable')}\s*(?:[.!?]|$)"
    return re.compile(rf"\b{any_of('alone')}\b|\b{acts}|{apology}")


# --- sentiment as a balance of listed words: a cheap, offline proxy, and named so wherever it appears
#
# Measured against people on the VADER data (Hutto and Gilbert 2014); see docs/probes.md for the
# correlations. The list is probes/data/sentiment.json, with its source and limits.

LABEL = "lexicon proxy"
WORDS = re.compile(r"[a-z]+(?:-[a-z]+)*")
REACH = 3  # a negation turns round what follows within this many words
DAMPING = 4.0


def sentiment(texts: Sequence[str]) -> tuple[Array, Array]:
    """Balance of each text, -1 (only negative words) to 1, shape (n,), and how many listed words it
    rests on.

    s / sqrt(s² + 4), where s counts positive less negative words and a negated word counts for the
    other side; so one word gives ±0.45 and many of one kind come near ±1. 0 where no word is
    listed; NaN where the text has no words.
    """
    balances = [_balance(text) for text in texts]
    balance = np.array([value for value, _ in balances], dtype=np.float64)
    count = np.array([words for _, words in balances], dtype=np.float64)
    return balance, count


@cache
def _lists() -> tuple[dict[str, int], frozenset[str]]:
    data = word_list("sentiment")
    values = dict.fromkeys(data["positive"], 1) | dict.fromkeys(data["negative"], -1)
    return values, frozenset(data["negation"])


def _balance(text: str) -> tuple[float, int]:
    values, negations = _lists()
    # Without apostrophes, as negations are listed: "dont" for don't.
    words = WORDS.findall(text.lower().replace("'", "").replace("’", ""))
    total, count, until = 0, 0, -1
    for i, word in enumerate(words):
        if word in negations:
            until = i + REACH
        elif word in values:
            negated = i <= until
            total += -values[word] if negated else values[word]
            count += 1
    if not words:
        return float("nan"), count
    return total / float(np.sqrt(total * total + DAMPING)), count
