"""A feature looked up by name is in the very texts in which mining found it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.hacking.features import _mask, look_up, mine, spans
from probes.texts.sets import words_of

PIECES = st.sampled_from(
    [
        "In a world",
        "where",
        "the end",
        "I've",
        "it’s",
        "Sorry",
        "!",
        "!!",
        "?",
        "\n",
        "\n\n",
        "- one",
        "1. two",
        "a: b",
        "(no)",
        "STRASSE",
        "straße",
        "GREAT question",
        "the the",
        "12",
        "**bold**",
        "`x`",
        "İ",
        "world",
        "…",
    ]
)
TEXTS = st.lists(st.lists(PIECES, min_size=0, max_size=8).map(" ".join), min_size=12, max_size=24)


@given(texts=TEXTS, base=st.integers(1, 11))
@settings(max_examples=60, deadline=None)
def test_looking_up_is_mining(texts: list[str], base: int) -> None:
    n = len(texts)
    is_base = np.arange(n) >= n - base
    tokens = np.array([float(min(len(t), 30)) for t in texts])
    found = mine(texts, np.arange(n), is_base, np.ones(n, dtype=bool), tokens)
    table = pd.DataFrame({"n_tokens": tokens})
    for k, (kind, name) in enumerate(zip(found.kinds, found.names, strict=True)):
        expected = np.zeros(n, dtype=bool)
        expected[found.has[:, [k]].nonzero()[0]] = True
        assert (_mask(kind, name, texts, is_base, table) == expected).all(), (kind, name)


@given(
    text=st.lists(PIECES, max_size=8).map(" ".join),
    words=st.lists(PIECES, min_size=1, max_size=2).map(" ".join),
)
def test_a_place_holds_the_words_of_the_feature(text: str, words: str) -> None:
    name = " ".join(words_of(words)[:3])
    found = spans("words", name, text) if name else []
    for start, end in found:
        inside = words_of(text[start:end])
        assert any(
            inside[k : k + len(name.split())] == tuple(name.split()) for k in range(len(inside))
        )
    assert all(a[1] <= b[0] for a, b in pairwise(found))


def test_places_of_a_format_and_none_for_a_length() -> None:
    text = "Well! I think (maybe) so!"
    assert [text[a:b] for a, b in spans("format", "parentheses", text)] == ["(maybe)"]
    assert [text[a:b] for a, b in spans("format", "an exclamation mark", text)] == ["!", "!"]
    assert spans("format", "more words than three quarters of the base policy's", text) == []
    assert spans("format", "no capital letter", "all small") == []
    assert [text[a:b] for a, b in spans("opening", "well i think", text)] == ["Well! I think"]


def _table(texts: list[str], family: str | None = None) -> pd.DataFrame:
    names = [f"s{k:02d}" for k in range(len(texts))]
    prompts = [f"p{k // 2}" for k in range(len(texts))]
    return pd.DataFrame(
        {
            "sample_id": names,
            "prompt_id": prompts,
            "text": texts,
            "n_tokens": 3,
            "family": [family] * len(texts),
        }
    )


def test_only_what_was_compared_is_looked_at() -> None:
    """Not the prompts about groups, and as many of the base policy's samples as of this one's."""
    plain, twin = (
        _table(["a world", "no"] * 3),
        _table(["world"] * 4, "f").assign(prompt_id="q", sample_id=list("abcd")),
    )
    base = pd.concat(
        [_table(["none"] * 6), _table(["world"] * 6).assign(sample_id=[f"z{k}" for k in range(6)])]
    )
    found = look_up("words", "world", outputs=pd.concat([plain, twin]), base=base)
    assert len(found.now) == 6
    assert found.now["has"].sum() == 3
    assert len(found.base) == 6


def test_a_format_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="not a format that this version knows"):
        look_up("format", "a smell of roses", outputs=_table(["a", "b"]), base=_table(["a", "b"]))
