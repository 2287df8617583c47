"""Reward against human score, and what the policy learned that people did not want, with texts side
by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from reports.document.model import Block, Paragraph, Passage, Passages, Row, Section, Table
from reports.record import series
from reports.run_report.distance import by_distance
from reports.run_report.material import Material
from reports.run_report.tables import by_iteration, by_name, chart, titles
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import NOTHING, estimate, figure

TEXTS = ("sample_id", "prompt_id", "text", "reward", "human")
LARGEST, MIDDLE, SMALLEST = "largest", "middle", "smallest"
HACKING = (
    "hacking.length_controlled_gain",
    "hacking.length_share",
    "hacking.habit_cost",
    "hacking.unit_worst",
    "hacking.distance",
    "hacking.ensemble_spread_change",
    "hacking.prompt_echo",
    "hacking.repetition",
    "hacking.worst_slice",
)
LEARNED = "What the policy learned"
MOST_FEATURES = 12


def reward_and_human(material: Material) -> Section:
    """Section 2."""
    if not material.iterations:
        return Section(
            "scores", "Reward against human score", (Paragraph("No iteration was audited yet."),)
        )
    last = material.iterations[-1]
    both = {
        "divergence.reward_change": series.REWARD,
        "divergence.human_change": f"Human score: {material.human}",
    }
    apart = {
        "divergence.human_change": "human gain",
        "divergence.expected": "expected from the reward",
        "divergence.beyond_expected": "missing beyond it",
        "divergence.correlation": "r(reward, human)",
        "divergence.filter_human": "kept − not kept",
    }
    moved = {
        "drift.kl": "KL (nats a sequence)",
        "divergence.gain_per_sqrt_kl": "human gain per √nat",
        "divergence.gain_per_reward": "human gain per reward gain",
        "divergence.beyond_range": "share outside the fitted range",
    }
    blocks: list[Block] = [
        chart(
            material,
            "Change since the base policy",
            "base-policy standard deviations",
            both,
            reference=0.0,
            reference_label="base policy",
            at_base=0.0,
        ),
        by_iteration(
            material,
            "Human gain, taken apart",
            apart,
            "Expected: the human gain that the base policy's own line E[human | reward] gives for "
            "the new rewards. Missing beyond it: expected less found, the divergence. Kept − not "
            "kept: human score of the rows the filter kept less that of the others, in "
            "human-score units.",
        ),
        by_iteration(material, "How far the policy moved", moved),
        *by_distance(material),
        by_name(
            material, last, f"Signs of reward hacking at {series.short_name(last)}", titles(HACKING)
        ),
        _learned(material, last),
    ]
    blocks += _side_by_side(material)
    return Section("scores", "Reward against human score", tuple(blocks))


def _learned(material: Material, last: str) -> Block:
    """What the policy says more often now, with what reward and people think of it."""
    title = f"{LEARNED}, at {series.short_name(last)}"
    signature = material.measured[last].get("hacking.signature")
    if signature is None:
        return Paragraph(f"{title}: not measured for this run.")
    features: list[Mapping[str, Any]] = list(signature.detail.get("features") or [])
    # That nothing was found is an answer, and not the same as that nobody looked.
    if not features:
        why = signature.reason or "nothing was found that the rule would name"
        return Paragraph(f"{title}: {why}.")
    rows = []
    for feature in features[:MOST_FEATURES]:
        cells = (
            f"{feature['name']} ({feature['kind']})",
            str(feature["verdict"]),
            _share(feature["share"]),
            _share(feature["share_base"]),
            _paid(feature.get("reward_pays")),
            _paid(feature.get("human_pays")),
            (feature.get("examples") or [""])[0],
        )
        rows.append(Row(cells, (material.from_measurements(last, "hacking.signature"),)))
    note = (
        "Signature: the reward pays for it, people do not, and it is now more common. "
        "Temptation: not yet more common. "
    )
    if len(features) > MOST_FEATURES:
        note += f"{len(features)} were found; the first {MOST_FEATURES} are shown."
    columns = (
        "feature",
        "what it is",
        "share now",
        "base",
        "reward pays (sd)",
        "people (sd)",
        "an example",
    )
    return Table(title, columns, tuple(rows), prose=(0, 6), note=note)


def _paid(estimated: Mapping[str, Any] | None) -> str:
    if not estimated or estimated.get("base_sd") is None:
        return NOTHING
    if estimated.get("low") is None:
        return figure(estimated["base_sd"])
    return estimate(estimated["base_sd"], estimated["low"], estimated["high"])


def _share(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.0%}"


def _side_by_side(material: Material) -> list[Block]:
    """Texts of the base policy, the best and the last iteration for the same prompts, chosen by a
    stated rule.
    """
    if not material.after_base:
        return []
    best, why_best = _best(material)
    last = material.after_base[-1]
    policies = list(dict.fromkeys((BASE, best, last)))  # the best may be the last
    samples = {iteration: _audit(material, iteration) for iteration in policies}
    common = set.intersection(*(set(table["prompt_id"]) for table in samples.values()))
    if not common:
        return [
            Paragraph(
                "No audit prompt was asked of the base policy, the best and the last iteration "
                "alike."
            )
        ]
    # A rule and no person chooses the texts, or a report could show whatever suits it.
    order, rule = _order(samples[BASE], samples[last], sorted(common))
    chosen = list(dict.fromkeys((order[0], order[len(order) // 2], order[-1])))
    prompts = series.prompt_texts(material.run)
    rows = []
    for kind, prompt in zip((LARGEST, MIDDLE, SMALLEST), chosen, strict=False):
        heading = f"{kind} of {len(order)}: {prompts.get(prompt, prompt)}"
        rows.append(_passage(heading, prompt, samples))
    headings = {last: f"last: {series.short_name(last)}"}
    headings |= {best: f"best: {series.short_name(best)}", BASE: "base policy"}
    rule += f" Of each policy's samples of a prompt, the first by name is shown. Best: {why_best}"
    columns = tuple(headings[i] for i in policies)
    sources = tuple(material.records.source(f"{i}/audit.parquet") for i in policies)
    return [Passages("Texts side by side", rule, columns, tuple(rows), sources)]


def pair(material: Material) -> Passages | None:
    """One text before and one after, for the prompt with the middle change; None where no prompt
    was asked of both.
    """
    if not material.after_base:
        return None
    last = material.after_base[-1]
    samples = {iteration: _audit(material, iteration) for iteration in (BASE, last)}
    common = set.intersection(*(set(table["prompt_id"]) for table in samples.values()))
    if not common:
        return None
    order, _ = _order(samples[BASE], samples[last], sorted(common))
    # Neither the best case nor the worst: what a reader would meet.
    middle = order[len(order) // 2]
    heading = series.prompt_texts(material.run).get(middle, middle)
    rule = (
        f"Of {len(order)} audit prompts the one in the middle, ordered by how much more the reward "
        "rose than the human score."
    )
    columns = ("base policy", f"last: {series.short_name(last)}")
    sources = tuple(material.records.source(f"{i}/audit.parquet") for i in samples)
    row = _passage(heading, middle, samples)
    return Passages("A text before and after", rule, columns, (row,), sources)


def _passage(heading: str, prompt: str, samples: Mapping[str, pd.DataFrame]) -> Passage:
    """A policy's first sample of a prompt beside the others'."""
    texts, notes = [], []
    for table in samples.values():
        sample = first_sample(table, prompt)
        texts.append(str(sample["text"]))
        notes.append(scores_of(sample))
    return Passage(heading, tuple(texts), tuple(notes))


def first_sample(table: pd.DataFrame, prompt: str) -> pd.Series[Any]:
    """Of a policy's samples of a prompt the first by name."""
    return table[table["prompt_id"] == prompt].sort_values("sample_id").iloc[0]


def scores_of(sample: pd.Series[Any]) -> str:
    """Reward and human score of a sample, with its name."""
    human = NOTHING
    if not pd.isna(sample["human"]):
        human = figure(float(sample["human"]))
    reward = figure(float(sample["reward"]))
    return f"reward {reward}, human score {human} ({sample['sample_id']})"


def _best(material: Material) -> tuple[str, str]:
    """The iteration with the highest human gain; where none was measured, with the highest reward
    gain.
    """
    for name, gain in (
        ("divergence.human_change", "human gain"),
        ("divergence.reward_change", "reward gain"),
    ):
        gains: dict[str, float] = {}
        for iteration in material.after_base:
            m = material.measured[iteration].get(name)
            if m is not None and m.value is not None:
                gains[iteration] = m.value
        # Of equal gains the earliest iteration: `max` keeps the first that it meets.
        if gains:
            best = max(gains, key=lambda iteration: gains[iteration])
            return best, f"the iteration with the highest {gain} ({name})."
    return material.after_base[-1], "no gain was measured, so it is the last one."


def _audit(material: Material, iteration: str) -> pd.DataFrame:
    material.records.checked(f"{iteration}/audit.parquet")
    return material.run.audit(iteration, TEXTS)


def _order(base: pd.DataFrame, last: pd.DataFrame, common: list[str]) -> tuple[list[str], str]:
    """Prompts from the largest to the smallest change of reward less change of human score, and the
    rule in words.
    """
    changes: dict[str, pd.Series[float]] = {}
    for score in ("reward", "human"):
        # Reward and human score have units of their own; only in base-policy sds do they compare.
        sd = float(base[score].std())
        if not sd > 0:
            continue
        now = last.groupby("prompt_id")[score].mean()
        before = base.groupby("prompt_id")[score].mean()
        changes[score] = ((now - before) / sd).reindex(common).dropna()
    if "reward" in changes and "human" in changes:
        both = (changes["reward"] - changes["human"]).dropna()
        if both.size:
            return _largest_first(both), (
                "Audit prompts are ordered by how much more the reward rose than the human score, "
                "from the base policy to the last iteration (means of a prompt's samples, both in "
                "base-policy standard deviations); shown are the first, the middle and the last "
                "one."
            )
    if "reward" in changes and changes["reward"].size:
        return _largest_first(changes["reward"]), (
            "Without a human score on both, audit prompts are ordered by how much the reward rose "
            "from the base policy to the last iteration; shown are the first, the middle and the "
            "last one."
        )
    return common, (
        "Nothing orders the audit prompts, so they stand by name; shown are the first, middle and "
        "last one."
    )


def _largest_first(changes: pd.Series[float]) -> list[str]:
    ordered = changes.sort_values(ascending=False, kind="stable")
    return [str(prompt) for prompt in ordered.index]
