"""Sets of texts made comparable: as many samples and words from both policies, at most so many of
them, and side by side; prompts are the units.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probes.base import Embed, Evidence
from probes.rows import Notes
from probes.statistics.jackknife import Chosen, Deleted, Groups, grouped, jackknifed
from probes.statistics.resample import Array, Estimate
from probes.texts.grams import Coded, Counts, Grams, coded, grams

WORD = re.compile(r"\w+(?:['’]\w+)*")


@dataclass(frozen=True)
class Texts:
    """Texts in order of prompt, each with the position of its prompt, and its words, cut to one
    length.

    `prompts` (units,) names the prompts, `owner` (n,) rises from 0 to units-1, `row` (n,) is the
    row of the table that each text came from, `words` are in lower case.
    """

    prompts: tuple[str, ...]
    owner: Chosen
    row: Chosen
    texts: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]

    @property
    def n(self) -> int:
        """How many texts there are."""
        return len(self.texts)

    @property
    def units(self) -> int:
        """How many prompts there are."""
        return len(self.prompts)

    @property
    def place(self) -> Chosen:
        """The place of each text among its prompt's texts, from 0; shape (n,)."""
        sizes = np.bincount(self.owner, minlength=self.units)
        return np.arange(self.n) - np.repeat(np.cumsum(sizes) - sizes, sizes)

    def of(self, prompts: NDArray[np.bool_], places: int) -> Texts:
        """The first `places` texts of the chosen prompts, mask of shape (units,)."""
        keep = np.flatnonzero(prompts[self.owner] & (self.place < places))
        # Prompts that stay are numbered anew without a gap: a unit without texts would be a prompt.
        number = np.cumsum(prompts) - 1
        return Texts(
            tuple(self.prompts[p] for p in np.flatnonzero(prompts).tolist()),
            number[self.owner[keep]],
            self.row[keep],
            tuple(self.texts[i] for i in keep.tolist()),
            tuple(self.words[i] for i in keep.tolist()),
        )


@lru_cache(maxsize=8192)  # calibration draws the same few thousand texts over and over
def words_of(text: str) -> tuple[str, ...]:
    """Words in lower case, without punctuation."""
    return tuple(WORD.findall(text.casefold()))


def match(
    rows: pd.DataFrame, base: pd.DataFrame | None
) -> tuple[Texts, Texts | None, dict[str, Any]]:
    """The first k samples of every prompt (by sample_id), their words cut to L, for both policies
    alike.

    k is the smallest number of samples any prompt has in either table, so that a policy that was
    sampled more counts with as many as the other. L is the lower quartile of the base policy's word
    counts (of this policy's own, if there is no other), so that it stays the same for all
    iterations of a run. Returns both sets and what was matched; `short_texts` is the share of texts
    with fewer than L words, `samples_unused` counts what was left out of each table. The tables
    must have the same prompts, in order of prompt_id, as `audited` gives them.
    """
    tables = [rows] if base is None else [rows, base]
    owners = [_owners(table) for table in tables]
    if not all(len(names) for names, _ in owners):
        nothing = np.empty(0, dtype=np.intp)
        empty = Texts((), nothing, nothing, (), ())
        return empty, (None if base is None else empty), {}
    sizes = [np.bincount(owner) for _, owner in owners]
    # Set statistics grow or fall with the number of texts and their length, so a difference of
    # either would pass for one of diversity: both policies are cut to the same k and L.
    k = int(min(s.min() for s in sizes))
    names = Vocabulary()
    sets = [_first(names, *each, k) for each in zip(tables, owners, sizes, strict=True)]
    lengths = [np.fromiter(map(len, one.words), dtype=np.int64, count=one.n) for one in sets]
    # The lower quartile: three quarters of the base policy's texts are cut and stay comparable, while
    # the smallest of all lengths would leave a word or two.
    limit = max(1, int(np.quantile(lengths[-1], 0.25)))
    cut = [replace(one, words=tuple(words[:limit] for words in one.words)) for one in sets]
    matched: dict[str, Any] = {
        "samples_per_prompt": k,
        "words_per_text": limit,
        "short_texts": float((lengths[0] < limit).mean()),
        "samples_unused": len(rows) - cut[0].n,
    }
    if base is None:
        return cut[0], None, matched
    matched |= {
        "short_texts_base": float((lengths[1] < limit).mean()),
        "samples_unused_base": len(base) - cut[1].n,
    }
    return cut[0], cut[1], matched


class Vocabulary(dict[str, str]):
    """One string object a word instead of one a token: 100,000 texts then take a tenth of the
    memory.
    """

    def words_of(self, text: str) -> tuple[str, ...]:
        """The same as the function of this name."""
        return tuple(map(self.__getitem__, words_of(text)))

    def __missing__(self, word: str) -> str:
        self[word] = word
        return word


def _owners(table: pd.DataFrame) -> tuple[tuple[str, ...], Chosen]:
    """Names of the prompts, and the number of each row's; the rows are in order of prompt."""
    names = table["prompt_id"].to_numpy(dtype=object)
    if not len(names):
        return (), np.empty(0, dtype=np.intp)
    begins = np.append(True, names[1:] != names[:-1])
    return tuple(names[begins].tolist()), np.cumsum(begins) - 1


def _first(
    names: Vocabulary,
    table: pd.DataFrame,
    owners: tuple[tuple[str, ...], Chosen],
    sizes: Chosen,
    k: int,
) -> Texts:
    prompts, owner = owners
    place = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    keep = place < k
    texts = table["text"].to_numpy(dtype=object)[keep].tolist()
    words = tuple(map(names.words_of, texts))
    return Texts(prompts, owner[keep], np.flatnonzero(keep), tuple(texts), words)


def share_of(most: int, sets: Sequence[Texts]) -> tuple[list[Texts], str]:
    """At most about `most` texts of each set, from the same prompts, and what was done, in words
    ("" for all of them).

    Few samples of many prompts rather than many of few: max(2, most // prompts) samples a prompt
    where there are more, and then the prompts whose names have the smallest checksums. So it
    depends neither on the order of rows nor on a generator. The sets must have the same prompts and
    at most as many samples a prompt as the first.
    """
    first = sets[0]
    if first.n <= most:
        return list(sets), ""
    k = min(int(first.place.max()) + 1, max(2, most // first.units))
    chosen = np.zeros(first.units, dtype=bool)
    chosen[shuffled(first.prompts)[: max(1, most // k)]] = True
    kept = [s.of(chosen, k) for s in sets]
    return (
        kept,
        f"{kept[0].n} of {first.n} texts: {int(chosen.sum())} prompts chosen by checksum x {k}",
    )


def shuffled(names: Sequence[str]) -> Chosen:
    """The positions of the names in order of their checksums (BLAKE2b): mixed, and always the same
    way.
    """
    # The name itself decides between equal checksums.
    keys = [blake2b(name.encode(), digest_size=8).digest() + name.encode() for name in names]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), dtype=np.intp)


def embedded(texts: Texts, embed: Embed) -> Array:
    """Unit-norm embeddings of whole texts, (n, d); raises ValueError for what is not that."""
    vectors = np.asarray(embed(list(texts.texts)), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != texts.n or not np.isfinite(vectors).all():
        raise ValueError(
            f"embed: returned an array of shape {vectors.shape} for {texts.n} texts; expected one "
            "row of finite numbers for each text"
        )
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    # An encoder in single precision is off by a rounding error: that is mended, anything more is not.
    if not np.allclose(norms, 1, atol=0.01):
        raise ValueError(
            "embed: returned rows that are not of unit norm; divide each by its length"
        )
    unit: Array = vectors / norms
    return unit


# --- tables: as many samples of the same prompts from both policies, chosen by checksum


def matched(
    rows: pd.DataFrame, base: pd.DataFrame, most: int
) -> tuple[pd.DataFrame, pd.DataFrame, Notes]:
    """As many samples of each prompt from one policy as from the other, at most about `most` rows
    of each.

    Where both policies are the same, swapping the two then changes nothing, prompt by prompt. Which
    samples and prompts are left out is decided by checksums of their names, so neither the order of
    rows nor a generator matters. Returns both tables, in order of prompt, and what was left out.
    """
    sizes = pd.concat(
        [t.groupby("prompt_id").size() for t in (rows, base)], axis=1, join="inner"
    ).min(axis=1)
    quota = fitting(sizes, most)
    now, then = (first(table, quota) for table in (rows, base))
    notes: Notes = {"texts": len(now), "texts_left_out": len(rows) - len(now)}
    if len(base) > len(then):
        notes["texts_left_out_of_base"] = len(base) - len(then)
    if len(quota) < len(sizes):
        notes["prompts_read"] = f"{len(quota)} of {len(sizes)}, chosen by checksum"
    return now, then, notes


def some(rows: pd.DataFrame, most: int, least: int = 2) -> tuple[pd.DataFrame, Notes]:
    """At most about `most` rows, few of many prompts, chosen by checksum; and what was left out
    (see `fitting`).
    """
    if rows.empty:
        return rows, {"texts": 0}
    kept = first(rows, fitting(rows.groupby("prompt_id").size(), most, least))
    return kept, {"texts": len(kept), "texts_left_out": len(rows) - len(kept)}


def fitting(sizes: pd.Series[int], most: int, least: int = 2) -> pd.Series[int]:
    """How many rows of each prompt to take so that there are at most `most` (or one prompt's): all,
    if they fit.

    `sizes` says how many each prompt has. Otherwise max(least, most // prompts) of each, and of the
    prompts those with the smallest checksums.
    """
    if sizes.sum() <= most:
        return sizes
    # Prompts are the unit: few samples of many of them say more than many of few.
    capped = sizes.clip(upper=max(least, most // len(sizes)))
    order = sorted(capped.index, key=lambda p: (_checksum(str(p)), str(p)))
    taken = capped.loc[order].cumsum() <= most
    taken.iloc[0] = True  # never nothing, even where one prompt alone has more than `most`
    return capped.loc[order][taken].sort_index()


def first(table: pd.DataFrame, quota: pd.Series[int]) -> pd.DataFrame:
    """The rows of each prompt whose names have the smallest checksums, as many as `quota` says, in
    order of prompt.
    """
    names = table["sample_id"].to_numpy(dtype=str)
    prompts, owner = np.unique(table["prompt_id"].to_numpy(dtype=str), return_inverse=True)
    checksums = np.array([_checksum(n) for n in names.tolist()], dtype=np.int64)
    order = np.lexsort((names, checksums, owner))
    sizes = np.bincount(owner, minlength=len(prompts))
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    allowed = quota.reindex(prompts).fillna(0).to_numpy(dtype=np.int64)
    return table.iloc[order[place < allowed[owner[order]]]]


def _checksum(name: str) -> int:
    return zlib.crc32(name.encode())


# --- side by side: what is counted of each set is counted once, however many statistics read it


@dataclass(frozen=True)
class Side:
    """The texts of one policy, with the groups of prompts that are left out in turn."""

    texts: Texts
    groups: Groups
    embed: Embed | None
    _grams: dict[int, Grams] = field(default_factory=dict)
    _counts: dict[int, Counts] = field(default_factory=dict)

    @cached_property
    def vectors(self) -> Array:
        """Embeddings, (n, d); only where an embedding was given."""
        if self.embed is None:
            raise ValueError("embeddings of texts are needed; give embed")
        return embedded(self.texts, self.embed)

    @cached_property
    def coded(self) -> Coded:
        """The cut words as numbers."""
        return coded(self.texts.words)

    def grams(self, order: int) -> Grams:
        """The n-grams of the cut words."""
        if order not in self._grams:
            self._grams[order] = grams(self.coded, order)
        return self._grams[order]

    def counts(self, order: int) -> Counts:
        """The n-grams' counts, in all and with each group of prompts left out."""
        if order not in self._counts:
            all_grams = self.grams(order)
            self._counts[order] = Counts(
                all_grams.code, self.texts.owner[all_grams.text], all_grams.kinds, self.groups
            )
        return self._counts[order]


@dataclass(frozen=True)
class Sides:
    """This policy's texts and those it is compared with (None if with nothing), matched; and what
    was matched.
    """

    now: Side
    then: Side | None
    detail: Mapping[str, Any]
    seed: int
    _samples: dict[int, Sides] = field(default_factory=dict)

    @property
    def groups(self) -> Groups:
        """The groups of prompts that are left out in turn, the same for both."""
        return self.now.groups

    def at_most(self, most: int | None) -> Sides:
        """The same prompts' texts for both, at most about `most` of each; `detail.measured_on` says
        which.
        """
        if most is None or self.now.texts.n <= most:
            return self
        if most not in self._samples:
            both = [s.texts for s in (self.now, self.then) if s is not None]
            kept, note = share_of(most, both)
            embed = self.now.embed
            detail = {**self.detail, "measured_on": note}
            then = kept[1] if len(kept) > 1 else None
            self._samples[most] = beside(kept[0], then, detail, embed, self.seed)
        return self._samples[most]


def beside(
    now: Texts, then: Texts | None, detail: Mapping[str, Any], embed: Embed | None, seed: int
) -> Sides:
    """Both sets of texts, of the same prompts, with one split of the prompts into groups."""
    # One split for both: what is left out of one is left out of the other, so that a comparison's
    # jackknife is paired by prompt.
    groups = grouped(units=now.units, seed=seed)
    other = None if then is None else Side(then, groups, embed)
    return Sides(Side(now, groups, embed), other, detail, seed)


def sides_of(
    evidence: Evidence, now: Texts, then: Texts | None, detail: Mapping[str, Any]
) -> Sides:
    """`beside` with the evidence's embedding and seed."""
    return beside(now, then, detail, evidence.embed, evidence.seed)


def estimated(deleted: Deleted, sides: Sides, evidence: Evidence, **options: Any) -> Estimate:
    """A set statistic's value with the jackknife's intervals at the evidence's levels."""
    return jackknifed(
        deleted=deleted, groups=sides.groups, n=sides.now.texts.n, levels=evidence.levels, **options
    )
