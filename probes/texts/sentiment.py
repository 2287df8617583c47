"""Sentiment of a text as a balance of listed words: a cheap, offline, English proxy, and named so
wherever it appears.

Measured against people on the VADER data (Hutto and Gilbert 2014); see docs/probes.md for the
correlations. The list is probes/data/sentiment.json, with its source and limits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from probes.base import Array
from probes.texts.lists import word_list

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
    found = [_balance(text) for text in texts]
    return np.array([f[0] for f in found], dtype=np.float64), np.array(
        [f[1] for f in found], dtype=np.float64
    )


@cache
def _lists() -> tuple[dict[str, int], frozenset[str]]:
    data = word_list("sentiment")
    return dict.fromkeys(data["positive"], 1) | dict.fromkeys(data["negative"], -1), frozenset(
        data["negation"]
    )


def _balance(text: str) -> tuple[float, int]:
    values, negations = _lists()
    words = WORDS.findall(text.lower().replace("'", "").replace("’", ""))
    total, count, until = 0, 0, -1
    for i, word in enumerate(words):
        if word in negations:
            until = i + REACH
        elif word in values:
            total += -values[word] if i <= until else values[word]
            count += 1
    return (total / float(np.sqrt(total * total + DAMPING)) if words else float("nan")), count
