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
from reports.run_report.scores import first_sample, scores_of
from reports.run_report.tables import point
from reports.run_report.verdict import looks_of
from restaudit.errors import BadInput
from restaudit.evidence.record import BASE, Run
from restaudit.evidence.shown import LEVEL, NOTHING, figure, measured

# With fewer prompts a resampled interval is narrower than it says.
LEAST_PROMPTS = 8
RESAMPLING: stats.Resampling = {"levels": (LEVEL,), "resamples": 2000, "seed": 0}
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


class ComparedRun:
    """One run of a comparison, with its last audited policy and the base policy on the shared
    prompts.
    """

    def __init__(self, material: Material, label: str) -> None:
        self.material = material
        self.label = label
        self.last = material.after_base[-1]
        # Only the two looks that are compared: the audits of several long runs may be large.
        self.samples = {look: self._audit(look) for look in (BASE, self.last)}

    def on(self, iteration: str, prompts: set[str]) -> pd.DataFrame:
        """The samples of an iteration on these prompts."""
        table = self.samples[iteration]
        return table[table["prompt_id"].isin(prompts)]

    def cite(self, name: str, at: str = "") -> tuple[Source, ...]:
        """A citation that says which run the record belongs to."""
        cited = self.material.cite(name, at)
        return tuple(replace(source, path=f"{self.label}: {source.path}") for source in cited)

    def _audit(self, iteration: str) -> pd.DataFrame:
        self.material.records.checked(f"{iteration}/audit.parquet")
        return self.material.run.audit(iteration, COLUMNS)


def comparison(runs: Sequence[Run]) -> Document:
    """The comparison of two or more runs.

    Raises BadInput, listing every reason, where they are not comparable: another base policy, human
    score or sampling, too few audit prompts in common, nothing audited yet, or the same run twice.
    """
    materials = [Material(run) for run in runs]
    labels = _labels(materials)
    _refuse(materials, labels)
    sides = [ComparedRun(m, label) for m, label in zip(materials, labels, strict=True)]
    common = _common_prompts(sides)
    sections = (
        Section("verdict", "Decisions", tuple(_decisions(sides))),
        Section(
            "scores",
            "Human score and reward",
            (_gains(sides), _against_base(sides, common), _against_one_another(sides, common)),
        ),
        Section(
            "choices",
            "What people chose",
            (choices({side.label: side.material.run for side in sides}),),
        ),
        Section("behaviour", "Distance, diversity, bias, capability", (_beside(sides),)),
        Section("texts", "Texts side by side", (_texts(sides, common),)),
        Section("plans", "What differs in the sealed plans", (_plans(sides),)),
        Section("compute", "Computation", (_compute(sides),)),
    )
    return Document(
        kind="comparison",
        title=f"Comparison: {', '.join(labels)}",
        subtitle=(
            f"{len(common)} audit prompts that all runs share; every interval at 95%, "
            "prompts resampled"
        ),
        banner=_banner(sides),
        sections=sections,
        heads=tuple((side.label, side.material.records.head) for side in sides),
    )


def _common_prompts(sides: Sequence[ComparedRun]) -> set[str]:
    """Audit prompts that every base and last policy answered: what is compared is paired by
    prompt.
    """
    asked: list[set[str]] = []
    for side in sides:
        asked += [set(table["prompt_id"]) for table in side.samples.values()]
    common = set.intersection(*asked)
    if len(common) < LEAST_PROMPTS:
        raise BadInput(
            f"not comparable: the runs share {len(common)} audit prompts that every base and last "
            f"policy answered; at least {LEAST_PROMPTS} are needed. Runs with equal data and "
            "data.splits have equal audit prompts"
        )
    return common


def _banner(sides: Sequence[ComparedRun]) -> tuple[str, ...]:
    """Overrides of every run, and once each what stands for people where people rated nothing."""
    lines = []
    for side in sides:
        for o in side.material.run.overrides():
            lines.append(
                f"{side.label}: OVERRIDE at {series.short_name(o.iteration)}: "
                f"{', '.join(o.gates)} said HALT, and {o.by} let the run go on: {o.reason}"
            )
    for side in sides:
        if not side.material.human_is_people:
            lines.append(
                f"The human score is {side.material.human}. No person rated these samples."
            )
    # Runs that stand side by side have one human score: its sentence is the same for all.
    return tuple(dict.fromkeys(lines))


def _labels(materials: Sequence[Material]) -> list[str]:
    """The runs' names; numbered where several have one name."""
    # A name is what a configuration says, and the runs of one recipe often share it.
    names = [m.run.name for m in materials]
    seen: Counter[str] = Counter()
    labels = []
    for name in names:
        seen[name] += 1
        label = name
        if names.count(name) > 1:
            label = f"{name} ({seen[name]})"
        labels.append(label)
    return labels


def _refuse(materials: Sequence[Material], labels: Sequence[str]) -> None:
    """Raise BadInput with every reason why these runs cannot stand side by side."""
    # Every reason at once: with one at a time, a person would mend and try again for each.
    reasons: list[str] = []
    for material, label in zip(materials, labels, strict=True):
        if not material.after_base or BASE not in material.iterations:
            reasons.append(f"{label}: no iteration after the base policy was audited yet")
    ids = Counter(material.run.run_id for material in materials)
    reasons += ["the same run is given twice" for times in ids.values() if times > 1]
    first = materials[0]
    for material, label in zip(materials[1:], labels[1:], strict=True):
        for what, named in (
            ("base policy", _base),
            ("sampling of audit answers", _sampling),
            ("human score", _human),
        ):
            here, there = named(first), named(material)
            if here != there:
                reasons.append(f"{what}: {labels[0]} has {here}, {label} has {there}")
    if reasons:
        raise BadInput(f"not comparable: {'; '.join(reasons)}")


def _base(material: Material) -> str:
    return str(material.run.plan["artifacts"]["policy.model"]["sha256"])[:16]


def _sampling(material: Material) -> str:
    sampling = material.run.plan["config"]["loop"]["sampling"]
    return ", ".join(f"{key} {sampling[key]}" for key in ("temperature", "top_k", "max_tokens"))


def _human(material: Material) -> str:
    """Its label and the digest of what computes it."""
    digest = "nothing recorded"
    if material.records.has(HUMAN):
        digest = material.records.source(HUMAN).sha256[:16]
    return f"{material.human} ({digest})"


def _reward(material: Material) -> str:
    for event in material.run.events:
        if event.step == "reward_model":
            return str(event.content.get("digest", ""))
    return ""


def _decisions(sides: Sequence[ComparedRun]) -> list[Block]:
    strips: list[Block] = []
    for side in sides:
        looks = tuple(
            Look(
                series.short_name(decision.iteration),
                decision.verdict,
                due_to,
                side.cite(f"{decision.iteration}/decision.json"),
            )
            for decision, due_to in looks_of(side.material.decisions)
        )
        planned = len(side.material.run.plan["looks"])
        strips.append(Strip(f"{side.label}, {len(looks)} of {planned} planned looks", looks))
    return strips


def _against_base(sides: Sequence[ComparedRun], common: set[str]) -> Table:
    """Every run's last policy against its own base policy."""
    rows = []
    for side in sides:
        now, before = side.on(side.last, common), side.on(BASE, common)
        cells = [side.label, series.short_name(side.last)]
        for column in ("human", "reward"):
            gain = stats.change(table=now, base=before, columns=[column], **RESAMPLING)
            cells.append(_estimate(gain))
        cited = (*side.cite(f"{BASE}/audit.parquet"), *side.cite(f"{side.last}/audit.parquet"))
        rows.append(Row(tuple(cells), cited))
    return Table(
        "Last policy against its base policy, on the shared prompts",
        ("run", "last", "human gain (base sd)", "reward gain (base sd)"),
        tuple(rows),
    )


def _against_one_another(sides: Sequence[ComparedRun], common: set[str]) -> Table:
    """The last policies, pair by pair."""
    # Scores of two reward models have units of their own: their difference would mean nothing.
    same_reward = len({_reward(side.material) for side in sides}) == 1
    rows = []
    for a, b in itertools.combinations(sides, 2):
        cells = [f"{a.label} less {b.label}"]
        for column in ("human", "reward"):
            # Not in base-policy sds: two runs need not have the same, but they have the same unit.
            if column == "reward" and not same_reward:
                cells.append("not comparable: two reward models")
                continue
            difference = stats.change(
                table=a.on(a.last, common),
                base=b.on(b.last, common),
                columns=[column],
                standardise=False,
                **RESAMPLING,
            )
            cells.append(_estimate(difference))
        cited = (*a.cite(f"{a.last}/audit.parquet"), *b.cite(f"{b.last}/audit.parquet"))
        rows.append(Row(tuple(cells), cited))
    return Table(
        "Last policies against one another, paired by prompt",
        ("difference", "human score (its unit)", "reward (its unit)"),
        tuple(rows),
        note="An interval that contains 0 shows no difference; it does not show that there is "
        "none.",
    )


def _estimate(estimate: stats.Estimate) -> str:
    m = estimate.measured("", unit="", version="")
    if m.value is None:
        return f"not measured: {m.reason}"
    return measured(m)


def _gains(sides: Sequence[ComparedRun]) -> Chart:
    """Human gain over looks, as each run recorded it on its own audit prompts."""
    name = "divergence.human_change"
    longest = max(len(side.material.after_base) for side in sides)
    lines, rows = [], []
    for side in sides:
        points = []
        for x, look in enumerate(side.material.after_base, start=1):
            measured_point = point(side.material, look, name, x)
            if measured_point is not None:
                points.append(measured_point)
            gain = measured(side.material.measured[look].get(name))
            cells = (side.label, str(x), series.short_name(look), gain)
            rows.append(Row(cells, side.cite(f"{look}/measurements.json", name)))
        # The base policy's gain is 0 by definition: alone it would look like a measurement.
        if points:
            points.insert(0, Point(0, 0.0))
        lines.append(Line(side.label, tuple(points)))
    known = [line for line in lines if line.points]
    last = ", ".join(f"{line.label} {figure(line.points[-1].value)}" for line in known)
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


def _beside(sides: Sequence[ComparedRun]) -> Table:
    rows = []
    for side in sides:
        measurements = side.material.measured[side.last]
        values = (measured(measurements.get(name)) for name in BESIDE)
        cells = (side.label, series.short_name(side.last), *values)
        rows.append(Row(cells, side.cite(f"{side.last}/measurements.json")))
    return Table(
        "At each run's last audited policy, as it recorded it",
        ("run", "last", *BESIDE.values()),
        tuple(rows),
    )


def _texts(sides: Sequence[ComparedRun], common: set[str]) -> Passages:
    """Three prompts by a rule: where the human scores (else rewards) of the last policies lie far,
    middling, close.
    """
    last = [side.on(side.last, common) for side in sides]
    column = "reward"
    if all(table["human"].notna().any() for table in last):
        column = "human"
    means = pd.DataFrame(
        {k: table.groupby("prompt_id")[column].mean() for k, table in enumerate(last)}
    )
    apart = (means.max(axis=1) - means.min(axis=1)).dropna()
    order = apart.sort_values(ascending=False, kind="stable").index
    # By a rule and not by hand, or a comparison could show whatever suits it.
    chosen: list[str] = []
    if len(order):
        chosen = list(dict.fromkeys([order[0], order[len(order) // 2], order[-1]]))
    prompts = series.prompt_texts(sides[0].material.run)
    rows = []
    for prompt in chosen:
        samples = [first_sample(table, prompt) for table in last]
        texts = tuple(str(sample["text"]) for sample in samples)
        notes = tuple(scores_of(sample) for sample in samples)
        rows.append(Passage(prompts.get(str(prompt), str(prompt)), texts, notes))
    rule = (
        f"Shared prompts are ordered by how far the last policies' mean {column} scores lie "
        "apart; shown are the first, the middle and the last one, and of each policy's samples "
        "the first by name."
    )
    cited: list[Source] = []
    for side in sides:
        cited += side.cite(f"{side.last}/audit.parquet")
    return Passages(
        "The same prompts",
        rule,
        tuple(f"{side.label}, {series.short_name(side.last)}" for side in sides),
        tuple(rows),
        tuple(cited),
    )


def _plans(sides: Sequence[ComparedRun]) -> Table:
    configurations = [dict(_flat(side.material.run.plan["config"])) for side in sides]
    keys: dict[str, None] = {}  # in order of first mention
    for configuration in configurations:
        keys |= dict.fromkeys(configuration)
    cited: list[Source] = []
    for side in sides:
        cited += side.cite("plan.json", "config")
    rows = []
    for key in keys:
        # Versions differ in their keys: one that a plan lacks is a difference too.
        values = [configuration.get(key, NOTHING) for configuration in configurations]
        if len(set(values)) > 1:
            rows.append(Row((key, *values), tuple(cited)))
    return Table(
        "Keys of the configuration whose values differ",
        ("key", *(side.label for side in sides)),
        tuple(rows),
        prose=tuple(range(len(sides) + 1)),
        note="" if rows else "The configurations are equal.",
    )


def _flat(value: Any, at: str = "") -> list[tuple[str, str]]:
    """A configuration as ("loop.sampling.top_k", "50") pairs."""
    if not isinstance(value, Mapping):
        return [(at, str(value))]
    pairs = []
    for key, inner in value.items():
        pairs += _flat(inner, f"{at}.{key}" if at else str(key))
    return pairs


def _compute(sides: Sequence[ComparedRun]) -> Facts:
    facts = []
    for side in sides:
        steps = compute.steps(side.material.records)
        sampled = sum(step.sampled_tokens for step in steps)
        trained = sum(step.trained_tokens for step in steps)
        operations = [step.flop for step in steps if step.flop is not None]
        # A sum over some of the steps would pass for the whole.
        flop = "FLOP not known"
        if len(operations) == len(steps):
            flop = f"{sum(operations):.2e} FLOP"
        spent = (
            f"{sum(step.seconds for step in steps):,.0f} s, {sampled:,} tokens sampled, "
            f"{trained:,} trained on, {flop}"
        )
        facts.append(Fact(side.label, spent, sources=side.cite("plan.json")))
    return Facts((*facts, Fact("How FLOP are counted", compute.METHOD)))
