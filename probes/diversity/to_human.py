"""Diversity beside people's: the policy's texts against human references for the same prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from probes.base import Evidence, Measurement
from probes.diversity import METRICS
from probes.diversity.vendi import vendi
from probes.rows import NO_EMBED, NO_TEXT
from probes.statistics.jackknife import Deleted
from probes.statistics.resample import Estimate, unmeasured
from probes.texts.grams import distinct_ratio
from probes.texts.sets import Side, Sides, estimated, match, sides_of

NAMES = ("distinct_2_to_human", "vendi_to_human")


def compare(
    rows: pd.DataFrame,
    base: pd.DataFrame | None,
    evidence: Evidence,
    notes: Mapping[str, Any],
    version: str,
    most: int,
) -> list[Measurement]:
    """Ratios of distinct-2 and Vendi to those of human references: as many texts of the same
    prompts, equally long.
    """
    human = _references(evidence, rows)
    sides, reason = None, "there are no human references"
    if rows.empty:
        reason = NO_TEXT
    elif not human.empty:
        sides, reason = _beside(rows, human, evidence, notes), ""
    before = None
    if sides is not None and base is not None:
        before = _beside(base, human, evidence, notes)
    measurements = []
    for name, statistic in zip(NAMES, (_distinct, _vendi), strict=True):
        if not evidence.wants(f"diversity.{name}"):
            continue
        # Only Vendi decomposes a matrix of all texts; counting word pairs is quick at any size.
        cut = most if statistic is _vendi else None
        estimate, start = unmeasured(reason or NO_EMBED), None
        detail: Mapping[str, Any] = {**notes, **(sides.detail if sides else {})}
        if sides is not None and (evidence.embed is not None or statistic is _distinct):
            estimate, detail = _estimate(statistic, sides, evidence, cut)
            if before is not None:
                start = _value(statistic, before, cut)
        measurements.append(
            estimate.recorded(
                METRICS[f"diversity.{name}"], version=version, baseline=start, detail=detail
            )
        )
    return measurements


def _references(evidence: Evidence, rows: pd.DataFrame) -> pd.DataFrame:
    """Human references of the audited prompts as a table of texts, in order of prompt."""
    audited = set(rows["prompt_id"])
    reference_rows: list[tuple[str, int, str]] = []
    for prompt, texts in evidence.references.items():
        if prompt in audited:
            reference_rows += [(prompt, place, text) for place, text in enumerate(texts)]
    table = pd.DataFrame(reference_rows, columns=["prompt_id", "place", "text"])
    return table.sort_values(["prompt_id", "place"], kind="stable")


def _beside(
    rows: pd.DataFrame, human: pd.DataFrame, evidence: Evidence, notes: Mapping[str, Any]
) -> Sides:
    """The policy's texts and the references, cut alike; the length is the references', the same for
    every policy.
    """
    left_out = rows["prompt_id"].nunique() - human["prompt_id"].nunique()
    now, then, matched = match(rows[rows["prompt_id"].isin(set(human["prompt_id"]))], human)
    detail = {k.replace("_base", "_human"): v for k, v in matched.items()}
    return sides_of(evidence, now, then, {**notes, **detail, "prompts_without_reference": left_out})


def _estimate(
    statistic: Callable[[Side, Side], Deleted],
    everything: Sides,
    evidence: Evidence,
    most: int | None,
) -> tuple[Estimate, Mapping[str, Any]]:
    sides = everything.at_most(most)
    assert sides.then is not None
    return estimated(statistic(sides.now, sides.then), sides, evidence, log=True), sides.detail


def _value(
    statistic: Callable[[Side, Side], Deleted], everything: Sides, most: int | None
) -> float | None:
    sides = everything.at_most(most)
    assert sides.then is not None
    value = statistic(sides.now, sides.then).value
    # A record's baseline is a number or nothing: JSON has no NaN.
    return value if np.isfinite(value) else None


def _distinct(now: Side, human: Side) -> Deleted:
    return distinct_ratio(now.counts(2), human.counts(2))


def _vendi(now: Side, human: Side) -> Deleted:
    policy = vendi(now.vectors, now.texts.owner, now.groups)
    people = vendi(human.vectors, human.texts.owner, human.groups)
    return policy.over(people)
