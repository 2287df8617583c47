"""How wide the columns of a table are on paper: every longest word fits where it can, long texts
get what is left.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MOST_WORD = 22  # longer words may be broken
DIGEST = re.compile(r"[0-9a-f]{64}")
# Points: a line of the page, a digest in its small type; ems: an average character; characters:
# room beside a column.
LINE, DIGEST_POINTS, EM, PADDING = 504.0, 180.0, 0.62, 1.6
SIZES = (7.0, 6.5, 6.0, 5.5)


def widths(columns: Sequence[Sequence[str]]) -> tuple[list[float], float]:
    """Relative widths of a table's columns and its type size in points: every longest word fits,
    where it can.

    What is left over goes to the columns with long texts.
    """
    least, room, size = [1.0], 0.0, SIZES[0]
    for size in SIZES:
        room = LINE / (EM * size)
        least = [
            max((_word_width(w, size) for c in cells for w in c.split()), default=1.0) + PADDING
            for cells in columns
        ]
        if sum(least) <= room:
            break
    lengths = [max((len(c) for c in cells), default=1) for cells in columns]
    wanted = [
        max(min(n + PADDING, 12 + 3 * n**0.5) - w, 0.1) for n, w in zip(lengths, least, strict=True)
    ]
    spare = max(room - sum(least), 0.0) / sum(wanted)
    return [round(w + spare * more, 2) for w, more in zip(least, wanted, strict=True)], size


def _word_width(word: str, size: float) -> float:
    """In characters of this type size; a digest is set in its own."""
    return (
        DIGEST_POINTS / (EM * size) if DIGEST.fullmatch(word) else float(min(len(word), MOST_WORD))
    )
