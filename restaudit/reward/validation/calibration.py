"""Does the size of a reward mean what it says?

Stated against observed preferences; ratings against their line.
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import pandas as pd
from scipy.special import expit, stdtrit

from probes.base import Array, Interval, Measurement
from probes.statistics.calibration import calibration as calibrated
from probes.statistics.stats import Estimate, Resampling, bootstrap, unmeasured
from restaudit.reward.validation.judged import Judged
from restaudit.reward.validation.paired import measured

BINS = 10
ROUNDS = 100
STATED = "σ(|reward difference|) against the share of pairs in which the reward is right"


def calibration(judged: Judged, **how: Unpack[Resampling]) -> list[Measurement]:
    """Pairs: calibration error of σ(reward difference), and the slope and temperature that would
    make it right. Ratings: slope and intercept of the least-squares line of the judged rating on
    the reward (1 and 0 are calibrated).
    """
    rows = judged.usable
    return _ratings(rows, **how) if judged.kind == "ratings" else _pairs(rows, **how)


def reliability(judged: Judged, bins: int = BINS) -> list[dict[str, Any]]:
    """The curve behind the calibration error, one dict a bin of equally many pairs: pairs, stated,
    observed (0..1).

    Empty for ratings and where there are fewer than 10 pairs.
    """
    if judged.kind == "ratings":
        return []
    stated, right = _stated(judged.usable)
    used = min(bins, len(stated) // 10)
    parts = np.array_split(np.argsort(stated, kind="stable"), used) if used else []
    return [
        {"pairs": len(p), "stated": float(stated[p].mean()), "observed": float(right[p].mean())}
        for p in parts
    ]


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


def _pairs(rows: pd.DataFrame, **how: Unpack[Resampling]) -> list[Measurement]:
    stated, right = _stated(rows)
    prompts = rows["prompt_id"].to_numpy(dtype=str)
    found = calibrated(probability=stated, outcome=right, prompts=prompts, bins=BINS, **how)
    if isinstance(found, str):
        error, more = unmeasured(found, n=len(rows)), {}
    else:
        error = found.debiased
        more = {
            "plugin": found.plugin,
            "bins": found.bins,
            "stated": float(stated.mean()),
            "right": float(right.mean()),
            "bias": (
                "plugin is the error as usually printed, too high on average; value has its "
                "bias taken off"
            ),
        }
    slope = _slope(rows, **how)
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


def _slope(rows: pd.DataFrame, **how: Unpack[Resampling]) -> Estimate:
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
        b += float(
            np.clip(step, -1.0, 1.0)
        )  # the log-likelihood is concave; short steps keep Newton from overshooting
        if abs(step) < 1e-10:
            break
    value = b / scale
    if p < 2:
        return Estimate(value, n, p, method, reason="no interval: 1 prompt, at least 2 are needed")
    chance = expit(b * x)
    pulls = np.bincount(owner, weights=x * (y - chance))
    error = (
        float(np.sqrt(p / (p - 1) * (pulls**2).sum()) / (x**2 * chance * (1 - chance)).sum())
        / scale
    )
    ends = tuple(
        Interval(level, value - t * error, value + t * error)
        for level in how["levels"]
        for t in [float(stdtrit(p - 1, 0.5 + level / 2))]
    )
    return Estimate(value, n, p, f"{method}, t({p - 1})", ends)


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


def _ratings(rows: pd.DataFrame, **how: Unpack[Resampling]) -> list[Measurement]:
    x, y = (rows[c].to_numpy(dtype=np.float64) for c in ("reward", "judged"))
    shift_x, shift_y = (float(v.mean()) if len(v) else 0.0 for v in (x, y))
    scale = float(np.abs(x - shift_x).max()) if len(x) else 0.0
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

    if len(rows) < 3 or np.ptp(y) == 0:
        why = (
            "all items are rated alike"
            if len(rows) >= 3
            else f"{len(rows)} rated items; at least 3 are needed"
        )
        found = [unmeasured(why, n=len(rows), units=len(totals))] * 2
    else:
        same = "the reward is the same for every item"
        found = [
            bootstrap(totals=totals, statistic=f, n=len(rows), undefined=same, **how)
            for f in (slope, intercept)
        ]
    return [
        measured(
            found[0],
            "calibration.slope",
            "slope",
            "of the judged rating on the reward: 1 is calibrated",
        ),
        measured(
            found[1],
            "calibration.intercept",
            "rating units",
            "of that line: 0 is calibrated (with slope 1)",
        ),
    ]
