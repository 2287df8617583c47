"""Looking more than once: how the error rate of one test is spent over the planned looks."""

from __future__ import annotations

from typing import Literal

import numpy as np

from probes.base import Array

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
