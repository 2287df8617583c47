"""Does the ensemble know when it is wrong?

Its members' spread against the reward's error on the same items.
"""

from __future__ import annotations

from typing import Unpack

import numpy as np
import pandas as pd

from probes.base import Array, Measurement
from probes.statistics.resample import summarise, weight_slices
from probes.statistics.stats import SHARE, Estimate, Resampling, correlation, unmeasured
from restaudit.reward.validation.judged import Judged
from restaudit.reward.validation.paired import measured


def spread(judged: Judged, **how: Unpack[Resampling]) -> list[Measurement]:
    """Ratings: Spearman's rho of spread and absolute error.

    Pairs: AUROC, the chance that a pair the reward gets wrong has more spread than one it gets
    right; and the same for a small difference of rewards, which needs no ensemble.
    """
    rows = judged.usable
    few = "" if judged.members > 1 else "the reward has one member, so nothing disagrees"
    if judged.kind == "ratings":
        found = (
            unmeasured(few, n=len(rows))
            if few
            else correlation(table=rows, x="spread", y="loss", **how)
        )
        return [
            measured(
                found,
                "spread.error",
                "rho",
                "members' spread against the absolute error of the reward",
            )
        ]
    rows = rows[rows["wins"] != 0.5].assign(closeness=lambda t: -t["reward"].abs())
    wrong = "the chance that a wrong pair has more of it than a right one"
    own = unmeasured(few, n=len(rows)) if few else auroc(rows, "spread", **how)
    return [
        measured(own, "spread.error", "AUROC", f"members' spread of the difference: {wrong}"),
        measured(
            auroc(rows, "closeness", **how),
            "spread.closeness",
            "AUROC",
            f"closeness of the rewards: {wrong}",
        ),
    ]


def auroc(rows: pd.DataFrame, score: str, **how: Unpack[Resampling]) -> Estimate:
    """Chance that a row with loss 1 has a higher score than a row with loss 0, ties one half (Mann
    & Whitney 1947).

    0.5 is chance. Resampled by prompt_id.
    """
    values, loss = (rows[c].to_numpy(dtype=np.float64) for c in (score, "loss"))
    prompts, place = np.unique(rows["prompt_id"].to_numpy(dtype=str), return_inverse=True)
    n, bad = len(rows), int((loss == 1).sum())
    if min(bad, n - bad) == 0:
        return unmeasured(
            f"the reward is {'wrong' if bad and n else 'right'} about all {n} pairs",
            n=n,
            units=len(prompts),
        )
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

    step = max(1, 2_000_000 // n)
    drawn = weight_slices(units=len(prompts), resamples=how["resamples"], seed=how["seed"])
    replicates = np.concatenate(
        [under(part[k : k + step]) for part in drawn for k in range(0, len(part), step)]
    )
    return summarise(
        value=float(under(np.ones((1, len(prompts))))[0]),
        replicates=replicates,
        n=n,
        units=len(prompts),
        bounds=SHARE,
        levels=how["levels"],
    )
