"""Drift: how far the policy has moved from the base policy, and the signs of collapse from its own
output.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from probes.base import Evidence, Measurement, Probe
from probes.drift import METRICS, collapse
from probes.rows import Notes, audited, defined
from probes.statistics import stats
from probes.statistics.resample import Array, bootstrap, unmeasured

VERSION = "2"


def run(evidence: Evidence) -> list[Measurement]:
    """All of drift.*; see docs/probes.md for each one's formula and how it can mislead."""
    rows, base, notes = audited(evidence)
    return [
        *_kl(rows, base, evidence, notes),
        *collapse.synthetic_share(evidence, VERSION),
        *collapse.copying(rows, base, evidence, notes, VERSION),
        *human_text(evidence, VERSION),
        *collapse.vocabulary(rows, base, evidence, notes, VERSION),
    ]


def _kl(
    rows: pd.DataFrame, base: pd.DataFrame | None, evidence: Evidence, notes: Notes
) -> list[Measurement]:
    """Mean KL per sequence (column `kl`) and per token (`kl` over `kl_tokens`), over the rows that
    have them.
    """
    if not evidence.wants("drift.kl", "drift.kl_per_token"):
        return []
    resampling = evidence.resampling
    if defined(rows, ["kl"]).empty:
        reason = "this is the base policy" if base is None else "no sample has a kl value"
        sequence = token = stats.unmeasured(reason)
    else:
        sequence = stats.mean(table=rows, column="kl", **resampling)
        token = stats.ratio_of_sums(
            table=rows, numerator="kl", denominator="kl_tokens", **resampling
        )
    start = None if base is None else 0.0  # a policy's divergence from itself, by definition
    return [
        estimate.recorded(METRICS[name], version=VERSION, baseline=start, detail=notes)
        for name, estimate in (("drift.kl", sequence), ("drift.kl_per_token", token))
        if evidence.wants(name)
    ]


# --- what held-out human text costs the policy

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
        both = now.merge(then, on="text_id", how="inner", suffixes=("", "_base"))
        both = both.sort_values("text_id")  # so that resampling does not depend on the files' order
        differ = both["n_tokens"] != both["n_tokens_base"]
        if differ.any():
            row = both[differ].iloc[0]
            raise ValueError(
                f"human_text: text {row['text_id']!r} has {row['n_tokens']} tokens, and "
                f"{row['n_tokens_base']} in base_human_text; nats per token compare only with one "
                "tokenizer"
            )
        nats = both[["nll", "nll_base", "n_tokens"]].to_numpy(dtype=np.float64, na_value=np.nan)
        totals = nats[np.isfinite(nats).all(axis=1) & (nats[:, 2] > 0)]
        resampling = evidence.resampling
        estimate = bootstrap(
            totals=totals,
            statistic=_moved,
            n=len(totals),
            unit="text",
            undefined="no text has a number of nats under both policies",
            **resampling,
        )
        tops = totals.sum(axis=0)
        detail = {"texts_left_out": max(len(now), len(then)) - len(totals), "tokens": int(tops[2])}
        if estimate.value is not None:
            # exp is monotone, so the ends of the interval map to the ratio's.
            detail |= {
                "nats_per_token": tops[0] / tops[2],
                "nats_per_token_base": tops[1] / tops[2],
                "perplexity_ratio": float(np.exp(estimate.value)),
                "perplexity_ratio_interval": [],
            }
            if estimate.intervals:
                shown = estimate.intervals[0]
                ends = [float(np.exp(shown.low)), float(np.exp(shown.high))]
                detail["perplexity_ratio_interval"] = ends
    return [
        estimate.recorded(
            METRICS[name],
            version=version,
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


PROBE = Probe(
    name="drift",
    title="Drift and signs of collapse",
    order=50,
    version=VERSION,
    goal=(
        "How far has training moved the policy, and does it show signs of collapse from its own "
        "output?"
    ),
    reads=(
        "outputs.kl",
        "outputs.kl_tokens",
        "outputs.text",
        "base.text",
        "grow.kept",
        "grow.origin",
        "grow.text",
        "human_text",
        "base_human_text",
    ),
    measures=tuple(METRICS.values()),
    references=(
        "Gao et al. 2022, Scaling laws for reward model overoptimization, arXiv 2210.10760",
        "Stiennon et al. 2020, Learning to summarize from human feedback, arXiv 2009.01325",
        (
            "Shumailov et al. 2024, AI models collapse when trained on recursively generated data, "
            "Nature 631, 755-759"
        ),
        "Guo et al. 2023, The curious decline of linguistic diversity, arXiv 2311.09807",
        (
            "McCoy et al. 2021, How much do language models copy from their training data?, arXiv "
            "2111.09509"
        ),
    ),
    weaknesses=(
        "A small KL does not show that little has changed for people, nor a large one that harm "
        "was done; there is no universal limit.",
        (
            "KL per sequence grows with length: a policy that only writes more has more of it. "
            "Read it with KL per token."
        ),
        (
            "It is estimated on the policy's own samples of a few prompts; rare, very different "
            "texts may be missing."
        ),
        "A high share of synthetic rows is a condition of collapse, not a sign of it.",
        (
            "Copying sees word for word only, and only this step's kept rows, not what earlier "
            "steps trained on."
        ),
        (
            "Held-out human text gets dearer for any policy that takes on a style; that is drift, "
            "not always harm."
        ),
        "Misspellings and gibberish are rare words too: more of them is not richer language.",
    ),
    run=run,
)
