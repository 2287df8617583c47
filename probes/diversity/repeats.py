"""Repetition among whole texts: copies, a common opening, and how well they compress."""

from __future__ import annotations

import zlib
from collections import Counter

import numpy as np

from probes.statistics.jackknife import Chosen, Deleted, Groups, one_by_one
from probes.texts.grams import Counts, largest
from probes.texts.sets import Texts, words_of

OPENING = 5


def duplicates(texts: Texts, groups: Groups) -> Deleted:
    """Share of texts that are in the set already, letter case, punctuation and spacing aside;
    0..1-1/n.
    """
    # A text without any word stands for itself: "!" and "?" are not duplicates of each other.
    counts = _counted([words_of(one) or (one.strip(),) for one in texts.texts], texts, groups)
    return counts.deleted(lambda c: 1 - np.count_nonzero(c) / c.sum() if c.any() else float("nan"))


def mode_share(texts: Texts, groups: Groups) -> Deleted:
    """Share of texts in the largest group of texts with the same first OPENING words; 1/n..1.

    A shorter text counts with all its words, so texts without a word are one group.
    """
    return largest(_counted(openings(texts), texts, groups))


def openings(texts: Texts) -> list[tuple[str, ...]]:
    """The first OPENING words of each text, in lower case."""
    return [words[:OPENING] for words in texts.words]


def commonest(texts: Texts) -> str:
    """The most common opening; of several, the first in the alphabet."""
    found = Counter(openings(texts))
    return " ".join(min((-count, opening) for opening, count in found.items())[1])


def compression(texts: Texts, groups: Groups) -> Deleted:
    """Bytes after zlib level 9 over bytes before, of the words, one text a line, by prompt; NaN
    without a word.
    """
    lines: list[list[str]] = [[] for _ in range(texts.units)]
    for unit, words in zip(texts.owner.tolist(), texts.words, strict=True):
        lines[unit].append(" ".join(words))
    joined = ["\n".join(one).encode() for one in lines]

    def ratio(chosen: Chosen) -> float:
        raw = b"\n".join([joined[p] for p in chosen.tolist()])
        return len(zlib.compress(raw, 9)) / len(raw) if raw.strip() else float("nan")

    return one_by_one(ratio, groups)


def _counted(keys: list[tuple[str, ...]], texts: Texts, groups: Groups) -> Counts:
    numbers: dict[tuple[str, ...], int] = {}
    code = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    return Counts(code, texts.owner, len(numbers), groups)
