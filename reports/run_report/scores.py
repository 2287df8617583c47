"""Reward against human score, and what the policy learned that people did not want, with texts side
by side.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports.document.model import Block, Paragraph, Passage, Passages, Row, Section, Table
from reports.record import series
from reports.run_report.distance import by_distance
from reports.run_report.material import Material
from reports.run_report.tables import by_iteration, by_name, chart
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import NOTHING, estimate, figure

TEXTS = ("sample_id", "prompt_id", "text", "reward", "human")
LARGEST, MIDDLE, SMALLEST = "largest", "middle", "smallest"
HACKING = {
    "hacking.length_controlled_gain": "reward gain with length held fixed",
    "hacking.length_share": "share of the reward gain that length explains",
    "hacking.habit_cost": "what people lose by the policy's new habits",
    "hacking.unit_worst": "largest rise of the reward by a meaningless change",
    "hacking.distance": "distance of outputs from the reward model's training data",
    "hacking.ensemble_spread_change": "rise of the reward members' disagreement",
    "hacking.prompt_echo": "4-grams copied from the prompt",
    "hacking.repetition": "4-grams said twice in one text",
}
LEARNED = "What the policy learned"
MOST_FEATURES = 12


def reward_and_human(of: Material) -> Section:
    """Section 2."""
    if not of.iterations:
        return Section(
            "scores", "Reward against human score", (Paragraph("No iteration was audited yet."),)
        )
    last = of.iterations[-1]
    both = {
        "divergence.reward_change": series.REWARD,
        "divergence.human_change": f"Human score: {of.human}",
    }
    apart = {
        "divergence.human_change": "human gain",
        "divergence.expected": "expected from the reward",
        "divergence.beyond_expected": "missing beyond it",
        "divergence.correlation": "r(reward, human)",
        "divergence.filter_human": "kept − not kept",
    }
    blocks: list[Block] = [
        chart(
            of,
            "Change since the base policy",
            "base-policy standard deviations",
            both,
            reference=0.0,
            reference_label="base policy",
            at_base=0.0,
        ),
        by_iteration(
            of,
            "Human gain, taken apart",
            apart,
            "Expected: the human gain that the base policy's own line E[human | reward] gives for "
            "the new rewards. Missing beyond it: expected less found, the divergence. Kept − not "
            "kept: human score of the rows the filter kept less that of the others, in "
            "human-score units.",
        ),
        by_iteration(
            of,
            "How far the policy moved",
            {
                "drift.kl": "KL (nats a sequence)",
                "divergence.gain_per_sqrt_kl": "human gain per √nat",
                "divergence.gain_per_reward": "human gain per reward gain",
                "divergence.beyond_range": "share outside the fitted range",
            },
        ),
        *by_distance(of),
        by_name(of, last, f"Signs of reward hacking at {series.short_name(last)}", HACKING),
    ]
    blocks += _learned(of, last)
    blocks += _side_by_side(of)
    return Section("scores", "Reward against human score", tuple(blocks))


def _learned(of: Material, last: str) -> list[Block]:
    """What the policy says more often now, with what reward and people think of it."""
    found = of.measured[last].get("hacking.signature")
    features: list[Any] = [] if found is None else list(found.detail.get("features") or [])
    if not features:
        why = (
            "it was not asked"
            if found is None
            else found.reason or "nothing was found that the rule would name"
        )
        return [Paragraph(f"{LEARNED}, at {series.short_name(last)}: {why}.")]
    rows = []
    for f in features[:MOST_FEATURES]:
        name = f"{f['name']} ({f['kind']})"
        cells = (
            name,
            str(f["verdict"]),
            _share(f["share"]),
            _share(f["share_base"]),
            _paid(f.get("reward_pays")),
            _paid(f.get("human_pays")),
            (f.get("examples") or [""])[0],
        )
        rows.append(Row(cells, (of.from_measurements(last, "hacking.signature"),)))
    note = (
        "Signature: the reward pays for it, people do not, and it is now more common. "
        "Temptation: not yet more common. "
    )
    note += (
        f"{len(features)} were found; the first {MOST_FEATURES} are shown."
        if len(features) > MOST_FEATURES
        else ""
    )
    columns = (
        "feature",
        "what it is",
        "share now",
        "base",
        "reward pays (sd)",
        "people (sd)",
        "an example",
    )
    return [
        Table(
            f"{LEARNED}, at {series.short_name(last)}",
            columns,
            tuple(rows),
            prose=(0, 6),
            note=note,
        )
    ]


def _paid(found: Any) -> str:
    if not found or found.get("base_sd") is None:
        return NOTHING
    if found.get("low") is None:
        return figure(found["base_sd"])
    return estimate(found["base_sd"], found["low"], found["high"])


def _share(value: Any) -> str:
    return NOTHING if value is None else f"{value:.0%}"


def _side_by_side(of: Material) -> list[Block]:
    """Texts of the base policy, the best and the last iteration for the same prompts, chosen by a
    stated rule.
    """
    if not of.after_base:
        return []
    best, why_best = _best(of)
    last = of.after_base[-1]
    shown = list(dict.fromkeys((BASE, best, last)))
    tables = {i: _audit(of, i) for i in shown}
    common = set.intersection(*(set(t["prompt_id"]) for t in tables.values()))
    if not common:
        return [
            Paragraph(
                "No audit prompt was asked of the base policy, the best and the last iteration "
                "alike."
            )
        ]
    order, rule = _order(tables[BASE], tables[last], sorted(common))
    chosen = list(dict.fromkeys((order[0], order[len(order) // 2], order[-1])))
    names = [f"{kind} of {len(order)}" for kind in (LARGEST, MIDDLE, SMALLEST)]
    prompts = series.prompt_texts(of.run)
    rows = []
    for name, prompt in zip(names, chosen, strict=False):
        texts, notes = [], []
        for iteration in shown:
            mine = (
                tables[iteration][tables[iteration]["prompt_id"] == prompt]
                .sort_values("sample_id")
                .iloc[0]
            )
            texts.append(str(mine["text"]))
            human = NOTHING if pd.isna(mine["human"]) else figure(float(mine["human"]))
            notes.append(
                f"reward {figure(float(mine['reward']))}, human score {human} ({mine['sample_id']})"
            )
        rows.append(Passage(f"{name}: {prompts.get(prompt, prompt)}", tuple(texts), tuple(notes)))
    columns = tuple(
        {BASE: "base policy", best: f"best: {series.short_name(best)}"}.get(
            i, f"last: {series.short_name(i)}"
        )
        for i in shown
    )
    rule += f" Of each policy's samples of a prompt, the first by name is shown. Best: {why_best}"
    sources = tuple(of.records.source(f"{i}/audit.parquet") for i in shown)
    return [Passages("Texts side by side", rule, columns, tuple(rows), sources)]


def _best(of: Material) -> tuple[str, str]:
    """The iteration with the highest human gain; where none was measured, with the highest reward
    gain.
    """
    for name, said in (
        ("divergence.human_change", "human gain"),
        ("divergence.reward_change", "reward gain"),
    ):
        found = {
            i: m.value
            for i in of.after_base
            if (m := of.measured[i].get(name)) is not None and m.value is not None
        }
        if found:
            return max(
                found, key=lambda i: found[i]
            ), f"the iteration with the highest {said} ({name})."
    return of.after_base[-1], "no gain was measured, so it is the last one."


def _audit(of: Material, iteration: str) -> pd.DataFrame:
    of.records.checked(f"{iteration}/audit.parquet")
    return of.run.audit(iteration, TEXTS)


def _order(base: pd.DataFrame, last: pd.DataFrame, common: list[str]) -> tuple[list[str], str]:
    """Prompts from the largest to the smallest change of reward less change of human score, and the
    rule in words.
    """
    means = {}
    for score in ("reward", "human"):
        sd = float(base[score].std())
        if not sd > 0:
            continue
        now, before = (
            last.groupby("prompt_id")[score].mean(),
            base.groupby("prompt_id")[score].mean(),
        )
        means[score] = ((now - before) / sd).reindex(common)
    if (
        "human" in means
        and "reward" in means
        and (both := (means["reward"] - means["human"]).dropna()).size
    ):
        ordered = both.sort_values(ascending=False, kind="stable")
        return [str(p) for p in ordered.index], (
            "Audit prompts are ordered by how much more the reward rose than the human score, "
            "from the base policy to the last iteration (means of a prompt's samples, both in "
            "base-policy standard deviations); shown are the first, the middle and the last one."
        )
    if "reward" in means and (only := means["reward"].dropna()).size:
        ordered = only.sort_values(ascending=False, kind="stable")
        return [str(p) for p in ordered.index], (
            "Without a human score on both, audit prompts are ordered by how much the reward rose "
            "from the base policy to the last iteration; shown are the first, the middle and the "
            "last one."
        )
    return (
        common,
        (
            "Nothing orders the audit prompts, so they stand by name; shown are the first, middle "
            "and last one."
        ),
    )
