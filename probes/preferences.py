"""Benchmarks of preferences: does the policy prefer stereotypes, insults or refusals, and more than
its base does?
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from probes.base import Direction, Evidence, Measurement, Probe, metrics
from probes.statistics import items, stats
from probes.statistics.items import PREFERENCES, Meaning
from probes.statistics.resample import Estimate, Resampling

VERSION = "1"
WORST = "benchmarks.worst_change"
METRICS = metrics(
    "preferences",
    ("benchmarks.", "…", "", "neutral"),  # what a benchmark's metric means stands in PREFERENCES
    (WORST, "worst change of a benchmark", "points (share), up is worse", "lower"),
)


# A level may have no better side (one half is no preference), while its change has one: a policy that
# prefers stereotypes more often than its base is worse.
BETTER_CHANGE: dict[int, Direction] = {1: "lower", 0: "neutral", -1: "higher"}


def run(evidence: Evidence) -> list[Measurement]:
    """Mean and change of every task and metric, and the largest change for the worse among those
    that are shares.
    """
    resampling = evidence.resampling
    rows = items.read(evidence.items, "items")
    base = items.read(evidence.base_items, "base_items")
    chosen = None if rows is None else rows[rows["metric"].isin(PREFERENCES)]
    if chosen is None or chosen.empty:
        why = items.absent(evidence) if rows is None else "no benchmark of preferences was run"
        return [stats.unmeasured(why).recorded(METRICS[WORST], version=VERSION)]
    measurements: list[Measurement] = []
    pairs: dict[str, tuple[pd.DataFrame, pd.DataFrame, Meaning]] = {}
    for (task, metric), now in chosen.groupby(["task", "metric"]):
        name, meaning = f"{task}.{metric}", PREFERENCES[str(metric)]
        then = None if base is None else base[(base["task"] == task) & (base["metric"] == metric)]
        if evidence.wants(f"benchmarks.{name}", f"benchmarks.{name}_change"):
            measurements += _measured(evidence, str(task), name, meaning, now, then, resampling)
        if meaning.worse and then is not None:
            pairs[name] = (now, then, meaning)
    if evidence.wants(WORST):
        measurements.append(_worst(pairs, base is not None, resampling))
    return measurements


def _measured(
    evidence: Evidence,
    task: str,
    name: str,
    meaning: Meaning,
    now: pd.DataFrame,
    then: pd.DataFrame | None,
    resampling: Resampling,
) -> list[Measurement]:
    detail: dict[str, Any] = {"what": meaning.words, **items.notes(evidence, task)}
    if meaning.neutral is not None:
        detail["no_preference"] = meaning.neutral
    before = None if then is None or then.empty else float(then["value"].mean())
    value = items.mean(rows=now, bounds=meaning.bounds, **resampling)
    moved = _change(now, then, meaning, resampling)
    groups = _groups(now, meaning, resampling)
    family = METRICS["benchmarks."]
    level = replace(family.member(name), unit=meaning.unit, direction=meaning.direction)
    change = replace(
        family.member(f"{name}_change"),
        unit="points (share)" if meaning.unit == "share" else meaning.unit,
        direction=BETTER_CHANGE[meaning.worse],
    )
    return [
        value.recorded(
            level,
            version=VERSION,
            baseline=before,
            detail={**detail, "groups": groups} if groups else detail,
        ),
        moved.recorded(
            change, version=VERSION, baseline=None if then is None else 0.0, detail=detail
        ),
    ]


def _groups(
    rows: pd.DataFrame, meaning: Meaning, resampling: Resampling
) -> dict[str, dict[str, Any]]:
    """Value, n and the interval at the display level for every group; the reason where there is no
    interval.
    """
    by_group: dict[str, dict[str, Any]] = {}
    for group, members in rows[rows["group"].notna()].groupby("group"):
        estimate = items.mean(
            rows=members,
            bounds=meaning.bounds,
            levels=resampling["levels"][:1],
            resamples=resampling["resamples"],
            seed=resampling["seed"],
        )
        facts: dict[str, Any] = {"value": estimate.value, "n": estimate.n}
        if estimate.intervals:
            shown = estimate.intervals[0]
            facts |= {"low": shown.low, "high": shown.high, "level": shown.level}
        else:
            facts["reason"] = estimate.reason
        by_group[str(group)] = facts
    return by_group


def _change(
    now: pd.DataFrame, then: pd.DataFrame | None, meaning: Meaning, resampling: Resampling
) -> Estimate:
    if then is None:
        return stats.unmeasured("there are no items of a base policy to compare with")
    low, high = meaning.bounds
    return items.change(rows=now, base=then, bounds=(low - high, high - low), **resampling)


def _worst(
    pairs: dict[str, tuple[pd.DataFrame, pd.DataFrame, Meaning]],
    has_base: bool,
    resampling: Resampling,
) -> Measurement:
    detail: dict[str, Any] = {"of": sorted(pairs)}
    shared = Resampling(
        levels=items.shared_levels(resampling["levels"], len(pairs)),
        resamples=resampling["resamples"],
        seed=resampling["seed"],
    )
    if not has_base:
        estimate: Estimate = stats.unmeasured("there are no items of a base policy to compare with")
    elif not pairs:
        estimate = stats.unmeasured(
            "no benchmark of preferences has a share that is better when lower or higher"
        )
    else:
        parts = {
            k: (_towards_worse(*p, resampling), _towards_worse(*p, shared))
            for k, p in pairs.items()
        }
        # The largest rise is the largest fall of what is turned over.
        fallen = {k: (items.negated(a), items.negated(b)) for k, (a, b) in parts.items()}
        lowest, detail["benchmark"] = items.largest_fall(parts=fallen, levels=resampling["levels"])
        estimate = items.negated(lowest)
    return estimate.recorded(
        METRICS[WORST], version=VERSION, baseline=0.0 if has_base else None, detail=detail
    )


def _towards_worse(
    now: pd.DataFrame, then: pd.DataFrame, meaning: Meaning, resampling: Resampling
) -> Estimate:
    estimate = _change(now, then, meaning, resampling)
    return estimate if meaning.worse > 0 else items.negated(estimate)


PROBE = Probe(
    name="benchmarks",
    title="Benchmarks: stereotypes, insults, refusals",
    order=90,
    version=VERSION,
    goal=(
        "Does the policy prefer stereotypes, insults or refusals, and more than the base policy "
        "does?"
    ),
    reads=("items", "base_items"),
    measures=tuple(METRICS.values()),
    references=(
        "Nangia et al. 2020, CrowS-Pairs, arXiv 2010.00133",
        "Blodgett et al. 2021, Stereotyping Norwegian salmon: an inventory of pitfalls in "
        "fairness benchmark datasets, ACL",
        (
            "Rudinger et al. 2018, Gender bias in coreference resolution (Winogender), arXiv "
            "1804.09301"
        ),
        "Zhao et al. 2018, Gender bias in coreference resolution (WinoBias), arXiv 1804.06876",
        (
            "Nozza et al. 2021, HONEST: measuring hurtful sentence completion in language models, "
            "NAACL"
        ),
        (
            "Parrish et al. 2022, BBQ: a hand-built bias benchmark for question answering, arXiv "
            "2110.08193"
        ),
        "Röttger et al. 2024, XSTest, arXiv 2308.01263",
    ),
    weaknesses=(
        "A likelier stereotypical sentence is a preference of the model for a text; whether the "
        "policy would write it, and whom that would hurt, is another question.",
        (
            "A share of one half is no preference over these pairs on average; groups can differ "
            "in opposite directions."
        ),
        "Many CrowS-Pairs are flawed (Blodgett et al. 2021); the sets that ship are the "
        "maintainers' own reading of common stereotypes, binary in gender.",
        (
            "The completions in the style of HONEST depend on sixteen listed words; this is not "
            "the HONEST score."
        ),
        (
            "Refusals are found by listed phrases; a policy that answers nothing useful without "
            "refusing is not seen."
        ),
        "English, and mostly United States stereotypes.",
    ),
    run=run,
)
