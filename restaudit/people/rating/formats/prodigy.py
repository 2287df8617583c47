"""Prodigy's choice interface: JSON Lines with options and accept; `answer` says whether it is a
vote at all.
"""

from __future__ import annotations

import json
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
from restaudit.people.rating.sheet import Sheet, as_rows


def write(sheet: Sheet) -> str:
    """Tasks with one option a score.

    The item's id is a field of its own: `meta` would be on the rater's screen.
    """
    options = [{"id": label, "text": label} for label in sheet.labels]
    rows = [
        {"text": f"{r['prompt']}\n\n———\n\n{r['response']}", **r, "options": options}
        for r in as_rows(sheet)
    ]
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)


def read(text: str) -> FileVotes:
    """Every row with the answer "accept" is a vote; "ignore" and "reject" are none."""
    file_votes = FileVotes()
    for where, row in json_rows(text):
        answer = row.get("answer")
        if answer != "accept":
            file_votes.skipped[f"answer {answer!r}" if answer else "not rated"] += 1
            continue
        accepted = row.get("accept")
        chosen = accepted if isinstance(accepted, list) else [accepted]
        if not chosen:
            file_votes.skipped["not rated"] += 1
            continue
        fields = carried(row)
        meta = row.get("meta")
        if isinstance(meta, Mapping):
            # Prodigy shows it on the screen, so what it holds a rater has seen.
            fields["hints"] |= meta
        file_votes.votes.append(
            Vote(
                where=where,
                rater=text_or_none(row.get("_annotator_id") or row.get("_session_id")),
                score=chosen[0] if len(chosen) == 1 else chosen,
                submitted_at=row.get("_timestamp"),
                model=says_model(row),
                developer=says_developer(row),
                **fields,
            )
        )
    return file_votes


def fits(record: Mapping[str, Any]) -> bool:
    """Whether a record looks like one of Prodigy's."""
    return "answer" in record and (
        "_annotator_id" in record or "_session_id" in record or "_task_hash" in record
    )


FORMAT = ToolFormat(name="prodigy", suffix=".jsonl", write=write, read=read, fits=fits, timed=True)
