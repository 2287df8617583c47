"""Which texts have a feature that `hacking.signature` names, and where in them it stands: by the
rule that found it.

`mine` finds features; here one of them is looked up by kind and name, so that a reader can see
every text behind a share and not two examples only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probes.hacking.learned import MOST_TEXTS
from probes.hacking.mining import OPENING, REPEATED, Kind, repeats_of
from probes.rows import audited_of, numbers
from probes.texts.formats import AT_LIMIT, PATTERNS, formats
from probes.texts.grams import coded, grams
from probes.texts.sets import WORD, words_of
from probes.texts.subsets import matched, some

Span = tuple[int, int]


@dataclass(frozen=True)
class Having:
    """The texts that were compared, of the policy and of the base policy, with a column `has`."""

    now: pd.DataFrame
    base: pd.DataFrame


def having(kind: Kind, name: str, *, outputs: pd.DataFrame, base: pd.DataFrame) -> Having:
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
    return Having(
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
    found = formats(texts, counted.lengths, repeats, counted.lengths[is_base])
    if name not in found:
        raise ValueError(f"{name!r}: not a format that this version knows")
    return found[name]


def spans(kind: Kind, name: str, text: str) -> list[Span]:
    """Where a feature stands in a text that has it, from first to last; none for what is no place,
    such as a length.
    """
    if kind == "format":
        pattern = PATTERNS.get(name)
        found = (
            []
            if pattern is None
            else [m.span() for m in pattern.finditer(text) if m.end() > m.start()]
        )
        return [] if found == [(0, len(text))] else found
    matches = list(WORD.finditer(text))
    words = tuple(m.group().casefold() for m in matches)
    if words != words_of(text):
        return []  # a letter whose small form is written in several
    wanted = tuple(name.split(" "))
    starts = (
        [0]
        if kind == "opening"
        else [k for k in range(len(words)) if words[k : k + len(wanted)] == wanted]
    )
    return _apart([(matches[k].start(), matches[k + len(wanted) - 1].end()) for k in starts])


def _place(words: tuple[str, ...], wanted: tuple[str, ...]) -> int:
    last = len(words) - len(wanted)
    return next((k for k in range(last + 1) if words[k : k + len(wanted)] == wanted), -1)


def _apart(found: Sequence[Span]) -> list[Span]:
    """Spans that overlap as one."""
    joined: list[Span] = []
    for start, end in found:
        if joined and start < joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined
