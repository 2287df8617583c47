"""A spreadsheet: a row an item, with empty cells for score, rater and time.

Cells never start a formula.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restaudit.files.spreadsheet import csv_text, unguard
from restaudit.people.rating.formats.vote import (
    FileVotes,
    ToolFormat,
    Vote,
    carried,
    says_developer,
    says_model,
    table_rows,
    text_or_none,
)
from restaudit.people.rating.sheet import Sheet, as_rows

FIRST = ("item_id", "prompt", "response", "score", "rater_id", "submitted_at")


def write(sheet: Sheet) -> str:
    """The tasks as CSV."""
    rows = as_rows(sheet)
    columns = [*FIRST, *(c for c in rows[0] if c not in FIRST)]
    return csv_text(columns, ([row.get(column, "") for column in columns] for row in rows))


def read(text: str) -> FileVotes:
    """Every row with a score is a vote; a row without one was not rated yet."""
    file_votes = FileVotes()
    for where, cells in table_rows(text):
        row = {k: unguard(v) for k, v in cells.items()}
        if not row.get("score", "").strip():
            file_votes.skipped["not rated"] += 1
            continue
        file_votes.votes.append(
            Vote(
                where=where,
                rater=text_or_none(row.get("rater_id") or row.get("rater")),
                score=row["score"],
                submitted_at=text_or_none(row.get("submitted_at")),
                started_at=text_or_none(row.get("started_at")),
                model=says_model(row),
                developer=says_developer(row),
                **carried(row),
            )
        )
    return file_votes


def fits(record: Mapping[str, Any]) -> bool:
    """Whether the columns are those of our spreadsheet."""
    return "item_id" in record and "score" in record


FORMAT = ToolFormat(
    name="csv",
    suffix=".csv",
    write=write,
    read=read,
    fits=fits,
    timed=False,
    json=False,
    table=True,
)
