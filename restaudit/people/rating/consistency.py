"""Attention checks without a gold answer: does a rater give one text, shown twice under other
names, the same score?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


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


def rater_progress(
    rater: str, scores: Mapping[str, float], repeats: Mapping[str, str]
) -> RaterProgress:
    """From one rater's scores by item, and which item repeats which."""
    pairs = [
        (scores[i], scores[o]) for i, o in sorted(repeats.items()) if i in scores and o in scores
    ]
    own = [s for i, s in scores.items() if i not in repeats]
    difference = sum(abs(a - b) for a, b in pairs) / len(pairs) if pairs else None
    by_chance = _spread(own)
    value, reason = None, None
    if difference is None:
        reason = "saw no text twice"
    elif not by_chance:
        reason = "gave every text the same score" if len(own) > 1 else "rated one text only"
    else:
        value = 1 - difference / by_chance
    return RaterProgress(rater, len(own), len(pairs), difference, value, reason)


def _spread(scores: Sequence[float]) -> float:
    """Mean absolute difference between two of the scores (Gini's mean difference); 0 for fewer than
    two.
    """
    n = len(scores)
    if n < 2:
        return 0.0
    return 2 * sum((2 * k - n + 1) * s for k, s in enumerate(sorted(scores))) / (n * (n - 1))
