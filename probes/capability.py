"""Capability: is the policy still as good as the base policy at tasks that nobody trained it
for?
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from probes.base import Evidence, Measurement, Probe, metrics
from probes.statistics import items, stats
from probes.statistics.resample import ANY, SHARE, Estimate, Resampling

VERSION = "1"
TASK, WORST = "capability.", "capability.worst_change"
METRICS = metrics(
    "capability",
    (TASK, "…", "", "higher"),  # a task's unit is that of its own metric
    (WORST, "worst change of a task", "points (share)", "higher"),
)
FIRST_CHOICE = ("acc", "exact_match", "acc_norm")


def run(evidence: Evidence) -> list[Measurement]:
    """Mean and change of every task, and the lowest change of all tasks whose values are shares."""
    rows = _able(items.read(evidence.items, "items"))
    base = _able(items.read(evidence.base_items, "base_items"))
    if rows is None:
        none = stats.unmeasured(_why_none(evidence))
        return [none.recorded(METRICS[WORST], version=VERSION)]
    measurements: list[Measurement] = []
    pairs: dict[str, tuple[pd.DataFrame, pd.DataFrame]] = {}
    other_units: list[str] = []
    for task, of_task in rows.groupby("task"):
        name = str(task)
        metric = _metric(of_task)
        now = of_task[of_task["metric"] == metric]
        then = None if base is None else base[(base["task"] == name) & (base["metric"] == metric)]
        shares = _are_shares(now, then)
        if not shares:
            # A fall of a perplexity cannot be ranked with a fall of a share, so it is left out of
            # the worst change, and said there.
            other_units.append(name)
        elif then is not None:
            pairs[name] = (now, then)
        if evidence.wants(f"{TASK}{name}", f"{TASK}{name}_change"):
            detail = _detail(evidence, name, metric, of_task)
            measurements += _of_task(name, metric, shares, now, then, detail, evidence.resampling)
    if evidence.wants(WORST):
        measurements.append(_worst(pairs, other_units, base is not None, evidence.resampling))
    return measurements


def _of_task(
    name: str,
    metric: str,
    shares: bool,
    now: pd.DataFrame,
    then: pd.DataFrame | None,
    detail: dict[str, Any],
    resampling: Resampling,
) -> list[Measurement]:
    """A task's mean, and its change from the base policy."""
    unit, unit_of_change, bounds = "share", "points (share)", SHARE
    if not shares:
        unit = unit_of_change = f"{metric}, its own unit"
        bounds = ANY
    before = None if then is None or then.empty else float(then["value"].mean())
    value = items.mean(rows=now, bounds=bounds, **resampling)
    moved = _change(now, then, shares, resampling)
    itself = None if then is None else 0.0
    level = replace(METRICS[TASK].member(name), unit=unit)
    change = replace(METRICS[TASK].member(f"{name}_change"), unit=unit_of_change)
    return [
        value.recorded(level, version=VERSION, baseline=before, detail=detail),
        moved.recorded(change, version=VERSION, baseline=itself, detail=detail),
    ]


def _worst(
    pairs: dict[str, tuple[pd.DataFrame, pd.DataFrame]],
    other_units: list[str],
    has_base: bool,
    resampling: Resampling,
) -> Measurement:
    detail: dict[str, Any] = {"tasks": sorted(pairs)}
    if other_units:
        detail["left_out"] = dict.fromkeys(sorted(other_units), "its values are no shares (0 to 1)")
    shared = Resampling(
        levels=items.shared_levels(resampling["levels"], len(pairs)),
        resamples=resampling["resamples"],
        seed=resampling["seed"],
    )
    if not has_base:
        estimate: Estimate = stats.unmeasured("there are no items of a base policy to compare with")
    elif not pairs:
        estimate = stats.unmeasured("no task has shares as its values")
    else:
        parts = {
            k: (_change(a, b, True, resampling), _change(a, b, True, shared))
            for k, (a, b) in pairs.items()
        }
        estimate, detail["task"] = items.largest_fall(parts=parts, levels=resampling["levels"])
    return estimate.recorded(
        METRICS[WORST], version=VERSION, baseline=0.0 if has_base else None, detail=detail
    )


def _change(
    now: pd.DataFrame, then: pd.DataFrame | None, shares: bool, resampling: Resampling
) -> Estimate:
    if then is None:
        return stats.unmeasured("there are no items of a base policy to compare with")
    return items.change(rows=now, base=then, bounds=items.WHOLE if shares else ANY, **resampling)


def _able(rows: pd.DataFrame | None) -> pd.DataFrame | None:
    if rows is None:
        return None
    able = rows[~rows["metric"].isin(items.PREFERENCES)]
    return able if len(able) else None


def _why_none(evidence: Evidence) -> str:
    if items.read(evidence.items, "items") is None:
        return items.absent(evidence)
    return "no capability task was run, only benchmarks of preferences"


def _metric(rows: pd.DataFrame) -> str:
    """The metric a task is judged by: the first of FIRST_CHOICE it has, or the first by name."""
    names = sorted(rows["metric"].unique())
    return next((m for m in FIRST_CHOICE if m in names), str(names[0]))


def _are_shares(*tables: pd.DataFrame | None) -> bool:
    values = np.concatenate([t["value"].to_numpy() for t in tables if t is not None])
    return bool(values.min() >= 0 and values.max() <= 1)


def _detail(evidence: Evidence, task: str, metric: str, rows: pd.DataFrame) -> dict[str, Any]:
    detail: dict[str, Any] = {"metric": metric, **items.notes(evidence, task)}
    means = rows[rows["metric"] != metric].groupby("metric")["value"].mean()
    if len(means):
        detail["other_metrics"] = {str(k): float(v) for k, v in means.items()}
    groups = (
        rows[(rows["metric"] == metric) & rows["group"].notna()]
        .groupby("group")["value"]
        .agg(["mean", "count"])
    )
    if len(groups):
        detail["groups"] = {
            str(k): {"value": float(v["mean"]), "n": int(v["count"])} for k, v in groups.iterrows()
        }
    return detail


PROBE = Probe(
    name="capability",
    title="Capability kept or lost",
    order=80,
    version=VERSION,
    goal="Is the policy still as good as the base policy at tasks that nobody trained it for?",
    reads=("items", "base_items"),
    measures=tuple(METRICS.values()),
    references=(
        (
            "Gao et al., The Language Model Evaluation Harness, "
            "github.com/EleutherAI/lm-evaluation-harness"
        ),
        "Bonett & Price 2012, Adjusted Wald confidence interval for a difference of binomial "
        "proportions based on paired data, Journal of Educational and Behavioral Statistics 37(4)",
        "Fagerland, Lydersen & Laake 2014, Recommended tests and confidence intervals for paired "
        "binomial proportions, Statistics in Medicine 33(16)",
        (
            "Berger 1982, Multiparameter hypothesis testing and acceptance sampling, Technometrics "
            "24(4)"
        ),
        (
            "Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian "
            "Journal of Statistics 6(2)"
        ),
    ),
    weaknesses=(
        (
            "It sees the tasks that were run and no others; the sets that ship are easy and small, "
            "made to show a loss."
        ),
        (
            "With 40 items a loss below about ten points cannot be told from none: look at the "
            "interval, not the value."
        ),
        (
            "The lowest of several changes is too low on average even if nothing changed; its "
            "interval allows for that."
        ),
        "A task that a policy has always failed cannot get worse.",
        "Likelihoods of given answers are compared, in plain text without a chat format: what the "
        "policy would write by itself may be better or worse.",
    ),
    run=run,
)
