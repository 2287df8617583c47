"""What a text looks like, apart from its words: lists, capitals, marks, hedges, and how long it is
for its kind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Each completes "of texts now have …". English only where words are named.
PATTERNS: dict[str, re.Pattern[str]] = {
    "a list": re.compile(r"(?m)^[ \t]*(?:[-*•+]|\d{1,2}[.)])[ \t]+\S"),
    "a heading": re.compile(r"(?m)^[ \t]*(?:#{1,6}[ \t]+\S|\*\*[^*\n]+\*\*:?[ \t]*$)"),
    "bold or italic marks": re.compile(r"\*\*\S[^*\n]*\*\*|(?<!\w)_[^_\s][^_\n]*_(?!\w)"),
    "code marks": re.compile(r"`[^`\n]+`|```"),
    "more than one line": re.compile(r"\S[ \t]*\n\s*\S"),
    "an empty line between paragraphs": re.compile(r"\S[ \t]*\n[ \t]*\n\s*\S"),
    "two or more words in capitals": re.compile(r"\b[A-Z]{3,}\b.*\b[A-Z]{3,}\b", re.DOTALL),
    "no capital letter": re.compile(r"\A(?=.*[a-z])[^A-Z]*\Z", re.DOTALL),
    "an exclamation mark": re.compile(r"!"),
    "two or more exclamation marks": re.compile(r"!.*!", re.DOTALL),
    "a question mark": re.compile(r"\?"),
    "quotation marks": re.compile(r"[\"“”«»]"),
    "parentheses": re.compile(r"\([^)]*\)"),
    "a colon": re.compile(r":(?!//)"),
    "a semicolon": re.compile(r";"),
    "a dash": re.compile(r"\s[-–—]{1,2}\s|\w[—–]\w"),
    "an ellipsis": re.compile(r"\.\.\.|…"),
    "an emoji": re.compile(r"[\U0001F300-\U0001FAFF\u2600-\u27BF]|[:;]-?[)D(]"),
    "a digit": re.compile(r"\d"),
    "a link": re.compile(r"https?://|www\.\w", re.IGNORECASE),
    "a remark on being a machine": re.compile(
        r"(?i)\bas an? (?:ai|artificial intelligence|(?:large )?language model|"
        r"assistant)\b|\bI am an? (?:ai|language model)\b"
    ),
    "a hedge": re.compile(
        r"(?i)\b(?:maybe|perhaps|possibly|probably|arguably|might|seems?|somewhat|in my opinion|"
        r"I think|I believe|it depends|not sure)\b"
    ),
    "an apology": re.compile(r"(?i)\b(?:sorry|apolog(?:y|ies|ise|ize)|unfortunately)\b"),
    "praise of the reader": re.compile(
        r"(?i)\b(?:great|good|excellent|wonderful) (?:question|point|idea|choice)\b"
    ),
    "an offer of more help": re.compile(
        r"(?i)\b(?:hope (?:this|that) helps|let me know|feel free|happy to help)\b"
    ),
    "the word I": re.compile(r"\bI(?:'[a-z]+)?\b"),
    "the word you": re.compile(r"(?i)\byou(?:r|'[a-z]+)?\b"),
    "the same word twice running": re.compile(r"(?i)\b(\w{2,})\W+\1\b"),
    "no mark at the end": re.compile(r"[^\s.!?…\"”')\]]\s*\Z"),
}
LONG = "more words than three quarters of the base policy's"
SHORT = "fewer words than three quarters of the base policy's"
REPEATS = "four words in a row that they had before"
AT_LIMIT = "the full length of {} tokens"
# Where fewer texts than this are as long as the longest, length is not limited, and one text is
# just the longest.
LIMITED = 0.05
REMEMBERED = 2**14  # texts


def formats(
    texts: Sequence[str],
    words: NDArray[np.int64],
    repeats: NDArray[np.bool_],
    usual: NDArray[np.int64],
    tokens: NDArray[np.float64] | None = None,
) -> dict[str, NDArray[np.bool_]]:
    """Which texts have which format: names that complete "of texts have …", each with a mask of
    shape (n,).

    `words` (n,) counts the words of each text, `repeats` (n,) says which repeat themselves, and
    `usual` holds the word counts of the base policy's texts, which say what is long and what is
    short. Where `tokens` (n,) are given and many texts have the largest number of them, those are a
    format too.
    """
    matched = np.array([_matched(t) for t in texts], dtype=bool).reshape(len(texts), len(PATTERNS))
    found = {name: matched[:, k].copy() for k, name in enumerate(PATTERNS)}
    found |= {LONG: is_long(words, usual), SHORT: is_short(words, usual), REPEATS: repeats}
    if tokens is not None and np.isfinite(tokens).any():
        longest = np.nanmax(tokens)
        limited = np.asarray(tokens == longest)
        if limited.mean() >= LIMITED:
            found[AT_LIMIT.format(int(longest))] = limited
    return found


@lru_cache(maxsize=REMEMBERED)
def _matched(text: str) -> tuple[bool, ...]:
    """Which of PATTERNS a text has. The base policy's texts are asked for at every look."""
    return tuple(p.search(text) is not None for p in PATTERNS.values())


def is_long(words: NDArray[np.int64], usual: NDArray[np.int64]) -> NDArray[np.bool_]:
    """More words than three quarters of the base policy's texts have."""
    return np.asarray(words > np.quantile(usual, 0.75))


def is_short(words: NDArray[np.int64], usual: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Fewer words than three quarters of the base policy's texts have."""
    return np.asarray(words < np.quantile(usual, 0.25))
