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
# From comfortable to what can still be read; the first in which every word fits is taken.
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
    # A long text is broken into lines: twice the text does not need twice the width, so the root of
    # its length is what it asks for.
    lengths = [max((len(c) for c in cells), default=1) for cells in columns]
    wanted = [min(n + PADDING, 12 + 3 * n**0.5) for n in lengths]
    more = [max(want - has, 0.1) for want, has in zip(wanted, least, strict=True)]
    spare = max(room - sum(least), 0.0) / sum(more)
    return [round(has + spare * m, 2) for has, m in zip(least, more, strict=True)], size


def _word_width(word: str, size: float) -> float:
    """In characters of this type size; a digest is set in its own."""
    if DIGEST.fullmatch(word):
        return DIGEST_POINTS / (EM * size)
    return float(min(len(word), MOST_WORD))
