"""Drift: how far the policy has moved from the base policy, and the signs of collapse from its own
output.
"""

from __future__ import annotations

import pandas as pd

from probes.base import Evidence, Measurement, Metric, Probe
from probes.drift import collapse
from probes.drift.human_text import human_text
from probes.rows import Notes, audited, defined
from probes.statistics import stats
from probes.statistics.stats import Resampling

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
    how = Resampling(levels=evidence.levels, resamples=evidence.resamples, seed=evidence.seed)
    if defined(rows, ["kl"]).empty:
        reason = "this is the base policy" if base is None else "no sample has a kl value"
        sequence = token = stats.unmeasured(reason)
    else:
        sequence = stats.mean(table=rows, column="kl", **how)
        token = stats.ratio_of_sums(table=rows, numerator="kl", denominator="kl_tokens", **how)
    start = None if base is None else 0.0  # a policy's divergence from itself, by definition
    return [
        estimate.measured(
            name, unit=unit, version=VERSION, direction="neutral", baseline=start, detail=notes
        )
        for name, estimate, unit in (
            ("drift.kl", sequence, "nats per sequence"),
            ("drift.kl_per_token", token, "nats per token"),
        )
        if evidence.wants(name)
    ]


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
    measures=(
        Metric(
            "drift.kl",
            "distance from the base policy (KL), per sequence",
            "nats per sequence",
            "drift",
        ),
        Metric(
            "drift.kl_per_token",
            "distance from the base policy (KL), per token",
            "nats per token",
            "drift",
        ),
        Metric("drift.synthetic_share", "kept rows that a policy wrote", "share", "drift", "lower"),
        Metric(
            "drift.copying",
            "word sequences copied from the training set",
            "share of n-grams",
            "drift",
            "lower",
        ),
        Metric(
            "drift.copying_change",
            "word sequences copied from the training set, change",
            "share of n-grams",
            "drift",
            "lower",
        ),
        Metric(
            "drift.human_text_nll",
            "rise of the cost of human text",
            "nats per token",
            "drift",
            "lower",
        ),
        Metric(
            "drift.vocabulary",
            "different words, ratio",
            "ratio to the base policy",
            "drift",
            "higher",
        ),
        Metric(
            "drift.rare_words", "rare words, ratio", "ratio to the base policy", "drift", "higher"
        ),
    ),
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
