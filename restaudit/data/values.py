"""Values of a column as what they must be: a number or undefined, a label or none, a text; anything
else is refused.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from restaudit.data.columns import Columns
from restaudit.evidence.chats import from_messages

_UNDECODED = re.compile("[\ud800-\udfff]")
_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


def floats(columns: Columns, name: str) -> npt.NDArray[np.float64]:
    """One column as numbers, NaN where undefined (null, an empty cell, NaN).

    Raises BadInput for inf and for words.
    """
    return np.array(
        [_float(columns, name, row, v) for row, v in enumerate(columns.values[name])],
        dtype=np.float64,
    )


def _float(columns: Columns, name: str, row: int, value: Any) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        number = float(value) if not isinstance(value, bool | list | dict) else None
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None:
        raise columns.bad(
            row, name, f"got {_shown(value)}; expected a number, or nothing where it is undefined"
        )
    if math.isinf(number):
        raise columns.bad(
            row, name, "is infinite; expected a finite number, or nothing where it is undefined"
        )
    return number


def counts(columns: Columns, name: str) -> npt.NDArray[np.int64]:
    """One column as whole numbers from 0 on, one for every row."""
    found = floats(columns, name)
    bad = np.flatnonzero(~(found >= 0) | (found != np.floor(found)))
    if bad.size:
        row = int(bad[0])
        got = _shown(columns.values[name][row])
        raise columns.bad(row, name, f"got {got}; expected a whole number of tokens for every row")
    return found.astype(np.int64)


def shares(columns: Columns, name: str) -> npt.NDArray[np.float64]:
    """One column as chances: above 0, at most 1, NaN where undefined."""
    found = floats(columns, name)
    bad = np.flatnonzero((found <= 0) | (found > 1))
    if bad.size:
        raise columns.bad(
            int(bad[0]), name, f"got {found[bad[0]]:g}; expected a chance above 0 and at most 1"
        )
    return found


def flags(columns: Columns, name: str) -> npt.NDArray[np.bool_]:
    """One column as true or false, for every row."""
    out = []
    for row, value in enumerate(columns.values[name]):
        word = str(value).strip().lower()
        if word not in _TRUE | _FALSE:
            raise columns.bad(row, name, f"got {_shown(value)}; expected true or false")
        out.append(word in _TRUE)
    return np.array(out, dtype=np.bool_)


def labels(columns: Columns, name: str) -> list[str | None]:
    """One column as names; None for null, an empty cell and NaN."""
    return [_label(columns, name, row, v) for row, v in enumerate(columns.values[name])]


def ids(columns: Columns, name: str) -> list[str]:
    """One column as names, one for every row."""
    found = []
    for row, label in enumerate(labels(columns, name)):
        if label is None:
            raise columns.bad(row, name, "is empty; expected a name or a number for every row")
        found.append(label)
    return found


def _label(columns: Columns, name: str, row: int, value: Any) -> str | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, str | int | float):
        raise columns.bad(row, name, f"got {_shown(value)}; expected a name or a number")
    return _decoded(columns, name, row, str(value))


def texts(columns: Columns, name: str, *, prompt: bool = False) -> list[str]:
    """One column as texts, for every row: plain, or chat messages (a prompt's whole, a response's
    last one).
    """
    return [_text(columns, name, row, v, prompt) for row, v in enumerate(columns.values[name])]


def _text(columns: Columns, name: str, row: int, value: Any, prompt: bool) -> str:
    if isinstance(value, list) and value and all(isinstance(m, dict) for m in value):
        try:
            value = from_messages(value) if prompt else _last(value)
        except ValueError as e:
            raise columns.bad(row, name, f"a chat that cannot be read: {e}") from None
    if value is None:
        raise columns.bad(
            row, name, "has no value; expected a text for every row (an empty text is one)"
        )
    if not isinstance(value, str):
        raise columns.bad(
            row, name, f"got {_shown(value)}; expected a text, or a list of chat messages"
        )
    return _decoded(columns, name, row, value)


def _last(messages: list[dict[str, Any]]) -> str:
    content = messages[-1].get("content")
    if messages[-1].get("role") != "assistant" or not isinstance(content, str):
        raise ValueError("the last message must be the assistant's, with a text as content")
    return content


def _decoded(columns: Columns, name: str, row: int, text: str) -> str:
    if _UNDECODED.search(text):
        raise columns.bad(row, name, "not UTF-8; expected UTF-8 text")
    return text


def lists(columns: Columns, name: str) -> list[tuple[str, ...]]:
    """One column as lists of texts; a single text is a list of one, nothing is an empty list."""
    out = []
    for row, value in enumerate(columns.values[name]):
        parts = _unpacked(value)
        if not all(isinstance(p, str) for p in parts):
            raise columns.bad(row, name, f"got {_shown(value)}; expected a text or a list of texts")
        out.append(tuple(_decoded(columns, name, row, p) for p in parts))
    return out


def _unpacked(value: Any) -> list[Any]:
    if isinstance(value, str) and value.startswith("["):
        # A cell of a CSV file holds a list as JSON; a text may begin with a bracket too.
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, list):
        return value
    return [] if value in (None, "") else [value]


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
