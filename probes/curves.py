"""Over-optimisation curves: a run's human gain against its distance from the base policy, as a description.

Gao, Schulman & Hilton 2022 (arXiv 2210.10760) fitted the gold reward against d = √KL with R(d) = d·(α - β·d) for
best-of-n and R(d) = d·(α - β·log d) for reinforcement learning. Nobody knows ReST's own form; both are fitted, neither
is asserted, and there is no universal limit of KL.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probes.base import Array

FEWEST_POINTS = 4
# A peak farther out than this many times the largest distance is an extrapolation that means nothing.
FARTHEST = 2.0


@dataclass(frozen=True)
class Curve:
    """A fitted curve: α, β, the root mean squared residual, and the √KL of its peak (None: none in reach)."""

    alpha: float
    beta: float
    residual: float
    peak: float | None


def fit(*, distance: Array, gain: Array, form: str) -> Curve | str:
    """Least squares of `gain` (any unit) on distance √KL > 0, form "bon" or "rl"; or the reason why there is none."""
    use = np.isfinite(distance) & np.isfinite(gain) & (distance > 0)
    d, y = distance[use], gain[use]
    if len(d) < FEWEST_POINTS:
        return (
            f"{len(d)} iterations have a KL above 0 and a human gain; at least {FEWEST_POINTS} are needed for a curve"
        )
    columns = np.column_stack([d, -d * (d if form == "bon" else np.log(d))])
    (alpha, beta), _, rank, _ = np.linalg.lstsq(columns, y, rcond=None)
    if rank < 2:
        return "all iterations are at the same distance from the base policy"
    residual = float(np.sqrt(np.mean((columns @ [alpha, beta] - y) ** 2)))
    peak = None
    if beta > 0 and (form == "rl" or alpha > 0):
        peak = float(alpha / (2 * beta) if form == "bon" else np.exp(alpha / beta - 1))
    if peak is not None and not peak <= FARTHEST * d.max():
        peak = None
    return Curve(float(alpha), float(beta), residual, peak)
