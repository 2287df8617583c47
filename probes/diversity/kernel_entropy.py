"""Entropy of a kernel's eigenvalues when groups of rows are left out, from one decomposition of
the whole kernel.

The jackknife needs the eigenvalues y of the kernel without each of 20 groups, but only as the sum
of y·log y. For 0 <= y <= 1 and with t = exp(u)

    y log y = ∫ w(u) · y(y-1) / (y+t) du,    w = t / (1+t),

and the sum of 1/(y+t) over the eigenvalues that stay follows from those of the whole and from the
group's own rows of the inverse: tr(A_stay^-1) = tr(A^-1) - tr(B^-1 C), A = K + t, B and C the
group's blocks of A^-1 and A^-2 (block inversion: Horn & Johnson, Matrix Analysis, section 0.7.3).
The integrand is analytic for |Im u| < π, so the trapezoid rule with step 1 errs by about exp(-2π²)
= 3e-9 (Trefethen & Weideman 2014, The exponentially convergent trapezoidal rule, SIAM Review
56(3)).
"""

from __future__ import annotations

import numpy as np

from probes.statistics.jackknife import Chosen
from probes.statistics.resample import Array

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
    values = np.clip(values, 0.0, None)
    whole = -entropy(values)
    inverse = 1 / (values[:, None] + NODES)
    both = np.concatenate([inverse, inverse**2], axis=1)
    squares = kernel * kernel
    square_sums = squares.sum(axis=1)
    out = np.empty(groups)
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
        out[g] = np.log(stay) - (whole + (WEIGHTS * near).sum() + BEYOND * far) / stay
    return out
