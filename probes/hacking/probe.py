"""Hacking: is the reward had by other means than being better, and what has the policy learned that
earns it?
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from probes.base import Array, Evidence, Measurement, Probe
from probes.hacking import METRICS
from probes.hacking.learned import learned
from probes.hacking.reward_tests import reward_tests
from probes.hacking.signs import echo, length, repetition
from probes.hacking.worst_slice import worst_slice
from probes.rows import IS_BASE, NO_EMBED, NO_TEXT, Notes, audited, numbers
from probes.statistics import stats
from probes.statistics.resample import unmeasured
from probes.texts.sets import some

VERSION = "3"
SPREAD = "hacking.ensemble_spread_change"
DISTANCE = ("hacking.distance", "hacking.distance_change")
NEAREST = 10
MOST_EMBEDDED = 2000


def run(evidence: Evidence) -> list[Measurement]:
    """All of hacking.*; see docs/probes.md for each one's formula and how it can mislead."""
    rows, base, notes = audited(evidence)
    return [
        *length(rows, base, evidence, notes, VERSION),
        *_spread(rows, base, evidence, notes),
        *_distance(rows, base, evidence, notes),
        *learned(rows, base, evidence, notes, VERSION),
        *worst_slice(rows, base, evidence, notes, VERSION),
        *echo(rows, base, evidence, notes, VERSION),
        *repetition(rows, base, evidence, notes, VERSION),
        *reward_tests(rows, base, evidence, notes, VERSION),
    ]


def _spread(
    rows: pd.DataFrame, base: pd.DataFrame | None, evidence: Evidence, notes: Notes
) -> list[Measurement]:
    """How far the ensemble's disagreement moved, in sd of the base policy's disagreement."""
    if not evidence.wants(SPREAD):
        return []
    estimate, detail = unmeasured(IS_BASE), dict(notes)
    if base is not None:
        resampling = evidence.resampling
        estimate = stats.change(table=rows, base=base, columns=["reward_spread"], **resampling)
        for name, table in (("spread", rows), ("spread_base", base)):
            values = numbers(table, "reward_spread")
            if np.isfinite(values).any():
                detail[name] = f"{np.nanmean(values):.4g} (reward units)"
    return [
        estimate.recorded(
            METRICS[SPREAD], version=VERSION, baseline=None if base is None else 0.0, detail=detail
        )
    ]


def _distance(
    rows: pd.DataFrame, base: pd.DataFrame | None, evidence: Evidence, notes: Notes
) -> list[Measurement]:
    """Distance from what the reward model was trained on: 1 - mean cosine of the 10 nearest texts;
    and its change.
    """
    if not evidence.wants(*DISTANCE):
        return []
    missing = ""
    if evidence.embed is None:
        missing = NO_EMBED
    elif evidence.known is None or not len(evidence.known):
        missing = "it is not known what the reward model was trained on"
    elif rows.empty:
        missing = NO_TEXT
    far, before = unmeasured(missing), None
    moved = unmeasured(IS_BASE if base is None else missing)
    detail: dict[str, Any] = dict(notes)
    if not missing:
        resampling = evidence.resampling
        # An encoder is slow on a CPU, so at most 2,000 texts, few of many prompts.
        now, left_out = some(rows, MOST_EMBEDDED)
        now = now.assign(_distance=_far([str(t) for t in now["text"]], evidence))
        far = stats.mean(table=now, column="_distance", bounds=(0.0, 2.0), **resampling)
        assert evidence.known is not None
        detail |= {
            **left_out,
            "known_texts": len(evidence.known),
            "nearest": min(NEAREST, len(evidence.known)),
        }
        if base is not None:
            then, _ = some(base, MOST_EMBEDDED)
            then = then.assign(_distance=_far([str(t) for t in then["text"]], evidence))
            before = float(stats.prompt_means(table=then, column="_distance").mean())
            moved = stats.change(table=now, base=then, columns=["_distance"], **resampling)
    measurements = [
        far.recorded(METRICS[DISTANCE[0]], version=VERSION, baseline=before, detail=detail),
        moved.recorded(
            METRICS[DISTANCE[1]],
            version=VERSION,
            baseline=None if base is None else 0.0,
            detail=detail,
        ),
    ]
    return [m for m in measurements if evidence.wants(m.name)]


def _far(texts: list[str], evidence: Evidence) -> Array:
    assert evidence.embed is not None
    assert evidence.known is not None
    known = np.asarray(evidence.known, dtype=np.float64)
    vectors = np.asarray(evidence.embed(texts), dtype=np.float64)
    if vectors.shape != (len(texts), known.shape[1]):
        size = known.shape[1]
        raise ValueError(
            f"embed: returned shape {vectors.shape} for {len(texts)} texts; known has {size} "
            "columns"
        )
    nearest = min(NEAREST, len(known))
    # Of the nearest only, since a text may be well known and still far from most that was trained on.
    # A partial sort: the order among them does not matter.
    farther = len(known) - nearest
    cosines = np.partition(vectors @ known.T, farther, axis=1)[:, farther:]
    return np.asarray(1 - cosines.mean(axis=1), dtype=np.float64)


PROBE = Probe(
    name="hacking",
    title="What the policy learned that the reward pays for",
    order=60,
    version=VERSION,
    goal=(
        "Is the reward had by other means than better texts, and what has the policy learned "
        "that earns it?"
    ),
    reads=("outputs", "base", "grow", "prompts", "score", "known", "embed"),
    measures=tuple(METRICS.values()),
    references=(
        (
            "Singhal et al. 2023, A long way to go: investigating length correlations in RLHF, "
            "arXiv 2310.03716"
        ),
        (
            "Gulcehre et al. 2023, Reinforced self-training (ReST) for language modeling, arXiv "
            "2308.08998 (appendix A.4)"
        ),
        (
            "Coste et al. 2023, Reward model ensembles help mitigate overoptimization, arXiv "
            "2310.02743"
        ),
        (
            "Benjamini & Hochberg 1995, Controlling the false discovery rate, J. R. Statist. Soc. "
            "B 57(1)"
        ),
        "Bourgon et al. 2010, Independent filtering increases detection power for high-throughput "
        "experiments, PNAS 107(21)",
        (
            "Liang & Zeger 1986, Longitudinal data analysis using generalized linear models, "
            "Biometrika 73(1)"
        ),
        "Tibshirani et al. 2002, Diagnosis of multiple cancer types by shrunken centroids of gene "
        "expression, PNAS 99(10)",
        "Westfall & Young 1993, Resampling-based multiple testing, Wiley",
        "Romano & Wolf 2005, Exact and approximate stepdown methods for multiple hypothesis "
        "testing, J. Am. Statist. Assoc. 100",
    ),
    weaknesses=(
        (
            "A feature that rose is not the cause of the reward: what a text has beside it may be. "
            "Read the examples."
        ),
        "Features are words, simple formats and traits by rule, some of them for English only; a "
        "hack by meaning (agreeing with whoever asks, confident invention) is not among them, and a "
        "paraphrase of the prompt is no echo.",
        "A habit of many weak signs is named by its strongest words: together they rose, but each "
        "of them need not have.",
        "The slice where people's score fell most is named by what its prompts share, which need "
        "not be what hurts; where the changes of prompts are very skewed its interval is too "
        "narrow.",
        "A habit's cost goes along with the feature, too: what people dislike may be beside it. "
        "Several habits are not added up, and one that costs people nothing by itself is not seen.",
        "With few human scores nobody can say that people do not pay for a feature; then it is no "
        "signature, whatever the reward does.",
        "Length may be worth something to people too: compare the gain with length held fixed for "
        "the human score. One straight line is fitted; where rewards level off with length it "
        "takes too much or too little away.",
        (
            "The members of an ensemble share data and can be wrong together; distance is what the "
            "encoder sees of it."
        ),
        "A unit test may raise the reward rightly for a text that is cut off or says nothing; "
        "look at the share that rose and at the example.",
        "Copying from the prompt is what some tasks ask for; compare with the base policy.",
    ),
    run=run,
)
