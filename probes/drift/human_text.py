"""What held-out human text costs the policy, in nats per token, against the base policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from probes.base import Evidence, Measurement
from probes.statistics.resample import Array, Resampling, bootstrap, unmeasured

COLUMNS = ("text_id", "nll", "n_tokens")


def human_text(evidence: Evidence, version: str) -> list[Measurement]:
    """`drift.human_text_nll`: nats per token under this policy minus under the base policy, on the
    texts of both.

    Texts are resampled; a text counts by its tokens. exp(value) is the ratio of the perplexities.
    Raises ValueError for a table without the columns text_id, nll and n_tokens, with a text twice,
    an infinite number, or where the two policies count a text's tokens differently.
    """
    name = "drift.human_text_nll"
    if not evidence.wants(name):
        return []
    now, then = evidence.human_text, evidence.base_human_text
    for table, which in ((now, "human_text"), (then, "base_human_text")):
        if table is not None:
            _check(table, which)
    detail: dict[str, Any] = {}
    if evidence.base is None:
        estimate = unmeasured("this is the base policy: there is nothing to compare it with")
    elif now is None or then is None:
        estimate = unmeasured("no held-out human text was scored under both policies")
    else:
        both = now.merge(then, on="text_id", how="inner", suffixes=("", "_base")).sort_values(
            "text_id"
        )
        differ = both["n_tokens"] != both["n_tokens_base"]
        if differ.any():
            row = both[differ].iloc[0]
            raise ValueError(
                f"human_text: text {row['text_id']!r} has {row['n_tokens']} tokens, and "
                f"{row['n_tokens_base']} in "
                "base_human_text; nats per token compare only with one tokenizer"
            )
        whole = both[["nll", "nll_base", "n_tokens"]].to_numpy(dtype=np.float64, na_value=np.nan)
        totals = whole[np.isfinite(whole).all(axis=1) & (whole[:, 2] > 0)]
        how = Resampling(levels=evidence.levels, resamples=evidence.resamples, seed=evidence.seed)
        estimate = bootstrap(
            totals=totals,
            statistic=_moved,
            n=len(totals),
            unit="text",
            undefined="no text has a number of nats under both policies",
            **how,
        )
        tops = totals.sum(axis=0)
        detail = {"texts_left_out": max(len(now), len(then)) - len(totals), "tokens": int(tops[2])}
        if estimate.value is not None:
            detail |= {
                "nats_per_token": tops[0] / tops[2],
                "nats_per_token_base": tops[1] / tops[2],
                "perplexity_ratio": float(np.exp(estimate.value)),
                "perplexity_ratio_interval": [
                    float(np.exp(e)) for i in estimate.intervals[:1] for e in (i.low, i.high)
                ],
            }
    return [
        estimate.measured(
            name,
            unit="nats per token",
            version=version,
            direction="lower",
            baseline=None if evidence.base is None else 0.0,
            detail=detail,
        )
    ]


def _moved(sums: Array) -> Array:
    return (sums[:, 0] - sums[:, 1]) / sums[:, 2]


def _check(table: pd.DataFrame, which: str) -> None:
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise ValueError(
            f"{which}: lacks the column(s) {', '.join(missing)}; it needs {', '.join(COLUMNS)}"
        )
    if table["text_id"].duplicated().any():
        twice = table.loc[table["text_id"].duplicated(), "text_id"].iloc[0]
        raise ValueError(
            f"{which}: text_id {twice!r} names more than one row; expected one row a text"
        )
    for column in COLUMNS[1:]:
        values = pd.to_numeric(table[column], errors="coerce")
        bad = (values.isna() & table[column].notna()) | np.isinf(values)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"{which}: row {row}, column {column} is {table[column].iloc[row]!r}; expected a "
                "number"
            )
