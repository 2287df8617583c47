"""What a screening that found nothing could have missed: the rise of one feature that it finds 8
times in 10.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

POWER = 0.8
# The share that the base policy has of a typical word that a policy takes up.
USUAL_SHARE = 0.05


def least_rise(*, prompts: int, texts: int, tests: int, error: float) -> float | None:
    """The rise of a feature's share of texts, from USUAL_SHARE, that is found with a chance of
    POWER; None where not even a rise to every text is.

    `texts` is the number of texts of each prompt from each policy. The test is the sign test over
    prompts, one-sided at `error` / `tests` (what Benjamini-Hochberg asks of the only feature that
    rose). Prompts are taken for alike; where a feature goes with the prompt, more is needed. To
    half a point.
    """
    rises = np.arange(0.005, 1 - USUAL_SHARE, 0.005)
    low, high = 0, len(rises)
    while low < high:
        middle = (low + high) // 2
        found = power(
            float(rises[middle]), prompts=prompts, texts=texts, tail=error / max(tests, 1)
        )
        low, high = (low, middle) if found >= POWER else (middle + 1, high)
    return float(rises[low]) if low < len(rises) else None


def power(rise: float, *, prompts: int, texts: int, tail: float) -> float:
    """The chance that the sign test finds a rise at p <= `tail`."""
    counts = np.arange(texts + 1)
    now = binom.pmf(counts, texts, USUAL_SHARE + rise)
    then = binom.pmf(counts, texts, USUAL_SHARE)
    up = float(np.tril(np.outer(now, then), -1).sum())
    down = float(np.triu(np.outer(now, then), 1).sum())
    # Of the prompts that move, each number has its own least number of rises that is enough.
    moved = np.arange(prompts + 1)
    enough = binom.isf(tail, moved, 0.5) + 1
    chance = binom.sf(enough - 1, moved, up / (up + down))
    return float((binom.pmf(moved, prompts, up + down) * chance).sum())
