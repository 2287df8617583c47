"""A griffe extension (mkdocs.yml): aligned lists of docstrings become Markdown lists.

This project's docstrings say what a parameter is in two columns:

    looks    how many, evenly spaced over the planned optimiser steps
             (the last one is at the end), or the steps.

Markdown would run the rows together into one paragraph.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROW = re.compile(r"^(\S+(?:, \S+)*) {2,}(\S.*)$")


class AlignedLists(Extension):
    """Every docstring, as it is read."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_list(obj.docstring.value)


def as_list(text: str) -> str:
    """The text with two aligned columns as a Markdown list."""
    lines: list[str] = []
    indent = 0
    for line in text.splitlines():
        row = ROW.match(line)
        if row:
            if not indent and lines and lines[-1]:
                lines.append("")
            indent = row.start(2)
            lines.append(f"- `{row[1]}`: {row[2]}")
        elif indent and line.startswith(" " * indent):
            lines.append(f"    {line.strip()}")
        else:
            if indent and line:
                lines.append("")
            indent = 0
            lines.append(line)
    return "\n".join(lines)
