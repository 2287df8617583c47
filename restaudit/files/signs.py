"""Text of unknown origin as signs that a terminal or a page only shows."""

from __future__ import annotations

import unicodedata

CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """Text of unknown origin as one line that a terminal or a page only shows: what would do more
    becomes U+FFFD.

    That is control characters, line and paragraph separators, surrogates, and the marks that
    reverse the reading order.
    """
    if text.isprintable():  # none of these is, and nearly all text has none
        return text
    return "".join(
        "\ufffd" if unicodedata.category(c) in CONTROLS or c in REORDERING else c for c in text
    )
