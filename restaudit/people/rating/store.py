"""The accepted ratings of a run: human/ratings.jsonl, one unblinded rating a line.

An answer given in the app is one line more; an import, and a rating that is taken back, replace the
file whole. Both happen under the folder's lock. A last line that a crash cut short is no rating:
nobody was told that it was saved. It is kept aside in ratings.jsonl.torn, and earlier ratings are
as they were. Choices between two texts lie the same way in a file of their own (pairs/), so that
nobody takes one for a score.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.errors import BadInput
from restaudit.people.rating.files import (
    append_line,
    decoded,
    human,
    keep_torn,
    read_bytes,
    torn_file,
    without_torn,
    write_text,
)
from restaudit.people.rating.sheet import whole

if TYPE_CHECKING:
    import pandas as pd

FILE, CHOICES = "ratings.jsonl", "choices.jsonl"
COLUMNS = {
    "item_id": "str",
    "iteration": "str",
    "prompt_id": "str",
    "sample_id": "str",
    "rater": "str",
    "dimension": "str",
    "score": "float64",
    "submitted_at": "object",
    "inclusion_prob": "float64",
    "check": "bool",
    "anchor": "bool",
    "repeats": "object",
    "tasks": "str",
    "response_sha256": "str",
    "scale_min": "float64",
    "scale_max": "float64",
    "order": "int64",
    "source": "str",
}


# What was read before, by path: a desk reads the same rows again after every answer.
_READ: dict[str, tuple[bytes, list[dict[str, Any]]]] = {}
MOST_READ = 4


def read_rows(folder: Path, file: str = FILE) -> list[dict[str, Any]]:
    """Every accepted rating as it is stored; rows are not to be changed.

    Raises BadInput naming a line that is none.
    """
    path = folder / file
    if not path.exists():
        return []
    data, _ = without_torn(read_bytes(path))
    before, rows = _READ.pop(str(path), (b"", []))
    if not data.startswith(before):
        before, rows = b"", []
    rows = [*rows, *_parsed(path, data[len(before) :], first=before.count(b"\n") + 1)]
    _READ[str(path)] = data, rows
    for forgotten in list(_READ)[:-MOST_READ]:
        _READ.pop(forgotten, None)
    return list(rows)


def _parsed(path: Path, data: bytes, first: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(decoded(path, data).split("\n"), start=first):
        if line:
            try:
                row = json.loads(line)
                score = whole(float(row["score"]))
                own = {
                    "item_id": str(row["item_id"]),
                    "rater_id": str(row["rater_id"]),
                    "score": score,
                }
                rows.append({**row, **own})
            except (ValueError, KeyError, TypeError, OverflowError) as e:
                raise BadInput(
                    f"{path}: line {number}: not a rating ({type(e).__name__}: {e})"
                ) from None
    return rows


def append_row(folder: Path, row: dict[str, Any], file: str = FILE) -> None:
    """Add one rating as a line more, on disk when this returns; call it with the folder locked."""
    append_line(folder / file, _line(row))


def add_rows(
    folder: Path, old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]], file: str = FILE
) -> None:
    """Write the old and the new ratings in place of what is there: all or nothing.

    Call it with the folder locked.
    """
    keep_torn(folder / file)
    write_text(folder / file, "".join(f"{_line(r)}\n" for r in (*old, *new)))


def torn_note(folder: Path, file: str = FILE) -> str | None:
    """What crashes left of ratings, and where it is; None where there is nothing."""
    path = folder / file
    aside = torn_file(path)
    now = without_torn(read_bytes(path))[1] if path.exists() else b""
    kept = [line for line in read_bytes(aside).split(b"\n") if line] if aside.exists() else []
    said = []
    if now:
        said.append(
            f"{file} ends in {len(now)} bytes of a rating that a crash cut short; it does not count"
        )
    if kept:
        size = sum(map(len, kept))
        said.append(
            f"{size} bytes that crashes left of {len(kept)} rating(s) are kept in {aside.name}; "
            "they do not count"
        )
    return f"{'; '.join(said)}. Every rating before is whole." if said else None


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False)


def load_ratings(run: Path) -> pd.DataFrame:
    """Every accepted rating of a run, a row each, in the order of import; an empty table where
    there are none.

    Columns: item_id, iteration, prompt_id, sample_id, rater, dimension, score, submitted_at (ISO
    8601 UTC or None), inclusion_prob (NaN for checks), check (a repeat: never a score of the
    sample), anchor (the base policy's sample, rated again later), repeats (the item a check
    repeats, or None), tasks (name of the set), response_sha256, scale_min, scale_max, order (place
    in which it was shown, from 0), source (format of the file).
    """
    import pandas as pd

    rows = [
        {
            **{c: r.get(c) for c in COLUMNS},
            "rater": r["rater_id"],
            "check": r.get("role") == "check",
            "anchor": r.get("role") == "anchor",
        }
        for r in read_rows(human(run))
    ]
    try:
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    except (ValueError, TypeError) as e:
        path = human(run) / FILE
        raise BadInput(
            f"{path}: a rating lacks a field or holds another kind of value ({e})"
        ) from None
