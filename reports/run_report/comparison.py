"""Several runs side by side on the audit prompts they share; what is not comparable is refused,
with every reason.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from probes.base import Measurement
from probes.statistics import stats
from reports.document.model import (
    Block,
    Chart,
    Document,
    Fact,
    Facts,
    Line,
    Look,
    Passage,
    Passages,
    Point,
    Row,
    Section,
    Strip,
    Table,
)
from reports.record import compute, series
from reports.record.files import Source
from reports.run_report.choices import choices
from reports.run_report.material import Material
from restaudit.errors import BadInput
from restaudit.evidence.record import BASE, Run
from restaudit.evidence.shown import LEVEL, NOTHING, figure, measured

LEAST_PROMPTS = 8
RESAMPLES = 2000
SEED = 0
COLUMNS = ("sample_id", "prompt_id", "text", "reward", "human")
HUMAN = "human_score/human.json"
BESIDE = {
    "drift.kl": "KL (nats a sequence)",
    "diversity.distinct_2_ratio": "distinct-2, ratio",
    "diversity.vendi_ratio": "Vendi, ratio",
    "bias.human_gap": "group gap, human score",
    "bias.acceptance_ratio": "acceptance ratio",
    "capability.worst_change": "worst capability change",
    "hacking.habit_cost": "cost of new habits",
}
MOST_PASSAGES = 3


class Side:
    """One run of a comparison, with its last audited policy and the base policy on the shared
    prompts.
    """

    def __init__(self, of: Material, label: str) -> None:
        self.of = of
        self.label = label
        self.last = of.after_base[-1]
        self.tables = {i: self._audit(i) for i in (BASE, self.last)}

    def on(self, iteration: str, prompts: set[str]) -> pd.DataFrame:
        """The samples of an iteration on these prompts."""
        table = self.tables[iteration]
        return table[table["prompt_id"].isin(prompts)]

    def cite(self, name: str, at: str = "") -> tuple[Source, ...]:
        """A citation that says which run the record belongs to."""
        return tuple(replace(s, path=f"{self.label}: {s.path}") for s in self.of.cite(name, at))

    def _audit(self, iteration: str) -> pd.DataFrame:
        self.of.records.checked(f"{iteration}/audit.parquet")
        return self.of.run.audit(iteration, COLUMNS)


def comparison(runs: Sequence[Run]) -> Document:
    """The comparison of two or more runs.

    Raises BadInput, listing every reason, where they are not comparable: another base policy, human
    score or sampling, too few audit prompts in common, nothing audited yet, or the same run twice.
    """
    materials = [Material(run) for run in runs]
    labels = _labels(materials)
    _refuse(materials, labels)
    sides = [Side(m, label) for m, label in zip(materials, labels, strict=True)]
    common = set.intersection(*(set(t["prompt_id"]) for s in sides for t in s.tables.values()))
    if len(common) < LEAST_PROMPTS:
        raise BadInput(
            f"not comparable: the runs share {len(common)} audit prompts that every base and last "
            f"policy answered; at least {LEAST_PROMPTS} are needed. Runs with equal data and "
            "data.splits have equal audit prompts"
        )
    sections = (
        Section("verdict", "Decisions", tuple(_decisions(sides))),
        Section("scores", "Human score and reward", tuple(_scores(sides, common))),
        Section("choices", "What people chose", (choices({s.label: s.of.run for s in sides}),)),
        Section("behaviour", "Distance, diversity, bias, capability", (_beside(sides),)),
        Section("texts", "Texts side by side", (_texts(sides, common),)),
        Section("plans", "What differs in the sealed plans", (_plans(sides),)),
        Section("compute", "Computation", (_compute(sides),)),
    )
    banner = dict.fromkeys(
        [
            *(
                f"{s.label}: OVERRIDE at {series.short_name(o.iteration)}: {', '.join(o.gates)} "
                f"said HALT, and {o.by} let the run go on: {o.reason}"
                for s in sides
                for o in s.of.run.overrides()
            ),
            *(
                f"The human score is {s.of.human}. No person rated these samples."
                for s in sides
                if not s.of.human_is_people
            ),
        ]
    )
    return Document(
        kind="comparison",
        title=f"Comparison: {', '.join(labels)}",
        subtitle=(
            f"{len(common)} audit prompts that all runs share; every interval at 95%, "
            "prompts resampled"
        ),
        banner=tuple(banner),
        sections=sections,
        heads=tuple((s.label, s.of.records.head) for s in sides),
    )


def _labels(materials: Sequence[Material]) -> list[str]:
    counts = Counter(m.run.name for m in materials)
    seen: Counter[str] = Counter()
    labels = []
    for m in materials:
        seen[m.run.name] += 1
        labels.append(
            m.run.name if counts[m.run.name] == 1 else f"{m.run.name} ({seen[m.run.name]})"
        )
    return labels


def _refuse(materials: Sequence[Material], labels: Sequence[str]) -> None:
    """Raise BadInput with every reason why these runs cannot stand side by side."""
    reasons: list[str] = []
    for m, label in zip(materials, labels, strict=True):
        if not m.after_base or BASE not in m.iterations:
            reasons.append(f"{label}: no iteration after the base policy was audited yet")
    ids = Counter(m.run.run_id for m in materials)
    reasons += ["the same run is given twice" for n in ids.values() if n > 1]
    first = materials[0]
    for m, label in zip(materials[1:], labels[1:], strict=True):
        for what, of_run in (
            ("base policy", _base),
            ("sampling of audit answers", _sampling),
            ("human score", _human),
        ):
            here, there = of_run(first), of_run(m)
            if here != there:
                reasons.append(f"{what}: {labels[0]} has {here}, {label} has {there}")
    if reasons:
        raise BadInput(f"not comparable: {'; '.join(reasons)}")


def _base(of: Material) -> str:
    return str(of.run.plan["artifacts"]["policy.model"]["sha256"])[:16]


def _sampling(of: Material) -> str:
    found = of.run.plan["config"]["loop"]["sampling"]
    return ", ".join(f"{k} {found[k]}" for k in ("temperature", "top_k", "max_tokens"))


def _human(of: Material) -> str:
    """Its label and the digest of what computes it."""
    digest = of.records.source(HUMAN).sha256[:16] if of.records.has(HUMAN) else "nothing recorded"
    return f"{of.human} ({digest})"


def _reward(of: Material) -> str:
    return next(
        (str(e.content.get("digest", "")) for e in of.run.events if e.step == "reward_model"), ""
    )


def _decisions(sides: Sequence[Side]) -> list[Block]:
    found: list[Block] = []
    for side in sides:
        looks = tuple(
            Look(
                series.short_name(d.iteration),
                d.verdict,
                ", ".join(g.gate for g in d.gates if g.verdict == d.verdict and d.verdict != "OK"),
                side.cite(f"{d.iteration}/decision.json"),
            )
            for d in side.of.decisions
        )
        found.append(
            Strip(
                f"{side.label}, {len(looks)} of {len(side.of.run.plan['looks'])} planned looks",
                looks,
            )
        )
    return found


def _scores(sides: Sequence[Side], common: set[str]) -> list[Block]:
    blocks: list[Block] = [_gains(sides)]
    how: stats.Resampling = {"levels": (LEVEL,), "resamples": RESAMPLES, "seed": SEED}
    rows = []
    for side in sides:
        cells = [side.label, series.short_name(side.last)]
        for column in ("human", "reward"):
            e = stats.change(
                table=side.on(side.last, common),
                base=side.on(BASE, common),
                columns=[column],
                **how,
            )
            cells.append(_estimate(e.measured("", unit="", version="")))
        cited = (*side.cite(f"{BASE}/audit.parquet"), *side.cite(f"{side.last}/audit.parquet"))
        rows.append(Row(tuple(cells), cited))
    blocks.append(
        Table(
            "Last policy against its base policy, on the shared prompts",
            ("run", "last", "human gain (base sd)", "reward gain (base sd)"),
            tuple(rows),
        )
    )
    pairs = []
    same_reward = len({_reward(s.of) for s in sides}) == 1
    for a, b in itertools.combinations(sides, 2):
        cells = [f"{a.label} less {b.label}"]
        for column, asked in (("human", True), ("reward", same_reward)):
            if not asked:
                cells.append("not comparable: two reward models")
                continue
            e = stats.change(
                table=a.on(a.last, common),
                base=b.on(b.last, common),
                columns=[column],
                standardise=False,
                **how,
            )
            cells.append(_estimate(e.measured("", unit="", version="")))
        cited = (*a.cite(f"{a.last}/audit.parquet"), *b.cite(f"{b.last}/audit.parquet"))
        pairs.append(Row(tuple(cells), cited))
    blocks.append(
        Table(
            "Last policies against one another, paired by prompt",
            ("difference", "human score (its unit)", "reward (its unit)"),
            tuple(pairs),
            note=(
                "An interval that contains 0 shows no difference; it does not show that there is "
                "none."
            ),
        )
    )
    return blocks


def _estimate(m: Measurement) -> str:
    return measured(m) if m.value is not None else f"not measured: {m.reason}"


def _gains(sides: Sequence[Side]) -> Chart:
    """Human gain over looks, as each run recorded it on its own audit prompts."""
    longest = max(len(s.of.after_base) for s in sides)
    lines, rows = [], []
    for side in sides:
        points = [Point(0, 0.0)]
        for x, iteration in enumerate(side.of.after_base, start=1):
            m = side.of.measured[iteration].get("divergence.human_change")
            if m is not None and m.value is not None:
                i = m.interval(LEVEL)
                points.append(Point(x, m.value, i.low if i else None, i.high if i else None))
            rows.append(
                Row(
                    (side.label, str(x), series.short_name(iteration), measured(m)),
                    side.cite(f"{iteration}/measurements.json", "divergence.human_change"),
                )
            )
        lines.append(Line(side.label, tuple(points) if len(points) > 1 else ()))
    last = ", ".join(
        f"{line.label} {figure(line.points[-1].value)}" for line in lines if line.points
    )
    table = Table("Human gain by look", ("run", "look", "iteration", "human gain"), tuple(rows))
    return Chart(
        "Human gain by look, each run on its own audit prompts",
        "base-policy standard deviations",
        ("base", *(f"look {x}" for x in range(1, longest + 1))),
        tuple(lines),
        table,
        said=f"Human gain at the last look: {last or 'not measured'}.",
        reference=0.0,
        reference_label="base policy",
    )


def _beside(sides: Sequence[Side]) -> Table:
    rows = tuple(
        Row(
            (
                s.label,
                series.short_name(s.last),
                *(measured(s.of.measured[s.last].get(n)) for n in BESIDE),
            ),
            s.cite(f"{s.last}/measurements.json"),
        )
        for s in sides
    )
    return Table(
        "At each run's last audited policy, as it recorded it",
        ("run", "last", *BESIDE.values()),
        rows,
    )


def _texts(sides: Sequence[Side], common: set[str]) -> Passages:
    """Three prompts by a rule: where the human scores (else rewards) of the last policies lie far,
    middling, close.
    """
    column = (
        "human" if all(s.on(s.last, common)["human"].notna().any() for s in sides) else "reward"
    )
    means = pd.DataFrame(
        {k: s.on(s.last, common).groupby("prompt_id")[column].mean() for k, s in enumerate(sides)}
    )
    order = (
        (means.max(axis=1) - means.min(axis=1))
        .dropna()
        .sort_values(ascending=False, kind="stable")
        .index
    )
    chosen = dict.fromkeys([order[0], order[len(order) // 2], order[-1]]) if len(order) else {}
    prompts = series.prompt_texts(sides[0].of.run)
    rows = []
    for prompt in list(chosen)[:MOST_PASSAGES]:
        texts, notes = [], []
        for s in sides:
            mine = s.on(s.last, {prompt}).sort_values("sample_id").iloc[0]
            texts.append(str(mine["text"]))
            human = NOTHING if pd.isna(mine["human"]) else figure(float(mine["human"]))
            notes.append(
                f"reward {figure(float(mine['reward']))}, human score {human} ({mine['sample_id']})"
            )
        rows.append(Passage(prompts.get(str(prompt), str(prompt)), tuple(texts), tuple(notes)))
    rule = (
        f"Shared prompts are ordered by how far the last policies' mean {column} scores lie "
        "apart; shown are the first, the middle and the last one, and of each policy's samples "
        "the first by name."
    )
    cited = tuple(c for s in sides for c in s.cite(f"{s.last}/audit.parquet"))
    return Passages(
        "The same prompts",
        rule,
        tuple(f"{s.label}, {series.short_name(s.last)}" for s in sides),
        tuple(rows),
        cited,
    )


def _plans(sides: Sequence[Side]) -> Table:
    flat = [dict(_flat(s.of.run.plan["config"])) for s in sides]
    keys = [
        k
        for k in dict.fromkeys(k for f in flat for k in f)
        if len({f.get(k, NOTHING) for f in flat}) > 1
    ]
    cited = tuple(c for s in sides for c in s.cite("plan.json", "config"))
    rows = tuple(Row((k, *(f.get(k, NOTHING) for f in flat)), cited) for k in keys)
    return Table(
        "Keys of the configuration whose values differ",
        ("key", *(s.label for s in sides)),
        rows,
        prose=tuple(range(len(sides) + 1)),
        note="" if rows else "The configurations are equal.",
    )


def _flat(value: Any, at: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [pair for k, v in value.items() for pair in _flat(v, f"{at}.{k}" if at else str(k))]
    return [(at, str(value))]


def _compute(sides: Sequence[Side]) -> Facts:
    facts = []
    for s in sides:
        steps = compute.steps(s.of.records)
        tokens = sum(k.sampled_tokens for k in steps), sum(k.trained_tokens for k in steps)
        seconds = sum(k.seconds for k in steps)
        known = all(k.flop is not None for k in steps)
        flop = f"{sum(k.flop or 0.0 for k in steps):.2e} FLOP" if known else "FLOP not known"
        facts.append(
            Fact(
                s.label,
                f"{seconds:,.0f} s, {tokens[0]:,} tokens sampled, {tokens[1]:,} trained on, {flop}",
                sources=s.cite("plan.json"),
            )
        )
    return Facts((*facts, Fact("How FLOP are counted", compute.METHOD)))
