"""The document of a study: what was compared and how, what follows, three tables at equal cost, two
pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from probes.base import Array
from probes.statistics.crossed import Crossed, crossed
from reports.document.model import (
    Block,
    Chart,
    Document,
    Fact,
    Facts,
    Line,
    Paragraph,
    Point,
    Row,
    Section,
    Table,
)
from reports.record import series
from reports.run_report.choices import choices
from reports.study.conclusions import at_equal_diversity, conclusions
from reports.study.material import BUDGETS, At, StudyMaterial, every_seed, mean_shown, over_seeds
from restaudit.evidence.shown import NOTHING, figure
from restaudit.study.run import Search

MEASURES = {
    "divergence.beyond_expected": "missing human gain beyond the expected",
    "divergence.gain_per_reward": "human gain per unit of reward gain",
    "divergence.gain_per_sqrt_kl": "human gain per √nat",
    "drift.kl": "KL (nats a sequence)",
    "diversity.vendi_ratio": "Vendi, base = 1",
    "diversity.distinct_2_ratio": "distinct-2 at equal length, base = 1",
    "bias.human_gap": "gap between groups, human score",
    "bias.acceptance_ratio": "acceptance ratio of groups",
    "hacking.length_controlled_gain": "reward gain at equal length",
    "drift.length_ratio": "length, base = 1",
    "capability.worst_change": "worst change of a capability",
}


# Figures that can only be positive.
POSITIVE = ("drift.kl", *(name for name in MEASURES if name.endswith("_ratio")))


def study_document(folder: Path) -> Document:
    """The document of a study that is done.

    Raises BadInput where it is not, or its runs are not comparable.
    """
    material = StudyMaterial(folder)
    first = material.every[0].material
    human = first.human
    methods = ", ".join(material.study.methods)
    sections = (
        Section("verdict", "What follows", tuple(conclusions(material, human))),
        Section("how", "How it was compared", tuple(_how(material))),
        *(
            Section(f"equal-{budget}", f"At equal cost: {what}", (_equal(material, budget),))
            for budget, what in BUDGETS.items()
        ),
        Section("equal-diversity", "At equal diversity", (at_equal_diversity(material),)),
        Section(
            "choices",
            "What people chose",
            (choices({f"{r.method}-s{r.seed}": r.material.run for r in material.every}),),
        ),
        Section("behaviour", "What the policies became", tuple(_behaviour(material))),
        Section(
            "pictures",
            "Human score against distance and diversity",
            tuple(_pictures(material, human)),
        ),
        Section("cost", "What the whole training cost", (_cost(material),)),
        Section("gates", "What the gates would have said", (_gates(material),)),
    )
    banner = (
        ()
        if first.human_is_people
        else (f"The human score is {human}. No person rated these samples.",)
    )
    return Document(
        kind="study",
        title=f"Comparison of methods: {methods}",
        subtitle=f"recipe {material.study.recipe}, {len(material.study.seeds)} seeds, {len(material.prompts)} audit "
        "prompts; intervals "
        "over seeds and prompts",
        banner=banner,
        sections=sections,
        heads=tuple((f"{r.method}-s{r.seed}", r.records.head) for r in material.every),
    )


def _how(material: StudyMaterial) -> list[Block]:
    search = material.search
    rows = tuple(
        Row((m, *(_rate(search, m, rate) for rate in tried), _chosen(search, m)))
        for m, tried in search.reward.items()
    )
    width = max((len(r.cells) - 2 for r in rows), default=0)
    blocks: list[Block] = [
        Facts(
            (
                Fact("Methods", ", ".join(material.study.methods)),
                Fact("Seeds", ", ".join(map(str, material.study.seeds))),
                Fact(
                    "The same for all",
                    "base policy, adapter, prompts, reward (one a seed), sampling, audit, gates",
                ),
                Fact("Changes to the recipe", "; ".join(material.study.changes) or "none"),
                *(
                    Fact(f"{name} is", "; ".join(changes))
                    for name, changes in material.study.arms.items()
                ),
                Fact(
                    "Learning rates",
                    "; ".join(f"{m} {rate}" for m, rate in search.chosen.items()) or "none",
                ),
                Fact(
                    "Gates",
                    (
                        "said WARN where the recipe says HALT, so that every method spent its "
                        "whole budget"
                    ),
                ),
                Fact(
                    "Interval",
                    "two-sided 95% over seeds and prompts (probes/statistics/crossed.py); a "
                    "figure that a run has once is compared over seeds alone",
                ),
            )
        )
    ]
    if rows:
        shown_reward = "D_eval reward (variety)" if search.variety else "D_eval reward"
        heads = ("method", *(f"rate {k}: {shown_reward}" for k in range(1, width + 1)), "chosen")
        note = (
            "One Grow step's worth of samples each, seed 0; no audit prompt. The highest "
            "reward is taken"
        )
        if (least := material.study.least_variety) is not None:
            note += (
                f" among rates that keep {least:g} of the base policy's variety, or else the "
                "rate that keeps most"
            )
        note += ". Variety: distinct-2, base policy = 1." if search.variety else "."
        blocks.append(
            Table(
                "Learning rates, chosen on D_eval by as many trainings for each method",
                heads,
                rows,
                note=note,
            )
        )
    return blocks


def _rate(search: Search, method: str, rate: str) -> str:
    variety = search.variety.get(method, {}).get(rate)
    return f"{rate}: {figure(search.reward[method][rate])}" + (
        f" ({variety:.2f})" if variety is not None else ""
    )


def _chosen(search: Search, method: str) -> str:
    """The rate that was chosen, and whether a better one may lie beyond those that were tried."""
    chosen, tried = search.chosen.get(method), sorted(search.reward[method], key=float)
    if chosen is None:
        return NOTHING
    end = {tried[0]: "the lowest tried", tried[-1]: "the highest tried"}.get(chosen)
    return f"{chosen} ({end})" if end and len(tried) > 1 else chosen


def _equal(material: StudyMaterial, budget: str) -> Table | Paragraph:
    limit = material.limit(budget)
    rows = []
    for method in material.study.methods:
        at = material.at(method, budget)
        if at is None:
            rows.append(Row((method, "no look within it", *[NOTHING] * 5)))
            continue
        spent = [a.side.spent[a.look] for a in at]
        looks = ", ".join(sorted({series.short_name(a.look) for a in at}))
        cells = (
            method,
            looks,
            f"{sum(s.amount(budget) for s in spent) / len(spent):,.0f}",
            _gain(material, at, "human"),
            _gain(material, at, "reward"),
            _seeds(at, "diversity.vendi_ratio")[0],
            _per_second(material, at),
        )
        rows.append(Row(cells, tuple(a.side.cite(a.look) for a in at)))
    return Table(
        f"At most {limit:,.0f} {BUDGETS[budget]}",
        (
            "method",
            "look",
            "spent",
            "human gain (base sd)",
            "reward gain (base sd)",
            "Vendi, base = 1",
            "human gain per 100 s",
        ),
        tuple(rows),
        note="The largest amount that every training had spent by its last look or, if more, what "
        "the first look "
        "of the dearest took; of each run, the last look within it, which may be its end. Audits "
        "and the reward "
        "model cost every method the same and are left out. The Vendi score is a geometric mean.",
    )


def _gain(material: StudyMaterial, at: Sequence[At], column: str) -> str:
    values = material.gains(at, column)
    found = _crossed(values)
    return mean_shown(found) if found is not None else "not measured"


def _crossed(values: Array) -> Crossed | None:
    """The mean over seeds and prompts; None where a seed has no value at all."""
    return crossed(values) if every_seed(values) else None


def _per_second(material: StudyMaterial, at: Sequence[At]) -> str:
    values = material.gains(at, "human")
    if not every_seed(values):
        return "not measured"
    gains = np.nanmean(values, axis=1)
    return mean_shown(
        over_seeds(
            [float(g) / a.side.spent[a.look].seconds * 100 for g, a in zip(gains, at, strict=True)]
        )
    )


def _seeds(at: Sequence[At], name: str) -> tuple[str, str | None]:
    """A figure that a run has once, over seeds, and why there is none where a seed has none."""
    found = [a.side.measured(a.look, name) for a in at]
    values = [m.value if m is not None else None for m in found]
    if any(v is None for v in values):
        why = next((m.reason for m in found if m is not None and m.reason), "not asked for")
        return "not measured", why
    return mean_shown(over_seeds(values, positive=name in POSITIVE)), None


def _behaviour(material: StudyMaterial) -> list[Block]:
    rows, reasons = [], []
    for name, label in MEASURES.items():
        if not any(r.measured(r.looks[-1], name) for r in material.every):
            continue
        cells = [label]
        for method in material.study.methods:
            said, why = _seeds(material.last(method), name)
            cells.append(said)
            if why is not None:
                reasons.append(f"{label}: {why}")
        rows.append(Row(tuple(cells)))
    missing = "".join(f" Not measured: {r}." for r in dict.fromkeys(reasons))
    note = (
        "Mean over seeds and its 95% interval over seeds; of ratios and KL the geometric "
        f"mean.{missing}"
    )
    title, columns = (
        "At the last look of every run, as it recorded it",
        ("measure", *material.study.methods),
    )
    sources = tuple(a.side.cite(a.look) for m in material.study.methods for a in material.last(m))
    return [
        Paragraph(
            "Every figure of the table is from the last look's record of each run.", sources=sources
        ),
        Table(title, columns, tuple(rows), prose=(0,), note=note),
    ]


def _cost(material: StudyMaterial) -> Table:
    rows = []
    for method in material.study.methods:
        last = material.last(method)
        spent = [a.side.spent[a.look] for a in last]
        peaks = [a.side.peak_memory for a in last]
        costs = [[s.amount(b) for s in spent] for b in BUDGETS]
        cells = (
            method,
            *(mean_shown(over_seeds(c, positive=True)) for c in costs),
            mean_shown(over_seeds(peaks, positive=True)),
        )
        rows.append(Row(cells, tuple(a.side.cite(a.look) for a in last)))
    return Table(
        "Learning alone, to the last look",
        ("method", *BUDGETS.values(), "peak resident memory (MiB)"),
        tuple(rows),
        note="Geometric means over seeds. Seconds are those of the machine the study ran on, one "
        "run at a time.",
    )


def _gates(material: StudyMaterial) -> Table:
    rows = []
    for run in material.every:
        for d in run.material.decisions:
            broken = [f"{g.gate}: {g.why}" for g in d.gates if g.verdict == "WARN"]
            rows.append(
                Row(
                    (
                        f"{run.method}, seed {run.seed}",
                        series.short_name(d.iteration),
                        d.verdict,
                        "; ".join(broken) or NOTHING,
                    ),
                    (run.cite(d.iteration, "decision.json"),),
                )
            )
    return Table(
        "Every look",
        ("run", "look", "decision", "rules that were broken"),
        tuple(rows),
        prose=(3,),
        note="A rule called (HALT) would have stopped that run by the recipe's own policy.",
    )


def _pictures(material: StudyMaterial, human: str) -> list[Block]:
    return [
        b
        for b in (
            _scatter(
                material,
                human,
                "drift.kl",
                "Human gain by distance from the base policy",
                "distance d = √KL (√nats a sequence)",
                0.0,
            ),
            _scatter(
                material,
                human,
                "diversity.vendi_ratio",
                "Human gain by diversity",
                "Vendi score, base policy = 1",
                1.0,
            ),
        )
        if b is not None
    ]


def _scatter(
    material: StudyMaterial, human: str, name: str, title: str, axis: str, base: float
) -> Block:
    """Mean over seeds of every look: further up is better, and further right too where it is
    diversity.
    """
    places, labels, lines, rows = [base], ["base"], [], []
    for method in material.study.methods:
        points = []
        for k, look in enumerate(material.runs[method][0].looks):
            at = [At(r, r.looks[k]) for r in material.runs[method] if len(r.looks) > k]
            found = [
                m.value
                for a in at
                if (m := a.side.measured(a.look, name)) is not None and m.value is not None
            ]
            gain = _crossed(material.gains(at, "human")) if at else None
            if len(found) < len(at) or gain is None or not math.isfinite(gain.mean):
                continue
            x = sum(found) / len(found)
            where = math.sqrt(max(x, 0.0)) if name == "drift.kl" else x
            places.append(where)
            labels.append(series.short_name(look))
            points.append(Point(len(places) - 1, gain.mean, gain.low, gain.high))
            rows.append(
                Row(
                    (method, series.short_name(look), figure(where), mean_shown(gain)),
                    tuple(a.side.cite(a.look) for a in at),
                )
            )
        lines.append(Line(method, tuple(points)))
    if not rows:
        return Paragraph(f"{title} is not drawn: it was measured at no look ({name}).", "note")
    order = sorted(range(len(places)), key=lambda k: places[k])
    rank = {old: new for new, old in enumerate(order)}
    moved = tuple(
        Line(line.label, tuple(Point(rank[p.x], p.value, p.low, p.high) for p in line.points))
        for line in lines
    )
    table = Table(title, ("method", "look", axis, f"human gain ({human})"), tuple(rows))
    said = "; ".join(
        " at ".join((str(r.cells[3]), f"{r.cells[2]} ({r.cells[0]}, {r.cells[1]})")) for r in rows
    )
    return Chart(
        title,
        "human gain, base-policy standard deviations",
        tuple(labels[k] for k in order),
        moved,
        table,
        said=f"Human gain: {said}.",
        reference=0.0,
        reference_label="base policy",
        places=tuple(places[k] for k in order),
        axis=axis,
    )
