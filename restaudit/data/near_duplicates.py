"""Near-duplicates between two sets of texts: exact Jaccard similarity of their word 3-grams."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

_WORD = re.compile(r"\w+")
SIZE = 3


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """The word 3-grams of a normalised text; all of its words as one where there are fewer than
    three.
    """
    words = _WORD.findall(text)
    if not words:
        return frozenset()
    if len(words) < SIZE:
        return frozenset({tuple(words)})
    return frozenset(tuple(words[i : i + SIZE]) for i in range(len(words) - SIZE + 1))


def jaccard(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> float:
    """Size of the intersection over size of the union, in [0, 1]; 0 where either is empty."""
    if not a or not b:
        return 0.0
    common = len(a & b)
    return common / (len(a) + len(b) - common)


def near_pairs(
    left: Sequence[str], right: Sequence[str], limit: float
) -> Iterator[tuple[int, int, float]]:
    """Every pair (index in left, index in right, Jaccard) at or above `limit`, none missed.

    Two sets that similar share one of their few rarest shingles (prefix filter: Chaudhuri et al.
    2006, ICDE; Bayardo et al. 2007, WWW), so that only such pairs are compared and the cost stays
    far below all pairs.
    """
    a, b = [shingles(t) for t in left], [shingles(t) for t in right]
    counts: Counter[tuple[str, ...]] = Counter()
    for text in (*a, *b):
        counts.update(text)
    index: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for j, text in enumerate(b):
        for shingle in _prefix(text, counts, limit):
            index[shingle].append(j)
    for i, text in enumerate(a):
        candidates: set[int] = set()
        for shingle in _prefix(text, counts, limit):
            candidates.update(index.get(shingle, ()))
        for j in sorted(candidates):
            similarity = jaccard(text, b[j])
            if similarity >= limit:
                yield i, j, similarity


def _prefix(
    one: frozenset[tuple[str, ...]], counts: Mapping[tuple[str, ...], int], limit: float
) -> list[tuple[str, ...]]:
    """The rarest shingles of a set: as many as a similar set cannot all lack."""
    # The small subtraction guards against a product such as 0.7 * 10 that comes out just above a
    # whole number.
    length = len(one) - math.ceil(limit * len(one) - 1e-9) + 1
    return sorted(one, key=lambda s: (counts[s], s))[:length]
