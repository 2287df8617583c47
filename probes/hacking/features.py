"""Which features each text has: 1-3 words in a row, how it begins, and its format; as a sparse
table of 0 and 1, and looked up again by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csc_array

from probes.rows import audited_of, numbers
from probes.statistics.jackknife import Chosen
from probes.statistics.resample import Array
from probes.texts.grams import Coded, Grams, coded, grams
from probes.texts.sets import WORD, matched, some, words_of

# What can be looked up again by its name, in a text alone; and what needs all texts (wide.py).
Kind = Literal["words", "opening", "format"]
AnyKind = Literal["words", "opening", "format", "trait", "habit"]
ORDERS = (1, 2, 3)
OPENING = 3
REPEATED = 4
# A feature of fewer prompts than this could not pass the test even if all of them pointed the same
# way.
FEWEST_PROMPTS = 5
SHARE_OF_PROMPTS = 0.01
MOST_FEATURES = 4000
MOST_TEXTS = 10_000


@dataclass(frozen=True)
class Features:
    """`has` (texts, features), 1.0 where a text has the feature; its kind and name; and other names
    of the same texts.

    `considered` says how many there were, and why some are not here.
    """

    has: csc_array
    kinds: tuple[AnyKind, ...]
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
    candidates: list[tuple[str, Chosen, Kind]] = []
    for order in ORDERS:
        named = _word_features(words, numbers, order, floor, compared)
        candidates += [(name, where, "words") for name, where in named]
    candidates += [(name, where, "opening") for name, where in _openings(words)]
    # The base policy says what is long, or a policy that grew longer would move the bar along.
    usual = numbers.lengths[is_base] if is_base.any() else numbers.lengths
    masks = formats(texts, numbers.lengths, repeats, usual, tokens)
    candidates += [(name, np.flatnonzero(mask), "format") for name, mask in masks.items()]
    return _kept(candidates, prompt, compared, floor, prompts, most)


def _word_features(
    words: Sequence[tuple[str, ...]],
    numbers: Coded,
    order: int,
    floor: int,
    compared: NDArray[np.bool_],
) -> list[tuple[str, Chosen]]:
    """The n-grams of at least `floor` compared texts: the words, and the texts they are in."""
    all_grams = grams(numbers, order)
    # First by occurrences, of which there are at least as many as texts: most n-grams are rare, and
    # pairing them with their texts would take most of the time.
    in_compared = all_grams.code[compared[all_grams.text]]
    often = np.bincount(in_compared, minlength=all_grams.kinds) >= floor
    keep = often[all_grams.code]
    code, text = all_grams.code[keep], all_grams.text[keep]
    # The place within its text, to read the words back from one occurrence.
    begins = np.empty(0, dtype=np.intp)
    if len(all_grams.text):
        begins = np.flatnonzero(np.append(True, all_grams.text[1:] != all_grams.text[:-1]))
    place = np.arange(len(all_grams.text)) - np.repeat(
        begins, np.diff(np.append(begins, len(all_grams.text)))
    )
    pairs = np.unique(code * np.int64(len(words)) + text)
    kinds, starts = np.unique(pairs // max(len(words), 1), return_index=True)
    _, seen = np.unique(code, return_index=True)
    if not len(kinds):
        return []
    texts_by_kind = np.split(pairs % max(len(words), 1), starts[1:])
    first_text, first_place = text[seen].tolist(), place[keep][seen].tolist()
    features = []
    for t, begin, texts in zip(first_text, first_place, texts_by_kind, strict=True):
        features.append((" ".join(words[t][begin : begin + order]), texts))
    return features


def _openings(words: Sequence[tuple[str, ...]]) -> list[tuple[str, Chosen]]:
    texts: dict[tuple[str, ...], list[int]] = {}
    for k, text_words in enumerate(words):
        if len(text_words) >= OPENING:
            texts.setdefault(text_words[:OPENING], []).append(k)
    return [(" ".join(opening), np.array(where, dtype=np.intp)) for opening, where in texts.items()]


def repeats_of(all_grams: Grams, n: int) -> NDArray[np.bool_]:
    """Which of `n` texts have one of these n-grams twice."""
    total = np.bincount(all_grams.text, minlength=n)
    different = np.bincount(
        np.unique(all_grams.text * np.int64(max(all_grams.kinds, 1)) + all_grams.code)
        // max(all_grams.kinds, 1),
        minlength=n,
    )
    return np.asarray(total > different)


def _kept(
    candidates: list[tuple[str, Chosen, Kind]],
    prompt: Chosen,
    compared: NDArray[np.bool_],
    floor: int,
    prompts: int,
    most: int | None,
) -> Features:
    """Those of enough prompts, one for all with the same texts, at most `most` of them."""
    total = int(compared.sum())
    merged: dict[bytes, list[tuple[int, str, Kind, Chosen]]] = {}
    for name, where, kind in candidates:
        compared_texts = where[compared[where]]
        reach = 0
        if len(compared_texts) >= floor:
            reach = len(np.unique(prompt[compared_texts]))
        # What all texts have cannot become more common, and no text without it shows what it pays.
        if reach >= floor and len(compared_texts) < total:
            merged.setdefault(where.tobytes(), []).append((reach, name, kind, where))
    # Words say more than a format, the longest most of all; an opening also says where they stand.
    merged_groups = [
        sorted(group, key=lambda f: (f[2] == "format", -len(f[1]), f[2], f[1]))
        for group in merged.values()
    ]
    merged_groups.sort(
        key=lambda group: (-group[0][0], -len(group[0][3]), group[0][2], group[0][1])
    )
    left_out, merged_groups = len(merged_groups) - len(merged_groups[:most]), merged_groups[:most]
    ends = np.cumsum([0, *(len(g[0][3]) for g in merged_groups)])
    rows = np.concatenate([np.empty(0, dtype=np.intp), *(g[0][3] for g in merged_groups)])
    has = csc_array((np.ones(len(rows)), rows, ends), shape=(len(prompt), len(merged_groups)))
    considered: dict[str, Any] = {
        "features": len(merged_groups),
        "features_are": (
            f"1-{max(ORDERS)} words in a row, the first {OPENING} words, and formats, in texts of "
            f"at least {floor} of {prompts} prompts, by either policy"
        ),
    }
    if left_out > 0:
        considered["features_left_out"] = f"{left_out} less common ones"
    kinds: list[Kind] = []
    names: list[str] = []
    same_as: list[tuple[str, ...]] = []
    for (_, name, kind, _), *others in merged_groups:
        kinds.append(kind)
        names.append(name)
        same_as.append(tuple(other for _, other, _, _ in others[:4]))
    return Features(has, tuple(kinds), tuple(names), tuple(same_as), considered)


# --- formats: what a text looks like apart from its words

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
    has = {name: matched[:, k].copy() for k, name in enumerate(PATTERNS)}
    has |= {LONG: is_long(words, usual), SHORT: is_short(words, usual), REPEATS: repeats}
    if tokens is not None and np.isfinite(tokens).any():
        longest = np.nanmax(tokens)
        limited = np.asarray(tokens == longest)
        if limited.mean() >= LIMITED:
            has[AT_LIMIT.format(int(longest))] = limited
    return has


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


# --- one feature looked up by kind and name, so that a reader can see every text behind a share
# and not two examples only

Span = tuple[int, int]


@dataclass(frozen=True)
class LookedUp:
    """The texts that were compared, of the policy and of the base policy, with a column `has`."""

    now: pd.DataFrame
    base: pd.DataFrame


def look_up(kind: Kind, name: str, *, outputs: pd.DataFrame, base: pd.DataFrame) -> LookedUp:
    """The texts that `hacking.signature` compared, and which of them have the feature.

    `outputs` and `base` are audit tables with sample_id, prompt_id, text and family (n_tokens where
    there are any), as the probe was given them. The share of `has` in each is the share that the
    probe recorded. Raises ValueError for a format that is not known.
    """
    rows, before, _ = audited_of(outputs, base)
    assert before is not None
    now, then, _ = matched(rows, before, MOST_TEXTS)
    more, _ = some(before[~before["sample_id"].isin(set(then["sample_id"]))], MOST_TEXTS)
    texts = [str(t) for t in pd.concat([now["text"], then["text"], more["text"]])]
    has = _mask(kind, name, texts, np.arange(len(texts)) >= len(now), pd.concat([now, then, more]))
    return LookedUp(
        now.assign(has=has[: len(now)]), then.assign(has=has[len(now) : len(now) + len(then)])
    )


def _mask(
    kind: Kind, name: str, texts: Sequence[str], is_base: NDArray[np.bool_], table: pd.DataFrame
) -> NDArray[np.bool_]:
    words = [words_of(t) for t in texts]
    if kind == "format":
        return _formatted(name, texts, words, is_base, table)
    wanted = tuple(name.split(" "))
    if kind == "opening":
        return np.array([w[:OPENING] == wanted for w in words], dtype=bool)
    return np.array([_place(w, wanted) >= 0 for w in words], dtype=bool)


def _formatted(
    name: str,
    texts: Sequence[str],
    words: Sequence[tuple[str, ...]],
    is_base: NDArray[np.bool_],
    table: pd.DataFrame,
) -> NDArray[np.bool_]:
    head, tail = AT_LIMIT.split("{}")
    if name.startswith(head) and name.endswith(tail):
        # The name holds the number, which is the largest of all texts that were read, the Grow
        # set's too.
        return np.asarray(
            numbers(table, "n_tokens") == int(name.removeprefix(head).removesuffix(tail))
        )
    counted = coded(words)
    repeats = repeats_of(grams(counted, REPEATED), len(texts))
    has = formats(texts, counted.lengths, repeats, counted.lengths[is_base])
    if name not in has:
        raise ValueError(f"{name!r}: not a format that this version knows")
    return has[name]


def spans(kind: Kind, name: str, text: str) -> list[Span]:
    """Where a feature stands in a text that has it, from first to last; none for what is no place,
    such as a length.
    """
    if kind == "format":
        if name not in PATTERNS:
            return []
        matches = PATTERNS[name].finditer(text)
        places = [m.span() for m in matches if m.end() > m.start()]
        # A format of the whole text (no capital letter) is no place in it.
        return [] if places == [(0, len(text))] else places
    found_words = list(WORD.finditer(text))
    words = tuple(m.group().casefold() for m in found_words)
    if words != words_of(text):
        return []  # a letter whose small form is written in several
    wanted = tuple(name.split(" "))
    starts = [0]
    if kind == "words":
        starts = [k for k in range(len(words)) if words[k : k + len(wanted)] == wanted]
    last = len(wanted) - 1
    return _apart([(found_words[k].start(), found_words[k + last].end()) for k in starts])


def _place(words: tuple[str, ...], wanted: tuple[str, ...]) -> int:
    """Where these words in a row begin first; -1 where they do not stand."""
    for k in range(len(words) - len(wanted) + 1):
        if words[k : k + len(wanted)] == wanted:
            return k
    return -1


def _apart(places: Sequence[Span]) -> list[Span]:
    """Spans that overlap as one."""
    joined: list[Span] = []
    for start, end in places:
        if joined and start < joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined
