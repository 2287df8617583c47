"""Text of any origin made fit to be shown, and where two texts differ, word by word.

Streamlit reads labels, captions and badges as Markdown, so that a sample could write links and
images into the page; `st.text` shows what it gets.
"""

from __future__ import annotations

import difflib
import re

import streamlit as st

from restaudit.evidence.shown import MOST_IN_CELL, invisible, markdown_text
from restaudit.files.signs import printable

# Stands for a colon while everything else is escaped, so that no backslash of ours is escaped
# again.
COLON = "\ue000"
# What Streamlit makes links, icons, its logo and emoji of, even where it is escaped: it looks for
# them in the finished text. Each piece of a text that stands by itself (a directive that sets no
# colour) is looked at alone.
JOINTS = re.compile(rf"{COLON}(?!\s)|\\@|(?i:(?<=www)\\?\.)")
MOST, MOST_NAME = 20_000, 120
# Comparing words takes time with the square of their number.
MOST_WORDS = 800
# Under this share of words in common, marks would cover nearly everything and say nothing.
LEAST_SHARED = 0.25
OPEN, SHUT = "⟦", "⟧"
ADDED, GONE = "+", "−"


def said(text: str) -> None:
    """Show text of any origin as text; the one way to do it."""
    st.text(multiline(text))


def escaped(text: str, most: int = MOST_IN_CELL) -> str:
    """A line of about `most` characters that Streamlit shows as it is, wherever it reads Markdown:
    in labels, captions, titles, badges, help. The one way for text of unknown origin to get there.
    """
    line = markdown_text(text.replace(":", COLON), most)
    line = JOINTS.sub(lambda m: f":color[\\{m.group()[-1].replace(COLON, ':')}]", line)
    return line.replace(COLON, "\\:")


def file_name(text: str) -> str:
    """A name for a download: letters, digits, `.`, `_` and `-`; anything else is `_`, so that no mark
    turns its end around.
    """
    return re.sub(r"[^\w.-]+", "_", text)[-MOST_NAME:]


def multiline(text: str, most: int = MOST) -> str:
    """Text of any origin with its lines and tabs; every other control, reordering or invisible mark
    becomes U+FFFD.
    """
    # Line ends and tabs are controls too; they alone are kept.
    pieces = re.split(r"([\r\n\t])", text[:most])
    shown = "".join(piece if piece in "\r\n\t" else printable(piece) for piece in pieces)
    shown = "".join("\ufffd" if invisible(c) else c for c in shown)
    if len(text) <= most:
        return shown
    return f"{shown} […] ({len(text) - most:,} more characters)"


def one_line(text: str, most: int) -> str:
    """Text on one line, cut at the end."""
    # Cut before it is cleaned, which takes long for a long text; runs of spaces become one.
    line = printable(" ".join(text[: 4 * most].split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def marked(left: str, right: str) -> tuple[str, str] | str:
    """Both texts with marks around the words that the other lacks, or a sentence that says why
    there are none.
    """
    if OPEN in left + right or SHUT in left + right:
        return f"No marks: a text has the characters {OPEN} or {SHUT} itself."
    if left == right:
        return "Both texts are the same."
    a, b = re.findall(r"\S+", left), re.findall(r"\S+", right)
    if not a or not b:
        return "No marks: a text is empty."
    if max(len(a), len(b)) > MOST_WORDS:
        return f"No marks: a text has more than {MOST_WORDS} words."
    matcher = difflib.SequenceMatcher(None, a, b)
    if matcher.ratio() < LEAST_SHARED:
        return f"No marks: the texts share {matcher.ratio():.0%} of their words in this order."
    gone, added = [], []
    for tag, left_first, left_after, right_first, right_after in matcher.get_opcodes():
        if tag == "equal":
            continue
        if left_after > left_first:
            gone.append((left_first, left_after))
        if right_after > right_first:
            added.append((right_first, right_after))
    return _with_marks(left, gone, GONE), _with_marks(right, added, ADDED)


def _with_marks(text: str, spans: list[tuple[int, int]], sign: str) -> str:
    """The text as it is, with a mark around every run of these words."""
    words = list(re.finditer(r"\S+", text))
    shown, at = [], 0
    for first, after in spans:
        start, end = words[first].start(), words[after - 1].end()
        shown += [text[at:start], f"{OPEN}{sign}{text[start:end]}{sign}{SHUT}"]
        at = end
    return "".join([*shown, text[at:]])


def size(count: int) -> str:
    """A number of bytes for people."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            decimals = 0 if unit == "bytes" or value >= 100 else 1
            return f"{value:.{decimals}f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
