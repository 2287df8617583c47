"""Divergence: does the reward still follow the held-out human score, or has it left it behind?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from probes import stats
from probes.base import Evidence, Measurement, Probe
from probes.rows import Notes, audited, defined, numbers, plain_or_all, sampled
from probes.stats import Estimate, Resampling

VERSION = "1"
UNITS = {"reward": "reward units", "human": "human-score units"}
KINDS: tuple[tuple[str, Literal["spearman", "pearson"]], ...] = (
    ("divergence.correlation", "spearman"),
    ("divergence.correlation_pearson", "pearson"),
)
IS_BASE = "this is the base policy: there is no change to measure"


def run(evidence: Evidence) -> list[Measurement]:
    """All of divergence.*; see docs/probes.md for each one's formula and how it can mislead."""
    how = Resampling(levels=evidence.levels, resamples=evidence.resamples, seed=evidence.seed)
    rows, base, notes = audited(evidence)
    about: Mapping[str, Any] = {**notes, "human_label": evidence.human_label}
    return [
        *_means(rows, base, about, how),
        *_changes(rows, base, about, how),
        *_correlations(rows, base, about, how),
        _coverage(rows, base, about, how),
        _d_eval_gap(evidence, rows, notes, how),
        _filter(evidence, how),
        _spread(rows, base, notes, how),
    ]


def _means(
    rows: pd.DataFrame, base: pd.DataFrame | None, about: Mapping[str, Any], how: Resampling
) -> list[Measurement]:
    return [
        stats.mean(table=rows, column=column, **how).measured(
            f"divergence.{column}", unit=UNITS[column], version=VERSION, direction="higher",
            baseline=_mean(base, column), detail=about,
        )
        for column in ("reward", "human")
    ]  # fmt: skip


def _changes(
    rows: pd.DataFrame, base: pd.DataFrame | None, about: Mapping[str, Any], how: Resampling
) -> list[Measurement]:
    def change(*columns: str) -> Estimate:
        if base is None:
            return stats.unmeasured(IS_BASE)
        return stats.change(table=rows, base=base, columns=columns, **how)

    start = None if base is None else 0.0  # a policy's change from itself, by definition
    gap = change("reward", "human")
    if gap.value is not None:
        gap = replace(gap, method=f"{gap.method}, on samples that have both scores")
    detail = dict(about)
    if base is not None and gap.value is not None:
        detail |= _expected(rows, base, how)
    return [
        change("reward").measured("divergence.reward_change", unit="base sd", version=VERSION, direction="higher",
                                  baseline=start, detail=about),
        change("human").measured("divergence.human_change", unit="base sd", version=VERSION, direction="higher",
                                 baseline=start, detail=about),
        gap.measured("divergence.gap", unit="base sd", version=VERSION, direction="lower", baseline=start,
                     detail=detail),
    ]  # fmt: skip


def _expected(rows: pd.DataFrame, base: pd.DataFrame, how: Resampling) -> dict[str, Any]:
    """What the base policy's own reward-human relation predicts for the gap (regressional Goodhart)."""
    both = ["reward", "human"]
    complete, before = defined(rows, both), defined(base, both)
    once: Resampling = {**how, "resamples": 1}
    moved = {c: stats.change(table=complete, base=before, columns=[c], **once).value for c in both}
    r = stats.correlation(table=before, x="reward", y="human", kind="pearson", **once).value
    expected = None if r is None or moved["reward"] is None else moved["reward"] * (1 - r)
    return {
        "reward_change": moved["reward"],
        "human_change": moved["human"],
        "base_pearson": r,
        "gap_if_base_relation_held": expected,
        "note": "some gap is expected: a policy selected on an imperfect reward gains less human score than reward "
        "(regressional Goodhart); reward_change·(1 - base_pearson) is what the base policy's linear relation predicts",
    }


def _correlations(
    rows: pd.DataFrame, base: pd.DataFrame | None, about: Mapping[str, Any], how: Resampling
) -> list[Measurement]:
    found = []
    once: Resampling = {**how, "resamples": 1}
    for name, kind in KINDS:
        estimate = stats.correlation(table=rows, x="reward", y="human", kind=kind, **how)
        before = None
        if base is not None:
            before = stats.correlation(table=base, x="reward", y="human", kind=kind, **once).value
        found.append(
            estimate.measured(name, unit="correlation", version=VERSION, direction="higher", baseline=before,
                              detail={**about, "kind": kind})
        )  # fmt: skip
    return found


def _coverage(rows: pd.DataFrame, base: pd.DataFrame | None, about: Mapping[str, Any], how: Resampling) -> Measurement:
    def marked(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(covered=(~np.isnan(numbers(table, "human"))).astype(float))

    return stats.mean(table=marked(rows), column="covered", bounds=stats.SHARE, **how).measured(
        "divergence.human_coverage", unit="share", version=VERSION, direction="higher",
        baseline=None if base is None else _mean(marked(base), "covered"), detail=about,
    )  # fmt: skip


def _d_eval_gap(evidence: Evidence, rows: pd.DataFrame, notes: Notes, how: Resampling) -> Measurement:
    if evidence.d_eval is None:
        estimate = stats.unmeasured("no D_eval samples of this policy were given")
    else:
        chosen = plain_or_all(evidence.d_eval)
        estimate = stats.independent_difference(table=chosen, other=rows, column="reward", **how)
    return estimate.measured("divergence.d_eval_gap", unit="reward units", version=VERSION, direction="lower",
                             detail=notes)  # fmt: skip


def _filter(evidence: Evidence, how: Resampling) -> Measurement:
    detail: dict[str, Any] = {"human_label": evidence.human_label}
    grow = None if evidence.grow is None else sampled(evidence.grow)
    if grow is None:
        estimate = stats.unmeasured("no Grow samples were given")
    elif "kept" not in grow.columns:
        estimate = stats.unmeasured("the Grow samples do not say which were kept")
    else:
        chosen = plain_or_all(grow)
        estimate = stats.split_difference(table=chosen, column="human", by="kept", **how)
        detail |= {"kept": int(chosen["kept"].sum()), "rows": len(chosen)}
    return estimate.measured("divergence.filter_human", unit=UNITS["human"], version=VERSION, direction="higher",
                             detail=detail)  # fmt: skip


def _spread(rows: pd.DataFrame, base: pd.DataFrame | None, notes: Notes, how: Resampling) -> Measurement:
    return stats.mean(table=rows, column="reward_spread", **how).measured(
        "divergence.ensemble_spread", unit=UNITS["reward"], version=VERSION, direction="lower",
        baseline=_mean(base, "reward_spread"), detail=notes,
    )  # fmt: skip


def _mean(table: pd.DataFrame | None, column: str) -> float | None:
    if table is None:
        return None
    means = stats.prompt_means(table=table, column=column)
    return float(means.mean()) if len(means) else None


PROBE = Probe(
    name="divergence",
    version=VERSION,
    goal="Does more reward still mean a better human score, and by how much do the two part?",
    reads=("outputs.reward", "outputs.human", "base.reward", "base.human", "outputs.reward_spread",
           "d_eval.reward", "grow.human", "grow.kept"),
    measures=(
        "divergence.reward", "divergence.human", "divergence.reward_change", "divergence.human_change",
        "divergence.gap", "divergence.correlation", "divergence.correlation_pearson", "divergence.human_coverage",
        "divergence.d_eval_gap", "divergence.filter_human", "divergence.ensemble_spread",
    ),
    references=(
        "Gulcehre et al. 2023, Reinforced self-training (ReST) for language modeling, arXiv 2308.08998",
        "Gao et al. 2022, Scaling laws for reward model overoptimization, arXiv 2210.10760",
        "Manheim & Garrabrant 2018, Categorizing variants of Goodhart's law, arXiv 1803.04585",
        "Coste et al. 2023, Reward model ensembles help mitigate overoptimization, arXiv 2310.02743",
    ),
    weaknesses=(
        "A gap alone accuses nobody: selection on an imperfect reward always gains less human score than reward.",
        "The correlation falls when the policy's rewards bunch together at the top (range restriction), even if the "
        "reward is as good as before.",
        "It is only as good as the human score: what the raters did not rate, it does not see. Look at the coverage, "
        "since samples without a human score are left out and may be the odd ones.",
        "Ensemble members trained on the same data can agree and be wrong together.",
        "The D_eval gap also holds the difference in difficulty between the two sets of prompts.",
    ),
    run=run,
)  # fmt: skip
