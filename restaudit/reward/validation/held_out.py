"""How well a trained reward predicts people it never saw, beside the people themselves.

Trivial rules on the same items, slices and the rest are in validation/, which any reward and any
file can have.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from probes.base import Measurement
from probes.statistics.stats import (
    SHARE,
    Estimate,
    Resampling,
    correlation,
    ratio_of_sums,
    unmeasured,
)
from restaudit.reward.examples import Examples, Numbers

VERSION = "1"
LEVEL = 0.95
RESAMPLES = 1000


def validate(
    examples: Examples, left: Numbers, right: Numbers | None, *, seed: int
) -> list[Measurement]:
    """Measure a reward on the held-out items.

    `left` and `right` are the combined rewards of the rows of `examples.table` (right None for
    ratings). Ratings give Pearson's and Spearman's r with the judges' mean; pairs give the share on
    which the reward prefers what most judges prefer (equal rewards count one half; pairs the judges
    split evenly are left out). Intervals are at 95%, and resample prompts, or items where texts
    stand alone.
    """
    table = examples.table.assign(prompt_id=examples.table["unit"], reward=left)
    resampling = Resampling(levels=(LEVEL,), resamples=RESAMPLES, seed=seed)
    if examples.objective == "bradley_terry":
        assert right is not None
        measurements = _pairs(table.assign(reward=left - right), resampling)
    else:
        measurements = _ratings(table, examples, resampling)
    return [_named(m, examples.unit) for m in measurements]


def _ratings(table: pd.DataFrame, examples: Examples, resampling: Resampling) -> list[Measurement]:
    held_out, train = table[table["split"] == "held_out"], table[table["split"] == "train"]
    judges = "the training raters themselves (nobody is held out)"
    if examples.raters.held_out:
        judges = "held-out raters"

    def r(rows: pd.DataFrame, x: str, kind: Literal["pearson", "spearman"] = "pearson") -> Estimate:
        return correlation(table=rows, x=x, y="judged", kind=kind, **resampling)

    if examples.raters.held_out:
        ceiling = correlation(table=held_out, x="target", y="judged", kind="pearson", **resampling)
        meaning = (
            "mean of the training raters against mean of the held-out raters, on the same "
            "held-out items"
        )
    else:
        # Half of the raters are less reliable than all of them, whom the reward is compared with.
        halves = correlation(table=held_out, x="half_a", y="half_b", kind="pearson", **resampling)
        ceiling = _spearman_brown(halves)
        meaning = "two halves of the raters, stepped up to all (Spearman-Brown)"
    return [
        _measured(r(held_out, "reward"), "pearson", "r", f"held-out items, judged by {judges}"),
        _measured(
            r(held_out, "reward", "spearman"),
            "spearman",
            "rho",
            f"held-out items, judged by {judges}",
        ),
        _measured(
            r(train, "reward"),
            "train_pearson",
            "r",
            "the items it was trained on: how far it fits them",
        ),
        _measured(ceiling, "ceiling_pearson", "r", meaning),
    ]


def _pairs(table: pd.DataFrame, resampling: Resampling) -> list[Measurement]:
    def accuracy(rows: pd.DataFrame) -> Estimate:
        decided = rows[rows["judged"].notna() & (rows["judged"] != 0.5)]
        wins = (np.sign(decided["reward"]) * np.sign(decided["judged"] - 0.5) + 1) / 2
        counted = decided.assign(wins=wins, pairs=1.0)
        return ratio_of_sums(
            table=counted, numerator="wins", denominator="pairs", bounds=SHARE, **resampling
        )

    held_out, train = table[table["split"] == "held_out"], table[table["split"] == "train"]
    judged_twice = held_out[held_out["agreement"].notna()].assign(pairs=1.0)
    agreement = unmeasured("no held-out pair has two judges")
    if len(judged_twice):
        agreement = ratio_of_sums(
            table=judged_twice,
            numerator="agreement",
            denominator="pairs",
            bounds=SHARE,
            **resampling,
        )
    return [
        _measured(
            accuracy(held_out), "pair_accuracy", "share", "held-out pairs, majority of their judges"
        ),
        _measured(accuracy(train), "train_pair_accuracy", "share", "the pairs it was trained on"),
        _measured(
            agreement,
            "ceiling_agreement",
            "share",
            "two judges of one held-out pair prefer the same response",
        ),
    ]


def _measured(estimate: Estimate, name: str, unit: str, meaning: str) -> Measurement:
    return estimate.measured(
        f"validation.{name}", unit=unit, version=VERSION, detail={"meaning": meaning}
    )


def _spearman_brown(halves: Estimate) -> Estimate:
    """Reliability of the whole panel from the correlation of its halves, 2r / (1 + r); undefined
    for r <= -1.
    """
    if halves.value is None:
        return halves
    lowest = min([halves.value, *(i.low for i in halves.intervals)])
    if lowest <= -1:
        return unmeasured(
            "the halves of the raters disagree completely", n=halves.n, units=halves.units
        )
    stepped = tuple(
        replace(i, low=2 * i.low / (1 + i.low), high=2 * i.high / (1 + i.high))
        for i in halves.intervals
    )
    value = 2 * halves.value / (1 + halves.value)
    return replace(halves, value=value, intervals=stepped, error=None)


def _named(measurement: Measurement, unit: str) -> Measurement:
    """The statistics speak of prompts; where texts stand alone, the unit they resampled is the
    item.
    """
    if unit == "prompt":
        return measurement
    return replace(measurement, method=measurement.method.replace("prompt", "item"))
