"""Which features each text has: 1-3 words in a row, how it begins, and its format; as a sparse
table of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from probes.statistics.jackknife import Chosen
from probes.statistics.resample import Array
from probes.texts.formats import formats
from probes.texts.grams import Coded, Grams, coded, grams
from probes.texts.sets import words_of

Kind = Literal["words", "opening", "format"]
ORDERS = (1, 2, 3)
OPENING = 3
REPEATED = 4
# A feature of fewer prompts than this could not pass the test even if all of them pointed the same
# way.
FEWEST_PROMPTS = 5
SHARE_OF_PROMPTS = 0.01
MOST_FEATURES = 4000


@dataclass(frozen=True)
class Features:
    """`has` (texts, features), 1.0 where a text has the feature; its kind and name; and other names
    of the same texts.

    `considered` says how many there were, and why some are not here.
    """

    has: csc_array
    kinds: tuple[Kind, ...]
    names: tuple[str, ...]
    same_as: tuple[tuple[str, ...], ...]
    considered: dict[str, Any]


def mine(
    texts: Sequence[str],
    prompt: Chosen,
    is_base: NDArray[np.bool_],
    compared: NDArray[np.bool_],
    tokens: Array | None = None,
    most: int | None = MOST_FEATURES,
) -> Features:
    """Features of texts, (n,); which ones are looked at is decided by the `compared` texts without
    regard to policy.

    `prompt` (n,) numbers each text's prompt, `is_base` marks the base policy's texts, `tokens` (n,)
    says how many each has, if that is known. A feature counts if texts of at least max(5, 1 %) of
    the compared prompts have it, in either policy, and not all texts do; of more than `most` the
    most common stay. Since this takes no notice of which policy a text is by, it does not favour
    any feature's test (Bourgon et al. 2010). Features that the very same texts have are one
    feature.
    """
    words = [words_of(t) for t in texts]
    numbers = coded(words)
    repeats = repeats_of(grams(numbers, REPEATED), len(texts))
    prompts = len(np.unique(prompt[compared]))
    floor = max(FEWEST_PROMPTS, int(np.ceil(SHARE_OF_PROMPTS * prompts)))
    found: list[tuple[str, Chosen, Kind]] = []
    found += [
        (*pair, "words")
        for order in ORDERS
        for pair in _word_features(words, numbers, order, floor, compared)
    ]
    found += [(*pair, "opening") for pair in _openings(words)]
    usual = numbers.lengths[is_base] if is_base.any() else numbers.lengths
    masks = formats(texts, numbers.lengths, repeats, usual, tokens)
    found += [(name, np.flatnonzero(mask), "format") for name, mask in masks.items()]
    return _kept(found, prompt, compared, floor, prompts, most)


def _word_features(
    words: Sequence[tuple[str, ...]],
    numbers: Coded,
    order: int,
    floor: int,
    compared: NDArray[np.bool_],
) -> list[tuple[str, Chosen]]:
    """The n-grams of at least `floor` compared texts: the words, and the texts they are in."""
    found = grams(numbers, order)
    often = np.bincount(found.code[compared[found.text]], minlength=found.kinds) >= floor
    keep = often[found.code]
    code, text = found.code[keep], found.text[keep]
    # The place within its text, to read the words back from one occurrence.
    begins = (
        np.flatnonzero(np.append(True, found.text[1:] != found.text[:-1]))
        if len(found.text)
        else found.text
    )
    place = np.arange(len(found.text)) - np.repeat(
        begins, np.diff(np.append(begins, len(found.text)))
    )
    pairs = np.unique(code * np.int64(len(words)) + text)
    kinds, starts = np.unique(pairs // max(len(words), 1), return_index=True)
    _, seen = np.unique(code, return_index=True)
    where, at = text[seen], place[keep][seen]
    parts = np.split(pairs % max(len(words), 1), starts[1:]) if len(kinds) else []
    return [
        (" ".join(words[t][p : p + order]), part)
        for t, p, part in zip(where.tolist(), at.tolist(), parts, strict=True)
    ]


def _openings(words: Sequence[tuple[str, ...]]) -> list[tuple[str, Chosen]]:
    by: dict[tuple[str, ...], list[int]] = {}
    for k, one in enumerate(words):
        if len(one) >= OPENING:
            by.setdefault(one[:OPENING], []).append(k)
    return [(" ".join(opening), np.array(where, dtype=np.intp)) for opening, where in by.items()]


def repeats_of(found: Grams, n: int) -> NDArray[np.bool_]:
    """Which of `n` texts have one of these n-grams twice."""
    total = np.bincount(found.text, minlength=n)
    different = np.bincount(
        np.unique(found.text * np.int64(max(found.kinds, 1)) + found.code) // max(found.kinds, 1),
        minlength=n,
    )
    return np.asarray(total > different)


def _kept(
    found: list[tuple[str, Chosen, Kind]],
    prompt: Chosen,
    compared: NDArray[np.bool_],
    floor: int,
    prompts: int,
    most: int | None,
) -> Features:
    """Those of enough prompts, one for all with the same texts, at most `most` of them."""
    total = int(compared.sum())
    merged: dict[bytes, list[tuple[int, str, Kind, Chosen]]] = {}
    for name, where, kind in found:
        mine = where[compared[where]]
        reach = len(np.unique(prompt[mine])) if len(mine) >= floor else 0
        if reach >= floor and len(mine) < total:
            merged.setdefault(where.tobytes(), []).append((reach, name, kind, where))
    # Words say more than a format, the longest most of all; an opening also says where they stand.
    each = [
        sorted(group, key=lambda f: (f[2] == "format", -len(f[1]), f[2], f[1]))
        for group in merged.values()
    ]
    each.sort(key=lambda group: (-group[0][0], -len(group[0][3]), group[0][2], group[0][1]))
    left_out, each = len(each) - len(each[:most]), each[:most]
    ends = np.cumsum([0, *(len(g[0][3]) for g in each)])
    rows = np.concatenate([g[0][3] for g in each]) if each else np.empty(0, dtype=np.intp)
    has = csc_array((np.ones(len(rows)), rows, ends), shape=(len(prompt), len(each)))
    considered: dict[str, Any] = {
        "features": len(each),
        "features_are": f"1-{max(ORDERS)} words in a row, the first {OPENING} words, and formats, "
        "in texts of at least "
        f"{floor} of {prompts} prompts, by either policy",
    }
    if left_out > 0:
        considered["features_left_out"] = f"{left_out} less common ones"
    return Features(
        has,
        tuple(g[0][2] for g in each),
        tuple(g[0][1] for g in each),
        tuple(tuple(f[1] for f in g[1:5]) for g in each),
        considered,
    )
