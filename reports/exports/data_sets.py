"""The data sets of a run: what it took from elsewhere, and what its policies wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reports.exports.facts import MISSING, PLAN, Data, Facts

DOSSIER = "reward_model/dossier.json"
SPLITS = {
    "grow": "prompts that samples are drawn for",
    "d_eval": "prompts that pick a checkpoint",
    "audit": "prompts that judge a policy",
}


def data_sets(facts: Facts) -> Iterator[Data]:
    """Every data set, in the order in which the run met it."""
    yield from _prompts(facts)
    yield from _judgements(facts)
    yield from _held_out(facts)
    yield from _written(facts)


def _prompts(facts: Facts) -> Iterator[Data]:
    records = facts.records
    for k, source in enumerate(facts.config.get("data", {}).get("prompts", ())):
        spec = str(source.get("source", MISSING))
        yield Data(
            f"prompts:{k}",
            "prompts",
            f"prompts from {spec}",
            records.source(PLAN, f"config/data/prompts/{k}"),
            spec=spec,
            sha256=source.get("sha256"),
            licence=source.get("licence"),
        )
    for split, does in SPLITS.items():
        path = f"data/{split}.parquet"
        if records.has(path):
            rows = facts.run.plan.get("prompts", {}).get(split)
            yield _recorded(facts, f"split:{split}", "split", f"{split} split: {does}", path, rows)


def _judgements(facts: Facts) -> Iterator[Data]:
    for reward in facts.rewards[:1]:
        data = reward.dossier.get("data")
        if not isinstance(data, dict):
            continue
        for k, file in enumerate(data.get("files") or ()):
            spec = str(file.get("spec", MISSING))
            licence = data.get("licence")
            yield Data(
                f"judgements:{k}",
                "judgements",
                f"judgements that the reward was trained on, from {spec}",
                facts.records.source(DOSSIER, f"data/files/{k}"),
                spec=spec,
                sha256=file.get("sha256"),
                licence=None if licence == MISSING else licence,
            )


def _held_out(facts: Facts) -> Iterator[Data]:
    found = facts.run.plan.get("artifacts", {}).get("audit.human_text")
    if found is not None:
        yield Data(
            "text:0",
            "held-out text",
            f"held-out human text from {found['spec']}",
            facts.records.source(PLAN, "artifacts/audit.human_text"),
            spec=str(found["spec"]),
            sha256=found.get("sha256"),
            licence=found.get("licence"),
        )


def _written(facts: Facts) -> Iterator[Data]:
    for event in facts.run.events:
        name, _, step = event.step.rpartition("/")
        grow, kept = f"{name}/grow.parquet", f"{name}/kept.parquet"
        if step in ("grow", "score") and grow in event.outputs:
            sampled = facts.event(f"{name}/grow")
            policy = sampled.content.get("policy") if sampled is not None else None
            yield _recorded(
                facts,
                f"grow:{name}",
                "grow",
                f"Grow set {name}: samples with their rewards",
                grow,
                event.content.get("rows"),
                made_by=policy,
            )
        if step == "train" and grow in event.outputs:
            title = f"samples that training drew until {name}, with their rewards"
            yield _recorded(
                facts,
                f"grow:{name}",
                "grow",
                title,
                grow,
                event.content.get("samples"),
                made_by=event.content.get("start"),
            )
        if step == "improve" and kept in event.outputs:
            yield _recorded(
                facts,
                f"kept:{name}",
                "kept",
                f"kept set of {name}: the rows it was trained on",
                kept,
                event.content.get("kept"),
            )


def _recorded(
    facts: Facts, ref: str, kind: str, title: str, path: str, rows: Any, made_by: Any = None
) -> Data:
    digest = facts.records.digests[path]
    return Data(
        ref,
        kind,
        title,
        facts.records.source(path),
        path=path,
        sha256=digest.sha256,
        bytes=digest.bytes,
        rows=None if rows is None else int(rows),
        made_by=None if made_by is None else str(made_by),
    )
