"""The document as JSON: every field with its status, value and evidence (schema
restaudit.reward-document/1).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from restaudit.evidence.shown import escaped_json
from restaudit.evidence.statuses import STATUSES
from restaudit.reward_audit.document.fields import frameworks
from restaudit.reward_audit.document.model import Document, FieldAnswer, Table

SCHEMA = "restaudit.reward-document/1"


def to_json(document: Document) -> dict[str, Any]:
    """Plain JSON types only; text is kept as it was given."""
    counts = Counter(a.status for a in document.answers)
    failures = document.failures
    return {
        "schema": SCHEMA,
        "name": document.name,
        "kind": document.kind,
        "digest": document.digest,
        "overrides": list(document.overrides),
        "verdict": {"word": document.verdict, "reasons": list(document.reasons)},
        "failures": None
        if failures is None
        else [
            {"name": f.name, "says": f.says, "table": None if f.table is None else _table(f.table)}
            for f in failures
        ],
        "summary": dict(document.summary),
        "statuses": {s: counts[s] for s in STATUSES},
        "frameworks": {
            k: {"title": f.title, "parts": dict(f.parts)} for k, f in frameworks().items()
        },
        "sections": [
            {
                "key": s.topic.key,
                "title": s.topic.title,
                "casper": list(s.topic.casper),
                "reward_reports": list(s.topic.reward_reports),
                "fields": [_field(a) for a in s.answers],
            }
            for s in document.sections
        ],
        "gaps": [
            {"key": a.key, "question": a.asks, "who": a.who, "reason": a.reason}
            for a in document.gaps
        ],
        "declared_by": None
        if document.declared_by is None
        else {"name": document.declared_by[0], "date": document.declared_by[1]},
        "files": dict(document.files),
    }


def json_text(document: Document) -> str:
    """JSON whose raw bytes are harmless to show: markup, control and reordering characters are
    written as escapes.

    Reading it gives the text back unchanged.
    """
    text = json.dumps(to_json(document), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{escaped_json(text)}\n"


def _field(a: FieldAnswer) -> dict[str, Any]:
    return {
        "key": a.key,
        "question": a.asks,
        "status": a.status,
        "value": a.value,
        "tables": [_table(t) for t in a.tables],
        "reason": a.reason or None,
        "declared_besides": a.declared,
        "who_could_answer": a.who,
        "evidence": [asdict(e) for e in a.evidence],
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "caption": table.caption,
        "columns": list(table.columns),
        "rows": [list(r) for r in table.rows],
        "marks": [asdict(m) for m in table.marks],
        "unit": table.unit,
    }
