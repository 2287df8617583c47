"""Many tests at once: p-values adjusted so that the family as a whole errs seldom, and one test's
error rate spent over the planned looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from probes.base import Array

__all__ = ["benjamini_hochberg", "holm"]


def holm(p: Sequence[float] | Array) -> Array:
    """Holm's (1979, Scand. J. Statist. 6) step-down adjusted p-values, (m,), in the order given.

    Rejecting what is at most α errs even once with a chance of at most α, whatever the dependence
    between the tests. Raises ValueError for a p-value that is missing or outside 0..1: a test that
    was not made is no part of the family.
    """
    values, order = _sorted(p)
    # Rising: a test whose p is larger must not become easier to reject than one before it.
    stepped = np.maximum.accumulate(values * np.arange(len(values), 0, -1))
    return _in_place(stepped, order)


def benjamini_hochberg(p: Sequence[float] | Array) -> Array:
    """Benjamini & Hochberg's (1995, JRSS B 57) adjusted p-values, (m,), in the order given.

    Of what is at most q, a share of at most q is false in expectation, for tests that are
    independent or positively dependent. Raises ValueError as `holm` does.
    """
    values, order = _sorted(p)
    return _in_place(_stepped_up(values), order)


def _stepped_up(values: Array) -> Array:
    ratio = values * len(values) / np.arange(1, len(values) + 1)
    return np.minimum.accumulate(ratio[::-1])[::-1]


def _sorted(p: Sequence[float] | Array) -> tuple[Array, np.ndarray[tuple[int], np.dtype[np.intp]]]:
    values = np.asarray(p, dtype=np.float64).reshape(-1)
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(f"p-value {place} is {values[place]}; expected a number from 0 to 1")
    order = np.argsort(values, kind="stable")
    return values[order], order


def _in_place(adjusted: Array, order: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Array:
    out = np.empty_like(adjusted)
    out[order] = np.minimum(adjusted, 1.0)
    return out


# --- looking more than once

Spending = Literal["uniform", "pocock", "obrien_fleming"]


def increments(*, alpha: float, looks: int, spending: Spending = "uniform") -> Array:
    """What each of `looks` equally spaced looks may spend of a one-sided error rate `alpha`;
    (looks,), sums to it.

    Lan & DeMets (1983, Biometrika 70(3)): the share α*(t) that may be spent by the time t = look /
    looks is fixed in advance. `uniform` is α·t (Bonferroni), `pocock` α·log(1 + (e - 1)·t),
    `obrien_fleming` 2 - 2Φ(z(α/2)/√t), which keeps nearly all for the end. Each look is tested at
    its own increment, so that the union bound holds whatever the dependence between looks
    (successive policies are no random walk, so their joint normal theory is not used). Raises
    ValueError unless 0 < alpha < 1 and looks >= 1.
    """
    if not 0 < alpha < 1 or looks < 1:
        raise ValueError(
            f"alpha {alpha!r} over {looks!r} looks; expected 0 < alpha < 1 and at least one look"
        )
    # What may be spent by each look is fixed by its time alone, before anything is seen.
    t = np.arange(1, looks + 1) / looks
    if spending == "uniform":
        spent = alpha * t
    elif spending == "pocock":
        spent = alpha * np.log1p((np.e - 1) * t)
    else:
        # Here, since whoever reads a decision imports this module and needs none of it.
        from scipy.special import ndtr, ndtri

        spent = 2 * ndtr(-ndtri(1 - alpha / 2) / np.sqrt(t))
    out: Array = np.diff(spent, prepend=0.0)
    return out
