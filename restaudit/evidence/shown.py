"""Text of unknown origin made fit to be shown: as it is, on one line, and as nothing but text in
every format.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from restaudit.evidence.record import CONTROLS, REORDERING, printable

MOST_IN_CELL = 240
MOST_IN_ANSWER = 1500
MOST_DECIMALS = 6
NEWLINE, CUT = " ⏎ ", " […] "
FORMULA = "=+-@"
# Format characters that scripts and emoji need; every other one is invisible and may hide
# something.
JOINERS = "\u200c\u200d"
# A number ends in a digit: "0." at the start of a line would begin a list.
NUMBER = r"[+-]?\d(?:[\d.,e+-]*\d)?"
NUMBERS = re.compile(rf"{NUMBER}(?: to {NUMBER})?(?: \([\d.]+ level\))?")
ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
MARKUP = frozenset("\\`*_{}[]|#~$@!^")
LINK = re.compile(r"(?i)(?:(?<=[a-z]):(?=//))|(?:(?<=\bwww)\.)")


def number(value: float | None) -> str:
    """Four significant digits; integers as they are; "–" for None."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def together(
    value: float, low: float, high: float, *, apart_from: Iterable[float] = (0.0,)
) -> tuple[str, str, str]:
    """A value and the ends of its interval with the same decimals: as many as show two digits of
    half its width.

    More where an end would otherwise look like one of `apart_from` (zero, a gate's margin) and is
    not: whether an interval reaches that is what a reader looks for. Numbers too small for six
    decimals are shown as `number` does.
    """
    half = (high - low) / 2
    if not math.isfinite(half) or not math.isfinite(value):
        return number(value), number(low), number(high)
    wanted = max(0, 1 - math.floor(math.log10(half))) if half > 0 else _digits(value, 3)
    for places in range(wanted, MOST_DECIMALS + 1):
        texts = tuple(f"{x:,.{places}f}" for x in (value, low, high))
        if all(
            end == x or round(end, places) != round(x, places)
            for end in (low, high)
            for x in apart_from
        ):
            v, a, b = (t.removeprefix("-") if not t.strip("-0.,") else t for t in texts)
            return v, a, b
    return number(value), number(low), number(high)


def _digits(value: float, significant: int) -> int:
    """Decimals that show this many digits of a number."""
    return (
        max(0, significant - 1 - math.floor(math.log10(abs(value)))) if value else significant - 1
    )


def plain(text: str, most: int = MOST_IN_CELL) -> str:
    """One line of about `most` characters, cut in the middle, that only shows: no control,
    reordering, invisible ones.

    Line breaks become “⏎”. Text that a spreadsheet would take for a formula is given an apostrophe
    in front.
    """
    lines = [" ".join(part.split()) for part in re.split(r"\r\n|\r|\n", str(text).strip("\r\n"))]
    line = printable(NEWLINE.join(lines)).strip()
    line = "".join(
        "\ufffd" if unicodedata.category(c) == "Cf" and c not in JOINERS else c for c in line
    )
    if len(line) > most:
        tail = most // 3
        line = f"{line[: most - tail]}{CUT}{line[-tail:]}"
    return f"'{line}" if line[:1] in FORMULA and line and not NUMBERS.fullmatch(line) else line


def markdown_text(text: str, most: int = MOST_IN_CELL) -> str:
    """Text that Markdown (CommonMark and GitHub's) shows as it is: no markup, no links, no block of
    its own.
    """
    if NUMBERS.fullmatch(plain(text, most)):
        return plain(text, most)
    line = "".join(f"\\{c}" if c in MARKUP else ENTITIES.get(c, c) for c in plain(text, most))
    line = LINK.sub(lambda m: f"\\{m.group()}", line)
    line = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line)
    return f"\\{line}" if line[:1] in "+-=" and line else line


def escaped_json(text: str) -> str:
    """JSON text in which markup, control and reordering characters are escapes; reading it gives
    the same values.
    """
    return "".join(
        f"\\u{ord(c):04x}" if c in "<>&\ufeff" or (c != "\n" and _does_more(c)) else c for c in text
    )


def _does_more(c: str) -> bool:
    return unicodedata.category(c) in CONTROLS or c in REORDERING


def sentence(text: str) -> str:
    """With a capital letter in front and one full stop behind."""
    return f"{text[:1].upper()}{text[1:].rstrip(' .')}." if text else ""


def lines_of(value: Any) -> list[tuple[str, str]]:
    """Plain JSON as (label, text) lines in its own order; the label is "" for a single value or an
    item of a list.
    """
    return _flat("", value)


def _flat(label: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        if not value:
            return [(label, "none")]
        return [
            pair
            for k, v in value.items()
            for pair in _flat(f"{label} › {_words(str(k))}" if label else _words(str(k)), v)
        ]
    if isinstance(value, list | tuple):
        if not value:
            return [(label, "none")]
        if all(not isinstance(v, Mapping | list | tuple) for v in value):
            if not label:
                return [("", _scalar(v)) for v in value]
            return [(label, ", ".join(_scalar(v) for v in value))]
        return [pair for n, v in enumerate(value, 1) for pair in _flat(f"{label} {n}".strip(), v)]
    return [(label, _scalar(value))]


def _words(key: str) -> str:
    return key.replace("_", " ")


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return number(value) if isinstance(value, float) else str(value)
