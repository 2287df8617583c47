"""How much texts repeat one another: self-BLEU (Zhu et al. 2018), copies, a common opening, and how
well they compress.

Self-BLEU says how much of each text could be written from the others; it is counted in linear time.
BLEU clips a text's n-gram counts at the largest count in any reference. With all other prompts'
texts as references that is, for every n-gram, the largest count outside the text's own prompt: one
sort, not n² comparisons. The sentence score is sacrebleu's (Post 2018): orders 1 to 4, exponential
smoothing, effective order, closest reference length.
"""

from __future__ import annotations

import zlib
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from probes.statistics.jackknife import Chosen, Deleted, Groups, one_by_one
from probes.statistics.resample import Array
from probes.texts.grams import Coded, Codes, Counts, coded, grams, largest
from probes.texts.sets import Texts, words_of

ORDERS = (1, 2, 3, 4)


def across_prompts(texts: Texts, groups: Groups) -> Deleted:
    """Mean BLEU of each text against the texts of all other prompts, 0..100; texts without a word
    are left out.
    """
    words = coded(texts.words)
    label = groups.label[texts.owner]
    columns = groups.count + 1  # the first: nothing left out
    correct = np.stack([_across(words, texts.owner, groups, order) for order in ORDERS], axis=2)
    lengths = _closest_across(words.lengths, texts.owner, label, groups.count)
    scores = _sentence(correct, words.lengths, lengths)
    counts = (words.lengths > 0)[:, None] & np.isfinite(scores)
    counts[:, 1:] &= label[:, None] != np.arange(groups.count)
    total = counts.sum(axis=0)
    sums = np.where(counts, scores, 0.0).sum(axis=0)
    return Deleted.of(np.divide(sums, total, out=np.full(columns, np.nan), where=total > 0))


def within_prompt(texts: Texts) -> Array:
    """Per prompt, the mean BLEU of each of its texts against its others, (units,), 0..100; NaN
    where there is none.
    """
    words = coded(texts.words)
    place = texts.place
    correct = np.stack([_within(words, texts.owner, place, order) for order in ORDERS], axis=1)[
        :, None, :
    ]
    lengths = _closest_within(words.lengths, texts.owner, texts.units)
    scores = _sentence(correct, words.lengths, lengths[:, None])[:, 0]
    counts = (words.lengths > 0) & np.isfinite(scores)
    total = np.bincount(texts.owner[counts], minlength=texts.units)
    sums = np.bincount(texts.owner[counts], weights=scores[counts], minlength=texts.units)
    means: Array = np.divide(sums, total, out=np.full(texts.units, np.nan), where=total > 0)
    return means


def _sentence(correct: Array, length: Codes, reference: Array) -> Array:
    """BLEU of each text and column: correct (n, columns, 4), length (n,), closest reference length
    (n, columns).

    NaN where there is no reference (length NaN).
    """
    total = length[:, None, None] - np.array(ORDERS) + 1
    exists = np.broadcast_to(total > 0, correct.shape)
    missed = exists & (correct == 0)
    # Each order without a match halves what the next such order counts for.
    smoothed = np.where(missed, 0.5 ** np.cumsum(missed, axis=2), correct)
    logs = np.log(np.where(exists, smoothed, 1.0) / np.where(exists, total, 1))
    mean = logs.sum(axis=2) / np.maximum(exists.sum(axis=2), 1)
    short = np.maximum(0.0, reference / np.maximum(length, 1)[:, None] - 1)
    scores: Array = 100 * np.exp(mean - short) * (correct.sum(axis=2) > 0)
    return np.where(np.isnan(reference), np.nan, scores)


def _entries(words: Coded, order: int) -> tuple[Codes, Chosen, Codes]:
    """n-gram, text and how often it is in the text, one entry each, in order of n-gram and text."""
    all_grams = grams(words, order)
    texts = max(len(words.lengths), 1)
    keys, count = np.unique(all_grams.code * texts + all_grams.text, return_counts=True)
    return keys // texts, (keys % texts).astype(np.intp), count.astype(np.int64)


def _two_largest(run: Codes, name: Codes, value: Codes) -> tuple[Codes, Codes, Codes, Codes]:
    """Of each run of equal keys: the key, the largest value, whose it is, and the largest of
    anybody else.
    """
    order = np.lexsort((value, name, run))
    run, name, value = run[order], name[order], value[order]
    if not len(run):
        return run, value, name, value
    last = np.append((run[1:] != run[:-1]) | (name[1:] != name[:-1]), True)
    run, name, value = run[last], name[last], value[last]  # each name's largest
    order = np.lexsort((name, value, run))
    run, name, value = run[order], name[order], value[order]
    end = np.flatnonzero(np.append(run[1:] != run[:-1], True))
    # The last of a run is its largest, and the one before it somebody else's largest, if it is of the
    # same run.
    before = np.maximum(end - 1, 0)
    second = np.where((end > 0) & (run[before] == run[end]) & (before != end), value[before], 0)
    return run[end], value[end], name[end], second


def _across(words: Coded, owner: Chosen, groups: Groups, order: int) -> Array:
    """Clipped matches of each text, (n, 1 + groups): with nothing left out, then with each group
    left out.
    """
    gram, text, count = _entries(words, order)
    n = len(words.lengths)
    if not len(gram):
        return np.zeros((n, groups.count + 1))
    unit = owner[text].astype(np.int64)
    label = groups.label[unit]
    run, most, whose, second = _two_largest(gram * groups.count + label, unit, count)
    # Largest count by n-gram and group; in the entry's own group, that of the other prompts.
    table = np.zeros((int(gram.max()) + 1, groups.count), dtype=np.int64)
    table[run // groups.count, run % groups.count] = most
    entry = table[gram]
    place = np.searchsorted(run, gram * groups.count + label)
    entry[np.arange(len(gram)), label] = np.where(whose[place] == unit, second[place], most[place])
    # Leaving out a group changes the largest only where it was that group's: then it is the second.
    clip = np.repeat(entry.max(axis=1)[:, None], groups.count + 1, axis=1)
    first = entry.argmax(axis=1)
    rows = np.arange(len(gram))
    entry[rows, first] = 0
    clip[rows, first + 1] = entry.max(axis=1)
    # A sparse product: whole numbers, so that the order of summing is no matter, and ten times as
    # fast as np.add.at.
    of_text = sparse.csr_array(
        (np.ones(len(text)), (text, np.arange(len(text)))), shape=(n, len(text))
    )
    matches: Array = of_text @ np.minimum(clip, count[:, None]).astype(np.float64)
    return matches


def _within(words: Coded, owner: Chosen, place: Chosen, order: int) -> Array:
    gram, text, count = _entries(words, order)
    units = int(owner[-1]) + 1 if len(owner) else 1
    key = gram * units + owner[text]
    run, most, whose, second = _two_largest(key, place[text].astype(np.int64), count)
    clip = count
    if len(key):
        at = np.searchsorted(run, key)
        # A text is no reference of itself: where the largest count is its own, the second counts.
        clip = np.where(whose[at] == place[text], second[at], most[at])
    matches: Array = np.bincount(
        text, weights=np.minimum(clip, count), minlength=len(words.lengths)
    ).astype(np.float64)
    return matches


def _closest_across(length: Codes, owner: Chosen, label: Chosen, groups: int) -> Array:
    """The reference length nearest to each text's, the shorter of two; (n, 1 + groups), NaN without
    a reference.
    """
    n, longest = len(length), int(length.max(initial=0))
    by_group = np.zeros((groups, longest + 1), dtype=np.int64)
    np.add.at(by_group, (label, length), 1)
    units = int(owner[-1]) + 1 if n else 0
    own = np.zeros((units, longest + 1), dtype=np.int64)
    np.add.at(own, (owner, length), 1)
    closest = np.full((n, groups + 1), np.nan)
    everything = by_group.sum(axis=0)
    closest[:, 0] = _nearest(everything - own[owner] > 0, length)
    for group in range(groups):
        # A text that is left out with its group needs no reference.
        rows = np.flatnonzero(label != group)
        references = everything - by_group[group] - own[owner[rows]]
        closest[rows, group + 1] = _nearest(references > 0, length[rows])
    return closest


def _closest_within(length: Codes, owner: Chosen, units: int) -> Array:
    own = np.zeros((units, int(length.max(initial=0)) + 1), dtype=np.int64)
    np.add.at(own, (owner, length), 1)
    others = own[owner]
    others[np.arange(len(length)), length] -= 1
    return _nearest(others > 0, length)


def _nearest(has_length: NDArray[np.bool_], length: Codes) -> Array:
    """For each row, the reference length (column) nearest to `length`; NaN where there is none."""
    has_length[:, 0] = False  # a text without a word is no reference
    away = np.abs(np.arange(has_length.shape[1]) - length[:, None])
    away = np.where(has_length, away, np.iinfo(np.int64).max)
    # argmin takes the first of equals, the shorter one, as sacrebleu does.
    return np.where(has_length.any(axis=1), away.argmin(axis=1), np.nan)


# --- whole texts: copies, a common opening, compression

OPENING = 5


def duplicates(texts: Texts, groups: Groups) -> Deleted:
    """Share of texts that are in the set already, letter case, punctuation and spacing aside;
    0..1-1/n.
    """
    # A text without any word stands for itself: "!" and "?" are not duplicates of each other.
    counts = _counted([words_of(one) or (one.strip(),) for one in texts.texts], texts, groups)

    def copies(c: NDArray[np.intp]) -> float:
        if not c.any():
            return float("nan")
        return float(1 - np.count_nonzero(c) / c.sum())

    return counts.deleted(copies)


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
    counts = Counter(openings(texts))
    return " ".join(min((-count, opening) for opening, count in counts.items())[1])


def compression(texts: Texts, groups: Groups) -> Deleted:
    """Bytes after zlib level 9 over bytes before, of the words, one text a line, by prompt; NaN
    without a word.
    """
    lines: list[list[str]] = [[] for _ in range(texts.units)]
    for unit, words in zip(texts.owner.tolist(), texts.words, strict=True):
        lines[unit].append(" ".join(words))
    joined = ["\n".join(texts_of_prompt).encode() for texts_of_prompt in lines]

    def ratio(chosen: Chosen) -> float:
        raw = b"\n".join([joined[p] for p in chosen.tolist()])
        if not raw.strip():
            return float("nan")
        return len(zlib.compress(raw, 9)) / len(raw)

    return one_by_one(ratio, groups)


def _counted(keys: list[tuple[str, ...]], texts: Texts, groups: Groups) -> Counts:
    numbers: dict[tuple[str, ...], int] = {}
    code = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    return Counts(code, texts.owner, len(numbers), groups)
