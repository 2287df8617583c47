"""Over-optimisation curves: a run's human gain against its distance from the base policy, as a
description.

Gao, Schulman & Hilton 2022 (arXiv 2210.10760) fitted the gold reward against d = √KL with R(d) =
d·(α - β·d) for best-of-n and R(d) = d·(α - β·log d) for reinforcement learning. Nobody knows ReST's
own form; both are fitted, neither is asserted, and there is no universal limit of KL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from probes.base import Array

Form = Literal["bon", "rl"]
FORMS: tuple[Form, ...] = ("bon", "rl")
FEWEST_POINTS = 4
# A peak farther out than this many times the largest distance is an extrapolation that means
# nothing.
FARTHEST = 2.0


@dataclass(frozen=True)
class GainCurve:
    """A fitted curve: α, β, the root mean squared residual, and the √KL of its peak (None: none in
    reach).
    """

    alpha: float
    beta: float
    residual: float
    peak: float | None


def curve(form: Form, *, alpha: float, beta: float, distance: Array) -> Array:
    """The gain that a curve of this form has at distances √KL >= 0, shape (n,); both forms are 0 at
    0.
    """
    return np.asarray(_terms(form, distance) @ [alpha, beta], dtype=np.float64)


def fit(*, distance: Array, gain: Array, form: Form) -> GainCurve | str:
    """Least squares of `gain` (any unit) on distance √KL > 0; or the reason why there is none."""
    use = np.isfinite(distance) & np.isfinite(gain) & (distance > 0)
    d, y = distance[use], gain[use]
    if len(d) < FEWEST_POINTS:
        return (
            f"{len(d)} iterations have a KL above 0 and a human gain; at least {FEWEST_POINTS} "
            "are needed for a curve"
        )
    columns = _terms(form, d)
    (alpha, beta), _, rank, _ = np.linalg.lstsq(columns, y, rcond=None)
    if rank < 2:
        return "all iterations are at the same distance from the base policy"
    residual = float(np.sqrt(np.mean((columns @ [alpha, beta] - y) ** 2)))
    # A curve that does not turn down has no peak, and one far beyond what was seen is no finding.
    peak = None
    if form == "rl" and beta > 0:
        peak = float(np.exp(alpha / beta - 1))
    elif form == "bon" and beta > 0 and alpha > 0:
        peak = float(alpha / (2 * beta))
    # "not <=" and not ">": a peak that is no number is none.
    if peak is not None and not peak <= FARTHEST * d.max():
        peak = None
    return GainCurve(float(alpha), float(beta), residual, peak)


def _terms(form: Form, d: Array) -> Array:
    """What α and β are multiplied with, shape (n, 2)."""
    factor = d if form == "bon" else np.log(np.where(d > 0, d, 1.0))
    return np.column_stack([d, -d * factor])
