"""What a job keeps between looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from restaudit.loop.job import remembering


def _vector(text: str) -> list[float]:
    return [float(len(text)), float(hash(text) % 97)]


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6), max_size=8), st.integers(0, 5))
def test_embeddings_are_the_same_and_a_text_is_embedded_once_while_it_is_kept(
    calls: list[list[str]], most: int
) -> None:
    asked: list[str] = []

    def embed(texts: Sequence[str]) -> Any:
        asked.extend(texts)
        return np.array([_vector(t) for t in texts], dtype=np.float32).reshape(len(texts), 2)

    remembered, small = remembering(embed), remembering(embed, most)
    for texts in calls:
        expected = np.array([_vector(t) for t in texts], dtype=np.float32).reshape(-1, 2)
        assert np.array_equal(small(texts), expected)
    asked.clear()
    for texts in calls:
        expected = np.array([_vector(t) for t in texts], dtype=np.float32).reshape(-1, 2)
        assert np.array_equal(remembered(texts), expected)
    assert len(asked) == len(set(asked))
