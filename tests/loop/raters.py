"""Scripted raters: they read the blinded tasks a run wrote, score each text by itself, and send a
file back.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from restaudit.people.rating import import_ratings, load_tasks

PEOPLE = {
    "kind": "people",
    "samples": 10,
    "raters": 2,
    "anchors": 3,
    "scale": [1, 7],
    "instructions": "Rate how much you like each text, from 1 (not at all) to 7 (very much).",
}


_LAST = [datetime(2026, 1, 1, tzinfo=UTC)]


def opinion(text: str, rater: str) -> int:
    """A whole number from 1 to 7, a function of the text and the rater alone."""
    liked = 10 * sum(c in "aeiou" for c in text) / (len(text) + 1)
    return min(7, max(1, round(1 + liked + (rater == "bo"))))


def rate(run: Path, name: str, raters=("ann", "bo"), *, leave_out: int = 0) -> None:
    """All raters rate all items of a set of tasks, but for the last `leave_out` of the last
    rater.
    """
    lines = [
        json.loads(x) for x in load_tasks(run, name).path.read_text(encoding="utf-8").splitlines()
    ]
    # A later set is rated later, in every run alike: how far raters drift is measured by the order.
    at = max(datetime.now(UTC), _LAST[0] + timedelta(seconds=1)).replace(microsecond=0)
    _LAST[0] = at
    given = [
        line
        | {"rater_id": r, "score": opinion(line["response"], r), "submitted_at": at.isoformat()}
        for r in raters
        for line in lines
    ]
    file = run.parent / f"{run.name}-{name}-{'-'.join(raters)}.jsonl"
    file.write_text(
        "".join(f"{json.dumps(x)}\n" for x in given[: len(given) - leave_out]), encoding="utf-8"
    )
    import_ratings(run, file)
