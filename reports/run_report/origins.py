"""What a run was made from: the reward model's dossier, the data, and the lineage of policies and
training rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from probes.base import Measurement
from reports.document.model import Block, Fact, Facts, Paragraph, Row, Section, Table
from reports.record import lineage, series
from reports.record.files import Source
from reports.reward.answers import RewardAnswers, reward_answers
from reports.run_report.material import Material
from restaudit.errors import BadInput
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.shown import NOTHING, figure, measured

REWARD, DOSSIER, DATA = "reward_model", "reward_model/dossier.json", "data/report.json"


def reward_model(material: Material) -> Section:
    """Section 6: the dossier in short; the whole document is `restaudit reward dossier RUN`."""
    if not material.records.has(DOSSIER):
        return _reward_section(Paragraph("The run has no reward model yet."))
    # The reader of dossiers knows no ledger, so the file is compared with it here.
    material.records.checked(DOSSIER)
    # A report beside the run that cannot be read must not cost a person the report of the run.
    try:
        document = reward_answers(material.run.path, material.run.path / REWARD)
    except BadInput as e:
        why = f"Its document cannot be made: {material.relative(str(e))}"
        return _reward_section(Paragraph(why, "warning"))
    source = (material.records.source(DOSSIER),)
    blocks: list[Block] = [
        Paragraph(f"{document.verdict}. {' '.join(document.reasons)}", "warning", source),
        Facts(tuple(Fact(label, text, sources=source) for label, text in document.summary)),
        _failures(document),
    ]
    if document.validation:
        blocks.append(_validation(material, document))
    gaps = tuple(Row((answer.question.asks, answer.question.who)) for answer in document.gaps)
    blocks.append(
        Table(
            f"What nobody said about it: {len(gaps)} of {len(document.answers)} questions",
            ("question", "who could say"),
            gaps,
            prose=(0, 1),
        )
    )
    return _reward_section(*blocks)


def _reward_section(*blocks: Block) -> Section:
    return Section("reward-model", "The reward model", blocks)


def _failures(document: RewardAnswers) -> Block:
    if document.failures is None:
        return Paragraph("Nobody stressed it: restaudit reward stress RUN.", "warning")
    rows = tuple(Row((f.name, f.says)) for f in document.failures)
    return Table(
        f"Stress tests that fail: {len(rows)}",
        ("test", "what was done and found"),
        rows,
        prose=(1,),
        note="" if rows else "None failed.",
    )


def _validation(material: Material, document: RewardAnswers) -> Table:
    source = (material.records.source(DOSSIER, "validation"),)
    rows = []
    for recorded in document.validation:
        name = str(recorded["name"]).removeprefix("validation.").replace("_", " ")
        # Slices have a dot in their names and are many; baselines are few and decide the verdict.
        if "." in name and not name.startswith(("baseline.", "less.")):
            continue
        value = NOTHING
        if recorded["value"] is not None:
            value = measured(Measurement.from_json(recorded))
        meaning = (recorded.get("detail") or {}).get("meaning") or recorded.get("reason") or ""
        rows.append(Row((name, value, str(recorded["n"]), str(meaning)), source))
    return Table(
        "How it predicts people it was not trained on",
        ("figure", "value [95%]", "n", "what it is"),
        tuple(rows),
        prose=(3,),
        note="Slices and the learning curve are in the reward model's own document.",
    )


def data(material: Material) -> Section:
    """Section 7."""
    report = material.records.json(DATA)
    here = (material.records.source(DATA),)
    return Section(
        "data",
        "Data: sources, splits, overlap, synthetic share",
        (
            _artifacts(material),
            _prompt_sources(report["rows"], here),
            _split_facts(report, here),
            _overlap(report["splits"], here),
            _synthetic_shares(material),
        ),
    )


def _artifacts(material: Material) -> Table:
    sealed = (material.records.source("plan.json"),)
    rows = []
    for name, artifact in sorted(material.run.plan["artifacts"].items()):
        licence = str(artifact.get("licence") or "not recorded")
        cells = (name, str(artifact["spec"]), str(artifact["sha256"]), licence)
        rows.append(Row(cells, sealed))
    return Table(
        "Models and files, by the configuration's key",
        ("key", "where from", "SHA-256", "licence"),
        tuple(rows),
        prose=(1, 2, 3),
    )


def _prompt_sources(sources: Sequence[Mapping[str, Any]], here: tuple[Source, ...]) -> Table:
    rows = []
    for source in sources:
        cells = (
            str(source["source"]),
            f"{source['read']:,}",
            f"{source['used']:,}",
            _counted(source["dropped"]),
            _counted(source["notes"]),
        )
        rows.append(Row(cells, here))
    return Table(
        "Prompt sources",
        ("source", "rows read", "used", "dropped", "notes"),
        tuple(rows),
        prose=(0, 3, 4),
    )


def _split_facts(report: Mapping[str, Any], here: tuple[Source, ...]) -> Facts:
    splits = report["splits"]
    sizes = ", ".join(f"{n:,} {split}" for split, n in sorted(splits["sizes"].items()))
    overlap = _reward_overlap(report["reward_model"])
    return Facts(
        (
            Fact("Prompts by split", sizes, sources=here),
            Fact("Dropped for overlap", _counted(splits["dropped"]), sources=here),
            Fact("Overlap of the reward model's data with the prompts", overlap, sources=here),
        )
    )


def _overlap(splits: Mapping[str, Any], here: tuple[Source, ...]) -> Table:
    rows = []
    for pair, near in sorted(splits["near"].items()):
        cells = (pair, str(splits["exact"][pair]), str(near["pairs"]), f"{near['share']:.1%}")
        rows.append(Row(cells, here))
    return Table(
        "Overlap of splits",
        ("splits", "equal prompts", "near-duplicates", "share"),
        tuple(rows),
        note=f"{splits['method']}; near from {splits['jaccard']:g} on; a share above "
        f"{splits['max_share']:.0%} is refused.",
    )


def _synthetic_shares(material: Material) -> Table:
    """How much of what each Improve step trained on a policy of this run wrote: the more, the
    nearer to a model that learns from itself alone.
    """
    grows = {grow.name: grow for grow in lineage.grows(material.records)}
    rows = []
    for policy in lineage.policies(material.records)[1:]:
        if policy.data is None:
            continue
        share = lineage.synthetic_share(material.records, policy)
        grow = grows[policy.data]
        # Online training has no kept set: it trains on every sample that it draws.
        trained = policy.facts.get("kept", grow.samples)
        cells = (
            series.short_name(policy.name),
            f"{grow.samples:,}",
            f"{grow.references:,}",
            f"{trained:,}",
            _percent(share),
        )
        rows.append(Row(cells, _cited_rows(material, policy)))
    return Table(
        "Synthetic share of what each Improve step trained on",
        ("iteration", "samples of the policy", "human references", "rows trained on", "synthetic"),
        tuple(rows),
        note="Synthetic: written by a policy of this run." if rows else "Nothing was trained yet.",
    )


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.0%}"


def _reward_overlap(overlap: Mapping[str, Any]) -> str:
    if "reason" in overlap:
        return f"not measured: {overlap['reason']}"
    parts = []
    for split, row in sorted(overlap.items()):
        share = ""
        if row["share"] is not None:
            share = f" ({row['share']:.1%})"
        parts.append(
            f"{split}: {row['exact']} equal, {row['near']} near-duplicates of {row['of']}{share}"
        )
    return "; ".join(parts)


def _counted(counts: Mapping[str, Any]) -> str:
    parts = []
    for what, count in sorted(counts.items()):
        parts.append(f"{what} {count:,}" if isinstance(count, int) else f"{what} {count}")
    return ", ".join(parts) or "none"


def lineage_section(material: Material) -> Section:
    """Section 8: policies by weight digest, and why rows were or were not trained on."""
    policies = lineage.policies(material.records)
    return Section(
        "lineage",
        "Lineage: which policy came from what",
        (_policies(material, policies), _grow_steps(material), _reasons(material, policies[1:])),
    )


def _policies(material: Material, policies: Sequence[lineage.PolicyRecord]) -> Table:
    rows = []
    for policy in policies:
        parent = NOTHING
        if policy.parent:
            parent = series.short_name(policy.parent)
        cells = (
            series.short_name(policy.name),
            parent,
            policy.data or NOTHING,
            _how_made(policy.facts),
            policy.digest,
        )
        # A policy without files of its own has the base model's weights, which the plan seals.
        files = tuple(material.records.source(name) for name in policy.weights)
        base = material.records.source("plan.json", "artifacts.policy.model")
        rows.append(Row(cells, files or (base,)))
    return Table(
        "Policies",
        ("policy", "started from", "trained on", "how", "digest of its weights"),
        tuple(rows),
        prose=(3, 4),
        note="The digest is SHA-256 over the base model's SHA-256 and those of the recorded "
        "adapter files.",
    )


def _grow_steps(material: Material) -> Table:
    rows = []
    for grow in lineage.grows(material.records):
        cells = (
            grow.name,
            series.short_name(grow.policy),
            f"{grow.samples:,}",
            f"{grow.tokens:,}",
            f"{grow.references:,}",
        )
        place = lineage.place(material.records, grow.step)
        rows.append(Row(cells, (material.records.source(LEDGER, place),)))
    return Table(
        "Grow steps",
        ("Grow", "sampled from", "samples", "tokens", "human references added"),
        tuple(rows),
    )


def _reasons(material: Material, policies: Sequence[lineage.PolicyRecord]) -> Table:
    rows = []
    for policy in policies:
        if policy.data is None:
            continue
        counts = lineage.reasons(material.records, policy)
        total = sum(counts.values())
        for why, n in counts.items():
            cells = (series.short_name(policy.name), why, f"{n:,}", f"{n / total:.1%}")
            rows.append(Row(cells, _cited_rows(material, policy)))
    return Table(
        "Why rows of the Grow set were or were not trained on",
        ("iteration", "why", "rows", "share"),
        tuple(rows),
        prose=(1,),
        note="Computed again from the sealed thresholds and the recorded rewards, and equal to the "
        "recorded kept sets. For a single sample: restaudit why RUN SAMPLE; for all: restaudit "
        "export RUN --format tables.",
    )


def _cited_rows(material: Material, policy: lineage.PolicyRecord) -> tuple[Source, ...]:
    return (
        *material.cite(f"{policy.name}/kept.parquet"),
        *material.cite(f"{policy.data}/grow.parquet"),
    )


def _how_made(facts: Mapping[str, Any]) -> str:
    """How a policy came about, from what its step noted in the ledger."""
    # What a step noted tells its kind: each kind notes other facts.
    rate = ""
    if "learning_rate" in facts:
        rate = f", learning rate {facts['learning_rate']:g}"
    if "step" in facts:
        seen = ""
        if "samples" in facts:
            seen = f", {facts['samples']:,} samples since the look before"
        return f"after optimiser step {facts['step']:,}{seen}{rate}"
    if not facts:
        return "the base model"
    if "kept" not in facts:
        return f"supervised start on {facts.get('rows', 0):,} references"
    threshold = ""
    if facts.get("lowest_threshold") is not None:
        threshold = f", lowest τ {figure(facts['lowest_threshold'])}"
    return (
        f"{facts['kept']:,} of {facts['rows']:,} rows (acceptance "
        f"{facts['acceptance_rate']:.1%}{threshold}){rate}, epoch {facts['best_epoch']} kept"
    )
