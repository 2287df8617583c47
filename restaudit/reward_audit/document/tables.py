"""Measurements as tables with a picture: value and interval, one table a unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from restaudit.evidence.shown import number, together
from restaudit.reward_audit.document.model import Mark, Table

COLUMNS = ("measurement", "value", "95% interval", "n", "units resampled", "what it is")
# A value that says nothing: guessing, for a share of pairs; no relation, for a correlation.
NOTHING = {"share": 0.5, "r": 0.0, "rho": 0.0}
DIFFERENCES, SLICES, GAPS = "differences on the same items", "slices", "slices less the rest"
# First part of a measurement's name -> what it is one of; any other measures agreement with people.
FAMILIES = {
    "slice": SLICES,
    "slice_gap": GAPS,
    "slice_over": "mean error on slices",
    "calibration": "calibration",
    "spread": "does its own doubt tell errors?",
    "transitivity": "circles among three",
    "learning_curve": "by share of the training data",
}


class Figures(NamedTuple):
    """A value and its interval as text, and the ends of the interval where there is one."""

    value: str
    interval: str
    low: float | None = None
    high: float | None = None


def figures(m: Mapping[str, Any], level: float = 0.95) -> Figures:
    """The value of a measurement (plain JSON), and its interval at this level, else its first."""
    found = next((i for i in m["intervals"] if abs(i["level"] - level) < 1e-9), None)
    found = found or next(iter(m["intervals"]), None)
    value = "not measured" if m["value"] is None else number(m["value"])
    if found is None:
        return Figures(value, f"none: {m['reason']}" if m.get("reason") else "none")
    said = "" if abs(found["level"] - 0.95) < 1e-9 else f" ({found['level']:.4g} level)"
    value, low, high = together(m["value"], found["low"], found["high"])
    return Figures(value, f"{low} to {high}{said}", found["low"], found["high"])


def measurements(
    caption: str, rows: Sequence[Mapping[str, Any]], *, prefix: str
) -> tuple[Table, ...]:
    """Measurements (plain JSON) under their names without the prefix, one table a family and unit,
    in order.

    Values of one unit that mean different things (a share that agrees, a difference of two shares)
    are never drawn on one axis. What could not be measured stands in its table with the reason, and
    is not drawn.
    """
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for m in rows:
        found.setdefault((_family(str(m["name"]).removeprefix(prefix)), str(m["unit"])), []).append(
            m
        )
    return tuple(
        _table(f"{caption}{': ' if family else ''}{family} ({unit})", part, family, unit, prefix)
        for (family, unit), part in found.items()
    )


def _family(name: str) -> str:
    first = name.partition(".")[0]
    return DIFFERENCES if first.startswith("less") else FAMILIES.get(first, "")


def _table(
    caption: str, rows: Sequence[Mapping[str, Any]], family: str, unit: str, prefix: str
) -> Table:
    cells, marks = [], []
    for m in rows:
        name = str(m["name"]).removeprefix(prefix).replace("_", " ")
        what = str(m.get("detail", {}).get("meaning") or m["method"])
        if m["value"] is None:
            cells.append(
                (name, figures(m).value, str(m["reason"]), str(m["n"]), str(m["n_prompts"]), what)
            )
            continue
        found = figures(m)
        cells.append((name, found.value, found.interval, str(m["n"]), str(m["n_prompts"]), what))
        marks.append(Mark(name, m["value"], found.low, found.high))
    nothing = (
        0.0
        if family in (DIFFERENCES, GAPS)
        else NOTHING.get(unit)
        if family in ("", SLICES)
        else None
    )
    return Table(caption, COLUMNS, tuple(cells), tuple(marks), unit, nothing if marks else None)
