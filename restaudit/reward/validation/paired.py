"""Two scores of the same items against the same judges: each alone, and the paired difference
between them.
"""

from __future__ import annotations

from typing import Any, Literal, Unpack

import numpy as np
import pandas as pd

from probes.base import Array, Measurement
from probes.statistics.stats import (
    SHARE,
    Estimate,
    Resampling,
    bootstrap,
    correlation,
    ratio_of_sums,
    unmeasured,
)
from restaudit.reward.validation.judged import Judged, wins

VERSION = "1"
LEVEL = 0.95
CHANGE = (-1.0, 1.0)
UNDECIDED = "no pair has more votes for one response than for the other"


def measured(estimate: Estimate, name: str, unit: str, meaning: str, **detail: Any) -> Measurement:
    """The measurement `validation.<name>`; `meaning` says in words what it is."""
    return estimate.measured(
        f"validation.{name}", unit=unit, version=VERSION, detail={"meaning": meaning, **detail}
    )


def unit_of(judged: Judged) -> Literal["share", "r"]:
    """What agreement with people is measured in: the share of pairs, or Pearson's r."""
    return "share" if judged.kind == "pairs" else "r"


def agreement(
    judged: Judged, rows: pd.DataFrame, score: str = "reward", **how: Unpack[Resampling]
) -> Estimate:
    """How far a column of some rows agrees with `judged`: share of pairs, ties one half; or
    Pearson's r.
    """
    if judged.kind == "ratings":
        return correlation(table=rows, x=score, y="judged", kind="pearson", **how)
    if rows.empty:
        return unmeasured(UNDECIDED)
    counted = rows.assign(agrees=wins(rows[score], rows["judged"]))
    return ratio_of_sums(table=counted, numerator="agrees", denominator="one", bounds=SHARE, **how)


def advantage(
    judged: Judged, rows: pd.DataFrame, score: str, other: str, **how: Unpack[Resampling]
) -> Estimate:
    """How much better one column agrees with `judged` than another does on the same rows, paired;
    -1..1 or -2..2.
    """
    if judged.kind == "ratings":
        return correlation_difference(rows, score, other, "judged", **how)
    if rows.empty:
        return unmeasured(UNDECIDED)
    gained = wins(rows[score], rows["judged"]) - wins(rows[other], rows["judged"])
    return ratio_of_sums(
        table=rows.assign(gained=gained),
        numerator="gained",
        denominator="one",
        bounds=CHANGE,
        **how,
    )


def correlation_difference(
    rows: pd.DataFrame, x: str, other: str, y: str, **how: Unpack[Resampling]
) -> Estimate:
    """Pearson's r of x and y less that of `other` and y, on the rows where all three are defined;
    -2..2.
    """
    rows = rows[rows[[x, other, y]].notna().all(axis=1)]
    a, b, c = (_standard(rows[name].to_numpy(dtype=np.float64)) for name in (x, other, y))
    units = rows["prompt_id"].nunique()
    for name, values in ((x, a), (other, b), (y, c)):
        if len(rows) < 3 or not np.any(values):
            why = (
                f"{name} is the same for all {len(rows)} samples"
                if len(rows) >= 3
                else f"{len(rows)} samples"
            )
            return unmeasured(why, n=len(rows), units=units)
    parts = pd.DataFrame(
        {
            "n": np.ones(len(rows)),
            "a": a,
            "b": b,
            "c": c,
            "aa": a * a,
            "bb": b * b,
            "cc": c * c,
            "ac": a * c,
            "bc": b * c,
        }
    )
    totals = parts.groupby(rows["prompt_id"].to_numpy()).sum().to_numpy()

    def statistic(sums: Array) -> Array:
        n, sa, sb, sc, saa, sbb, scc, sac, sbc = sums.T
        va, vb, vc = (
            np.where(v > 1e-12 * n, v, np.nan)
            for v in (saa - sa**2 / n, sbb - sb**2 / n, scc - sc**2 / n)
        )
        difference: Array = (sac - sa * sc / n) / np.sqrt(va * vc) - (sbc - sb * sc / n) / np.sqrt(
            vb * vc
        )
        return difference

    return bootstrap(totals=totals, statistic=statistic, n=len(rows), bounds=(-2.0, 2.0), **how)


def _standard(values: Array) -> Array:
    """Centred and scaled to sd 1, so that sums of squares do not cancel; all 0 where the values do
    not vary.
    """
    if len(values) < 2 or np.ptp(values) <= 1e-12 * float(np.abs(values).max()):
        return np.zeros(len(values))
    centred = values - values.mean()
    centred = centred / np.abs(centred).max()
    out: Array = centred / centred.std()
    return out


def nothing(
    name: str, unit: str, meaning: str, reason: str, *, n: int = 0, **detail: Any
) -> Measurement:
    """A measurement without a value, and why."""
    return measured(unmeasured(reason, n=n), name, unit, meaning, **detail)


def words(texts: pd.Series[Any]) -> pd.Series[float]:
    """Number of words, split at white space."""
    return texts.map(lambda text: float(len(text.split()))).astype("float64")  # of no text too
