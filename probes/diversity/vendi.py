"""How far apart texts are as embeddings: the Vendi score, and mean distances within and across
prompts.
"""

from __future__ import annotations

import numpy as np

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
        left = [score(kernel - rows.T @ rows, n - len(rows)) for rows in parts]
        return Deleted(score(kernel, n), np.array(left, dtype=np.float64))
    kernel = vectors @ vectors.T
    value = score(kernel, n)
    if groups.count >= FEWEST_GROUPS and np.bincount(label, minlength=groups.count).max() < n:
        without = np.exp(entropies_without(kernel / n, label, groups.count))
        if np.abs(without / value - 1).max() > STILL:
            return Deleted(value, without)
    stay = [np.flatnonzero(label != g) for g in range(groups.count)]
    return Deleted(
        value, np.array([score(kernel[np.ix_(s, s)], len(s)) for s in stay], dtype=np.float64)
    )


def score(kernel: Array, n: int) -> float:
    """exp of the entropy of the eigenvalues of kernel / n; NaN for no text."""
    if not n:
        return float("nan")
    return float(np.exp(entropy(np.linalg.eigvalsh(kernel) / n)))


def within_prompt(vectors: Array, owner: Chosen, units: int) -> Array:
    """Per prompt, the mean of 1 - cosine over all pairs of its texts, (units,), 0..2; NaN with
    fewer than 2 texts.
    """
    sizes = np.bincount(owner, minlength=units)
    pairs = sizes * (sizes - 1)
    # The squared length of a sum of unit vectors is the sum of all their cosines, each text with
    # itself among them: no matrix of pairs is needed.
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
        if not pairs:
            return float("nan")
        return float(np.clip(1 - similar / pairs, 0.0, 2.0))

    stays = [np.flatnonzero(groups.label != g) for g in range(groups.count)]
    return Deleted(
        distance(np.arange(units)), np.array([distance(s) for s in stays], dtype=np.float64)
    )


def _sums(vectors: Array, owner: Chosen, units: int) -> Array:
    sums = np.zeros((units, vectors.shape[1]))
    np.add.at(sums, owner, vectors)
    return sums


# --- leaving groups of rows out of a kernel that is decomposed once
#
# The jackknife needs the eigenvalues y of the kernel without each of 20 groups, but only as the
# sum of y·log y. For 0 <= y <= 1 and with t = exp(u)
#
#     y log y = ∫ w(u) · y(y-1) / (y+t) du,    w = t / (1+t),
#
# and the sum of 1/(y+t) over the eigenvalues that stay follows from those of the whole and from
# the group's own rows of the inverse: tr(A_stay^-1) = tr(A^-1) - tr(B^-1 C), A = K + t, B and C
# the group's blocks of A^-1 and A^-2 (block inversion: Horn & Johnson, Matrix Analysis, section
# 0.7.3). The integrand is analytic for |Im u| < π, so the trapezoid rule with step 1 errs by
# about exp(-2π²) = 3e-9 (Trefethen & Weideman 2014, The exponentially convergent trapezoidal
# rule, SIAM Review 56(3)).

# Below exp(-23) lies less than 1e-10 of an eigenvalue; beyond exp(7) two terms of the series in 1/t
# are enough, where the formula itself would cancel.
NODES = np.exp(np.arange(-23.0, 8.0))
WEIGHTS = NODES / (1 + NODES)
BEYOND = float((1 / (1 + np.exp(np.arange(8.0, 40.0)))).sum())
# Eigenvalues below this are rounding errors of 0, and x·log x of them would be noise.
NOTHING = 1e-12


def entropy(eigenvalues: Array) -> float:
    """Minus the sum of x log x over the eigenvalues above rounding error."""
    x = eigenvalues[eigenvalues > NOTHING]
    return float(-(x * np.log(x)).sum())


def entropies_without(kernel: Array, label: Chosen, groups: int) -> Array:
    """Entropy of the eigenvalues of `kernel`/trace without the rows and columns of each group,
    (groups,).

    `kernel` (n, n) is symmetric, positive semidefinite, with trace 1 and equal numbers on its
    diagonal; `label` (n,) is the group of each row, and every group leaves at least one row. The
    result is right to about 1e-8.
    """
    n = len(kernel)
    values, vectors = np.linalg.eigh(kernel)
    # Rounding leaves some eigenvalues a little below 0.
    values = np.clip(values, 0.0, None)
    whole = -entropy(values)
    inverse = 1 / (values[:, None] + NODES)
    both = np.concatenate([inverse, inverse**2], axis=1)
    squares = kernel * kernel
    square_sums = squares.sum(axis=1)
    left = np.empty(groups)
    for g in range(groups):
        rows = np.flatnonzero(label == g)
        size, own = len(rows), vectors[rows]
        products = (own[:, None, :] * own[None, :, :]).reshape(size * size, n)
        b, c = (products @ both).T.reshape(2, len(NODES), size, size)
        lost = np.trace(np.linalg.solve(b, c), axis1=1, axis2=2)
        trace = -size / n
        near = trace + size * (1 + NODES) - NODES * (NODES + 1) * lost
        far = squares[np.ix_(rows, rows)].sum() - 2 * square_sums[rows].sum() - trace
        stay = 1 + trace
        left[g] = np.log(stay) - (whole + (WEIGHTS * near).sum() + BEYOND * far) / stay
    return left
