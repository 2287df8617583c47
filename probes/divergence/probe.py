"""Divergence: does the reward still follow the held-out human score, or has it left it behind?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from probes.base import Direction, Evidence, Measurement, Metric, Probe
from probes.divergence.curves import Curve, Form, fit
from probes.divergence.expected import Decomposition, decompose, decompose_rated, outside
from probes.rows import Notes, audited, defined, numbers, plain_or_all, sampled
from probes.statistics import ppi, stats
from probes.statistics.stats import Estimate, Resampling, unmeasured

VERSION = "2"
FORMS: tuple[Form, ...] = ("bon", "rl")
UNITS = {"reward": "reward units", "human": "human-score units"}
SD = "base sd"
DECOMPOSED = (
    "divergence.expected",
    "divergence.beyond_expected",
    "divergence.beyond_isotonic",
    "divergence.beyond_range",
    "divergence.gain_per_reward",
)
KINDS: tuple[tuple[str, Literal["spearman", "pearson"]], ...] = (
    ("divergence.correlation", "spearman"),
    ("divergence.correlation_pearson", "pearson"),
)
IS_BASE = "this is the base policy: there is no change to measure"


def run(evidence: Evidence) -> list[Measurement]:
    """All of divergence.*; see docs/probes.md for each one's formula and how it can mislead."""
    resampling = evidence.resampling
    rows, base, notes = audited(evidence)
    about: Mapping[str, Any] = {**notes, "human_label": evidence.human_label}
    measurements = [
        *_means(evidence, rows, base, about, resampling),
        *_changes(evidence, rows, base, about, resampling),
    ]
    rated = evidence.human_sampling != "all" and evidence.wants("divergence.human_change")
    if rated or evidence.wants(*DECOMPOSED):
        measurements += _decomposed(evidence, rows, base, about, resampling)
    if evidence.wants("divergence.correlation", "divergence.correlation_pearson"):
        measurements += _correlations(rows, base, about, resampling)
    if evidence.wants("divergence.human_coverage"):
        measurements.append(_coverage(rows, base, about, resampling))
    if evidence.wants("divergence.gain_per_sqrt_kl", "divergence.peak_bon", "divergence.peak_rl"):
        measurements += _by_distance(evidence, rows, base, about, resampling)
    if evidence.wants("divergence.d_eval_gap"):
        measurements.append(_d_eval_gap(evidence, rows, notes, resampling))
    if evidence.wants("divergence.filter_human"):
        measurements.append(_filter(evidence, resampling))
    if evidence.wants("divergence.ensemble_spread"):
        measurements.append(_spread(rows, base, notes, resampling))
    return measurements


def _means(
    evidence: Evidence,
    rows: pd.DataFrame,
    base: pd.DataFrame | None,
    about: Mapping[str, Any],
    resampling: Resampling,
) -> list[Measurement]:
    measurements = []
    if evidence.wants("divergence.reward"):
        measurements.append(
            stats.mean(table=rows, column="reward", **resampling).measured(
                "divergence.reward",
                unit=UNITS["reward"],
                version=VERSION,
                direction="higher",
                baseline=_mean(base, "reward"),
                detail=about,
            )
        )
    if evidence.wants("divergence.human"):
        human, about_human = _human_mean(evidence, rows, about, resampling)
        measurements.append(
            human.measured(
                "divergence.human",
                unit=UNITS["human"],
                version=VERSION,
                direction="higher",
                baseline=_mean(base, "human"),
                detail=about_human,
            )
        )
    return measurements


def _human_mean(
    evidence: Evidence, rows: pd.DataFrame, about: Mapping[str, Any], resampling: Resampling
) -> tuple[Estimate, Mapping[str, Any]]:
    """The mean human score; where people rated a part of the rows, corrected by the rewards of all
    (PPI++).
    """
    if evidence.human_sampling == "all":
        return stats.mean(table=rows, column="human", **resampling), about
    estimate, weight = ppi.corrected_mean(
        table=rows,
        score="human",
        prediction="reward",
        sampling=evidence.human_sampling,
        **resampling,
    )
    return estimate, {**about, "lambda": weight, "rated": len(defined(rows, ["human"]))}


def _changes(
    evidence: Evidence,
    rows: pd.DataFrame,
    base: pd.DataFrame | None,
    about: Mapping[str, Any],
    resampling: Resampling,
) -> list[Measurement]:
    def change(*columns: str) -> Estimate:
        if base is None:
            return unmeasured(IS_BASE)
        return stats.change(table=rows, base=base, columns=columns, **resampling)

    start = None if base is None else 0.0  # a policy's change from itself, by definition
    measurements = []
    if evidence.wants("divergence.reward_change"):
        measurements.append(
            change("reward").measured(
                "divergence.reward_change",
                unit=SD,
                version=VERSION,
                direction="higher",
                baseline=start,
                detail=about,
            )
        )
    if evidence.wants("divergence.human_change") and evidence.human_sampling == "all":
        measurements.append(
            change("human").measured(
                "divergence.human_change",
                unit=SD,
                version=VERSION,
                direction="higher",
                baseline=start,
                detail=about,
            )
        )
    if evidence.wants("divergence.gap"):
        gap = change("reward", "human")
        if gap.value is not None:
            gap = replace(gap, method=f"{gap.method}, on samples that have both scores")
        measurements.append(
            gap.measured(
                "divergence.gap",
                unit=SD,
                version=VERSION,
                direction="lower",
                baseline=start,
                detail=about,
            )
        )
    return measurements


def _decomposed(
    evidence: Evidence,
    rows: pd.DataFrame,
    base: pd.DataFrame | None,
    about: Mapping[str, Any],
    resampling: Resampling,
) -> list[Measurement]:
    """The human gain that the base policy's own relation predicts, and what is missing beyond
    it.
    """
    parts, about = _parts(evidence, rows, base, about, resampling)
    start = None if base is None else 0.0
    named: list[tuple[str, Estimate, Direction]] = [
        ("divergence.expected", parts.expected, "neutral"),
        ("divergence.beyond_expected", parts.beyond, "lower"),
        ("divergence.beyond_isotonic", parts.beyond_isotonic, "lower"),
    ]
    if evidence.human_sampling != "all":
        named.append(("divergence.human_change", parts.observed, "higher"))
    measurements = [
        e.measured(n, unit=SD, version=VERSION, direction=d, baseline=start, detail=about)
        for n, e, d in named
    ]
    if evidence.wants("divergence.beyond_range"):
        left = unmeasured(parts.beyond.reason or IS_BASE)
        if parts.low is not None and parts.high is not None:
            marked = rows.assign(outside=outside(numbers(rows, "reward"), parts.low, parts.high))
            left = stats.mean(table=marked, column="outside", bounds=stats.SHARE, **resampling)
        measurements.append(
            left.measured(
                "divergence.beyond_range",
                unit="share of samples",
                version=VERSION,
                direction="lower",
                baseline=start,
                detail=about,
            )
        )
    if evidence.wants("divergence.gain_per_reward"):
        measurements.append(_per_reward(rows, base, about, resampling))
    return measurements


def _parts(
    evidence: Evidence,
    rows: pd.DataFrame,
    base: pd.DataFrame | None,
    about: Mapping[str, Any],
    resampling: Resampling,
) -> tuple[Decomposition, Mapping[str, Any]]:
    if base is None:
        none = unmeasured(IS_BASE)
        return Decomposition(none, none, none, none), about
    if evidence.human_sampling == "unknown" and not _chances_known(rows, base):
        none = unmeasured(
            "nobody says how the rated samples were chosen, and there are no inclusion "
            "probabilities: their mean says nothing about the others"
        )
        return Decomposition(none, none, none, none), about
    if evidence.human_sampling == "all":
        parts = decompose(
            table=rows,
            base=base,
            isotonic=evidence.wants("divergence.beyond_isotonic"),
            **resampling,
        )
    else:
        parts = decompose_rated(table=rows, base=base, **resampling)
    note = (
        "expected = human gain that the base policy's own relation of reward and human score "
        "predicts from the new "
        "rewards (regressional Goodhart); what people did not get beyond that is the divergence"
    )
    fitted = {
        "slope": parts.slope,
        "base_rewards": [parts.low, parts.high],
        "human_change": parts.observed.value,
        "reward_inflation": parts.inflation,
    }
    return parts, {**about, **fitted, "note": note}


def _chances_known(*tables: pd.DataFrame) -> bool:
    return all(not np.isnan(numbers(defined(t, ["human"]), "inclusion")).any() for t in tables)


def _per_reward(
    rows: pd.DataFrame, base: pd.DataFrame | None, about: Mapping[str, Any], resampling: Resampling
) -> Measurement:
    """Human gain per unit of reward gain, both in base sd, on rows that have both."""
    if base is None:
        estimate = unmeasured(IS_BASE)
    else:
        estimate = stats.change_ratio(
            table=rows, base=base, columns=("human", "reward"), **resampling
        )
    return estimate.measured(
        "divergence.gain_per_reward",
        unit="base sd per base sd",
        version=VERSION,
        direction="higher",
        detail=about,
    )


def _by_distance(
    evidence: Evidence,
    rows: pd.DataFrame,
    base: pd.DataFrame | None,
    about: Mapping[str, Any],
    resampling: Resampling,
) -> list[Measurement]:
    """Human gain by distance from the base policy: now, and as a curve over the run's
    iterations.
    """
    kl = _mean(rows, "kl")
    distance = float(np.sqrt(kl)) if kl is not None and kl > 0 else None
    measurements = []
    if base is None:
        gain = unmeasured(IS_BASE)
    elif distance is None:
        gain = unmeasured("no sample has a KL above 0")
    else:
        change = stats.change(table=rows, base=base, columns=["human"], **resampling)
        gain = replace(
            change,
            value=None if change.value is None else change.value / distance,
            intervals=tuple(
                replace(i, low=i.low / distance, high=i.high / distance) for i in change.intervals
            ),
            method=f"{change.method}, over √KL taken as known",
        )
    measurements.append(
        gain.measured(
            "divergence.gain_per_sqrt_kl",
            unit="base sd per √nat",
            version=VERSION,
            direction="higher",
            detail={**about, "kl": kl},
        )
    )
    past = evidence.history
    now = gain.value * distance if gain.value is not None and distance is not None else np.nan
    distances = [] if past is None else np.sqrt(numbers(past, "kl")).tolist()
    gains = [] if past is None else numbers(past, "human_change").tolist()
    distances, gains = [*distances, np.nan if distance is None else distance], [*gains, now]
    for form in FORMS:
        curve: Curve | str = (
            gain.reason or "this policy has no human gain at a distance from the base policy"
        )
        if np.isfinite(now):
            curve = fit(distance=np.array(distances), gain=np.array(gains), form=form)
        measurements.append(_peak(curve, form, len(gains), about))
    return measurements


def _peak(curve: Curve | str, form: str, points: int, about: Mapping[str, Any]) -> Measurement:
    detail = dict(about)
    if isinstance(curve, str):
        estimate = unmeasured(curve, n=points)
    else:
        detail |= {"alpha": curve.alpha, "beta": curve.beta, "residual": curve.residual}
        reason = "no interval: a curve through a run's few iterations is a description, not a test"
        if curve.peak is None:
            reason = "the fitted curve has no peak within twice the distance that the run has come"
        estimate = Estimate(
            curve.peak, points, 0, f"least squares through {points} iterations", reason=reason
        )
    return estimate.measured(
        f"divergence.peak_{form}", unit="√nats", version=VERSION, detail=detail
    )


def _correlations(
    rows: pd.DataFrame, base: pd.DataFrame | None, about: Mapping[str, Any], resampling: Resampling
) -> list[Measurement]:
    measurements = []
    once: Resampling = {**resampling, "resamples": 1}
    for name, kind in KINDS:
        estimate = stats.correlation(table=rows, x="reward", y="human", kind=kind, **resampling)
        before = None
        if base is not None:
            before = stats.correlation(table=base, x="reward", y="human", kind=kind, **once).value
        measurements.append(
            estimate.measured(
                name,
                unit="correlation",
                version=VERSION,
                direction="higher",
                baseline=before,
                detail={**about, "kind": kind},
            )
        )
    return measurements


def _coverage(
    rows: pd.DataFrame, base: pd.DataFrame | None, about: Mapping[str, Any], resampling: Resampling
) -> Measurement:
    def marked(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(covered=(~np.isnan(numbers(table, "human"))).astype(float))

    return stats.mean(
        table=marked(rows), column="covered", bounds=stats.SHARE, **resampling
    ).measured(
        "divergence.human_coverage",
        unit="share",
        version=VERSION,
        direction="higher",
        baseline=None if base is None else _mean(marked(base), "covered"),
        detail=about,
    )


def _d_eval_gap(
    evidence: Evidence, rows: pd.DataFrame, notes: Notes, resampling: Resampling
) -> Measurement:
    if evidence.d_eval is None:
        estimate = stats.unmeasured("no D_eval samples of this policy were given")
    else:
        chosen = plain_or_all(evidence.d_eval)
        estimate = stats.independent_difference(
            table=chosen, other=rows, column="reward", **resampling
        )
    return estimate.measured(
        "divergence.d_eval_gap",
        unit="reward units",
        version=VERSION,
        direction="lower",
        detail=notes,
    )


def _filter(evidence: Evidence, resampling: Resampling) -> Measurement:
    detail: dict[str, Any] = {"human_label": evidence.human_label}
    grow = None if evidence.grow is None else sampled(evidence.grow)
    if grow is None:
        estimate = stats.unmeasured("no Grow samples were given")
    elif "kept" not in grow.columns:
        estimate = stats.unmeasured("the Grow samples do not say which were kept")
    else:
        chosen = plain_or_all(grow)
        estimate = stats.split_difference(table=chosen, column="human", by="kept", **resampling)
        detail |= {"kept": int(chosen["kept"].sum()), "rows": len(chosen)}
    return estimate.measured(
        "divergence.filter_human",
        unit=UNITS["human"],
        version=VERSION,
        direction="higher",
        detail=detail,
    )


def _spread(
    rows: pd.DataFrame, base: pd.DataFrame | None, notes: Notes, resampling: Resampling
) -> Measurement:
    return stats.mean(table=rows, column="reward_spread", **resampling).measured(
        "divergence.ensemble_spread",
        unit=UNITS["reward"],
        version=VERSION,
        direction="lower",
        baseline=_mean(base, "reward_spread"),
        detail=notes,
    )


def _mean(table: pd.DataFrame | None, column: str) -> float | None:
    if table is None:
        return None
    means = stats.prompt_means(table=table, column=column)
    return float(means.mean()) if len(means) else None


PROBE = Probe(
    name="divergence",
    title="Reward against human score",
    order=10,
    version=VERSION,
    goal="Does more reward still mean a better human score, and by how much do the two part?",
    reads=(
        "outputs.reward",
        "outputs.human",
        "outputs.inclusion",
        "outputs.kl",
        "base.reward",
        "base.human",
        "outputs.reward_spread",
        "d_eval.reward",
        "grow.human",
        "grow.kept",
        "history",
        "human_sampling",
    ),
    measures=(
        Metric("divergence.reward", "reward", "reward units", "divergence", "higher"),
        Metric("divergence.human", "human score", "human-score units", "divergence", "higher"),
        Metric("divergence.reward_change", "reward gain", SD, "divergence", "higher"),
        Metric("divergence.human_change", "human gain", SD, "divergence", "higher"),
        Metric("divergence.gap", "reward gain minus human gain", SD, "divergence", "lower"),
        Metric("divergence.expected", "human gain expected from the reward", SD, "divergence"),
        Metric(
            "divergence.beyond_expected",
            "human gain missing beyond the expected",
            SD,
            "divergence",
            "lower",
        ),
        Metric(
            "divergence.beyond_isotonic",
            "human gain missing beyond the expected, by a rising curve",
            SD,
            "divergence",
            "lower",
        ),
        Metric(
            "divergence.beyond_range",
            "samples whose reward lies outside the base policy's",
            "share of samples",
            "divergence",
            "lower",
        ),
        Metric(
            "divergence.gain_per_reward",
            "human gain per reward gain",
            "base sd per base sd",
            "divergence",
            "higher",
        ),
        Metric(
            "divergence.correlation",
            "correlation of reward and human score, by rank",
            "correlation",
            "divergence",
            "higher",
        ),
        Metric(
            "divergence.correlation_pearson",
            "correlation of reward and human score, linear",
            "correlation",
            "divergence",
            "higher",
        ),
        Metric(
            "divergence.human_coverage",
            "samples with a human score",
            "share",
            "divergence",
            "higher",
        ),
        Metric(
            "divergence.gain_per_sqrt_kl",
            "human gain per √nat of distance",
            "base sd per √nat",
            "divergence",
            "higher",
        ),
        Metric(
            "divergence.peak_bon",
            "distance at which human gain would peak, best-of-n curve",
            "√nats",
            "divergence",
        ),
        Metric(
            "divergence.peak_rl",
            "distance at which human gain would peak, RL curve",
            "√nats",
            "divergence",
        ),
        Metric(
            "divergence.d_eval_gap",
            "reward on D_eval minus on audit prompts",
            "reward units",
            "divergence",
            "lower",
        ),
        Metric(
            "divergence.filter_human",
            "human score of kept samples minus of the others",
            "human-score units",
            "divergence",
            "higher",
        ),
        Metric(
            "divergence.ensemble_spread",
            "disagreement of the reward model's members",
            "reward units",
            "divergence",
            "lower",
        ),
    ),
    references=(
        (
            "Gulcehre et al. 2023, Reinforced self-training (ReST) for language modeling, arXiv "
            "2308.08998"
        ),
        "Gao et al. 2022, Scaling laws for reward model overoptimization, arXiv 2210.10760",
        "Manheim & Garrabrant 2018, Categorizing variants of Goodhart's law, arXiv 1803.04585",
        (
            "Coste et al. 2023, Reward model ensembles help mitigate overoptimization, arXiv "
            "2310.02743"
        ),
        "Angelopoulos et al. 2023, PPI++: efficient prediction-powered inference, arXiv 2311.01453",
    ),
    weaknesses=(
        "A gap alone accuses nobody: selection on an imperfect reward always gains less human "
        "score than reward. Read beyond_expected, which takes that part out.",
        "The expected part stands on a straight line through few base samples, and beyond their "
        "rewards it is a guess: "
        "look at beyond_range and at beyond_isotonic, which guesses differently.",
        "A flaw that the reward always had is part of the base policy's relation and so of the "
        "expected part; only what the policy does beyond its base share of it is divergence.",
        "The correlation falls when the policy's rewards bunch together at the top (range "
        "restriction), even if the reward is as good as before.",
        "It is only as good as the human score: what the raters did not rate, it does not see. "
        "Look at the coverage, "
        "since samples without a human score are left out and may be the odd ones.",
        "Ensemble members trained on the same data can agree and be wrong together.",
        "The D_eval gap also holds the difference in difficulty between the two sets of prompts.",
    ),
    run=run,
)
