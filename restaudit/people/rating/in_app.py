"""One rating at a time, as the app gives them: by the rules of an import, on disk before the next
text is shown.

ratings.jsonl holds what counts. Beside it, desk.jsonl is append-only and says what else people did
in the app: read the instructions, skip a text, take an answer back, hand in. An answer that was
taken back stands there in full.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput
from restaudit.files import plain
from restaudit.files.strict import parse_json
from restaudit.people.rating.checks import Book, K, RatingRow
from restaudit.people.rating.exchange import take_vote
from restaudit.people.rating.formats.vote import Vote
from restaudit.people.rating.store import (
    RATINGS_FILE,
    add_rows,
    append_line,
    decoded,
    human_folder,
    locked,
    made_human_folder,
    read_bytes,
    read_rows,
    without_torn,
)

LOG = "desk.jsonl"
SOURCE = "app"
# Seconds: nobody waits in front of a screen for as long as an import may.
PATIENCE = 5.0


def give(run: Path, book: Book[K], vote: Vote, file: str = RATINGS_FILE) -> RatingRow:
    """Add one rating to the run's, if an import would take it; else raises RatingsRefused or
    BadInput and adds none.
    """
    return take_vote(run, book, vote, source=SOURCE, patience=PATIENCE, file=file)


def take_back(run: Path, *, item_id: str, rater: str, file: str = RATINGS_FILE) -> RatingRow:
    """Take a rating given here out of the run's; desk.jsonl keeps it in full.

    Raises BadInput where there is none.

    The log goes first: after a crash between the two writes the rating stands, and the log says
    that it was to go.
    """
    folder = made_human_folder(run)
    with locked(folder, patience=PATIENCE):
        rows = read_rows(folder, file)
        rating = _given_here(rows, item_id, rater)
        if rating is None:
            raise BadInput(
                f"{folder}: no rating of {item_id} by {rater} was given in the app; nothing was "
                "changed"
            )
        taken_back = {"tasks": rating.get("tasks"), "item_id": item_id, "rating": rating}
        _append(folder, "taken_back", rater, taken_back)
        add_rows(folder, [r for r in rows if r is not rating], [], file)
    return rating


def _given_here(rows: list[RatingRow], item_id: str, rater: str) -> RatingRow | None:
    """A rater's rating of an item; one that was imported is its file's, and not taken back here."""
    for row in rows:
        if row["item_id"] == item_id and row["rater_id"] == rater and row.get("source") == SOURCE:
            return row
    return None


def note(run: Path, what: str, rater: str, **more: Any) -> None:
    """Write down in desk.jsonl what somebody did that is no rating."""
    folder = made_human_folder(run)
    with locked(folder, patience=PATIENCE):
        _append(folder, what, rater, more)


def read_notes(run: Path) -> list[dict[str, Any]]:
    """What is in desk.jsonl, in order, without a last line that a crash cut off.

    Raises BadInput naming a bad line.
    """
    path = human_folder(run) / LOG
    if not plain.is_file(path.parent, LOG):
        return []
    notes: list[dict[str, Any]] = []
    lines = decoded(path, without_torn(read_bytes(path))[0]).split("\n")
    if not lines[-1]:
        lines.pop()  # nothing follows the last line end
    for number, line in enumerate(lines, start=1):
        try:
            entry = parse_json(line)
            notes.append({**entry, "what": str(entry["what"]), "rater_id": str(entry["rater_id"])})
        except (ValueError, KeyError, TypeError) as e:
            raise BadInput(
                f"{path}: line {number}: not a note of the rating desk ({type(e).__name__}: {e})"
            ) from None
    return notes


def _append(folder: Path, what: str, rater: str, more: dict[str, Any]) -> None:
    entry = {
        "what": what,
        "rater_id": rater,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **more,
    }
    append_line(folder / LOG, json.dumps(entry, sort_keys=True, allow_nan=False))
