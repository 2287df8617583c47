"""Diversity: how different the policy's texts are from one another, at a fixed number of samples and words."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from probes import stats
from probes.base import Direction, Evidence, Measurement, Probe
from probes.jackknife import jackknife
from probes.rows import audited
from probes.stats import ANY, SHARE, Bounds, Estimate, Resampling, unmeasured
from probes.texts import (
    Setwise,
    Texts,
    compression,
    distinct,
    distinct_ratio,
    duplicates,
    match,
    over,
    prompt_distances,
    remembered,
    vendi,
)

VERSION = "1"
IS_BASE = "this is the base policy: there is nothing to compare it with"
NO_EMBED = "no embedding of texts was given"


@dataclass(frozen=True)
class SetStatistic:
    """A statistic of a whole set of texts, and whether its ratio to the base policy's is measured too.

    `ratio` replaces the plain quotient of the two where that would not compare like with like.
    """

    name: str
    unit: str
    direction: Direction
    bounds: Bounds
    of: Callable[[Texts], Setwise]
    compared: bool = False
    ratio: Callable[[Texts, Texts], Setwise] | None = None
    embedded: bool = False
    share: bool = False


SET_STATISTICS = (
    SetStatistic("distinct_1", "share", "higher", SHARE, partial(distinct, order=1)),
    SetStatistic("distinct_2", "share", "higher", SHARE, partial(distinct, order=2), compared=True,
                 ratio=partial(distinct_ratio, order=2)),
    SetStatistic("vendi", "effective number of texts", "higher", (1.0, np.inf), vendi, compared=True, embedded=True),
    SetStatistic("compression_ratio", "bytes after / before", "higher", (0.0, np.inf), compression, compared=True),
    SetStatistic("duplicates", "share", "lower", SHARE, duplicates, share=True),
)  # fmt: skip


def run(evidence: Evidence) -> list[Measurement]:
    """All of diversity.*; see docs/probes.md for each one's formula and how it can mislead."""
    rows, base, notes = audited(evidence)
    now, then, matched = match(rows, base, evidence.embed)
    detail = {**notes, **matched, "compressor": f"zlib {zlib.ZLIB_RUNTIME_VERSION}, level 9"}
    found = [m for statistic in SET_STATISTICS for m in _of_set(statistic, now, then, evidence, detail)]
    return [*found, _within_prompt(now, then, evidence, detail), _length(rows, base, evidence, notes)]


def _of_set(
    statistic: SetStatistic, now: Texts, then: Texts | None, evidence: Evidence, detail: Mapping[str, Any]
) -> list[Measurement]:
    def estimate(setwise: Setwise, bounds: Bounds, log: bool = False) -> Estimate:
        return jackknife(statistic=setwise, units=len(now.texts), n=now.n, levels=evidence.levels, seed=evidence.seed,
                         bounds=bounds, log=log, share=statistic.share)  # fmt: skip

    before = start = None
    if statistic.embedded and evidence.embed is None:
        value = compared = unmeasured(NO_EMBED)
    elif not now.n:
        value = compared = unmeasured("the policy has no text")
    else:
        here = remembered(statistic.of(now))
        value, compared = estimate(here, statistic.bounds), unmeasured(IS_BASE)
        if then is not None:
            there = remembered(statistic.of(then))
            before, start = there(np.arange(len(then.texts))), 1.0  # the base policy over itself
            if statistic.compared:
                ratio = statistic.ratio(now, then) if statistic.ratio else over(here, there)
                compared = estimate(ratio, ANY, log=True)
    name, better = f"diversity.{statistic.name}", statistic.direction
    found = [value.measured(name, unit=statistic.unit, version=VERSION, direction=better, baseline=before,
                            detail=detail)]  # fmt: skip
    if statistic.compared:
        found.append(compared.measured(f"{name}_ratio", unit="ratio to the base policy", version=VERSION,
                                       direction=better, baseline=start, detail=detail))  # fmt: skip
    return found


def _within_prompt(now: Texts, then: Texts | None, evidence: Evidence, detail: Mapping[str, Any]) -> Measurement:
    """Mean cosine distance between two samples of one prompt, averaged over prompts."""
    before = None
    if evidence.embed is None:
        estimate = unmeasured(NO_EMBED)
    elif not now.n or len(now.texts[0]) < 2:
        estimate = unmeasured("one sample a prompt: there is no pair to compare", n=now.n, units=len(now.texts))
    else:
        how = Resampling(levels=evidence.levels, resamples=evidence.resamples, seed=evidence.seed)
        estimate = stats.mean_of(values=prompt_distances(now), n=now.n, bounds=(0.0, 2.0), **how)
        before = None if then is None else float(prompt_distances(then).mean())
    return estimate.measured("diversity.within_prompt", unit="cosine distance", version=VERSION, direction="higher",
                             baseline=before, detail=detail)  # fmt: skip


def _length(rows: pd.DataFrame, base: pd.DataFrame | None, evidence: Evidence, notes: Mapping[str, Any]) -> Measurement:
    how = Resampling(levels=evidence.levels, resamples=evidence.resamples, seed=evidence.seed)
    before = None if base is None else float(stats.prompt_means(table=base, column="n_tokens").mean())
    estimate = stats.mean(table=rows, column="n_tokens", **how)
    return estimate.measured("diversity.length", unit="tokens", version=VERSION, baseline=before, detail=notes)


PROBE = Probe(
    name="diversity",
    version=VERSION,
    goal="Does the policy still say different things, or has it narrowed to a few texts?",
    reads=("outputs.text", "outputs.n_tokens", "base.text", "base.n_tokens", "embed"),
    measures=(
        "diversity.distinct_1", "diversity.distinct_2", "diversity.distinct_2_ratio", "diversity.vendi",
        "diversity.vendi_ratio", "diversity.compression_ratio", "diversity.compression_ratio_ratio",
        "diversity.duplicates", "diversity.within_prompt", "diversity.length",
    ),
    references=(
        "Li et al. 2016, A diversity-promoting objective function for neural conversation models, arXiv 1510.03055",
        "Friedman & Dieng 2022, The Vendi score, arXiv 2210.02410",
        "Kirk et al. 2023, Understanding the effects of RLHF on LLM generalisation and diversity, arXiv 2310.06452",
        "Shaib et al. 2024, Standardizing the measurement of text diversity, arXiv 2403.00553",
        "Hurlbert 1971, The nonconcept of species diversity, Ecology 52(4)",
    ),
    weaknesses=(
        "Noise is diverse: a policy that babbles scores high. Read these beside the human score.",
        "Set statistics depend on how many samples there are and how long they are; compare them only at the same "
        "number of samples and words, as here, never across runs of different size.",
        "Words are found by spaces and punctuation: in scripts without spaces distinct-n counts whole phrases.",
        "Vendi and within-prompt distance see what the encoder sees, and long texts only as far as it reads.",
        "The compressor looks back 32 KiB at most: repetition further apart than that is not found.",
    ),
    run=run,
)  # fmt: skip
