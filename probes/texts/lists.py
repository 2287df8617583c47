"""The word lists in probes/data: each says what it is, where it comes from, and its limits."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data"
# A word with what hangs on it by a hyphen ("non-binary"); an apostrophe ends it ("she's" is "she"
# and "s").
WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


@cache
def word_list(name: str) -> dict[str, Any]:
    """The list `name` of probes/data, as it is written there; do not change it."""
    found: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return found


def limits(name: str) -> str:
    """The list's own account of what it cannot do, as one line."""
    return " ".join(word_list(name)["limits"])
