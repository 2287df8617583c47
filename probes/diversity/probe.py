"""Diversity: how different the policy's texts are from one another, at a fixed number of samples
and words.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probes.base import Evidence, Measurement, Probe
from probes.diversity import METRICS, above_bar, sameness, to_human, vendi
from probes.diversity.compare import PromptStatistic, SetStatistic, of_prompts, of_set, wanted
from probes.diversity.sameness import OPENING, commonest, compression, duplicates, mode_share
from probes.rows import audited, numbers
from probes.statistics import stats
from probes.statistics.jackknife import Deleted
from probes.statistics.resample import SHARE, Array, bootstrap, unmeasured
from probes.texts.grams import Counts, distinct, distinct_by_unit, distinct_ratio
from probes.texts.sets import Side, Sides, match, sides_of

VERSION = "2"

# How many texts the costly statistics are measured on at most; the audit of a run has fewer. Above
# that they would take minutes (an encoder, a compressor) or lose their meaning (self-BLEU nears 100
# as the references grow).
MOST_EMBEDDED = 5_000
MOST_COMPRESSED = 1_000
MOST_BLEU = 500


def _distinct(side: Side, order: int) -> Deleted:
    return distinct(side.counts(order))


def _distinct_ratio(now: Side, then: Side, order: int) -> Deleted:
    return distinct_ratio(now.counts(order), then.counts(order))


def _within_distinct(side: Side) -> Array:
    return distinct_by_unit(side.grams(2), side.texts.owner, side.texts.units)


def _across_distinct(side: Side) -> Deleted:
    """distinct-2 of one text a prompt: of all first samples, of all second ones and so on,
    averaged.
    """
    all_grams, texts = side.grams(2), side.texts
    # The same word pair in two layers is two kinds: layers are counted apart, then averaged.
    layer = texts.place[all_grams.text] * np.int64(all_grams.kinds) + all_grams.code
    kinds, code = np.unique(layer, return_inverse=True)
    layer_of = kinds // max(all_grams.kinds, 1)

    def share(counts: NDArray[np.intp]) -> float:
        tokens = np.bincount(layer_of, weights=counts)
        different = np.bincount(layer_of, weights=counts > 0)
        if not tokens.any():
            return float("nan")
        return float((different[tokens > 0] / tokens[tokens > 0]).mean())

    return Counts(code, texts.owner[all_grams.text], len(kinds), side.groups).deleted(share)


def _of_texts(statistic: Callable[..., Deleted]) -> Callable[[Side], Deleted]:
    return lambda side: statistic(side.texts, side.groups)


def _openings(sides: Sides) -> dict[str, str | int]:
    facts: dict[str, str | int] = {
        "opening_words": OPENING,
        "commonest_opening": commonest(sides.now.texts),
    }
    if sides.then is not None:
        facts["commonest_opening_base"] = commonest(sides.then.texts)
    return facts


SET_STATISTICS = (
    SetStatistic(
        "distinct_1",
        "different words (distinct-1)",
        "share",
        "higher",
        SHARE,
        partial(_distinct, order=1),
    ),
    SetStatistic(
        "distinct_2",
        "different word pairs (distinct-2)",
        "share",
        "higher",
        SHARE,
        partial(_distinct, order=2),
        "ratio",
        partial(_distinct_ratio, order=2),
    ),
    SetStatistic(
        "across_prompts_distinct_2",
        "different word pairs across prompts",
        "share",
        "higher",
        SHARE,
        _across_distinct,
        "ratio",
    ),
    SetStatistic(
        "vendi",
        "effective number of texts (Vendi score)",
        "effective number of texts",
        "higher",
        (1.0, np.inf),
        lambda s: vendi.vendi(s.vectors, s.texts.owner, s.groups),
        "ratio",
        most=MOST_EMBEDDED,
        embedded=True,
    ),
    SetStatistic(
        "across_prompts",
        "distance between texts of different prompts",
        "cosine distance",
        "higher",
        (0.0, 2.0),
        lambda s: vendi.across_prompts(s.vectors, s.texts.owner, s.groups),
        "ratio",
        most=MOST_EMBEDDED,
        embedded=True,
        undefined="one prompt: there is no pair of prompts to compare",
    ),
    SetStatistic(
        "self_bleu",
        "self-BLEU",
        "BLEU, 0..100",
        "lower",
        (0.0, 100.0),
        _of_texts(sameness.across_prompts),
        "change",
        most=MOST_BLEU,
        undefined="no text has a word and texts of other prompts to compare it with",
    ),
    SetStatistic(
        "compression_ratio",
        "compression",
        "bytes after / before",
        "higher",
        (0.0, np.inf),
        _of_texts(compression),
        "ratio",
        most=MOST_COMPRESSED,
        more=lambda _: {"compressor": f"zlib {zlib.ZLIB_RUNTIME_VERSION}, level 9"},
    ),
    SetStatistic(
        "duplicates",
        "duplicates",
        "share",
        "lower",
        SHARE,
        _of_texts(duplicates),
        "change",
        share=True,
    ),
    SetStatistic(
        "mode_share",
        "texts with the commonest opening",
        "share",
        "lower",
        SHARE,
        _of_texts(mode_share),
        "change",
        share=True,
        more=_openings,
    ),
)

PROMPT_STATISTICS = (
    PromptStatistic(
        "within_prompt",
        "distance between texts of one prompt",
        "cosine distance",
        "higher",
        (0.0, 2.0),
        lambda s: vendi.within_prompt(s.vectors, s.texts.owner, s.texts.units),
        "ratio",
        most=MOST_EMBEDDED,
        embedded=True,
    ),
    PromptStatistic(
        "within_prompt_distinct_2",
        "different word pairs within a prompt",
        "share",
        "higher",
        SHARE,
        _within_distinct,
        "ratio",
    ),
    PromptStatistic(
        "within_prompt_self_bleu",
        "self-BLEU within a prompt",
        "BLEU, 0..100",
        "lower",
        (0.0, 100.0),
        lambda s: sameness.within_prompt(s.texts),
        "change",
        most=MOST_BLEU,
    ),
)


def run(evidence: Evidence) -> list[Measurement]:
    """All of diversity.*; see docs/probes.md for each one's formula and how it can mislead."""
    rows, base, notes = audited(evidence)
    measurements = _compared(rows, base, evidence, notes)
    if wanted(evidence, to_human.NAMES):
        measurements += to_human.compare(rows, base, evidence, notes, VERSION, MOST_EMBEDDED)
    measurements += entropy(rows, base, evidence, notes, VERSION)
    return [*measurements, *_length(rows, base, evidence, notes)]


def _compared(
    rows: pd.DataFrame, base: pd.DataFrame | None, evidence: Evidence, notes: dict[str, str | int]
) -> list[Measurement]:
    """What is measured of the texts of both policies, cut alike."""
    needed = [n for s in (*SET_STATISTICS, *PROMPT_STATISTICS) for n in s.names]
    if not wanted(evidence, (*needed, *above_bar.NAMES)):
        return []
    now, then, matched = match(rows, base)
    sides = sides_of(evidence, now, then, {**notes, **matched})
    measurements: list[Measurement] = []
    for set_statistic in SET_STATISTICS:
        measurements += of_set(set_statistic, sides, evidence, VERSION)
    for prompt_statistic in PROMPT_STATISTICS:
        measurements += of_prompts(prompt_statistic, sides, evidence, VERSION)
    if wanted(evidence, above_bar.NAMES):
        measurements += above_bar.compare(sides, rows, base, evidence, VERSION, MOST_EMBEDDED)
    return measurements


def _length(
    rows: pd.DataFrame, base: pd.DataFrame | None, evidence: Evidence, notes: dict[str, str | int]
) -> list[Measurement]:
    if not wanted(evidence, ["length"]):
        return []
    resampling = evidence.resampling
    before = None
    if base is not None:
        before = float(stats.prompt_means(table=base, column="n_tokens").mean())
    estimate = stats.mean(table=rows, column="n_tokens", **resampling)
    return [
        estimate.recorded(
            METRICS["diversity.length"], version=VERSION, baseline=before, detail=notes
        )
    ]


# --- entropy: how sure of its words the policy has become

MISSING = "no sample has a logprob value and tokens"
WHAT = (
    "minus the log-probability at temperature 1 of the policy's samples, per token: the "
    "cross-entropy of the sampling distribution and the policy, which is the policy's entropy "
    "only where samples are drawn at temperature 1 from the whole vocabulary; at a lower "
    "temperature or with top-k it is smaller"
)


def entropy(
    rows: pd.DataFrame,
    base: pd.DataFrame | None,
    evidence: Evidence,
    notes: Mapping[str, Any],
    version: str,
) -> list[Measurement]:
    """`diversity.entropy` in nats per token, and its change from the base policy on the prompts of
    both.
    """
    if not evidence.wants("diversity.entropy", "diversity.entropy_change"):
        return []
    resampling = evidence.resampling
    detail = {**notes, "what": WHAT}
    measurements = []
    now = _totals(rows)
    before = None if base is None else _totals(base)
    if evidence.wants("diversity.entropy"):
        estimate = bootstrap(
            totals=now[["nats", "tokens"]].to_numpy(),
            statistic=_per_token,
            n=int(now["n"].sum()),
            bounds=(0.0, np.inf),
            undefined=MISSING,
            **resampling,
        )
        start = None
        if before is not None and not before.empty:
            start = float(before["nats"].sum() / before["tokens"].sum())
        measurements.append(
            estimate.recorded(
                METRICS["diversity.entropy"], version=version, baseline=start, detail=detail
            )
        )
    if evidence.wants("diversity.entropy_change"):
        change = unmeasured("this is the base policy: there is nothing to compare it with")
        if before is not None:
            both = now.join(before.add_suffix("_base"), how="inner").sort_index()
            columns = ["nats", "tokens", "nats_base", "tokens_base"]
            change = bootstrap(
                totals=both[columns].to_numpy(),
                statistic=_moved,
                n=int(both["n"].sum()),
                undefined=f"{MISSING} for both policies",
                **resampling,
            )
        measurements.append(
            change.recorded(
                METRICS["diversity.entropy_change"],
                version=version,
                baseline=None if before is None else 0.0,
                detail=detail,
            )
        )
    return measurements


def _totals(rows: pd.DataFrame) -> pd.DataFrame:
    """By prompt: nats, tokens and samples, of the rows that have a log-probability."""
    parts = pd.DataFrame(
        {"nats": -numbers(rows, "logprob"), "tokens": numbers(rows, "n_tokens"), "n": 1.0}
    )
    keep = (parts["nats"].notna() & (parts["tokens"] > 0)).to_numpy()
    return parts[keep].groupby(rows["prompt_id"].to_numpy()[keep]).sum()


def _per_token(sums: Array) -> Array:
    return sums[:, 0] / sums[:, 1]


def _moved(sums: Array) -> Array:
    return sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3]


PROBE = Probe(
    name="diversity",
    title="Diversity of the texts",
    order=30,
    version=VERSION,
    goal="Does the policy still say different things, or has it narrowed to a few texts?",
    reads=(
        "outputs.text",
        "outputs.n_tokens",
        "outputs.logprob",
        "outputs.human",
        "outputs.reward",
        "base",
        "embed",
        "references",
    ),
    measures=(
        *(m for s in (*SET_STATISTICS, *PROMPT_STATISTICS) for m in s.metrics),
        *METRICS.values(),
    ),
    references=(
        (
            "Li et al. 2016, A diversity-promoting objective function for neural conversation "
            "models, arXiv 1510.03055"
        ),
        (
            "Zhu et al. 2018, Texygen: A benchmarking platform for text generation models "
            "(self-BLEU), arXiv 1802.01886"
        ),
        "Post 2018, A call for clarity in reporting BLEU scores (sacrebleu), arXiv 1804.08771",
        "Friedman & Dieng 2022, The Vendi score, arXiv 2210.02410",
        (
            "Kirk et al. 2023, Understanding the effects of RLHF on LLM generalisation and "
            "diversity, arXiv 2310.06452"
        ),
        "Shaib et al. 2024, Standardizing the measurement of text diversity, arXiv 2403.00553",
        (
            "Shypula et al. 2025, Evaluating the diversity and quality of LLM generated content, "
            "arXiv 2504.12522"
        ),
        "Hurlbert 1971, The nonconcept of species diversity, Ecology 52(4)",
    ),
    weaknesses=(
        "Noise is diverse: a policy that babbles scores high. Read these beside the human score, "
        "and beside the ratios among texts above the base policy's median score.",
        "Set statistics depend on how many samples there are and how long they are; compare them "
        "only at the same "
        "number of samples and words, as here, never across runs of different size.",
        (
            "Words are found by spaces and punctuation: in scripts without spaces distinct-n "
            "counts whole phrases."
        ),
        (
            "Vendi and the distances see what the encoder sees, and long texts only as far as it "
            "reads."
        ),
        (
            "The compressor looks back 32 KiB at most: repetition further apart than that is not "
            "found."
        ),
        "The mode is looked for at the beginning of texts only, and the largest share of anything "
        "is too large on average: read its change, not its value.",
        (
            "Entropy is measured on texts sampled at a lower temperature than it is stated for; "
            "see docs/probes.md."
        ),
    ),
    run=run,
)
