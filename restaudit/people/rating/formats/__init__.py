"""One file for each layout, with a writer, a reader and a test of whether a file looks like it.

A new layout: copy native.py, and add a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restaudit.errors import BadInput
from restaudit.people.rating.formats import argilla, csv, label_studio, native, potato, prodigy
from restaudit.people.rating.formats.vote import ToolFormat, header_of, json_rows, one_object

FORMATS: Mapping[str, ToolFormat] = {
    m.FORMAT.name: m.FORMAT for m in (native, label_studio, argilla, potato, prodigy, csv)
}


def named(name: str) -> ToolFormat:
    """The format of this name. Raises BadInput listing those there are."""
    if name not in FORMATS:
        raise BadInput(f"format {name!r}: expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


def detect(text: str) -> ToolFormat:
    """The one format that a file's first record fits.

    Raises BadInput where none does, or several do.
    """
    start = text.lstrip()[:1]
    if not start:
        raise BadInput("the file is empty")
    is_json = start in "[{"
    record = _first(text) if is_json else header_of(text)
    fitting = [f for f in FORMATS.values() if (f.json if is_json else f.table) and f.fits(record)]
    if len(fitting) == 1:
        return fitting[0]
    problem = "is like none of the known formats"
    if fitting:
        problem = f"could be {' or '.join(f.name for f in fitting)}"
    raise BadInput(f"the file {problem}; say which: --format {'|'.join(FORMATS)}")


def _first(text: str) -> Mapping[str, Any]:
    """The first record of JSON or JSON Lines, or the one object a file is."""
    if text.lstrip()[:1] == "{":
        single = one_object(text)
        if single is not None:
            return single
    rows = json_rows(text)
    return rows[0][1] if rows else {}
