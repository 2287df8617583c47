"""Records of JSON, JSON Lines and delimited text, each with the number by which a person finds
it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from restaudit.errors import BadInput

Row = dict[str, Any]
DELIMITERS = (",", ";", "\t")
BIGGEST_CELL = 1 << 24


def json_rows(text: str) -> list[tuple[str, Row]]:
    """Records of a JSON list (counted from 1) or of JSON Lines (by line).

    Raises BadInput naming the bad one.
    """
    if text.lstrip()[:1] == "[":
        return [
            (f"row {n}", _record(r, f"row {n}"))
            for n, r in enumerate(_json(text, "this JSON file"), start=1)
        ]
    rows: list[tuple[str, Row]] = []
    # Not splitlines: a text may hold U+2028, which JSON leaves as it is.
    for n, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            rows.append((f"row {n}", _record(_json(line, f"row {n}"), f"row {n}")))
    return rows


def one_object(text: str) -> Row | None:
    """The record of a file that is one JSON object over several lines; None where it is something
    else.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def table_rows(text: str) -> list[tuple[str, Row]]:
    """Rows of delimited text (, ; or tab), numbered as a spreadsheet shows them: the header is row
    1.
    """
    header, reader = _reader(text)
    rows: list[tuple[str, Row]] = []
    try:
        for n, cells in enumerate(reader, start=2):
            if len(cells) > len(header) and any(cells[len(header) :]):
                raise BadInput(f"row {n}: {len(cells)} cells; the header has {len(header)} columns")
            if any(cells):
                rows.append((f"row {n}", dict(zip(header, cells, strict=False))))
    except csv.Error as e:
        raise BadInput(f"not readable as a table ({e})") from None
    return rows


def header_of(text: str) -> Row:
    """The columns of delimited text, as the keys of an empty record."""
    return dict.fromkeys(_reader(text)[0])


def _reader(text: str) -> tuple[list[str], Any]:
    csv.field_size_limit(BIGGEST_CELL)
    first = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [c.strip() for c in next(reader, [])]
    except csv.Error as e:
        raise BadInput(f"not readable as a table ({e})") from None
    if (double := next((c for c in header if c and header.count(c) > 1), None)) is not None:
        raise BadInput(f"row 1: the column {double!r} is there twice")
    return header, reader


def _record(value: Any, where: str) -> Row:
    if not isinstance(value, Mapping):
        raise BadInput(f"{where}: expected a JSON object, found {type(value).__name__}")
    return dict(value)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise BadInput(f"{where}: not valid JSON ({e})") from None
