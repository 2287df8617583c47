"""What raters see of a set of pairs, as JSON Lines and as a spreadsheet, and the choices read back
from either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput
from restaudit.files.spreadsheet import csv_text, unguard
from restaudit.files.strict import parse_json
from restaudit.people.rating.formats.vote import (
    FileVotes,
    Vote,
    carried,
    header_of,
    json_rows,
    one_object,
    says_developer,
    says_model,
    table_rows,
    text_or_none,
)
from restaudit.people.rating.sheet import SHEET, texts_of
from restaudit.people.rating.store import read_text

CHOICES = ("A", "B", "T")
NEEDED = ("item_id", "choice", "response_a", "response_b")
FIRST = ("item_id", "prompt", "response_a", "response_b", "choice", "rater_id", "submitted_at")
LAYOUTS = ("native", "csv")
SHOWN = ("item_id", "prompt", "response_a", "response_b", "response_a_sha256", "response_b_sha256")


@dataclass(frozen=True)
class ShownPair:
    """One pair: a name that means nothing, the prompt as text, both responses and their SHA-256."""

    item_id: str
    prompt: str
    response_a: str
    response_b: str
    a_sha256: str
    b_sha256: str


@dataclass(frozen=True)
class PairSheet:
    """All that a rater gets: A is better, B is better, or T, a tie."""

    run_id: str
    dimension: str
    instructions: str
    instructions_sha256: str
    raters: int
    rows: tuple[ShownPair, ...]


@dataclass(frozen=True)
class PairVote(Vote):
    """A choice as a file holds it: `score` is "A", "B" or "T"; the two responses are in the places
    they were shown.
    """

    response_a: str | None = None
    response_b: str | None = None
    a_sha256: str | None = None
    b_sha256: str | None = None


def as_rows(sheet: PairSheet) -> list[dict[str, Any]]:
    """One plain mapping a pair, with empty places for a choice."""
    # Both digests and the run's random id check what comes back; none tells whose text stands where.
    return [
        {
            "item_id": r.item_id,
            "prompt": r.prompt,
            "response_a": r.response_a,
            "response_b": r.response_b,
            "response_a_sha256": r.a_sha256,
            "response_b_sha256": r.b_sha256,
            "run_id": sheet.run_id,
            "dimension": sheet.dimension,
            "instructions_sha256": sheet.instructions_sha256,
            "blinded": True,
            "choice": None,
            "rater_id": None,
            "started_at": None,
            "submitted_at": None,
        }
        for r in sheet.rows
    ]


def sheet_text(sheet: PairSheet) -> str:
    """The sheet as JSON Lines; every line repeats the instructions."""
    more = {"instructions": sheet.instructions, "choices": list(CHOICES), "raters": sheet.raters}
    lines = (json.dumps({**r, **more}, ensure_ascii=False, allow_nan=False) for r in as_rows(sheet))
    return "".join(f"{line}\n" for line in lines)


def csv_of(sheet: PairSheet) -> str:
    """The sheet as CSV."""
    rows = as_rows(sheet)
    columns = [*FIRST, *(c for c in rows[0] if c not in FIRST)]
    return csv_text(columns, ([row[column] for column in columns] for row in rows))


def read_sheet(path: Path) -> PairSheet:
    """The sheet that `sheet_text` wrote. Raises BadInput where it is not one."""
    try:
        rows = [parse_json(line) for line in read_text(path).split("\n") if line]
        shown = tuple(ShownPair(*texts_of(row, SHOWN)) for row in rows)
        run_id, dimension, instructions, digest = texts_of(rows[0], SHEET)
        raters = int(rows[0]["raters"])
        return PairSheet(run_id, dimension, instructions, digest, raters, shown)
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as e:
        raise BadInput(
            f"{path}: not a file of pairs to rate ({type(e).__name__}: {e}); draw the pairs again"
        ) from None


def holds_choices(text: str) -> bool:
    """Whether a file is one of choices between two texts, by its first record."""
    return set(NEEDED) <= set(_first(text))


def read_choices(text: str) -> tuple[str, FileVotes]:
    """The name of the layout, and every line with a choice; a line without one was not rated
    yet.
    """
    is_json = text.lstrip()[:1] in ("[", "{")
    file_votes = FileVotes()
    records = json_rows(text) if is_json else table_rows(text)
    for where, record in records:
        row = record
        if not is_json:
            # The quote that keeps a cell from being a formula is not part of the text.
            row = {column: unguard(cell) for column, cell in record.items()}
        if text_or_none(row.get("choice")) is None:
            file_votes.skipped["not rated"] += 1
        else:
            file_votes.votes.append(_vote(where, row))
    return ("native" if is_json else "csv"), file_votes


def _vote(where: str, row: Mapping[str, Any]) -> PairVote:
    texts = {side: row.get(f"response_{side}") for side in "ab"}
    return PairVote(
        where=where,
        rater=text_or_none(row.get("rater_id") or row.get("rater")),
        score=row["choice"],
        submitted_at=text_or_none(row.get("submitted_at")),
        started_at=text_or_none(row.get("started_at")),
        model=says_model(row),
        developer=says_developer(row),
        response_a=texts["a"] if isinstance(texts["a"], str) else None,
        response_b=texts["b"] if isinstance(texts["b"], str) else None,
        a_sha256=text_or_none(row.get("response_a_sha256")),
        b_sha256=text_or_none(row.get("response_b_sha256")),
        **carried(row),
    )


def _first(text: str) -> Mapping[str, Any]:
    start = text.lstrip()[:1]
    if not start:
        return {}
    try:
        if start not in "[{":
            return header_of(text)
        if start == "{":
            single = one_object(text)
            if single is not None:
                return single
            text = text.split("\n", 1)[0]  # JSON Lines, of which the first will do
        for _, record in json_rows(text):
            return record
        return {}
    except BadInput:
        return {}  # what is wrong with it, the layouts say
