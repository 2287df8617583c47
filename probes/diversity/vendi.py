"""How far apart texts are as embeddings: the Vendi score, and mean distances within and across
prompts.
"""

from __future__ import annotations

import numpy as np

from probes.diversity.kernel_entropy import entropies_without, entropy
from probes.statistics.jackknife import Chosen, Deleted, Groups
from probes.statistics.resample import Array

# With fewer groups each holds many rows, and decomposing what stays is as quick as the formula for
# it.
FEWEST_GROUPS = 10
# Where leaving out moves the score by less than this, the formula's own error would pass for a
# spread.
STILL = 1e-6


def vendi(vectors: Array, owner: Chosen, groups: Groups) -> Deleted:
    """Vendi score (Friedman & Dieng 2022): exp of the entropy of the eigenvalues of K/n, K the
    cosine kernel. 1..n.

    `vectors` (n, d) have unit norm. K = VVᵀ and VᵀV have the same eigenvalues above 0, so the
    smaller one is decomposed: linear in n beyond d. It is made once; to leave a group out is to
    drop its rows and columns, or to take its own VᵀV away.
    """
    n, label = len(vectors), groups.label[owner]
    if n == 0:
        return Deleted(float("nan"), np.full(groups.count, np.nan))
    if n > vectors.shape[1]:
        kernel = vectors.T @ vectors
        parts = [vectors[label == g] for g in range(groups.count)]
        left = [score(kernel - part.T @ part, n - len(part)) for part in parts]
        return Deleted(score(kernel, n), np.array(left, dtype=np.float64))
    kernel = vectors @ vectors.T
    value = score(kernel, n)
    if groups.count >= FEWEST_GROUPS and np.bincount(label, minlength=groups.count).max() < n:
        found = np.exp(entropies_without(kernel / n, label, groups.count))
        if np.abs(found / value - 1).max() > STILL:
            return Deleted(value, found)
    stay = [np.flatnonzero(label != g) for g in range(groups.count)]
    return Deleted(
        value, np.array([score(kernel[np.ix_(s, s)], len(s)) for s in stay], dtype=np.float64)
    )


def score(kernel: Array, n: int) -> float:
    """exp of the entropy of the eigenvalues of kernel / n; NaN for no text."""
    return float(np.exp(entropy(np.linalg.eigvalsh(kernel) / n))) if n else float("nan")


def within_prompt(vectors: Array, owner: Chosen, units: int) -> Array:
    """Per prompt, the mean of 1 - cosine over all pairs of its texts, (units,), 0..2; NaN with
    fewer than 2 texts.
    """
    sizes = np.bincount(owner, minlength=units)
    pairs = sizes * (sizes - 1)
    similar = (_sums(vectors, owner, units) ** 2).sum(axis=1) - sizes
    means = np.divide(similar, pairs, out=np.full(units, np.nan), where=pairs > 0)
    distances: Array = np.clip(1 - means, 0.0, 2.0)
    return distances


def across_prompts(vectors: Array, owner: Chosen, groups: Groups) -> Deleted:
    """Mean of 1 - cosine over all pairs of texts of different prompts, 0..2; NaN with fewer than 2
    prompts.
    """
    units = len(groups.label)
    sums, sizes = _sums(vectors, owner, units), np.bincount(owner, minlength=units)
    squares, size_squares = (sums**2).sum(axis=1), sizes**2

    def distance(stay: Chosen) -> float:
        pairs = sizes[stay].sum() ** 2 - size_squares[stay].sum()
        similar = (sums[stay].sum(axis=0) ** 2).sum() - squares[stay].sum()
        return float(np.clip(1 - similar / pairs, 0.0, 2.0)) if pairs else float("nan")

    stays = [np.flatnonzero(groups.label != g) for g in range(groups.count)]
    return Deleted(
        distance(np.arange(units)), np.array([distance(s) for s in stays], dtype=np.float64)
    )


def _sums(vectors: Array, owner: Chosen, units: int) -> Array:
    sums = np.zeros((units, vectors.shape[1]))
    np.add.at(sums, owner, vectors)
    return sums
