"""The accepted ratings of a run: human/ratings.jsonl, one unblinded rating a line, replaced whole under a lock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.errors import BadInput
from restaudit.rating.files import human, read_text, write_text
from restaudit.rating.sheet import whole

if TYPE_CHECKING:
    import pandas as pd

FILE = "ratings.jsonl"
COLUMNS = {
    "item_id": "str", "iteration": "str", "prompt_id": "str", "sample_id": "str", "rater": "str", "dimension": "str",
    "score": "float64", "submitted_at": "object", "inclusion_prob": "float64", "check": "bool", "anchor": "bool",
    "repeats": "object", "tasks": "str", "response_sha256": "str", "scale_min": "float64", "scale_max": "float64",
    "order": "int64", "source": "str",
}  # fmt: skip


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Every accepted rating as it is stored. Raises BadInput naming a line that is none."""
    path = folder / FILE
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line:
            try:
                row = json.loads(line)
                score = whole(float(row["score"]))
                own = {"item_id": str(row["item_id"]), "rater_id": str(row["rater_id"]), "score": score}
                rows.append({**row, **own})
            except (ValueError, KeyError, TypeError, OverflowError) as e:
                raise BadInput(f"{path}: line {number}: not a rating ({type(e).__name__}: {e})") from None
    return rows


def add_rows(folder: Path, old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> None:
    """Write the old and the new ratings in place of the old; call it with the folder locked."""
    lines = [json.dumps(r, sort_keys=True, ensure_ascii=False, allow_nan=False) for r in (*old, *new)]
    write_text(folder / FILE, "".join(f"{line}\n" for line in lines))


def load_ratings(run: Path) -> pd.DataFrame:
    """Every accepted rating of a run, a row each, in the order of import; an empty table where there are none.

    Columns: item_id, iteration, prompt_id, sample_id, rater, dimension, score, submitted_at (ISO 8601 UTC or None),
    inclusion_prob (NaN for checks), check (a repeat: never a score of the sample), anchor (the base policy's sample,
    rated again later), repeats (the item a check repeats, or None), tasks (name of the set), response_sha256,
    scale_min, scale_max, order (place in which it was shown, from 0), source (format of the file).
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
        raise BadInput(f"{path}: a rating lacks a field or holds another kind of value ({e})") from None
