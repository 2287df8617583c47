"""A run in whose record every name and text is hostile: it would be a link, an image, markup, or would
turn a page or a terminal around, wherever it were taken for more than text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from tests.reports.make_run import make_run, resealed

# Each is shown as it stands here, but for the marks that would reorder or hide something.
HOSTILE = (
    "http://evil.example/a",
    "www.evil.example/b",
    "mail@evil.example",
    "![x](http://evil.example/c.png)",
    "[y](javascript:alert(1))",
    "<img src=http://evil.example/d.png onerror=alert(1)><script>alert(2)</script><style>*{}</style>",
    "<http://evil.example/e> :streamlit: :material/home: :red[z] :smile: $e^f$ `g` **h**",
    "# i",
    "\x1b]8;;http://evil.example/j\x07k\x1b[31m \u202el\u2069 m\u200bn",
)
ALL = " ".join(HOSTILE)
# A plan refuses control characters.
LINE = " ".join(HOSTILE[:-1])
# Keys of JSON whose value is text that a person, a model or a program of somebody's wrote.
FREE = frozenset(
    {
        "by",
        "callable",
        "data",
        "description",
        "detail",
        "gate",
        "host",
        "licence",
        "limits",
        "member",
    }
    | {
        "method",
        "model",
        "name",
        "note",
        "platform",
        "purpose",
        "raters",
        "reason",
        "source",
        "spec",
    }
    | {"task", "text", "title", "unit", "validation", "why"}
)
COLUMNS = frozenset({"text", "prompt", "group", "family", "source", "origin"})


def make_hostile(folder: Path, state: str = "overridden") -> Path:
    """Write the run and return its path. Ids, names of files and what a schema lists stay as they
    are; all else is hostile.
    """
    run = make_run(folder, state, name=LINE)
    for path in sorted(run.rglob("*.json")):
        # Names by which measurements, methods of training and models are looked up.
        looked_up = {"measurements.json": {"name"}, "plan.json": {"method", "name"}}
        free = FREE - looked_up.get(path.name, set())
        said = _hostile(json.loads(path.read_text()), free)
        if path.name == "measurements.json":
            said["measurements"].append({**said["measurements"][0], "name": f"own.{LINE}"})
        path.write_text(json.dumps(said))
    for path in sorted(run.rglob("*.parquet")):
        table = pd.read_parquet(path)
        for column in COLUMNS.intersection(table.columns):
            table[column] = [None if v is None else f"{v} {ALL}" for v in table[column]]
        table.to_parquet(path)
    return resealed(run)


def _hostile(value: Any, free: frozenset[str], key: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _hostile(v, free, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_hostile(v, free, key) for v in value]
    if isinstance(value, str) and key in free and value != "MISSING":
        return f"{value} {LINE}"
    return value
