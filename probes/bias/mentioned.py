"""Shares of texts that mention a group: in the audited outputs beside the base policy's, and what
the filter does.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from probes.base import Array, Evidence, Measurement, metrics
from probes.rows import audited, plain_or_all, sampled
from probes.statistics import stats
from probes.statistics.resample import Estimate, Resampling, prompt_weights, summarise, unmeasured
from probes.texts.word_lists import groups, mentions

Flags = np.ndarray[Any, np.dtype[np.bool_]]
AUDIT, KEPT = "bias.mention.", "bias.mention_kept."
METRICS = metrics(
    "bias",
    (AUDIT, "texts that mention …", "share", "neutral"),
    (KEPT, "mentions of … among kept samples minus among all", "share points", "neutral"),
)


def mentioned(evidence: Evidence, version: str, resampling: Resampling) -> list[Measurement]:
    """bias.mention.<group> and bias.mention_kept.<group> for every group of the list."""
    measurements: list[Measurement] = []
    if evidence.wants(AUDIT):
        measurements += _audited(evidence, version, resampling)
    if evidence.wants(KEPT):
        measurements += _kept(evidence, version, resampling)
    return measurements


def _by_prompt(rows: pd.DataFrame, *chosen: Flags) -> list[Array]:
    """For each choice of rows: each prompt's texts, and those that mention each group, shape
    (prompts, 1 + groups).
    """
    prompts, at = np.unique(
        rows["prompt_id"].to_numpy(dtype=object).astype(str), return_inverse=True
    )
    flags = np.concatenate([np.ones((len(rows), 1)), mentions(rows["text"].tolist())], axis=1)
    counts = [np.zeros((len(prompts), flags.shape[1])) for _ in chosen]
    for count, rows_chosen in zip(counts, chosen, strict=True):
        np.add.at(count, at[rows_chosen], flags[rows_chosen])
    return counts


def _audited(evidence: Evidence, version: str, resampling: Resampling) -> list[Measurement]:
    rows, base, notes = audited(evidence)
    if rows.empty:
        return _missing(AUDIT, "there are no outputs", version)
    counts = _by_prompt(rows, np.ones(len(rows), dtype=np.bool_))[0]
    # Drawn once for all groups: the draws cost more than the sums.
    weights = prompt_weights(
        units=len(counts), resamples=resampling["resamples"], seed=resampling["seed"]
    )
    # By prompt first, so that a prompt with more samples does not weigh more.
    shares = counts[:, 1:] / counts[:, :1]
    before = None
    if base is not None and len(base):
        earlier = _by_prompt(base, np.ones(len(base), dtype=np.bool_))[0]
        before = earlier[:, 1:] / earlier[:, :1]
    measurements = []
    for j, group in enumerate(groups()):
        estimate = _mean(shares[:, j], weights, len(rows), resampling, stats.SHARE)
        detail: dict[str, Any] = {
            **notes,
            "group": group,
            "texts": len(rows),
            "mentions": int(counts[:, 1 + j].sum()),
            "limits": "probes/data/mentions.json",
        }
        baseline = None
        if before is not None:
            baseline = float(before[:, j].mean())
            change = _mean(shares[:, j] - before[:, j], weights, len(rows), resampling, stats.ANY)
            detail["change"] = {
                "value": change.value,
                "intervals": [asdict(i) for i in change.intervals],
                "method": change.method,
                "reason": change.reason,
            }
        measurements.append(
            estimate.recorded(
                METRICS[AUDIT].member(group), version=version, baseline=baseline, detail=detail
            )
        )
    return measurements


def _mean(
    values: Array, weights: Array, n: int, resampling: Resampling, bounds: stats.Bounds
) -> Estimate:
    return summarise(
        value=float(values.mean()),
        replicates=weights @ values / len(values),
        n=n,
        units=len(values),
        bounds=bounds,
        levels=resampling["levels"],
    )


def _missing(family: str, reason: str, version: str) -> list[Measurement]:
    return [
        unmeasured(reason).recorded(METRICS[family].member(g), version=version) for g in groups()
    ]


def _kept(evidence: Evidence, version: str, resampling: Resampling) -> list[Measurement]:
    if evidence.grow is None:
        return _missing(KEPT, "no Grow samples were given", version)
    if "kept" not in evidence.grow.columns:
        return _missing(KEPT, "the Grow samples do not say which were kept", version)
    rows = plain_or_all(sampled(evidence.grow))
    kept = rows["kept"].to_numpy(dtype=bool)
    if not kept.any():
        return _missing(KEPT, "no Grow sample was kept", version)
    kept_counts, all_counts = _by_prompt(rows, kept, np.ones(len(rows), dtype=np.bool_))
    totals = np.concatenate([kept_counts, all_counts], axis=1)
    weights = prompt_weights(
        units=len(totals), resamples=resampling["resamples"], seed=resampling["seed"]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        value, drawn = _excess(totals.sum(axis=0, keepdims=True))[0], _excess(weights @ totals)
    measurements = []
    for j, group in enumerate(groups()):
        detail = {
            "group": group,
            "grow_texts": len(rows),
            "grow_mentions": int(all_counts[:, 1 + j].sum()),
            "kept_texts": int(kept.sum()),
            "kept_mentions": int(kept_counts[:, 1 + j].sum()),
        }
        if detail["grow_mentions"] == 0:
            estimate = unmeasured("no Grow sample mentions them", n=len(rows), units=len(totals))
        else:
            estimate = summarise(
                value=value[j],
                replicates=drawn[:, j],
                n=len(rows),
                units=len(totals),
                bounds=(-1.0, 1.0),
                levels=resampling["levels"],
            )
        measurements.append(
            estimate.recorded(METRICS[KEPT].member(group), version=version, detail=detail)
        )
    return measurements


def _excess(sums: Array) -> Array:
    """Share among kept texts less share among all, for every group, from sums of shape (m, 2 × (1 +
    groups)).
    """
    kept, everything = np.split(sums, 2, axis=1)
    shares: Array = kept[:, 1:] / kept[:, :1] - everything[:, 1:] / everything[:, :1]
    return shares
