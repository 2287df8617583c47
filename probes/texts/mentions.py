"""Who is mentioned: which groups of people a text names by a listed word.

The list is probes/data/mentions.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from probes.base import Array
from probes.texts.lists import WORD, word_list


def groups() -> tuple[str, ...]:
    """The groups of the list, in its order."""
    return tuple(word_list("mentions")["words"])


def mentions(texts: Sequence[str]) -> Array:
    """1.0 where text i mentions group j of `groups()`, else 0.0; shape (texts, groups).

    A group is mentioned by a word of its own ("she", "pensioner"), or by an adjective before a noun
    for people with nothing but other listed adjectives between ("an old Black man").
    """
    found = np.zeros((len(texts), len(groups())))
    words, adjectives, nouns = _triggers()
    for row, text in zip(found, texts, strict=True):
        there = WORD.findall(text.lower())
        for word in words.keys() & set(there):
            row[words[word]] = 1
        if not adjectives.keys().isdisjoint(there):
            _adjectives(there, adjectives, nouns, row)
    return found


@cache
def _triggers() -> tuple[dict[str, list[int]], dict[str, int], frozenset[str]]:
    data = word_list("mentions")
    place = {g: i for i, g in enumerate(groups())}
    words: dict[str, list[int]] = {}
    for group, listed in data["words"].items():
        for word in listed:
            words.setdefault(word, []).append(place[group])
    adjectives = {w: place[g] for g, listed in data["before_person_nouns"].items() for w in listed}
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
