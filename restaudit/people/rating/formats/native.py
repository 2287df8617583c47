"""Our own JSON Lines: a line an item; a rating is the same line with rater_id, score and
submitted_at filled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restaudit.people.rating.formats.vote import (
    FileVotes,
    ToolFormat,
    Vote,
    carried,
    json_rows,
    says_developer,
    says_model,
    text_or_none,
)
from restaudit.people.rating.sheet import sheet_text


def read(text: str) -> FileVotes:
    """Every line with a score is a vote; a line without one was not rated yet."""
    file_votes = FileVotes()
    for where, row in json_rows(text):
        if row.get("score") is None:
            file_votes.skipped["not rated"] += 1
            continue
        file_votes.votes.append(
            Vote(
                where=where,
                rater=text_or_none(row.get("rater_id")),
                score=row["score"],
                submitted_at=row.get("submitted_at"),
                started_at=row.get("started_at"),
                model=says_model(row),
                developer=says_developer(row),
                **carried(row),
            )
        )
    return file_votes


def fits(record: Mapping[str, Any]) -> bool:
    """Whether a record looks like a line of ours."""
    return "score" in record and "rater_id" in record and "_timestamp" not in record


FORMAT = ToolFormat(
    name="native", suffix=".jsonl", write=sheet_text, read=read, fits=fits, timed=True
)
