"""A datasheet of the synthetic data, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Mapping

from reports.exports.facts import Facts
from reports.exports.harmless import clean, json_bytes
from reports.exports.questions import answered, tables
from reports.exports.registry import Content, Export
from restaudit.evidence.shown import markdown_text

SCHEMA = "restaudit.datasheet/1"
SPEC = "Datasheets for Datasets (Gebru et al. 2021, arXiv 1803.09010), questions in our own words"
MOST = 2000


def build(facts: Facts) -> Mapping[str, Content]:
    """Both files say the same."""
    return {"datasheet.json": json_bytes(_body(facts)), "datasheet.md": _markdown(facts).encode()}


def _body(facts: Facts) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "run": {
            "name": facts.run.name,
            "run_id": facts.run_id,
            "state": facts.state,
            "ledger_head": facts.head,
        },
        "human_score": f"{facts.human.name}: {facts.human.description}",
        "tables": [
            {"path": d.path, "sha256": d.sha256, "bytes": d.bytes, "rows": d.rows}
            for d in tables(facts)
        ],
        "questions": [
            {
                "section": q.section,
                "key": q.key,
                "asks": q.asks,
                "status": status,
                "answer": lines,
                "who": q.who,
            }
            for q, status, lines in answered(facts)
        ],
    }


def _markdown(facts: Facts) -> str:
    parts = [
        f"# Datasheet: data that the run {_text(facts.run.name)} wrote",
        f"Run {_text(facts.run_id)}, {facts.state}, ledger head `{facts.head}`. What the record "
        "does not have is MISSING; nothing is filled in for people.",
    ]
    parts += [
        f"**HALT at {_text(o.iteration)} was overridden** by {_text(o.by)}: {_text(o.reason)}"
        for o in facts.run.overrides()
    ]
    section = ""
    for q, status, lines in answered(facts):
        if q.section != section:
            section = q.section
            parts.append(f"## {section}")
        parts += [f"**{q.asks}** ({status})", "\n".join(f"- {_text(line)}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def _text(value: str) -> str:
    return markdown_text(clean(value), MOST)


EXPORT = Export("datasheet", "datasheet of the synthetic data", SPEC, build)
