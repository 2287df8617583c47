"""How small a change an audit of a given size can see, before it is run."""

from __future__ import annotations

import math

from scipy.special import ndtri

__all__ = ["mde_of_mean", "ppi_narrowing", "prompts_for"]


def mde_of_mean(
    *,
    sd: float,
    n_prompts: int,
    per_prompt: int = 1,
    icc: float = 0.0,
    level: float = 0.95,
    power: float = 0.8,
) -> float:
    """The smallest change of a mean that is found with `power`, in the unit of `sd`.

    (z(½ + level/2) + z(power))·sd·√((icc + (1 - icc)/m)/P) for P prompts with m samples each, whose
    scores have this sd and, within a prompt, this correlation (Snijders & Bosker 2012, chapter 11:
    the design effect 1 + (m - 1)·icc). For a paired change `sd` is that of the differences on the
    same prompts, and icc theirs. Normal theory: with 10 to 30 prompts the t quantile makes it 15%
    to 4% larger. Raises ValueError for values out of range.
    """
    _check(sd=sd, icc=icc, level=level, power=power, per_prompt=per_prompt)
    if n_prompts < 2:
        raise ValueError(f"n_prompts: {n_prompts}; expected at least 2")
    return _sum_of_z(level, power) * sd * math.sqrt((icc + (1 - icc) / per_prompt) / n_prompts)


def prompts_for(
    *,
    effect: float,
    sd: float,
    per_prompt: int = 1,
    icc: float = 0.0,
    level: float = 0.95,
    power: float = 0.8,
) -> int:
    """How many prompts it takes to find a change of `effect` (above 0, in the unit of `sd`) with
    `power`.
    """
    _check(sd=sd, icc=icc, level=level, power=power, per_prompt=per_prompt)
    if not (math.isfinite(effect) and effect > 0):
        raise ValueError(f"effect: {effect}; expected a number above 0")
    exact = (_sum_of_z(level, power) * sd / effect) ** 2 * (icc + (1 - icc) / per_prompt)
    return max(2, math.ceil(exact - 1e-9))


def ppi_narrowing(*, rho: float, rated: int, unrated: int) -> float:
    """What rewards of `unrated` rows do to the interval of `rated` ratings: √(1 - ρ²/(1 + n/N)),
    0..1; 1 is nothing.

    ρ is the correlation of reward and human score on the rated policy (Angelopoulos, Duchi & Zrnic
    2023, arXiv 2311.01453, with the optimal λ). Multiply `sd` in `mde_of_mean` by it.
    """
    if not (-1 <= rho <= 1 and rated >= 1 and unrated >= 0):
        given = f"rho {rho}, rated {rated}, unrated {unrated}"
        raise ValueError(f"{given}; expected -1 <= rho <= 1, rated >= 1, unrated >= 0")
    return math.sqrt(1 - rho**2 * unrated / (rated + unrated))


def _sum_of_z(level: float, power: float) -> float:
    return float(ndtri(0.5 + level / 2) + ndtri(power))


def _check(*, sd: float, icc: float, level: float, power: float, per_prompt: int) -> None:
    if not (math.isfinite(sd) and sd > 0):
        raise ValueError(f"sd: {sd}; expected a number above 0")
    if not 0 <= icc <= 1:
        raise ValueError(f"icc: {icc}; expected 0 <= icc <= 1")
    if not (0 < level < 1 and 0.5 <= power < 1):
        raise ValueError(
            f"level {level}, power {power}; expected 0 < level < 1 and 0.5 <= power < 1"
        )
    if per_prompt < 1:
        raise ValueError(f"per_prompt: {per_prompt}; expected at least 1")
