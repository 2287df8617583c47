"""What people read, made fit to be shown: numbers with as many digits as they know, and text of
unknown origin as nothing but text in every format.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from probes.base import Measurement
from restaudit.files.signs import CONTROLS, REORDERING, printable

NOTHING = "–"
LEVEL = 0.95
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


# --- numbers


def number(
    value: float | None,
    *,
    significant: int = 4,
    decimals: int | None = None,
    whole_from: float = math.inf,
    minus: str = "-",
) -> str:
    """A number as text; "–" for None. Integers are shown in full.

    significant  digits that are shown of it
    decimals     show as many decimals instead, whatever the size
    whole_from   from this size on only the whole part is shown, with commas
    minus        the sign of negative numbers: a hyphen can be copied into a program, "−" is as wide
                 as a digit
    """
    if value is None:
        return NOTHING
    if decimals is not None:
        text = _without_minus_zero(f"{value:,.{decimals}f}")
    elif isinstance(value, int):
        text = f"{value:,}"
    elif abs(value) >= whole_from:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.{significant}g}"
    return text.replace("-", minus)


def figure(value: float | None) -> str:
    """A number in a document for people: three significant digits, from 1,000 on the whole part."""
    return number(value, significant=3, whole_from=1000, minus="−")


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
    # Digits beyond the second of the half width are noise: another sample would change them.
    wanted = max(0, 1 - math.floor(math.log10(half))) if half > 0 else _digits(value, 3)
    for places in range(wanted, MOST_DECIMALS + 1):
        if all(_told_apart(end, x, places) for end in (low, high) for x in apart_from):
            return (
                number(value, decimals=places),
                number(low, decimals=places),
                number(high, decimals=places),
            )
    return number(value), number(low), number(high)


def estimate(value: float, low: float, high: float, *, apart_from: Iterable[float] = (0.0,)) -> str:
    """ "0.42 [0.31, 0.53]": a value and its interval in a document, with the same decimals."""
    texts = together(value, low, high, apart_from=apart_from)
    shown, start, end = (text.replace("-", "−") for text in texts)
    return f"{shown} [{start}, {end}]"


def brief(
    value: float,
    low: float,
    high: float,
    *,
    apart_from: float = 0.0,
    sign: bool = False,
    decimals: int | None = None,
) -> str:
    """ "+0.98 [0.77, 1.19]": a value and its interval in a sentence, three digits at most.

    More decimals (than `decimals`, where given) only where an end would otherwise look like
    `apart_from` and is not. `sign` puts a plus before a value above zero.
    """
    largest = max(abs(value), abs(low), abs(high))
    places = 2 if largest < 10 else (1 if largest < 100 else 0)
    # Where everything is small, two decimals would show nothing.
    if 0 < largest < 0.1:
        places = 1 - math.floor(math.log10(largest))
    if decimals is not None:
        places = decimals
    while places < MOST_DECIMALS and not all(
        _told_apart(end, apart_from, places) for end in (low, high)
    ):
        places += 1
    texts = [number(x, decimals=min(places, MOST_DECIMALS), minus="−") for x in (value, low, high)]
    plus = "+" if sign and value > 0 else ""
    return f"{plus}{texts[0]} [{texts[1]}, {texts[2]}]"


def count(n: int, what: str, plural: str | None = None) -> str:
    """ "1 check", "2 checks"."""
    return f"{n:,} {what if n == 1 else plural or what + 's'}"


def listed(names: Iterable[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    every = list(names)
    return " and ".join([", ".join(every[:-1]), every[-1]] if len(every) > 1 else every)


def measured(m: Measurement | None) -> str:
    """A measurement in a document: "0.42 [0.31, 0.53]", "0.42" without an interval, "–" where
    nothing was measured.
    """
    if m is None or m.value is None:
        return NOTHING
    interval = m.interval(LEVEL)
    if interval is None:
        return figure(m.value)
    return estimate(m.value, interval.low, interval.high)


def _told_apart(end: float, other: float, places: int) -> bool:
    """Whether the end of an interval looks like another number only where it is that number."""
    return end == other or round(end, places) != round(other, places)


def _without_minus_zero(text: str) -> str:
    """ "-0.00" says a sign that its digits do not bear out."""
    return text if text.strip("-0.,") else text.removeprefix("-")


def _digits(value: float, significant: int) -> int:
    """Decimals that show this many digits of a number."""
    if not value:
        return significant - 1
    return max(0, significant - 1 - math.floor(math.log10(abs(value))))


# --- text of unknown origin


def plain(text: str, most: int = MOST_IN_CELL) -> str:
    """One line of about `most` characters, cut in the middle, that only shows: no control,
    reordering, invisible ones.

    Line breaks become “⏎”. Text that a spreadsheet would take for a formula is given an apostrophe
    in front.
    """
    lines = [" ".join(part.split()) for part in re.split(r"\r\n|\r|\n", str(text).strip("\r\n"))]
    line = printable(NEWLINE.join(lines)).strip()
    # Python's printable text has none, and a document is thousands of cells.
    if not line.isprintable():
        line = "".join("\ufffd" if invisible(c) else c for c in line)
    if len(line) > most:
        # Beginning and end say more of a text than its beginning alone.
        tail = most // 3
        line = f"{line[: most - tail]}{CUT}{line[-tail:]}"
    # A negative number begins like a formula and is none.
    formula = line and line[0] in FORMULA and not NUMBERS.fullmatch(line)
    return f"'{line}" if formula else line


def invisible(character: str) -> bool:
    """Whether a character shows nothing and may hide something."""
    return unicodedata.category(character) == "Cf" and character not in JOINERS


def markdown_text(text: str, most: int = MOST_IN_CELL) -> str:
    """Text that Markdown (CommonMark and GitHub's) shows as it is: no markup, no links, no block of
    its own.
    """
    line = plain(text, most)
    if NUMBERS.fullmatch(line):
        return line
    line = "".join(f"\\{c}" if c in MARKUP else ENTITIES.get(c, c) for c in line)
    # GitHub makes a link of an address without any markup.
    line = LINK.sub(lambda m: f"\\{m.group()}", line)
    line = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line)
    return f"\\{line}" if line[:1] in "+-=" and line else line


def escaped_json(text: str) -> str:
    """JSON text in which markup, control and reordering characters are escapes; reading it gives
    the same values.
    """
    return "".join(f"\\u{ord(c):04x}" if _does_more(c) else c for c in text)


def _does_more(c: str) -> bool:
    """Whether a character could do something to a page or a terminal that shows it."""
    if c == "\n":
        return False
    return c in "<>&\ufeff" or unicodedata.category(c) in CONTROLS or c in REORDERING


def sentence(text: str) -> str:
    """With a capital letter in front and one full stop behind."""
    return f"{text[:1].upper()}{text[1:].rstrip(' .')}." if text else ""


def lines_of(value: Any) -> list[tuple[str, str]]:
    """Plain JSON as (label, text) lines in its own order; the label is "" for a single value or an
    item of a list.
    """
    return _flat("", value)


def _flat(label: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping | list | tuple) and not value:
        return [(label, "none")]
    if isinstance(value, Mapping):
        lines = []
        for key, inner in value.items():
            words = str(key).replace("_", " ")
            lines += _flat(f"{label} › {words}" if label else words, inner)
        return lines
    if isinstance(value, list | tuple):
        if any(isinstance(item, Mapping | list | tuple) for item in value):
            lines = []
            for place, item in enumerate(value, 1):
                lines += _flat(f"{label} {place}".strip(), item)
            return lines
        if label:
            return [(label, ", ".join(_scalar(item) for item in value))]
        return [("", _scalar(item)) for item in value]
    return [(label, _scalar(value))]


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return number(value) if isinstance(value, float) else str(value)
