"""What reading a file of ratings gives, whatever its layout: votes, and a count of what was not a
vote.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from restaudit.errors import BadInput
from restaudit.files.given import COLUMNS, LONGEST, MOST_VALUES, OfOneRow, json_row
from restaudit.files.strict import KeyTwice, parse_row
from restaudit.people.rating.sheet import Sheet

DEVELOPER = ("developer", "is_developer", "rater_is_developer")
MODEL = ("model_rater", "is_model", "rater_is_model")
MACHINES = frozenset(
    {"model", "llm", "tool", "machine", "prediction", "suggestion", "judge", "simulated", "bot"}
)
Record = dict[str, Any]
DELIMITERS = (",", ";", "\t")
# Rows of one file of ratings, which is held whole.
MOST_ROWS = 500_000


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
        _few_values(text)
        values = json_row("this JSON file", text, halves=False)
        for n, value in enumerate(values, start=1):
            rows.append((f"row {n}", _record(value, f"row {n}")))
        return rows
    # Not splitlines: a text may hold U+2028, which JSON leaves as it is.
    for n, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            _few_values(line, f"row {n}: ")
            rows.append((f"row {n}", _record(json_row(f"row {n}", line, halves=False), f"row {n}")))
            _few(rows)
    return rows


def one_object(text: str) -> Record | None:
    """The record of a file that is one JSON object over several lines; None where it is something
    else.

    Raises BadInput where a key comes twice in it.
    """
    _few_values(text)
    try:
        value, end = parse_row(text, halves=False)
    except KeyTwice as e:
        raise BadInput(f"row 1: {e}") from None
    except ValueError:
        return None
    if text[end:].strip() or not isinstance(value, dict):
        return None
    return value


def table_rows(text: str) -> list[tuple[str, Record]]:
    """Rows of delimited text (, ; or tab), numbered as a spreadsheet shows them: the header is row
    1.
    """
    header, source, reader = _reader(text)
    rows: list[tuple[str, Record]] = []
    try:
        for n, cells in enumerate(reader, start=2):
            if len(cells) > len(header) and any(cells[len(header) :]):
                raise BadInput(f"row {n}: {len(cells)} cells; the header has {len(header)} columns")
            if any(cells):
                rows.append((f"row {n}", dict(zip(header, cells, strict=False))))
                _few(rows)
            source.length = 0
    except csv.Error as e:
        raise BadInput(f"not readable as a table ({e})") from None
    return rows


def header_of(text: str) -> Record:
    """The columns of delimited text, as the keys of an empty record."""
    return dict.fromkeys(_reader(text)[0])


def _reader(text: str) -> tuple[list[str], OfOneRow, Any]:
    # The module's own limit is 131,072 characters, which a prompt with a document may exceed.
    csv.field_size_limit(LONGEST)
    first = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=first.count)
    source = OfOneRow("", enumerate(io.StringIO(text, newline=""), start=1))
    reader = csv.reader(source, delimiter=delimiter)
    try:
        header = [c.strip() for c in next(reader, [])]
        source.length = 0
    except csv.Error as e:
        raise BadInput(f"not readable as a table ({e})") from None
    if len(header) > COLUMNS:
        raise BadInput(f"row 1: {len(header):,} columns; at most {COLUMNS:,} are read")
    for column, count in Counter(header).items():
        if column and count > 1:
            raise BadInput(f"row 1: the column {column[:80]!r} is there twice")
    return header, source, reader


def _record(value: Any, where: str) -> Record:
    if not isinstance(value, Mapping):
        raise BadInput(f"{where}: expected a JSON object, found {type(value).__name__}")
    return dict(value)


def _few(rows: list[tuple[str, Record]]) -> None:
    if len(rows) > MOST_ROWS:
        raise BadInput(f"more than {MOST_ROWS:,} rows, the most that are read of ratings")


def _few_values(text: str, where: str = "") -> None:
    """Raise BadInput where a JSON text may hold more values than memory should: each takes up to 90
    bytes, and can be written in three.
    """
    if sum(map(text.count, ",[{")) > MOST_VALUES:
        raise BadInput(f"{where}more than {MOST_VALUES:,} values; divide the file into several")
