"""Sets of texts made comparable (the same number of samples and words), and what is measured of a whole set.

Each statistic is a function of texts that returns a function of the prompts chosen from them, so that the jackknife can
leave prompts out without counting everything again.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import gammaln

from probes.base import Embed
from probes.jackknife import Chosen
from probes.resample import Array

WORD = re.compile(r"\w+(?:['’]\w+)*")

Setwise = Callable[[Chosen], float]


@dataclass(frozen=True)
class Texts:
    """Texts by prompt, equally many for every prompt; their words, cut to one length; their embeddings, if any.

    `vectors` has one array (texts of the prompt, dimensions) of unit-norm rows for each prompt, or is None.
    """

    texts: tuple[tuple[str, ...], ...]
    words: tuple[tuple[tuple[str, ...], ...], ...]
    vectors: tuple[Array, ...] | None = None

    @property
    def n(self) -> int:
        """How many texts there are."""
        return sum(len(t) for t in self.texts)


def match(
    rows: pd.DataFrame, base: pd.DataFrame | None, embed: Embed | None
) -> tuple[Texts, Texts | None, dict[str, Any]]:
    """The first k samples of every prompt (by sample_id), their words cut to L, for both policies alike.

    k is the smallest number of samples any prompt has in either table. L is the lower quartile of the base policy's
    word counts (of this policy's own, if it is the base), so that it stays the same for all iterations of a run.
    Embeddings are of the whole texts. Returns both sets and what was matched; `short_texts` is the share of texts with
    fewer than L words. The tables must have the same prompts.
    """
    empty = Texts((), ())
    if rows.empty:
        return empty, None if base is None else empty, {}
    tables = [rows] if base is None else [rows, base]
    k = min(int(t["prompt_id"].value_counts().min()) for t in tables)
    texts = [[tuple(g.head(k)) for _, g in t.groupby("prompt_id", sort=True)["text"]] for t in tables]
    words = [[tuple(words_of(text) for text in prompt) for prompt in t] for t in texts]
    lengths = [np.array([len(w) for prompt in t for w in prompt]) for t in words]
    limit = max(1, int(np.quantile(lengths[-1], 0.25)))
    sets = [
        Texts(tuple(t), tuple(tuple(one[:limit] for one in prompt) for prompt in w), _embedded(t, embed))
        for t, w in zip(texts, words, strict=True)
    ]
    matched = {"samples_per_prompt": k, "words_per_text": limit, "short_texts": float((lengths[0] < limit).mean())}
    if base is None:
        return sets[0], None, matched
    return sets[0], sets[1], {**matched, "short_texts_base": float((lengths[1] < limit).mean())}


def words_of(text: str) -> tuple[str, ...]:
    """Words in lower case, without punctuation."""
    return tuple(WORD.findall(text.casefold()))


def _embedded(texts: Sequence[tuple[str, ...]], embed: Embed | None) -> tuple[Array, ...] | None:
    if embed is None:
        return None
    flat = [one for prompt in texts for one in prompt]
    vectors = np.asarray(embed(flat), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(flat) or not np.isfinite(vectors).all():
        raise ValueError(
            f"embed: returned an array of shape {vectors.shape} for {len(flat)} texts; expected one row of finite "
            "numbers for each text"
        )
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.allclose(norms, 1, atol=0.01):
        raise ValueError("embed: returned rows that are not of unit norm; divide each by its length")
    return tuple(np.split(vectors / norms, np.cumsum([len(prompt) for prompt in texts])[:-1]))


# --- statistics of a set ---------------------------------------------------------------------------------------------


def distinct(texts: Texts, order: int) -> Setwise:
    """distinct-n (Li et al. 2016): different n-grams over all n-grams, pooled over texts; NaN without an n-gram."""
    grams = _numbered([texts], order)[0]

    def share(chosen: Chosen) -> float:
        pool = _pool(grams, chosen)
        return len(np.unique(pool)) / len(pool) if len(pool) else float("nan")

    return share


def distinct_ratio(texts: Texts, base: Texts, order: int) -> Setwise:
    """distinct-n over the base policy's, both at the same number of n-grams.

    The set with more n-grams counts with the expected number of different ones among as many as the other has
    (rarefaction: Hurlbert 1971), since fewer n-grams repeat less.
    """
    grams, before = _numbered([texts, base], order)

    def ratio(chosen: Chosen) -> float:
        counts = [np.unique(_pool(g, chosen), return_counts=True)[1] for g in (grams, before)]
        size = min(int(c.sum()) for c in counts)
        return rarefied(counts[0], size) / rarefied(counts[1], size) if size else float("nan")

    return ratio


def rarefied(counts: NDArray[Any], size: int) -> float:
    """Expected number of different types among `size` tokens drawn without replacement; counts are tokens by type."""
    total = int(counts.sum())
    rest = (total - counts).astype(np.float64)
    # C(total - count, size) / C(total, size) is the chance that a type is missed; it is 0 where the rest is too few.
    possible = rest >= size
    chosen = gammaln(rest[possible] + 1) - gammaln(rest[possible] - size + 1)
    missed = np.exp(chosen - gammaln(total + 1) + gammaln(total - size + 1)).sum()
    return float(len(counts) - missed)


def vendi(texts: Texts) -> Setwise:
    """Vendi score (Friedman & Dieng 2022): exp of the entropy of the eigenvalues of K/n, K the cosine kernel. 1..n.

    Texts without embeddings have none: raises ValueError.
    """
    if texts.vectors is None:
        raise ValueError("the Vendi score needs embeddings")
    vectors = texts.vectors

    def score(chosen: Chosen) -> float:
        rows = np.concatenate([vectors[p] for p in chosen])
        # RRᵀ and RᵀR have the same eigenvalues above 0: take the smaller one.
        kernel = (rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows) / len(rows)
        eigenvalues = np.linalg.eigvalsh(kernel)
        eigenvalues = eigenvalues[eigenvalues > 1e-12]
        return float(np.exp(-(eigenvalues * np.log(eigenvalues)).sum()))

    return score


def compression(texts: Texts) -> Setwise:
    """Bytes after zlib level 9 over bytes before, of the words, one text a line, by prompt; NaN without a word."""
    lines = ["\n".join(" ".join(one) for one in prompt) for prompt in texts.words]

    def ratio(chosen: Chosen) -> float:
        raw = "\n".join(lines[p] for p in chosen).encode()
        return len(zlib.compress(raw, 9)) / len(raw) if raw.strip() else float("nan")

    return ratio


def duplicates(texts: Texts) -> Setwise:
    """Share of texts that are in the set already, letter case, punctuation and spacing aside; 0..1-1/n."""
    # A text without any word stands for itself: "!" and "?" are not duplicates of each other.
    same = [[words_of(one) or (one.strip(),) for one in prompt] for prompt in texts.texts]

    def share(chosen: Chosen) -> float:
        pool = [text for p in chosen for text in same[p]]
        return 1 - len(set(pool)) / len(pool) if pool else float("nan")

    return share


def over(top: Setwise, bottom: Setwise) -> Setwise:
    """One statistic over another; NaN where the other is not above 0."""

    def ratio(chosen: Chosen) -> float:
        below = bottom(chosen)
        return top(chosen) / below if below > 0 else float("nan")

    return ratio


def remembered(setwise: Setwise) -> Setwise:
    """The same statistic, which does not count again for prompts it has counted before."""
    known: dict[bytes, float] = {}

    def value(chosen: Chosen) -> float:
        key = chosen.tobytes()
        if key not in known:
            known[key] = setwise(chosen)
        return known[key]

    return value


def prompt_distances(texts: Texts) -> Array:
    """Per prompt, the mean of 1 - cosine over all pairs of its texts; needs embeddings and 2 texts a prompt."""
    assert texts.vectors is not None
    similar = [((v.sum(axis=0) ** 2).sum() - len(v)) / (len(v) * (len(v) - 1)) for v in texts.vectors]
    distances: Array = np.clip(1 - np.array(similar), 0.0, 2.0)
    return distances


def _numbered(sets: Sequence[Texts], order: int) -> list[list[NDArray[np.intp]]]:
    """The n-grams of each prompt as numbers; the same n-gram has the same number in all sets."""
    names: dict[tuple[str, ...], int] = {}

    def numbers(prompt: tuple[tuple[str, ...], ...]) -> NDArray[np.intp]:
        grams = (one[i : i + order] for one in prompt for i in range(len(one) - order + 1))
        return np.array([names.setdefault(gram, len(names)) for gram in grams], dtype=np.intp)

    return [[numbers(prompt) for prompt in texts.words] for texts in sets]


def _pool(grams: list[NDArray[np.intp]], chosen: Chosen) -> NDArray[np.intp]:
    return np.concatenate([grams[p] for p in chosen]) if len(chosen) else np.empty(0, dtype=np.intp)
