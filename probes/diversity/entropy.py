"""Nats per token that the policy's samples cost under the policy itself: how sure of its words it
has become.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from probes.base import Evidence, Measurement
from probes.rows import numbers
from probes.statistics.resample import Array, Resampling, bootstrap, unmeasured

MISSING = "no sample has a logprob value and tokens"
WHAT = (
    "minus the log-probability at temperature 1 of the policy's samples, per token: the "
    "cross-entropy of the sampling distribution and the policy, which is the policy's entropy "
    "only where samples are drawn at temperature 1 from the whole vocabulary; at a lower "
    "temperature or with top-k it is smaller"
)


def entropy(
    rows: pd.DataFrame,
    base: pd.DataFrame | None,
    evidence: Evidence,
    notes: Mapping[str, Any],
    version: str,
) -> list[Measurement]:
    """`diversity.entropy` in nats per token, and its change from the base policy on the prompts of
    both.
    """
    if not evidence.wants("diversity.entropy", "diversity.entropy_change"):
        return []
    how = Resampling(levels=evidence.levels, resamples=evidence.resamples, seed=evidence.seed)
    detail = {**notes, "what": WHAT}
    found = []
    now = _totals(rows)
    before = None if base is None else _totals(base)
    if evidence.wants("diversity.entropy"):
        estimate = bootstrap(
            totals=now[["nats", "tokens"]].to_numpy(),
            statistic=_per_token,
            n=int(now["n"].sum()),
            bounds=(0.0, np.inf),
            undefined=MISSING,
            **how,
        )
        start = (
            None
            if before is None or before.empty
            else float(before["nats"].sum() / before["tokens"].sum())
        )
        found.append(
            estimate.measured(
                "diversity.entropy",
                unit="nats per token",
                version=version,
                direction="higher",
                baseline=start,
                detail=detail,
            )
        )
    if evidence.wants("diversity.entropy_change"):
        change = unmeasured("this is the base policy: there is nothing to compare it with")
        if before is not None:
            both = now.join(before.add_suffix("_base"), how="inner").sort_index()
            columns = ["nats", "tokens", "nats_base", "tokens_base"]
            change = bootstrap(
                totals=both[columns].to_numpy(),
                statistic=_moved,
                n=int(both["n"].sum()),
                undefined=f"{MISSING} for both policies",
                **how,
            )
        found.append(
            change.measured(
                "diversity.entropy_change",
                unit="nats per token",
                version=version,
                direction="higher",
                baseline=None if before is None else 0.0,
                detail=detail,
            )
        )
    return found


def _totals(rows: pd.DataFrame) -> pd.DataFrame:
    """By prompt: nats, tokens and samples, of the rows that have a log-probability."""
    parts = pd.DataFrame(
        {"nats": -numbers(rows, "logprob"), "tokens": numbers(rows, "n_tokens"), "n": 1.0}
    )
    keep = (parts["nats"].notna() & (parts["tokens"] > 0)).to_numpy()
    return parts[keep].groupby(rows["prompt_id"].to_numpy()[keep]).sum()


def _per_token(sums: Array) -> Array:
    return sums[:, 0] / sums[:, 1]


def _moved(sums: Array) -> Array:
    return sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3]
