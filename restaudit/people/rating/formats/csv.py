"""A spreadsheet: a row an item, with empty cells for score, rater and time.

Cells never start a formula.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

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

# Excel and LibreOffice take a cell for a formula by its first character; some trim white space
# first (OWASP, "CSV injection"). An apostrophe in front makes it text, and takes the place of one
# that was there already.
FORMULA = frozenset("=+-@＝＋－＠")
FIRST = ("item_id", "prompt", "response", "score", "rater_id", "submitted_at")


def guard(cell: str) -> str:
    """The cell with an apostrophe before anything that a spreadsheet would compute."""
    return f"'{cell}" if _starts_formula(cell) else cell


def unguard(cell: str) -> str:
    """The cell as it was before `guard`."""
    if cell[:1] == "'" and _starts_formula(cell[1:]):
        return cell[1:]
    return cell


def write(sheet: Sheet) -> str:
    """The tasks as CSV with a byte order mark, without which Excel misreads anything but ASCII."""
    out = io.StringIO()
    rows = as_rows(sheet)
    columns = [*FIRST, *(c for c in rows[0] if c not in FIRST)]
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        cells = [row.get(column, "") for column in columns]
        writer.writerow([guard(cell) if isinstance(cell, str) else cell for cell in cells])
    return "\ufeff" + out.getvalue()


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


def _starts_formula(cell: str) -> bool:
    return cell[:1] in {"'", "\t", "\r", "\n"} or cell.lstrip()[:1] in FORMULA


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
