"""Does a reward know how sure it may be?

The size of a difference against how often it is right (pairs), the line of ratings on rewards, and
whether an ensemble disagrees where it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import numpy as np
import pandas as pd
from scipy.special import expit, stdtrit

from probes.base import Array, Interval, Measurement
from probes.statistics.calibration import calibration as calibrated
from probes.statistics.resample import summarise, weight_slices
from probes.statistics.stats import SHARE, Estimate, Resampling, bootstrap, correlation, unmeasured
from restaudit.reward.validation.judged import Judged, measured

BINS = 10
ROUNDS = 100
STATED = "σ(|reward difference|) against the share of pairs in which the reward is right"


def calibration(judged: Judged, **resampling: Unpack[Resampling]) -> list[Measurement]:
    """Pairs: calibration error of σ(reward difference), and the slope and temperature that would
    make it right. Ratings: slope and intercept of the least-squares line of the judged rating on
    the reward (1 and 0 are calibrated).
    """
    if judged.kind == "ratings":
        return _ratings(judged.usable, **resampling)
    return _pairs(judged.usable, **resampling)


def reliability(judged: Judged, bins: int = BINS) -> list[dict[str, Any]]:
    """The curve behind the calibration error, one dict a bin of equally many pairs: pairs, stated,
    observed (0..1).

    Empty for ratings and where there are fewer than 10 pairs.
    """
    if judged.kind == "ratings":
        return []
    stated, right = _stated(judged.usable)
    # Bins of at least ten pairs: the share of fewer says nothing.
    used = min(bins, len(stated) // 10)
    if not used:
        return []
    curve = []
    for rows in np.array_split(np.argsort(stated, kind="stable"), used):
        means = {"stated": float(stated[rows].mean()), "observed": float(right[rows].mean())}
        curve.append({"pairs": len(rows), **means})
    return curve


def _stated(rows: pd.DataFrame) -> tuple[Array, Array]:
    """How sure the reward says it is of its own preference, 0.5..1, and whether it is right, 0 or
    1.

    Where both rewards are equal it prefers the left response, which is nobody's choice.
    """
    difference = rows["reward"].to_numpy(dtype=np.float64)
    left_won = rows["judged"].to_numpy(dtype=np.float64) > 0.5
    return np.asarray(expit(np.abs(difference))), np.asarray(
        (difference >= 0) == left_won, dtype=np.float64
    )


def _pairs(rows: pd.DataFrame, **resampling: Unpack[Resampling]) -> list[Measurement]:
    stated, right = _stated(rows)
    prompts = rows["prompt_id"].to_numpy(dtype=str)
    binned = calibrated(probability=stated, outcome=right, prompts=prompts, bins=BINS, **resampling)
    if isinstance(binned, str):  # the reason why there is none
        error, more = unmeasured(binned, n=len(rows)), {}
    else:
        error = binned.debiased
        more = {
            "plugin": binned.plugin,
            "bins": binned.bins,
            "stated": float(stated.mean()),
            "right": float(right.mean()),
            "bias": (
                "plugin is the error as usually printed, too high on average; value has its "
                "bias taken off"
            ),
        }
    slope = _slope(rows, **resampling)
    return [
        measured(
            error,
            "calibration.error",
            "probability",
            f"expected calibration error: {STATED}",
            **more,
        ),
        measured(
            slope,
            "calibration.slope",
            "slope",
            "b in P(left wins) = σ(b·(r_left - r_right)): 1 is calibrated, "
            "below 1 it is too sure, 0 or less it says nothing or the opposite",
        ),
        measured(
            _temperature(slope),
            "calibration.temperature",
            "temperature",
            "1 / slope: divide rewards by it",
        ),
    ]


def _slope(rows: pd.DataFrame, **resampling: Unpack[Resampling]) -> Estimate:
    """Logistic regression through the origin by maximum likelihood, error cluster-robust (Liang &
    Zeger 1986).
    """
    d = rows["reward"].to_numpy(dtype=np.float64)
    y = (rows["judged"].to_numpy(dtype=np.float64) > 0.5).astype(np.float64)
    owner, units = pd.factorize(rows["prompt_id"])
    n, p = len(rows), len(units)
    method = "logistic regression through the origin, prompt-clustered sandwich error"
    if not np.any(d):
        return unmeasured("no pair has two different rewards", n=n, units=p, method=method)
    # Where no pair stands against the slope, the likelihood rises for ever (separation).
    sided = np.sign(d) * (2 * y - 1)
    if not ((sided > 0).any() and (sided < 0).any()):
        which = "right" if (sided > 0).any() else "wrong"
        return unmeasured(
            f"the reward is {which} about every pair, so no finite slope is the best",
            n=n,
            units=p,
            method=method,
        )
    scale = float(np.abs(d).mean())
    x, b = d / scale, 0.0
    for _ in range(ROUNDS):
        chance = expit(b * x)
        step = float((x * (y - chance)).sum() / max((x**2 * chance * (1 - chance)).sum(), 1e-12))
        # The log-likelihood is concave; short steps keep Newton from overshooting.
        b += float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-10:
            break
    value = b / scale
    if p < 2:
        return Estimate(value, n, p, method, reason="no interval: 1 prompt, at least 2 are needed")
    chance = expit(b * x)
    pulls = np.bincount(owner, weights=x * (y - chance))
    information = (x**2 * chance * (1 - chance)).sum()
    error = float(np.sqrt(p / (p - 1) * (pulls**2).sum()) / information) / scale
    ends = []
    for level in resampling["levels"]:
        t = float(stdtrit(p - 1, 0.5 + level / 2))
        ends.append(Interval(level, value - t * error, value + t * error))
    return Estimate(value, n, p, f"{method}, t({p - 1})", tuple(ends))


def _temperature(slope: Estimate) -> Estimate:
    if slope.value is None:
        return slope
    if slope.value <= 0:
        return unmeasured(
            f"the slope is {slope.value:.2g}: no temperature makes the preferences right",
            n=slope.n,
            units=slope.units,
        )
    method = f"1 / slope; {slope.method}"
    if not slope.intervals or any(i.low <= 0 for i in slope.intervals):
        reason = (
            slope.reason or "no interval: the slope may be 0, so the temperature has no upper end"
        )
        return Estimate(1 / slope.value, slope.n, slope.units, method, reason=reason)
    ends = tuple(Interval(i.level, 1 / i.high, 1 / i.low) for i in slope.intervals)
    return Estimate(1 / slope.value, slope.n, slope.units, method, ends)


def _ratings(rows: pd.DataFrame, **resampling: Unpack[Resampling]) -> list[Measurement]:
    x = rows["reward"].to_numpy(dtype=np.float64)
    y = rows["judged"].to_numpy(dtype=np.float64)
    shift_x = shift_y = scale = 0.0
    if len(rows):
        shift_x, shift_y = float(x.mean()), float(y.mean())
        scale = float(np.abs(x - shift_x).max())
    # Shifted and scaled, so that sums of squares of any reward neither overflow nor cancel.
    u, v = (x - shift_x) / (scale or 1.0), y - shift_y
    parts = pd.DataFrame({"n": np.ones(len(u)), "u": u, "v": v, "uu": u * u, "uv": u * v})
    totals = parts.groupby(rows["prompt_id"].to_numpy()).sum().to_numpy()

    def line(sums: Array) -> tuple[Array, Array]:
        n, su, sv, suu, suv = sums.T
        spread = suu - su**2 / n
        slope: Array = (suv - su * sv / n) / np.where(spread > 1e-12 * n, spread, np.nan)
        return slope, (sv - slope * su) / n

    def slope(sums: Array) -> Array:
        return line(sums)[0] / (scale or 1.0)

    def intercept(sums: Array) -> Array:
        b, a = line(sums)
        out: Array = a + shift_y - b * shift_x / (scale or 1.0)
        return out

    def estimate(statistic: Callable[[Array], Array]) -> Estimate:
        if len(rows) < 3:
            why = f"{len(rows)} rated items; at least 3 are needed"
        elif np.ptp(y) == 0:
            why = "all items are rated alike"
        else:
            same = "the reward is the same for every item"
            return bootstrap(
                totals=totals, statistic=statistic, n=len(rows), undefined=same, **resampling
            )
        return unmeasured(why, n=len(rows), units=len(totals))

    of_slope = "of the judged rating on the reward: 1 is calibrated"
    of_intercept = "of that line: 0 is calibrated (with slope 1)"
    return [
        measured(estimate(slope), "calibration.slope", "slope", of_slope),
        measured(estimate(intercept), "calibration.intercept", "rating units", of_intercept),
    ]


# --- does the ensemble know when it is wrong? Its members' spread against the reward's error


def spread(judged: Judged, **resampling: Unpack[Resampling]) -> list[Measurement]:
    """Ratings: Spearman's rho of spread and absolute error.

    Pairs: AUROC, the chance that a pair the reward gets wrong has more spread than one it gets
    right; and the same for a small difference of rewards, which needs no ensemble.
    """
    rows = judged.usable
    pairs = judged.kind == "pairs"
    if pairs:
        rows = rows[rows["wins"] != 0.5].assign(closeness=lambda t: -t["reward"].abs())
    if judged.members == 1:
        own = unmeasured("the reward has one member, so nothing disagrees", n=len(rows))
    elif pairs:
        own = auroc(rows, "spread", **resampling)
    else:
        own = correlation(table=rows, x="spread", y="loss", **resampling)
    if not pairs:
        meaning = "members' spread against the absolute error of the reward"
        return [measured(own, "spread.error", "rho", meaning)]
    wrong = "the chance that a wrong pair has more of it than a right one"
    close = auroc(rows, "closeness", **resampling)
    return [
        measured(own, "spread.error", "AUROC", f"members' spread of the difference: {wrong}"),
        measured(close, "spread.closeness", "AUROC", f"closeness of the rewards: {wrong}"),
    ]


def auroc(rows: pd.DataFrame, score: str, **resampling: Unpack[Resampling]) -> Estimate:
    """Chance that a row with loss 1 has a higher score than a row with loss 0, ties one half (Mann
    & Whitney 1947).

    0.5 is chance. Resampled by prompt_id.
    """
    values, loss = (rows[c].to_numpy(dtype=np.float64) for c in (score, "loss"))
    prompts, place = np.unique(rows["prompt_id"].to_numpy(dtype=str), return_inverse=True)
    n, bad = len(rows), int((loss == 1).sum())
    if min(bad, n - bad) == 0:
        # With one kind of pair there is nothing to rank against the other.
        outcome = "wrong" if bad else "right"
        return unmeasured(f"the reward is {outcome} about all {n} pairs", n=n, units=len(prompts))
    if np.ptp(values) == 0:
        return unmeasured(f"{score} is the same for all {n} pairs", n=n, units=len(prompts))
    order = np.argsort(values, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(values[order]) > 0])
    wrong, owner = (loss == 1)[order], place[order]

    def under(weights: Array) -> Array:
        w = weights[:, owner]
        w_wrong, w_right = (np.add.reduceat(w * side, first, axis=1) for side in (wrong, ~wrong))
        below = np.cumsum(w_right, axis=1) - w_right / 2
        total = w_wrong.sum(axis=1) * w_right.sum(axis=1)
        out: Array = (w_wrong * below).sum(axis=1) / np.where(total > 0, total, np.nan)
        return out

    step = max(1, 2_000_000 // n)  # resamples at a time, for a bounded table in memory
    drawn = weight_slices(
        units=len(prompts), resamples=resampling["resamples"], seed=resampling["seed"]
    )
    parts: list[Array] = []
    for weights_of_draws in drawn:
        for start in range(0, len(weights_of_draws), step):
            parts.append(under(weights_of_draws[start : start + step]))
    replicates = np.concatenate(parts)
    return summarise(
        value=float(under(np.ones((1, len(prompts))))[0]),
        replicates=replicates,
        n=n,
        units=len(prompts),
        bounds=SHARE,
        levels=resampling["levels"],
    )
