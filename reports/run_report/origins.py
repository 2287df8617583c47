"""What a run was made from: the reward model's dossier, the data, and the lineage of policies and
training rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probes.base import Measurement
from reports.document.model import Block, Fact, Facts, Paragraph, Row, Section, Table
from reports.record import lineage, series
from reports.run_report.material import Material
from restaudit.errors import BadInput
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.shown import NOTHING, figure, measured
from restaudit.reward_audit.document import document_of
from restaudit.reward_audit.document.model import Document as RewardDocument

REWARD, DOSSIER, DATA = "reward_model", "reward_model/dossier.json", "data/report.json"


def reward_model(of: Material) -> Section:
    """Section 6: the dossier in short; the whole document is `restaudit reward dossier RUN`."""
    title = "The reward model"
    if not of.records.has(DOSSIER):
        return Section(
            REWARD.replace("_", "-"), title, (Paragraph("The run has no reward model yet."),)
        )
    of.records.checked(DOSSIER)
    try:
        found = document_of(of.run.path, of.run.path / REWARD)
    except BadInput as e:
        return Section(
            "reward-model",
            title,
            (Paragraph(f"Its document cannot be made: {of.relative(str(e))}", "warning"),),
        )
    source = (of.records.source(DOSSIER),)
    blocks: list[Block] = [
        Paragraph(f"{found.verdict}. {' '.join(found.reasons)}", "warning", source),
        Facts(tuple(Fact(k, v, sources=source) for k, v in found.summary)),
        _failures(found),
    ]
    if found.validation:
        blocks.append(_validation(of, found))
    gaps = tuple(Row((a.asks, a.who)) for a in found.gaps)
    blocks.append(
        Table(
            f"What nobody said about it: {len(gaps)} of {len(found.answers)} questions",
            ("question", "who could say"),
            gaps,
            prose=(0, 1),
        )
    )
    return Section("reward-model", title, tuple(blocks))


def _failures(found: RewardDocument) -> Block:
    if found.failures is None:
        return Paragraph("Nobody stressed it: restaudit reward stress RUN.", "warning")
    rows = tuple(Row((f.name, f.says)) for f in found.failures)
    return Table(
        f"Stress tests that fail: {len(rows)}",
        ("test", "what was done and found"),
        rows,
        prose=(1,),
        note="" if rows else "None failed.",
    )


def _validation(of: Material, found: RewardDocument) -> Table:
    rows = []
    for m in found.validation:
        value = NOTHING if m["value"] is None else measured(Measurement.from_json(m))
        name = str(m["name"]).removeprefix("validation.").replace("_", " ")
        if "." in name and not name.startswith(("baseline.", "less.")):
            continue
        said = str((m.get("detail") or {}).get("meaning") or m.get("reason") or "")
        rows.append(
            Row((name, value, str(m["n"]), said), (of.records.source(DOSSIER, "validation"),))
        )
    return Table(
        "How it predicts people it was not trained on",
        ("figure", "value [95%]", "n", "what it is"),
        tuple(rows),
        prose=(3,),
        note="Slices and the learning curve are in the reward model's own document.",
    )


def data(of: Material) -> Section:
    """Section 7."""
    plan, report = of.run.plan, of.records.json(DATA)
    here, sealed = of.records.source(DATA), of.records.source("plan.json")
    artifacts = tuple(
        Row(
            (name, str(a["spec"]), str(a["sha256"]), str(a.get("licence") or "not recorded")),
            (sealed,),
        )
        for name, a in sorted(plan["artifacts"].items())
    )
    sources = tuple(
        Row(
            (
                str(r["source"]),
                f"{r['read']:,}",
                f"{r['used']:,}",
                _counted(r["dropped"]),
                _counted(r["notes"]),
            ),
            (here,),
        )
        for r in report["rows"]
    )
    splits = report["splits"]
    pairs = tuple(
        Row((pair, str(splits["exact"][pair]), str(near["pairs"]), f"{near['share']:.1%}"), (here,))
        for pair, near in sorted(splits["near"].items())
    )
    grows = {g.name: g for g in lineage.grows(of.records)}
    shares = []
    for policy in lineage.policies(of.records)[1:]:
        share = lineage.synthetic_share(of.records, policy)
        if policy.data is None:
            continue
        grow = grows[policy.data]
        trained = policy.facts.get("kept", grow.samples)
        cells = (
            series.short_name(policy.name),
            f"{grow.samples:,}",
            f"{grow.references:,}",
            f"{trained:,}",
            NOTHING if share is None else f"{share:.0%}",
        )
        cited = (*of.cite(f"{policy.name}/kept.parquet"), *of.cite(f"{policy.data}/grow.parquet"))
        shares.append(Row(cells, cited))
    return Section(
        "data",
        "Data: sources, splits, overlap, synthetic share",
        (
            Table(
                "Models and files, by the configuration's key",
                ("key", "where from", "SHA-256", "licence"),
                artifacts,
                prose=(1, 2, 3),
            ),
            Table(
                "Prompt sources",
                ("source", "rows read", "used", "dropped", "notes"),
                sources,
                prose=(0, 3, 4),
            ),
            Facts(
                (
                    Fact(
                        "Prompts by split",
                        ", ".join(f"{n:,} {k}" for k, n in sorted(splits["sizes"].items())),
                        sources=(here,),
                    ),
                    Fact("Dropped for overlap", _counted(splits["dropped"]), sources=(here,)),
                    Fact(
                        "Overlap of the reward model's data with the prompts",
                        _reward_overlap(report["reward_model"]),
                        sources=(here,),
                    ),
                )
            ),
            Table(
                "Overlap of splits",
                ("splits", "equal prompts", "near-duplicates", "share"),
                pairs,
                note=f"{splits['method']}; near from {splits['jaccard']:g} on; a share above "
                f"{splits['max_share']:.0%} is "
                "refused.",
            ),
            Table(
                "Synthetic share of what each Improve step trained on",
                (
                    "iteration",
                    "samples of the policy",
                    "human references",
                    "rows trained on",
                    "synthetic",
                ),
                tuple(shares),
                note="Synthetic: written by a policy of this run."
                if shares
                else "Nothing was trained yet.",
            ),
        ),
    )


def _reward_overlap(found: Mapping[str, Any]) -> str:
    if "reason" in found:
        return f"not measured: {found['reason']}"
    parts = []
    for split, row in sorted(found.items()):
        share = "" if row["share"] is None else f" ({row['share']:.1%})"
        parts.append(
            f"{split}: {row['exact']} equal, {row['near']} near-duplicates of {row['of']}{share}"
        )
    return "; ".join(parts)


def _counted(found: Mapping[str, Any]) -> str:
    return (
        ", ".join(
            f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in sorted(found.items())
        )
        or "none"
    )


def lineage_section(of: Material) -> Section:
    """Section 8: policies by weight digest, and why rows were or were not trained on."""
    policies = lineage.policies(of.records)
    chain = tuple(
        Row(
            (
                series.short_name(p.name),
                series.short_name(p.parent) if p.parent else NOTHING,
                p.data or NOTHING,
                _facts(p.facts),
                p.digest,
            ),
            _weights(of, p),
        )
        for p in policies
    )
    reasons = []
    for p in policies[1:]:
        if p.data is None:
            continue
        counted = lineage.reasons(of.records, p)
        for why, n in counted.items():
            reasons.append(
                Row(
                    (series.short_name(p.name), why, f"{n:,}", f"{n / sum(counted.values()):.1%}"),
                    (*of.cite(f"{p.name}/kept.parquet"), *of.cite(f"{p.data}/grow.parquet")),
                )
            )
    grows = tuple(
        Row(
            (
                g.name,
                series.short_name(g.policy),
                f"{g.samples:,}",
                f"{g.tokens:,}",
                f"{g.references:,}",
            ),
            (of.records.source(LEDGER, lineage.place(of.records, g.step)),),
        )
        for g in lineage.grows(of.records)
    )
    return Section(
        "lineage",
        "Lineage: which policy came from what",
        (
            Table(
                "Policies",
                ("policy", "started from", "trained on", "how", "digest of its weights"),
                chain,
                prose=(3, 4),
                note=(
                    "The digest is SHA-256 over the base model's SHA-256 and those of the "
                    "recorded adapter files."
                ),
            ),
            Table(
                "Grow steps",
                ("Grow", "sampled from", "samples", "tokens", "human references added"),
                grows,
            ),
            Table(
                "Why rows of the Grow set were or were not trained on",
                ("iteration", "why", "rows", "share"),
                tuple(reasons),
                prose=(1,),
                note="Computed again from the sealed thresholds and the recorded rewards, and "
                "equal to "
                "the recorded "
                "kept sets. For a single sample: restaudit why RUN SAMPLE; for all: restaudit "
                "export RUN --format "
                "tables.",
            ),
        ),
    )


def _weights(of: Material, policy: lineage.Policy) -> tuple[Any, ...]:
    files = tuple(of.records.source(name) for name in policy.weights)
    return files or (of.records.source("plan.json", "artifacts.policy.model"),)


def _facts(facts: Mapping[str, Any]) -> str:
    if "step" in facts:
        seen = f", {facts['samples']:,} samples since the look before" if "samples" in facts else ""
        rate = f", learning rate {facts['learning_rate']:g}" if "learning_rate" in facts else ""
        return f"after optimiser step {facts['step']:,}{seen}{rate}"
    if "kept" not in facts:
        return (
            "the base model"
            if not facts
            else f"supervised start on {facts.get('rows', 0):,} references"
        )
    threshold = facts.get("lowest_threshold")
    least = f", lowest τ {figure(threshold)}" if threshold is not None else ""
    return (
        f"{facts['kept']:,} of {facts['rows']:,} rows (acceptance "
        f"{facts['acceptance_rate']:.1%}{least}), learning rate {facts['learning_rate']:g}, epoch "
        f"{facts['best_epoch']} kept"
    )
