"""Few human scores and many predictions of them: prediction-powered means and changes (PPI++),
clustered by prompt.

People rate a random part of the rows; a reward is known for all. The rated rows alone give the
right mean with a wide interval. The rewards of the other rows sharpen it by as much as they tell
about people, and a wrong reward cannot shift it: θ = rated mean + c·(mean reward of all rows - mean
reward of the rated rows). (Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453; as the regression
estimator of survey sampling: Särndal, Swensson & Wretman 1992, chapter 6.)

That needs ratings of rows drawn at random. Where the chances differed, each rated row counts 1 /
(its chance) (Horvitz & Thompson 1952; normalised: Hájek 1971). Where nobody knows the chances there
is no value, only the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from probes.base import HumanSampling, Interval
from probes.rows import defined, numbers
from probes.statistics.resample import Array, Estimate, Resampling, unmeasured
from probes.statistics.stats import change, mean

__all__ = ["Rated", "corrected_change", "corrected_mean", "ppi_change", "ppi_mean"]

# c is fitted to the rated prompts; with fewer than this the fit is noise and the rewards are left
# out.
FEWEST_TUNED = 5
# A prompt with more than this share of the fit, or of the weight, would decide it alone.
MOST_PULL = 0.8
NOT_RANDOM = (
    "nobody says how the rated rows were chosen, and not every one has an inclusion probability: "
    "the mean of chosen rows says nothing about the others"
)


@dataclass(frozen=True)
class Rated:
    """Rows of one policy, some with a human score; all arrays have shape (rows,).

    `prompts` names the prompt each row belongs to, `human` is NaN where nobody rated, `prediction`
    (any unit: c carries the unit) is NaN where unknown, and such rows are left out. `inclusion` is
    the chance, 0 < p <= 1, with which a row was drawn to be rated (read on rated rows only); None
    where all had the same. Raises ValueError where lengths differ, a number is infinite or a chance
    is out of range.
    """

    prompts: NDArray[np.str_]
    human: Array
    prediction: Array
    inclusion: Array | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.prompts), len(self.human), len(self.prediction)}
        if self.inclusion is not None:
            lengths.add(len(self.inclusion))
        if len(lengths) != 1:
            raise ValueError(
                "prompts, human, prediction and inclusion: expected arrays of one length"
            )
        for name, values in (("human", self.human), ("prediction", self.prediction)):
            if np.isinf(values).any():
                raise ValueError(
                    f"{name}: row {int(np.argmax(np.isinf(values)))} is infinite; expected a "
                    "number or NaN"
                )
        if self.inclusion is not None:
            wrong = ~np.isnan(self.human) & ~((self.inclusion > 0) & (self.inclusion <= 1))
            if wrong.any():
                row = int(np.argmax(wrong))
                raise ValueError(
                    f"inclusion: row {row} was rated with a chance of {self.inclusion[row]}; "
                    "expected a number above 0 and at most 1"
                )


def ppi_mean(
    *,
    human: Array,
    prediction: Array,
    prompts: NDArray[np.str_],
    levels: Sequence[float],
    inclusion: Array | None = None,
) -> tuple[Estimate, float | None]:
    """Mean human score over prompts (mean of prompt means), and λ. See `Rated` for the arrays.

    c is chosen to make the estimate's prompt-clustered variance least, which is power tuning:
    without clusters it is cov(human, prediction) / var(prediction). λ = c·(share of unrated rows)
    is PPI++'s, the weight of the unrated rows' predictions: near 0 where they tell nothing about
    people, at best the slope of human on prediction / (1 + n/N). It is not clipped: a reward in
    other units, or one that people dislike, has another λ. None where nothing was tuned: all rows
    rated, predictions that do not vary, fewer than 5 rated prompts, or one prompt whose reward lies
    so far out that it would decide c alone; the value is then the rated rows' own.

    Interval: value ± t·SE, cluster-robust linearisation (Särndal et al. 1992, section 6.6) with HC2
    residuals, and t(m - 2) for the mean and c fitted to m rated prompts; where prompts weigh
    unequally, m is Kish's effective number. `n` is the rated rows, `units` the rated prompts.
    """
    rows = Rated(prompts, human, prediction, inclusion)
    return _estimate(_sides([rows]), levels)


def ppi_change(
    *, now: Rated, then: Rated, levels: Sequence[float]
) -> tuple[Estimate, float | None]:
    """How far the mean human score moved from `then` to `now`, paired by prompt, and λ.

    Mean over the prompts that both have rows of. One c serves both policies and makes the variance
    of the difference least; λ is c·(share of unrated rows of `now`). Otherwise as `ppi_mean`; `n`
    counts the rated rows of both.
    """
    return _estimate(_sides([now, then]), levels)


def corrected_mean(
    *,
    table: pd.DataFrame,
    score: str = "human",
    prediction: str = "reward",
    sampling: HumanSampling,
    **resampling: Unpack[Resampling],
) -> tuple[Estimate, float | None]:
    """`ppi_mean` of a table (columns: prompt_id, the two named ones, and inclusion where chances
    differed), and λ.

    With `sampling` "all", or where every row has a score, it is `stats.mean` and λ is None.
    "unknown" gives no value, and the reason, unless every rated row has an inclusion probability.
    Raises ValueError as `Rated` does.
    """
    if sampling == "all" or len(defined(table, [score])) == len(table):
        return mean(table=table, column=score, **resampling), None
    if (why := _refused(table, score, sampling)) is not None:
        return unmeasured(why, n=len(defined(table, [score]))), None
    rows = _rated(table, score, prediction)
    if np.isnan(rows.prediction).all():
        return unmeasured(
            f"no row has a {prediction}, and not all were rated", n=len(defined(table, [score]))
        ), None
    return _estimate(_sides([rows]), resampling["levels"])


def corrected_change(
    *,
    table: pd.DataFrame,
    base: pd.DataFrame,
    score: str = "human",
    prediction: str = "reward",
    sampling: HumanSampling,
    standardise_by: float | None = None,
    **resampling: Unpack[Resampling],
) -> tuple[Estimate, float | None]:
    """`ppi_change` from `base` to `table`, and λ; divided by `standardise_by` (above 0, taken as
    known) where given.

    Refuses and reduces as `corrected_mean` does: with sampling "all", or all rows of both rated, it
    is `stats.change`.
    """
    if standardise_by is not None and not (np.isfinite(standardise_by) and standardise_by > 0):
        raise ValueError(f"standardise_by: {standardise_by}; expected a number above 0")
    count = len(defined(table, [score])) + len(defined(base, [score]))
    weight = None
    refused = _refused(table, score, sampling) or _refused(base, score, sampling)
    if sampling == "all" or count == len(table) + len(base):
        moved = change(table=table, base=base, columns=[score], standardise=False, **resampling)
    elif refused is not None:
        moved = unmeasured(refused, n=count)
    else:
        now, then = _rated(table, score, prediction), _rated(base, score, prediction)
        moved, weight = ppi_change(now=now, then=then, levels=resampling["levels"])
    return _over(moved, standardise_by), weight


def _refused(table: pd.DataFrame, score: str, sampling: HumanSampling) -> str | None:
    rated = defined(table, [score])
    if len(rated) == len(table):
        return None
    without = int(np.isnan(numbers(rated, "inclusion")).sum())
    # Rows that somebody chose (the best ones, say) have another mean than all rows, and no
    # correction by rewards can tell by how much: refused rather than guessed.
    if sampling == "unknown" and without:
        return NOT_RANDOM
    if "inclusion" in table.columns and 0 < without < len(rated):
        return (
            f"{without} of {len(rated)} rated rows have no inclusion probability, the others "
            "have one"
        )
    return None


def _rated(table: pd.DataFrame, score: str, prediction: str) -> Rated:
    chances = numbers(table, "inclusion")
    human = numbers(table, score)
    known = not np.isnan(chances[~np.isnan(human)]).any()
    names = table["prompt_id"].to_numpy(dtype=str)
    return Rated(names, human, numbers(table, prediction), chances if known else None)


# --- totals per prompt


@dataclass(frozen=True)
class _Side:
    """One policy: per prompt the sums over rated rows of weight, weighted score and weighted
    prediction, and the mean prediction of all rows; the share of unrated rows (prompts count
    alike), rated rows, and rows that were left out."""

    weight: Array
    score: Array
    at_rated: Array
    at_all: Array
    unrated: float
    n: int
    left_out: int
    weighted: bool

    @property
    def rated_mean(self) -> float:
        return float(self.score.sum() / self.weight.sum())

    @property
    def effective(self) -> float:
        """How many equally weighted rated prompts would know as much (Kish 1965): (Σw)² / Σw²."""
        return float(self.weight.sum() ** 2 / (self.weight @ self.weight))

    def errors(self) -> tuple[Array, Array, float]:
        """Each prompt's part in the error of the rated mean and of the reward gap (both sum to 0),
        and the gap.
        """
        total, prompts = self.weight.sum(), len(self.at_all)
        own, other = self.at_all.mean(), self.at_rated.sum() / total
        human = (self.score - self.rated_mean * self.weight) / total
        reward = (self.at_all - own) / prompts - (self.at_rated - other * self.weight) / total
        return human, reward, float(own - other)


def _sides(policies: Sequence[Rated]) -> list[_Side]:
    """The totals of each policy over the prompts that all of them have rows with a prediction
    of.
    """
    names, codes = np.unique(np.concatenate([p.prompts for p in policies]), return_inverse=True)
    parts = np.split(codes, np.cumsum([len(p.prompts) for p in policies])[:-1])
    # Only prompts that both policies answered: else a change would also hold how the prompts differ.
    shared = np.ones(len(names), dtype=bool)
    for rows, code in zip(policies, parts, strict=True):
        shared &= np.bincount(code[~np.isnan(rows.prediction)], minlength=len(names)) > 0
    place = np.cumsum(shared) - 1
    return [
        _side(rows, place[code], shared[code] & ~np.isnan(rows.prediction), int(shared.sum()))
        for rows, code in zip(policies, parts, strict=True)
    ]


def _side(rows: Rated, place: NDArray[np.intp], keep: NDArray[np.bool_], prompts: int) -> _Side:
    # A fixed order, so that sums do not depend on the order of the rows.
    order = np.flatnonzero(keep)[np.lexsort((rows.human[keep], rows.prediction[keep], place[keep]))]
    place = place[order]
    human, prediction = rows.human[order], rows.prediction[order]
    rated = ~np.isnan(human)
    # Every prompt counts once, and within it a rated row counts for all that had its chance of
    # being rated (Horvitz & Thompson 1952).
    share = 1 / np.bincount(place, minlength=prompts)[place]
    chance = np.ones(len(order)) if rows.inclusion is None else rows.inclusion[order]
    weight = np.where(rated, share / np.where(rated, chance, 1.0), 0.0)

    def total(values: Array) -> Array:
        return np.bincount(place, values, minlength=prompts).astype(np.float64)

    return _Side(
        weight=total(weight),
        score=total(weight * np.where(rated, human, 0.0)),
        at_rated=total(weight * prediction),
        at_all=total(share * prediction),
        unrated=1 - float(share[rated].sum()) / max(prompts, 1),
        n=int(rated.sum()),
        left_out=int(np.isnan(rows.prediction).sum()),
        weighted=bool(rated.any() and np.ptp(chance[rated]) > 0),
    )


def _estimate(sides: Sequence[_Side], levels: Sequence[float]) -> tuple[Estimate, float | None]:
    """The rated mean of the first side (less the second's), corrected by the predictions of all
    rows.
    """
    n = sum(s.n for s in sides)
    fewest = min(int((s.weight > 0).sum()) for s in sides)
    units = int(np.any([s.weight > 0 for s in sides], axis=0).sum())
    if fewest == 0:
        return unmeasured(
            "no row with a prediction has been rated"
            + " for one of the policies" * (len(sides) > 1),
            n=n,
            units=units,
        ), None
    human, reward, gap = sides[0].errors()
    value = sides[0].rated_mean
    if len(sides) > 1:
        # The error of a change, prompt by prompt: what both policies share of a prompt cancels.
        human_then, reward_then, gap_then = sides[1].errors()
        human, reward, gap = human - human_then, reward - reward_then, gap - gap_then
        value -= sides[1].rated_mean
    spread = float(reward @ reward)
    scale = max(float(np.abs(s.at_all).max()) for s in sides)
    # How much of the fit of c hangs on each prompt. With few rated prompts, or one that decides c
    # alone, tuning fits noise, and the interval would be too narrow: then the rated mean it is.
    pull = reward**2 / spread if spread > 1e-24 * scale**2 else np.ones(len(reward))
    tuned = fewest >= FEWEST_TUNED and float(pull.max()) <= MOST_PULL
    c = -float(human @ reward) / spread if tuned else 0.0
    value_only = Estimate(float(value + c * gap), n, units, _method(sides, tuned, fewest))
    weight = c * sides[0].unrated if tuned else None
    if fewest < 2:
        return replace(
            value_only, reason=f"no interval: {fewest} rated prompt, at least 2 are needed"
        ), weight
    own = np.max([s.weight / s.weight.sum() for s in sides], axis=0)
    if own.max() > MOST_PULL and fewest > 2:
        return replace(
            value_only,
            reason=f"no interval: one prompt has {own.max():.0%} of the rated rows' weight",
        ), weight
    # Few rows with large weights know as little as few rows: t with as many degrees of freedom as
    # equally weighted prompts that would know as much.
    effective = min(s.effective for s in sides)
    df = max(effective - 1 - tuned, 1.0)
    # What is left over is smaller where a prompt drew the fit to itself (MacKinnon & White 1985,
    # HC2).
    kept = (1 - own) * (1 - pull) if tuned else 1 - own
    error = float(np.sqrt(((human + c * reward) ** 2 / kept).sum()))
    if error <= 1e-12 * max(1.0, abs(value)):
        return replace(
            value_only,
            reason="no interval: all rated prompts give the same value, so none shows its spread",
        ), weight
    t = [(level, float(stdtrit(df, 0.5 + level / 2)) * error) for level in levels]
    middle = float(value + c * gap)
    ends = tuple(Interval(level, middle - half, middle + half) for level, half in t)
    return replace(
        value_only,
        intervals=ends,
        method=f"{value_only.method}, prompt-clustered linearisation, t({df:.3g})",
        error=error,
    ), weight


def _method(sides: Sequence[_Side], tuned: bool, fewest: int) -> str:
    name = "PPI++ with tuned λ"
    if not tuned:
        why = "too few rated prompts to tune λ"
        if fewest >= FEWEST_TUNED:
            why = "no λ: all rated, predictions alike, or one prompt would decide it"
        name = f"mean of rated rows ({why})"
    left_out = sum(s.left_out for s in sides)
    return (
        name
        + ", rows weighted by 1/inclusion" * any(s.weighted for s in sides)
        + f", {left_out} rows without a prediction left out" * (left_out > 0)
    )


def _over(estimate: Estimate, unit: float | None) -> Estimate:
    if unit is None or estimate.value is None:
        return estimate
    return replace(estimate.rescaled(1 / unit), method=f"{estimate.method}, unit taken as known")
