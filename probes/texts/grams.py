"""n-grams of words as whole numbers, and statistics that count them: distinct-n, rarefaction,
shares copied.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from probes.statistics.jackknife import Chosen, Deleted, Groups
from probes.statistics.resample import Array

Words = Sequence[tuple[str, ...]]
Codes = NDArray[np.int64]
Small = NDArray[np.int32]  # half the memory, for what there are millions of


@dataclass(frozen=True)
class Coded:
    """Words of texts as numbers 0..vocabulary-1, one text after another, and the number of words of
    each text.
    """

    ids: Small
    lengths: Codes
    vocabulary: int


@dataclass(frozen=True)
class Grams:
    """Every n-gram of some texts: its number 0..kinds-1 (the same words, the same number), and the
    text it is in.
    """

    code: Small
    text: Small
    kinds: int


def coded(words: Words) -> Coded:
    """Number the words; the same word has the same number in all texts."""
    names: defaultdict[str, int] = defaultdict(count().__next__)
    lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    size = int(lengths.sum())
    ids = np.fromiter(
        map(names.__getitem__, chain.from_iterable(words)), dtype=np.int32, count=size
    )
    return Coded(ids, lengths, len(names))


def grams(texts: Coded, order: int) -> Grams:
    """All n-grams of `order` words, in order of text and place; none crosses from one text into the
    next.

    Exact, without hashing: an n-gram is the pair of the shorter ones it begins and ends with,
    numbered anew at each of the log2(order) doublings.
    """
    # No hashing: two different n-grams with one hash would be counted as a repetition.
    codes, kinds, size = texts.ids, texts.vocabulary, 1
    # Pairs are numbered in 64 bits: vocabulary squared is beyond 32 for a few ten thousand words.
    while size < order and len(codes):
        step = min(size, order - size)
        codes, kinds = _renumbered(codes[:-step] * np.int64(kinds) + codes[step:])
        size += step
    text = np.repeat(np.arange(len(texts.lengths), dtype=np.int32), texts.lengths)
    # A text of w words has w - order + 1 n-grams; those that begin later would cross into the next
    # text.
    place = np.arange(len(texts.ids)) - np.repeat(
        np.cumsum(texts.lengths) - texts.lengths, texts.lengths
    )
    inside = np.flatnonzero(place + order <= texts.lengths[text])
    kept = codes[inside]
    if order > 1:
        # What crossed from one text into the next has gone, and its numbers with it.
        kept, kinds = _renumbered(kept)
    return Grams(kept, text[inside], kinds)


def _renumbered(codes: NDArray[np.integer[Any]]) -> tuple[Small, int]:
    kinds, number = np.unique(codes, return_inverse=True)
    return number.astype(np.int32), len(kinds)


# --- counting with groups of units left out


class Counts:
    """How often each kind occurs in all, and when a group of units is left out; computed group by
    group, in one pass.

    `code` (m,) holds kinds 0..kinds-1, `unit` (m,) the unit each belongs to.
    """

    def __init__(
        self, code: NDArray[np.integer[Any]], unit: Chosen, kinds: int, groups: Groups
    ) -> None:
        self.kinds = kinds
        self.total = np.bincount(code, minlength=kinds)
        label = groups.label[unit]
        order = np.argsort(label, kind="stable")
        self._parts = np.split(
            code[order], np.cumsum(np.bincount(label, minlength=groups.count))[:-1]
        )

    def left(self) -> Iterator[NDArray[np.intp]]:
        """Counts by kind without each group of units, in turn; never all at once, since kinds may
        be millions.
        """
        for members in self._parts:
            yield self.total - np.bincount(members, minlength=self.kinds)

    def deleted(self, statistic: Callable[[NDArray[np.intp]], float]) -> Deleted:
        """A statistic of counts by kind, of everything and without each group."""
        return Deleted(
            statistic(self.total), np.array([statistic(c) for c in self.left()], dtype=np.float64)
        )


def distinct(counts: Counts) -> Deleted:
    """Different kinds over all tokens (distinct-n: Li et al. 2016); NaN without a token."""

    def share(c: NDArray[np.intp]) -> float:
        tokens = int(c.sum())
        if not tokens:
            return float("nan")
        return np.count_nonzero(c) / tokens

    return counts.deleted(share)


def largest(counts: Counts) -> Deleted:
    """Share of all tokens that are of the most common kind; NaN without a token."""

    def share(c: NDArray[np.intp]) -> float:
        tokens = int(c.sum())
        if not tokens:
            return float("nan")
        return float(c.max() / tokens)

    return counts.deleted(share)


def distinct_ratio(now: Counts, then: Counts) -> Deleted:
    """distinct-n over the base policy's, both at the same number of n-grams.

    The set with more n-grams counts with the expected number of different ones among as many as the
    other has (rarefaction: Hurlbert 1971), since fewer n-grams repeat less.
    """

    def ratio(a: NDArray[np.intp], b: NDArray[np.intp]) -> float:
        size = int(min(a.sum(), b.sum()))
        if not size:
            return float("nan")
        return rarefied(a, size) / rarefied(b, size)

    left = [ratio(a, b) for a, b in zip(now.left(), then.left(), strict=True)]
    return Deleted(ratio(now.total, then.total), np.array(left, dtype=np.float64))


def rarefied(counts: NDArray[np.intp], size: int) -> float:
    """Expected number of different kinds among `size` tokens drawn without replacement; counts are
    tokens by kind.
    """
    # Kinds with the same count are missed with the same chance, and millions of kinds have a few
    # dozen counts.
    kinds_by_count = np.bincount(counts)
    count = np.flatnonzero(kinds_by_count)
    count = count[count > 0]
    kinds = kinds_by_count[count]
    total = int((kinds * count).sum())
    if size >= total:
        return float(kinds.sum())
    rest = (total - count).astype(np.float64)
    # C(total - count, size) / C(total, size) is the chance that a kind is missed; it is 0 where the
    # rest is too few.
    possible = rest >= size
    # In logarithms, since the binomial coefficients of a few thousand n-grams overflow.
    chosen = gammaln(rest[possible] + 1) - gammaln(rest[possible] - size + 1)
    missed = np.exp(chosen - gammaln(total + 1) + gammaln(total - size + 1))
    return float(kinds.sum() - (missed * kinds[possible]).sum())


def distinct_by_unit(all_grams: Grams, unit: Chosen, units: int) -> Array:
    """distinct-n of each unit's own n-grams, (units,); NaN for a unit without any."""
    owner = unit[all_grams.text]
    tokens = np.bincount(owner, minlength=units)
    # One number for a unit and a kind, so that one pass of np.unique serves all units.
    kinds = np.bincount(
        np.unique(owner * np.int64(all_grams.kinds) + all_grams.code) // max(all_grams.kinds, 1),
        minlength=units,
    )
    shares: Array = np.divide(kinds, tokens, out=np.full(units, np.nan), where=tokens > 0)
    return shares
