"""How far the rating of one set of tasks has come, and how steady each rater is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restaudit.people.rating.store import human_folder, read_rows
from restaudit.people.rating.tasks import items_of, read_key


@dataclass(frozen=True)
class RaterProgress:
    """What one rater gave.

    `ratings` are scores of samples and anchors, `repeats` pairs of scores of one text.
    `mean_difference` is their mean absolute difference in scale points. `consistency` is 1 minus
    that difference over the mean difference between any two of this rater's scores: 1 is the same
    score every time, 0 is what shuffled scores would give, below 0 is worse; None, with the
    `reason`, where it is undefined.
    """

    rater: str
    ratings: int
    repeats: int
    mean_difference: float | None
    consistency: float | None
    reason: str | None


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
    folder = human_folder(run)
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
    # A third rating of one item does not make up for a missing one of another.
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


# --- attention checks without a gold answer: one text, shown twice under other names


def rater_progress(
    rater: str, scores: Mapping[str, float], repeats: Mapping[str, str]
) -> RaterProgress:
    """From one rater's scores by item, and which item repeats which."""
    differences = []
    for repeat, original in sorted(repeats.items()):
        # A rater may have seen only one of the two so far.
        if repeat in scores and original in scores:
            differences.append(abs(scores[repeat] - scores[original]))
    own = [score for item, score in scores.items() if item not in repeats]
    ratings, seen_twice = len(own), len(differences)
    if not differences:
        return RaterProgress(rater, ratings, 0, None, None, "saw no text twice")
    difference = sum(differences) / seen_twice
    # Against chance, since a rater who uses two scores of seven is close to itself whatever it does.
    by_chance = _spread(own)
    if not by_chance:
        reason = "gave every text the same score" if ratings > 1 else "rated one text only"
        return RaterProgress(rater, ratings, seen_twice, difference, None, reason)
    consistency = 1 - difference / by_chance
    return RaterProgress(rater, ratings, seen_twice, difference, consistency, None)


def _spread(scores: Sequence[float]) -> float:
    """Mean absolute difference between two of the scores (Gini's mean difference); 0 for fewer than
    two.
    """
    n = len(scores)
    if n < 2:
        return 0.0
    # In order, each score stands above k others and below n - 1 - k.
    weighted = sum((2 * k - n + 1) * score for k, score in enumerate(sorted(scores)))
    return 2 * weighted / (n * (n - 1))
