"""The document as PDF through typst: tagged, with the same document as JSON inside, and no missing
glyph.

Text never becomes typst markup: the template reads it as JSON strings.
"""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

from reports.document.as_json import as_json
from reports.document.chart import svg
from reports.document.glyphs import drawable, font_folder
from reports.document.html import MOST, SIGNS, TEMPLATES, passage
from reports.document.model import (
    Block,
    Chart,
    Document,
    Facts,
    Paragraph,
    Passages,
    Strip,
    Table,
    cited,
    numbers,
)
from reports.document.widths import DIGEST, MOST_WORD, widths
from restaudit.errors import BadInput
from restaudit.evidence.shown import plain

# The standards want a date; a clock in the body would make every copy different.
DATE = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
# A-3 lets a file be attached (the same document as JSON), UA-1 is for who listens to it.
STANDARDS: Any = ["a-3a", "ua-1"]
EVIDENCE = "document.json"
MOST_WHOLE = 900  # texts up to this many characters are not parted over two pages
# Where a long word may be broken: behind a mark, or after twenty letters.
MARKS = re.compile(r"([._/!=\-:@]|\w{20}(?=\w))")


def pdf(document: Document) -> bytes:
    """PDF/A-3a and PDF/UA-1 as declared by typst (no validator has certified it).

    The same document, the same bytes.

    Raises BadInput where typst or matplotlib is not installed.
    """
    try:
        import typst
    except ImportError:
        raise BadInput(
            "a PDF needs typst, which is not installed: pip install 'restaudit[reports]'"
        ) from None
    files: dict[str, bytes] = {
        "main.typ": (TEMPLATES / "document.typ").read_bytes(),
        EVIDENCE: as_json(document),
    }
    files["data.json"] = json.dumps(_data(document, files), ensure_ascii=False).encode("utf-8")
    sources: Any = files  # typst's types name single files only; it takes several as well
    try:
        made = typst.compile(
            sources,
            # Fonts of the machine would give every machine a document of its own.
            font_paths=[str(font_folder())],
            ignore_system_fonts=True,
            pdf_standards=STANDARDS,
            timestamp=DATE,
        )
    except typst.TypstError as e:
        raise BadInput(f"the PDF could not be made: {e}") from None
    assert isinstance(made, bytes)
    return made


def _data(document: Document, files: dict[str, bytes]) -> dict[str, Any]:
    known = document.sources()
    return {
        "title": _heading(document.title),
        "subtitle": _t(document.subtitle),
        "banner": [_t(line) for line in document.banner],
        "front": [_block(b, known, files) for b in document.front],
        "sections": [
            {"title": _heading(s.title), "blocks": [_block(b, known, files) for b in s.blocks]}
            for s in document.sections
        ],
        "sources": [[str(n), _t(path), sha] for (path, sha), n in known.items()],
        "heads": [[_t(name), head] for name, head in document.heads],
    }


def _block(
    block: Block, known: dict[tuple[str, str], int], files: dict[str, bytes]
) -> dict[str, Any]:
    if isinstance(block, Paragraph):
        return {
            "kind": "paragraph",
            "text": _t(block.text),
            "tone": block.kind,
            "cites": numbers(block.sources, known),
        }
    if isinstance(block, Facts):
        rows = [
            {
                "label": _t(f.label),
                "value": _t(f.value),
                "status": f.status or "",
                "cites": numbers(f.sources, known),
            }
            for f in block.rows
        ]
        return {"kind": "facts", "caption": _t(block.caption), "rows": rows}
    if isinstance(block, Table):
        return _table(block, known)
    if isinstance(block, Chart):
        # Every chart adds a file, so the count names the next one.
        name = f"chart-{len(files)}.svg"
        files[name] = svg(block).encode("utf-8")
        alt = _t(f"{block.title}. {block.said}")
        return {
            "kind": "chart",
            "title": _heading(block.title),
            "file": name,
            "alt": alt,
            "table": _table(block.table, known),
        }
    if isinstance(block, Strip):
        looks = [
            {
                "name": _t(k.name),
                "verdict": _t(k.verdict),
                "sign": SIGNS.get(k.verdict, "?"),
                "note": _t(k.note),
                "cites": numbers(k.sources, known),
            }
            for k in block.looks
        ]
        return {"kind": "strip", "caption": _heading(block.caption), "looks": looks}
    return _passages(block, known)


def _passages(block: Passages, known: dict[tuple[str, str], int]) -> dict[str, Any]:
    rows = [
        {
            "heading": _t(r.heading),
            "texts": [drawable(passage(t)) for t in r.texts],
            "notes": [_t(n) for n in r.notes],
            "whole": max(map(len, r.texts), default=0) < MOST_WHOLE,
        }
        for r in block.rows
    ]
    return {
        "kind": "passages",
        "caption": _heading(block.caption),
        "rule": _t(block.rule),
        "rows": rows,
        "columns": [_t(c) for c in block.columns],
        "cites": numbers(block.sources, known),
    }


def _table(block: Table, known: dict[tuple[str, str], int]) -> dict[str, Any]:
    cite = any(cited(block))
    columns = [_t(c) for c in block.columns]
    cells = [[_t(c) for c in row.cells] for row in block.rows]
    cites = [numbers(row.sources, known) for row in block.rows]
    texts = [[column, *(row[k] for row in cells)] for k, column in enumerate(columns)]
    if cite:
        texts.append(["source", "[10]"])
    shares, size = widths(texts)
    return {
        "kind": "table",
        "caption": _t(block.caption),
        "note": _t(block.note),
        "columns": [_breakable(c) for c in columns],
        "widths": shares,
        "size": size,
        "cited": cite,
        "rows": [
            {"cells": [_breakable(c) for c in row], "cites": n}
            for row, n in zip(cells, cites, strict=True)
        ],
    }


def _breakable(text: str) -> str:
    """Long words may break at their marks; digests are set small instead, so that they can be
    copied whole.
    """
    words = []
    for word in text.split(" "):
        whole = len(word) <= MOST_WORD or DIGEST.fullmatch(word)
        words.append(word if whole else MARKS.sub("\\1\u200b", word))
    return " ".join(words)


def _t(text: str) -> str:
    return drawable(plain(str(text), MOST))


def _heading(text: str) -> str:
    """A heading is never empty: PDF/UA-1 forbids it."""
    return _t(text) or "(no title)"
