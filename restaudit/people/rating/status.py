"""How far the rating of one set of tasks has come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restaudit.people.rating.consistency import RaterProgress, rater_progress
from restaudit.people.rating.files import human
from restaudit.people.rating.store import read_rows
from restaudit.people.rating.tasks import items_of, read_key


@dataclass(frozen=True)
class Progress:
    """Ratings wanted (items times raters, repeats and anchors too), in, and missing.

    More than wanted do not count.
    """

    name: str
    items: int
    raters: int
    wanted: int
    rated: int
    missing: int
    per_rater: tuple[RaterProgress, ...]

    @property
    def complete(self) -> bool:
        """Whether every item has its ratings."""
        return self.missing == 0


def progress(run: Path, name: str) -> Progress:
    """How far one set of tasks is rated. Raises BadInput when this run has no such set."""
    folder = human(run)
    key = read_key(folder, name)
    items = items_of(key)
    rows = [r for r in read_rows(folder) if r.get("tasks") == name]
    repeats = {i.item_id: i.repeats for i in items if i.repeats is not None}
    return counted(name, [i.item_id for i in items], key["raters"], rows, repeats)


def of_raters(count: int) -> str:
    """So many raters, in words."""
    return "1 rater" if count == 1 else f"{count} raters"


def counted(
    name: str,
    items: Sequence[str],
    raters: int,
    rows: Sequence[Mapping[str, Any]],
    repeats: Mapping[str, str],
) -> Progress:
    """How far a set is, from its items and what is stored of it."""
    count = Counter(r["item_id"] for r in rows)
    rated = sum(min(count[i], raters) for i in items)
    wanted = len(items) * raters
    return Progress(
        name, len(items), raters, wanted, rated, wanted - rated, per_rater(rows, repeats)
    )


def per_rater(
    rows: Iterable[Mapping[str, Any]], repeats: Mapping[str, str]
) -> tuple[RaterProgress, ...]:
    """Each rater's share and self-consistency, by name."""
    scores: dict[str, dict[str, float]] = {}
    for row in rows:
        scores.setdefault(row["rater_id"], {})[row["item_id"]] = row["score"]
    return tuple(rater_progress(r, s, repeats) for r, s in sorted(scores.items()))
