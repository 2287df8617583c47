"""The document of a study: what was compared and how, what follows, three tables at equal cost, two
pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
from reports.record.files import Source
from reports.run_report.choices import choices
from reports.study.conclusions import at_equal_diversity, conclusions
from reports.study.material import (
    BUDGETS,
    SeedLook,
    StudyMaterial,
    every_seed,
    mean_shown,
    over_seeds,
)
from restaudit.evidence.shown import NOTHING, figure
from restaudit.study.run import Search

MEASURES = (
    "divergence.beyond_expected",
    "divergence.gain_per_reward",
    "divergence.gain_per_sqrt_kl",
    "drift.kl",
    "diversity.vendi_ratio",
    "diversity.distinct_2_ratio",
    "bias.human_gap",
    "bias.acceptance_ratio",
    "hacking.length_controlled_gain",
    "drift.length_ratio",
    "capability.worst_change",
)
# Figures that can only be positive: their mean is geometric, so that half and double weigh alike.
POSITIVE = ("drift.kl", *(name for name in MEASURES if name.endswith("_ratio")))


def study_document(folder: Path) -> Document:
    """The document of a study that is done.

    Raises BadInput where it is not, or its runs are not comparable.
    """
    material = StudyMaterial(folder)
    study = material.study
    first = material.every[0].material
    human = first.human
    runs = {run.label: run.material.run for run in material.every}
    # One section a budget: which method looks better may depend on what is held equal.
    equal_cost = [
        Section(f"equal-{budget}", f"At equal cost: {what}", (_equal(material, budget),))
        for budget, what in BUDGETS.items()
    ]
    sections = (
        Section("verdict", "What follows", tuple(conclusions(material, human))),
        Section("how", "How it was compared", tuple(_how(material))),
        *equal_cost,
        Section("equal-diversity", "At equal diversity", (at_equal_diversity(material),)),
        Section("choices", "What people chose", (choices(runs),)),
        Section("behaviour", "What the policies became", tuple(_behaviour(material))),
        Section(
            "pictures",
            "Human score against distance and diversity",
            tuple(_pictures(material, human)),
        ),
        Section("cost", "What the whole training cost", (_cost(material),)),
        Section("gates", "What the gates would have said", (_gates(material),)),
    )
    banner = f"The human score is {human}. No person rated these samples."
    return Document(
        kind="study",
        title=f"Comparison of methods: {', '.join(study.methods)}",
        subtitle=f"recipe {study.recipe}, {len(study.seeds)} seeds, {len(material.prompts)} audit "
        "prompts; intervals over seeds and prompts",
        banner=() if first.human_is_people else (banner,),
        sections=sections,
        heads=tuple((run.label, run.records.head) for run in material.every),
    )


def _how(material: StudyMaterial) -> list[Block]:
    study, search = material.study, material.search
    rates = "; ".join(f"{method} {rate}" for method, rate in search.chosen.items())
    # An arm is a method with changes of its own: its name alone does not say what was compared.
    arms = [Fact(f"{name} is", "; ".join(changes)) for name, changes in study.arms.items()]
    facts = Facts(
        (
            Fact("Methods", ", ".join(study.methods)),
            Fact("Seeds", ", ".join(map(str, study.seeds))),
            Fact(
                "The same for all",
                "base policy, adapter, prompts, reward (one a seed), sampling, audit, gates",
            ),
            Fact("Changes to the recipe", "; ".join(study.changes) or "none"),
            *arms,
            Fact("Learning rates", rates or "none"),
            Fact(
                "Gates",
                "said WARN where the recipe says HALT, so that every method spent its whole budget",
            ),
            Fact(
                "Interval",
                "two-sided 95% over seeds and prompts (probes/statistics/crossed.py); a "
                "figure that a run has once is compared over seeds alone",
            ),
        )
    )
    if not search.reward:
        return [facts]
    return [facts, _search(search, study.least_variety)]


def _search(search: Search, least_variety: float | None) -> Table:
    """The learning rates that were tried, and which one was taken."""
    rows = []
    for method, tried in search.reward.items():
        rates = [_rate(search, method, rate) for rate in tried]
        rows.append(Row((method, *rates, _chosen(search, method))))
    most_tried = max(len(tried) for tried in search.reward.values())
    figures = "D_eval reward (variety)" if search.variety else "D_eval reward"
    note = "One Grow step's worth of samples each, seed 0; no audit prompt. The highest reward is taken"
    if least_variety is not None:
        note += (
            f" among rates that keep {least_variety:g} of the base policy's variety, or else the "
            "rate that keeps most"
        )
    note += ". Variety: distinct-2, base policy = 1." if search.variety else "."
    return Table(
        "Learning rates, chosen on D_eval by as many trainings for each method",
        ("method", *(f"rate {k}: {figures}" for k in range(1, most_tried + 1)), "chosen"),
        tuple(rows),
        note=note,
    )


def _rate(search: Search, method: str, rate: str) -> str:
    text = f"{rate}: {figure(search.reward[method][rate])}"
    variety = search.variety.get(method, {}).get(rate)
    if variety is None:
        return text
    return f"{text} ({variety:.2f})"


def _chosen(search: Search, method: str) -> str:
    """The rate that was chosen, and whether a better one may lie beyond those that were tried."""
    chosen = search.chosen.get(method)
    if chosen is None:
        return NOTHING
    # Rates are kept as they were written ("1e-4"): as text, 1e-4 would sort before 5e-5.
    tried = sorted(search.reward[method], key=float)
    # At an end of what was tried, a better rate may lie beyond it. A single rate has no ends.
    if len(tried) > 1 and chosen == tried[0]:
        return f"{chosen} (the lowest tried)"
    if len(tried) > 1 and chosen == tried[-1]:
        return f"{chosen} (the highest tried)"
    return chosen


def _equal(material: StudyMaterial, budget: str) -> Table | Paragraph:
    rows = []
    for method in material.study.methods:
        looks = material.at(method, budget)
        # The row stays, without figures: a method that is left out would look as if it had not
        # been compared.
        if looks is None:
            rows.append(Row((method, "no look within it", *[NOTHING] * 5)))
            continue
        spent = [look.spent.amount(budget) for look in looks]
        # Seeds need not reach the budget at the same look: a stage may cost one seed more.
        names = sorted({series.short_name(look.look) for look in looks})
        cells = (
            method,
            ", ".join(names),
            f"{sum(spent) / len(spent):,.0f}",
            _gain(material, looks, "human"),
            _gain(material, looks, "reward"),
            _seeds(looks, "diversity.vendi_ratio")[0],
            _per_second(material, looks),
        )
        rows.append(Row(cells, tuple(look.source for look in looks)))
    return Table(
        f"At most {material.limit(budget):,.0f} {BUDGETS[budget]}",
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
        "the first look of the dearest took; of each run, the last look within it, which may be "
        "its end. Audits and the reward model cost every method the same and are left out. The "
        "Vendi score is a geometric mean.",
    )


def _gain(material: StudyMaterial, looks: Sequence[SeedLook], column: str) -> str:
    gain = _mean_gain(material, looks, column)
    if gain is None:
        return "not measured"
    return mean_shown(gain)


def _mean_gain(material: StudyMaterial, looks: Sequence[SeedLook], column: str) -> Crossed | None:
    """The mean over seeds and prompts; None where a seed has no value at all."""
    gains = material.gains(looks, column)
    return crossed(gains) if every_seed(gains) else None


def _per_second(material: StudyMaterial, looks: Sequence[SeedLook]) -> str:
    gains = material.gains(looks, "human")
    if not every_seed(gains):
        return "not measured"
    # A rate is one figure a run: seconds belong to the whole run, so no prompt has a rate of its
    # own, and the interval is over seeds alone.
    rates = []
    for gain, look in zip(np.nanmean(gains, axis=1), looks, strict=True):
        rates.append(float(gain) / look.spent.seconds * 100)
    return mean_shown(over_seeds(rates))


def _seeds(looks: Sequence[SeedLook], name: str) -> tuple[str, str | None]:
    """A figure that a run has once, over seeds, and why there is none where a seed has none."""
    values = [look.value(name) for look in looks]
    # No mean over the seeds that have one: what is missing may be missing because of its value.
    if None in values:
        for look in looks:
            measurement = look.measured(name)
            if measurement is not None and measurement.reason:
                return "not measured", measurement.reason
        return "not measured", "not asked for"
    return mean_shown(over_seeds(values, positive=name in POSITIVE)), None


def _behaviour(material: StudyMaterial) -> list[Block]:
    rows, reasons = [], []
    for name in MEASURES:
        # What no run was asked to measure is no gap; a row of it would read as one.
        if not any(run.last.measured(name) for run in material.every):
            continue
        label = series.title_of(name)
        cells = [label]
        for method in material.study.methods:
            mean, reason = _seeds(material.last(method), name)
            cells.append(mean)
            if reason is not None:
                reasons.append(f"{label}: {reason}")
        rows.append(Row(tuple(cells)))
    # A reason once, however many methods have it; dict.fromkeys keeps the order of the rows.
    missing = "".join(f" Not measured: {reason}." for reason in dict.fromkeys(reasons))
    sources: list[Source] = []
    for method in material.study.methods:
        sources += [look.source for look in material.last(method)]
    return [
        Paragraph(
            "Every figure of the table is from the last look's record of each run.",
            sources=tuple(sources),
        ),
        Table(
            "At the last look of every run, as it recorded it",
            ("measure", *material.study.methods),
            tuple(rows),
            prose=(0,),
            note="Mean over seeds and its 95% interval over seeds; of ratios and KL the geometric "
            f"mean.{missing}",
        ),
    ]


def _cost(material: StudyMaterial) -> Table:
    rows = []
    for method in material.study.methods:
        last = material.last(method)
        costs: list[Sequence[float | None]] = []
        for budget in BUDGETS:
            costs.append([look.spent.amount(budget) for look in last])
        costs.append([look.run.peak_memory for look in last])
        # Costs can only be positive: twice as much and half as much weigh alike.
        cells = [mean_shown(over_seeds(cost, positive=True)) for cost in costs]
        rows.append(Row((method, *cells), tuple(look.source for look in last)))
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
        for decision in run.material.decisions:
            # A study lets every method go on: a rule that would halt a run says WARN here.
            broken = [f"{g.gate}: {g.why}" for g in decision.gates if g.verdict == "WARN"]
            cells = (
                f"{run.method}, seed {run.seed}",
                series.short_name(decision.iteration),
                decision.verdict,
                "; ".join(broken) or NOTHING,
            )
            rows.append(Row(cells, (run.cite(decision.iteration, "decision.json"),)))
    return Table(
        "Every look",
        ("run", "look", "decision", "rules that were broken"),
        tuple(rows),
        prose=(3,),
        note="A rule called (HALT) would have stopped that run by the recipe's own policy.",
    )


def _pictures(material: StudyMaterial, human: str) -> list[Block]:
    by_distance = _scatter(
        material,
        human,
        "drift.kl",
        "Human gain by distance from the base policy",
        "distance d = √KL (√nats a sequence)",
        0.0,
    )
    by_diversity = _scatter(
        material,
        human,
        "diversity.vendi_ratio",
        "Human gain by diversity",
        "Vendi score, base policy = 1",
        1.0,
    )
    return [by_distance, by_diversity]


@dataclass(frozen=True)
class MethodAtLook:
    """Where the seeds of a method stood at one look: `x` along the axis, and their mean gain."""

    method: str
    look: str
    x: float
    gain: Crossed
    sources: tuple[Source, ...]


def _places(material: StudyMaterial, method: str, name: str) -> list[MethodAtLook]:
    """Mean over seeds of every look; looks that a seed lacks or has not measured are left out."""
    runs = material.runs[method]
    places = []
    for k, look in enumerate(runs[0].looks):
        # Looks are matched by their place, and a run may have fewer of them than another.
        looks = [SeedLook(run, run.looks[k]) for run in runs if len(run.looks) > k]
        recorded = [at.value(name) for at in looks]
        values = [value for value in recorded if value is not None]
        gain = _mean_gain(material, looks, "human")
        # A point over some of the seeds would jump for that reason alone: no point is drawn.
        if len(values) < len(looks) or gain is None or not math.isfinite(gain.mean):
            continue
        mean = sum(values) / len(values)
        # Distance is √KL, as in Gao et al. 2022: near the base policy gains are a line in it.
        # An estimate of a small KL can fall below zero, which the divergence itself cannot.
        x = math.sqrt(max(mean, 0.0)) if name == "drift.kl" else mean
        places.append(MethodAtLook(method, look, x, gain, tuple(at.source for at in looks)))
    return places


def _scatter(
    material: StudyMaterial, human: str, name: str, title: str, axis: str, base: float
) -> Block:
    """Mean over seeds of every look: further up is better, and further right too where it is
    diversity.
    """
    by_method = {method: _places(material, method, name) for method in material.study.methods}
    places = [place for members in by_method.values() for place in members]
    if not places:
        return Paragraph(f"{title} is not drawn: it was measured at no look ({name}).", "note")
    # The base policy's place comes first; a chart's labels stand in the order of its axis.
    along = [(base, "base"), *((p.x, series.short_name(p.look)) for p in places)]
    order = sorted(range(len(along)), key=lambda k: along[k][0])
    rank = {place: new for new, place in enumerate(order)}
    lines, rows, shown, number = [], [], [], 0
    for method, members in by_method.items():
        points = []
        for place in members:
            number += 1
            gain = place.gain
            points.append(Point(rank[number], gain.mean, gain.low, gain.high))
            look, x, height = series.short_name(place.look), figure(place.x), mean_shown(gain)
            rows.append(Row((method, look, x, height), place.sources))
            shown.append(f"{height} at {x} ({method}, {look})")
        lines.append(Line(method, tuple(points)))
    return Chart(
        title,
        "human gain, base-policy standard deviations",
        tuple(along[k][1] for k in order),
        tuple(lines),
        Table(title, ("method", "look", axis, f"human gain ({human})"), tuple(rows)),
        said=f"Human gain: {'; '.join(shown)}.",
        reference=0.0,
        reference_label="base policy",
        places=tuple(along[k][0] for k in order),
        axis=axis,
    )
