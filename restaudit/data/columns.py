"""The columns of a file, by the names probes use, each value checked, with the line or row it stands
in.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from restaudit.data.tables import kind_of, listed, read_rows
from restaudit.errors import BadInput
from restaudit.evidence.chats import from_messages
from restaudit.files import parquet
from restaudit.files.given import COLUMNS, MOST_VALUES, json_cell, size_of

SHOWN = 400


@dataclass(frozen=True)
class Columns:
    """What was read of a file: `values` by standard name, all of length `len(where)`; `where` says
    "line 7" or "row 7".

    `called` maps a standard name to the file's own where the two differ; `unread` are the columns
    nothing reads.
    """

    path: Path
    where: Sequence[str]
    values: Mapping[str, list[Any]]
    called: Mapping[str, str]
    unread: tuple[str, ...]

    def bad(self, row: int, column: str, what: str) -> BadInput:
        """The error for one value: file, line or row, column, and what is wrong and expected."""
        # A value in it can have a million characters.
        what = f"{what[:SHOWN]}…" if len(what) > SHOWN else what
        return BadInput(
            f"{self.path}: {self.where[row]}: column '{self.called.get(column, column)}': {what}"
        )


def read_columns(
    path: Path,
    *,
    names: Collection[str],
    required: Collection[str],
    aliases: Mapping[str, Sequence[str]],
    given: Mapping[str, str],
) -> Columns:
    """Read the columns `names` of a .jsonl, .json, .csv, .tsv or .parquet file (the text ones
    perhaps with .gz).

    `given` maps a standard name to the file's own name; a file without that column is read by its
    standard names. Where a standard name is absent and exactly one of its `aliases` is there, that
    is read instead. A row without a value has None. Raises BadInput for a file that cannot be read,
    has no row, lacks a required column, or has two columns that could stand for one.
    """
    if kind_of(path) == ".parquet":
        present, where, stored = _parquet(path, names, aliases, given)
    else:
        present, where, stored = _rows(path, names, aliases, given)
    if not where:
        raise BadInput(f"{path}: holds no row; expected one row for each generation")
    called: dict[str, str] = {}
    values: dict[str, list[Any]] = {}
    for name in names:
        own = _pick(path, name, present, aliases.get(name, ()), given.get(name))
        if own is not None:
            values[name] = stored[own]
            if own != name:
                called[name] = own
        elif name in required:
            raise BadInput(_lacks(path, name, present))
    read = {called.get(name, name) for name in values}
    return Columns(path, where, values, called, tuple(c for c in present if c not in read))


def _pick(
    path: Path, name: str, present: Sequence[str], aliases: Sequence[str], given: str | None
) -> str | None:
    if given is not None and given in present:
        return given
    if name in present:
        return name
    candidates = [alias for alias in aliases if alias in present]
    # Two that would do: choosing one by its place in the file would be a guess.
    if len(candidates) > 1:
        raise BadInput(
            f"{path}: no column '{name}', and {' and '.join(map(repr, candidates))} could both "
            f"stand for it; say which with --column {name}={candidates[0]}"
        )
    if not candidates:
        return None
    return candidates[0]


def _lacks(path: Path, name: str, present: Sequence[str]) -> str:
    near = get_close_matches(name, present, n=1, cutoff=0.5)
    example = near[0] if near else "<name in the file>"
    return (
        f"{path}: no column '{name}' (columns here: {listed(present)}); name it with --column "
        f"{name}={example}"
    )


def _rows(
    path: Path,
    names: Collection[str],
    aliases: Mapping[str, Sequence[str]],
    given: Mapping[str, str],
) -> tuple[list[str], list[str], dict[str, list[Any]]]:
    wanted = _wanted(names, aliases, given)
    present: dict[str, None] = {}
    where: list[str] = []
    stored: dict[str, list[Any]] = {}
    nested, most_nested = 0, max(MOST_VALUES, size_of(path) // 4)
    for row in read_rows(path):
        for name in row.values:
            if name not in present:
                present[name] = None
                # Rows before the first that has this column have no value in it.
                if name in wanted:
                    stored[name] = [None] * len(where)
        for name, values in stored.items():
            value = row.values.get(name)
            nested += _nested(value)
            values.append(value)
        where.append(row.where)
        _within(path, row.where, "columns", len(present), COLUMNS)
        _within(path, row.where, "values in lists", nested, most_nested)
    return list(present), where, stored


def _nested(value: Any) -> int:
    """How many values are in a list or object: each takes much more memory than it does room in
    the file.
    """
    if isinstance(value, dict):
        return len(value) + sum(map(_nested, value.values()))
    if isinstance(value, list):
        return len(value) + sum(map(_nested, value))
    return 0


def _within(path: Path, where: str, what: str, count: int, most: int) -> None:
    if count > most:
        raise BadInput(
            f"{path}: {where}: more than {most:,} {what}, the most that are read of a file of this "
            "size; leave out what is not needed"
        )


def _parquet(
    path: Path,
    names: Collection[str],
    aliases: Mapping[str, Sequence[str]],
    given: Mapping[str, str],
) -> tuple[list[str], list[str], dict[str, list[Any]]]:
    wanted = _wanted(names, aliases, given)
    count, present = parquet.names_of(path)
    stored = parquet.columns_of(path, [n for n in present if n in wanted])
    if any(len(values) != count for values in stored.values()):
        raise BadInput(
            f"{path}: not a readable Parquet file (it says {count:,} rows, and lacks some)"
        )
    return present, [f"row {k}" for k in range(1, count + 1)], stored


def _wanted(
    names: Collection[str], aliases: Mapping[str, Sequence[str]], given: Mapping[str, str]
) -> set[str]:
    wanted = {*names, *given.values()}
    for own in aliases.values():
        wanted.update(own)
    return wanted


# --- values as what they must be: a number or undefined, a label or none, a text; nothing else

# Half of a surrogate pair: what "surrogateescape" makes of a byte that is not UTF-8.
_UNDECODED = re.compile("[\ud800-\udfff]")
# Tables hold counts of tokens in 32 bits.
MOST_TOKENS = 2**31 - 1
_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


def floats(columns: Columns, name: str) -> npt.NDArray[np.float64]:
    """One column as numbers, NaN where undefined (null, an empty cell, NaN).

    Raises BadInput for inf and for words.
    """
    values = [_float(columns, name, row, v) for row, v in enumerate(columns.values[name])]
    return np.array(values, dtype=np.float64)


def _float(columns: Columns, name: str, row: int, value: Any) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    number = None
    # float() takes True for 1, which nobody means by a score.
    if not isinstance(value, bool | list | dict):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            number = float(value)
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
    numbers = floats(columns, name)
    # Written so that NaN, which no comparison holds for, is bad too.
    bad = np.flatnonzero(~((numbers >= 0) & (numbers <= MOST_TOKENS)) | (numbers % 1 != 0))
    if bad.size:
        row = int(bad[0])
        got = _shown(columns.values[name][row])
        raise columns.bad(row, name, f"got {got}; expected a whole number of tokens for every row")
    return numbers.astype(np.int64)


def shares(columns: Columns, name: str) -> npt.NDArray[np.float64]:
    """One column as chances: above 0, at most 1, NaN where undefined."""
    chances = floats(columns, name)
    bad = np.flatnonzero((chances <= 0) | (chances > 1))
    if bad.size:
        raise columns.bad(
            int(bad[0]), name, f"got {chances[bad[0]]:g}; expected a chance above 0 and at most 1"
        )
    return chances


def flags(columns: Columns, name: str) -> npt.NDArray[np.bool_]:
    """One column as true or false, for every row."""
    answers = []
    for row, value in enumerate(columns.values[name]):
        word = str(value).strip().lower()
        if word not in _TRUE | _FALSE:
            raise columns.bad(row, name, f"got {_shown(value)}; expected true or false")
        answers.append(word in _TRUE)
    return np.array(answers, dtype=np.bool_)


def labels(columns: Columns, name: str) -> list[str | None]:
    """One column as names; None for null, an empty cell and NaN."""
    return [_label(columns, name, row, v) for row, v in enumerate(columns.values[name])]


def ids(columns: Columns, name: str) -> list[str]:
    """One column as names, one for every row."""
    names = []
    for row, label in enumerate(labels(columns, name)):
        if label is None:
            raise columns.bad(row, name, "is empty; expected a name or a number for every row")
        names.append(label)
    return names


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
    # A response is the last message; what stands before it is the prompt's business.
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
    lists_of_texts = []
    for row, value in enumerate(columns.values[name]):
        items = _unpacked(columns, row, value)
        if not all(isinstance(item, str) for item in items):
            raise columns.bad(row, name, f"got {_shown(value)}; expected a text or a list of texts")
        lists_of_texts.append(tuple(_decoded(columns, name, row, item) for item in items))
    return lists_of_texts


def _unpacked(columns: Columns, row: int, value: Any) -> list[Any]:
    if isinstance(value, str) and value.startswith("["):
        # A cell of a CSV file holds a list as JSON.
        value = json_cell(columns.path, columns.where[row], value)
    if isinstance(value, list):
        return value
    if value in (None, ""):
        return []
    return [value]


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
