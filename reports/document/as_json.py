"""The document as JSON: all text as it was given, every figure with its record (schema
restaudit.document/1).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from reports.document.model import Block, Document
from restaudit.evidence.shown import escaped_json

SCHEMA = "restaudit.document/1"


def as_json(document: Document) -> bytes:
    """UTF-8 JSON whose raw bytes are harmless to show: markup, control and reordering characters
    are escapes.
    """
    text = json.dumps(to_json(document), indent=1, ensure_ascii=False, allow_nan=False)
    return f"{escaped_json(text)}\n".encode("utf-8", "backslashreplace")


def to_json(document: Document) -> dict[str, Any]:
    """Plain JSON types only."""
    return {
        "schema": SCHEMA,
        "kind": document.kind,
        "title": document.title,
        "subtitle": document.subtitle,
        "banner": list(document.banner),
        "front": [_block(b) for b in document.front],
        "heads": [{"run": name, "head": head} for name, head in document.heads],
        "sections": [
            {"key": s.key, "title": s.title, "blocks": [_block(b) for b in s.blocks]}
            for s in document.sections
        ],
        "sources": [
            {"number": n, "path": path, "sha256": sha}
            for (path, sha), n in document.sources().items()
        ],
    }


def _block(block: Block) -> dict[str, Any]:
    return {"kind": type(block).__name__.lower(), **asdict(block)}
