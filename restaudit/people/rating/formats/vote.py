"""What reading a file of ratings gives, whatever its layout: votes, and a count of what was not a
vote.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from restaudit.errors import BadInput
from restaudit.people.rating.sheet import Sheet

DEVELOPER = ("developer", "is_developer", "rater_is_developer")
MODEL = ("model_rater", "is_model", "rater_is_model")
MACHINES = frozenset(
    {"model", "llm", "tool", "machine", "prediction", "suggestion", "judge", "simulated", "bot"}
)
Record = dict[str, Any]
DELIMITERS = (",", ";", "\t")
BIGGEST_CELL = 1 << 24


@dataclass(frozen=True)
class Vote:
    """One rater's score of one item as a file holds it; nothing is checked yet.

    `where` names the place in the file. `hints` are fields beside the rating that might tell which
    policy wrote the text. `model` says why this is not a person's own rating, where the file shows
    that.
    """

    where: str
    item_id: str | None
    rater: str | None
    score: Any
    submitted_at: Any = None
    started_at: Any = None
    response: str | None = None
    response_sha256: str | None = None
    run_id: str | None = None
    dimension: str | None = None
    instructions_sha256: str | None = None
    scale_min: Any = None
    scale_max: Any = None
    hints: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    developer: bool = False


@dataclass
class FileVotes:
    """What a file of a rating tool holds. `skipped` counts what is no vote, by what it is."""

    votes: list[Vote] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class ToolFormat:
    """One layout: how tasks are written and ratings read.

    `fits` looks at one record of a file (its keys; a table's header). `setup` gives the name and
    text of what the tool needs beside the tasks. `timed` formats carry the time of every rating.
    Ratings come as JSON (or JSON Lines) or, in `table` formats, as delimited text.
    """

    name: str
    suffix: str
    write: Callable[[Sheet], str]
    read: Callable[[str], FileVotes]
    fits: Callable[[Mapping[str, Any]], bool]
    timed: bool
    json: bool = True
    table: bool = False
    setup: Callable[[Sheet, str], tuple[str, str]] | None = None


def text_or_none(value: Any) -> str | None:
    """A field as text; None where it is absent or empty.

    Numbers count, as ids often are numbers.
    """
    if value is None or isinstance(value, bool):
        return None
    return str(value).strip() or None


def carried(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of our own that a tool carries along with an item, for `Vote(**carried(row))`."""
    response = row.get("response")
    return {
        "item_id": text_or_none(row.get("item_id")),
        "response": response if isinstance(response, str) else None,
        "response_sha256": text_or_none(row.get("response_sha256")),
        "run_id": text_or_none(row.get("run_id")),
        "dimension": text_or_none(row.get("dimension")),
        "instructions_sha256": text_or_none(row.get("instructions_sha256")),
        "scale_min": row.get("scale_min"),
        "scale_max": row.get("scale_max"),
        "hints": dict(row),
    }


def flagged(value: Any) -> bool:
    """Whether a flag is set: true, 1, "yes" and the like."""
    return str(value).strip().lower() in {"true", "1", "1.0", "yes", "y"}


def says_developer(row: Mapping[str, Any]) -> bool:
    """Whether a row flags its rater as somebody who made the model (NIST AI 600-1, MS-1.3-003)."""
    roles = {str(row.get(k, "")).strip().lower() for k in ("rater_role", "rater_kind")}
    return any(flagged(row.get(k)) for k in DEVELOPER) or "developer" in roles


def says_model(row: Mapping[str, Any]) -> str | None:
    """Why a row's rater is no person, where the row says so."""
    for key in MODEL:
        if flagged(row.get(key)):
            return f"{key} is set"
    for key in ("rater_role", "rater_kind", "source"):
        if str(row.get(key, "")).strip().lower() in MACHINES:
            return f"{key} is {row[key]!r}"
    return None


# --- records of JSON, JSON Lines and delimited text, each with the number by which one finds it


def json_rows(text: str) -> list[tuple[str, Record]]:
    """Records of a JSON list (counted from 1) or of JSON Lines (by line).

    Raises BadInput naming the bad one.
    """
    rows: list[tuple[str, Record]] = []
    if text.lstrip()[:1] == "[":
        for n, value in enumerate(_json(text, "this JSON file"), start=1):
            rows.append((f"row {n}", _record(value, f"row {n}")))
        return rows
    # Not splitlines: a text may hold U+2028, which JSON leaves as it is.
    for n, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            rows.append((f"row {n}", _record(_json(line, f"row {n}"), f"row {n}")))
    return rows


def one_object(text: str) -> Record | None:
    """The record of a file that is one JSON object over several lines; None where it is something
    else.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def table_rows(text: str) -> list[tuple[str, Record]]:
    """Rows of delimited text (, ; or tab), numbered as a spreadsheet shows them: the header is row
    1.
    """
    header, reader = _reader(text)
    rows: list[tuple[str, Record]] = []
    try:
        for n, cells in enumerate(reader, start=2):
            if len(cells) > len(header) and any(cells[len(header) :]):
                raise BadInput(f"row {n}: {len(cells)} cells; the header has {len(header)} columns")
            if any(cells):
                rows.append((f"row {n}", dict(zip(header, cells, strict=False))))
    except csv.Error as e:
        raise BadInput(f"not readable as a table ({e})") from None
    return rows


def header_of(text: str) -> Record:
    """The columns of delimited text, as the keys of an empty record."""
    return dict.fromkeys(_reader(text)[0])


def _reader(text: str) -> tuple[list[str], Any]:
    # The module's own limit is 131,072 characters, which a prompt with a document may exceed.
    csv.field_size_limit(BIGGEST_CELL)
    first = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [c.strip() for c in next(reader, [])]
    except csv.Error as e:
        raise BadInput(f"not readable as a table ({e})") from None
    for column in header:
        if column and header.count(column) > 1:
            raise BadInput(f"row 1: the column {column!r} is there twice")
    return header, reader


def _record(value: Any, where: str) -> Record:
    if not isinstance(value, Mapping):
        raise BadInput(f"{where}: expected a JSON object, found {type(value).__name__}")
    return dict(value)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise BadInput(f"{where}: not valid JSON ({e})") from None
