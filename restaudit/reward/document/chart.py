"""A table's values with their intervals as inline SVG: a dot and a line a row, readable in greyscale and on a phone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from restaudit.reward.document.model import Mark, Table
from restaudit.shown import number, plain, together

WIDTH, LEFT, RIGHT = 360.0, 10.0, 350.0
ROW, TOP, AXIS = 34.0, 8.0, 26.0
MOST_LABEL = 48
MOST_MARKS = 40
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def chart(table: Table) -> str:
    """SVG of a table's marks, or "" where it has none. Lines and text take the page's colours by class."""
    marks = table.marks[:MOST_MARKS]
    if not marks:
        return ""
    ticks = _ticks(marks, table.reference)
    low, high = ticks[0], ticks[-1]
    bottom = TOP + ROW * len(marks)

    def x(value: float) -> float:
        return LEFT + (min(max(value, low), high) - low) / (high - low) * (RIGHT - LEFT)

    parts = [f'<line class="axis" x1="{LEFT:g}" x2="{RIGHT:g}" y1="{bottom:g}" y2="{bottom:g}"/>']
    for tick in ticks:
        at = f"{x(tick):.1f}"
        anchor = "start" if x(tick) < LEFT + 12 else "end" if x(tick) > RIGHT - 12 else "middle"
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP:g}" y2="{bottom:g}"/>')
        parts.append(f'<text class="tick" x="{at}" y="{bottom + 15:g}" text-anchor="{anchor}">{tick:g}</text>')
    if table.reference is not None:
        at = f"{x(table.reference):.1f}"
        parts.append(f'<line class="reference" x1="{at}" x2="{at}" y1="{TOP:g}" y2="{bottom:g}"/>')
    for k, mark in enumerate(marks):
        parts += _row(mark, TOP + ROW * k, x)
    title = f"{table.caption}: value and interval"
    if len(table.marks) > len(marks):
        title += f" (the first {len(marks)} of {len(table.marks)})"
    height = bottom + AXIS
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH:g} {height:g}" width="{WIDTH:g}" height="{height:g}">'
        f"<title>{escape(plain(title))}</title><desc>{escape(_said(marks, table.reference))}</desc>"
        f"{''.join(parts)}</svg>"
    )


def _row(mark: Mark, top: float, x: Callable[[float], float]) -> list[str]:
    y = top + 25
    label = f'<text class="label" x="{LEFT:g}" y="{top + 13:g}">{escape(plain(mark.label, MOST_LABEL))}</text>'
    dot = f'<circle class="dot" cx="{x(mark.value):.1f}" cy="{y:g}" r="4"/>'
    if mark.low is None or mark.high is None:
        return [label, f'<circle class="bare" cx="{x(mark.value):.1f}" cy="{y:g}" r="4"/>']
    ends = "".join(
        f'<line class="whisker" x1="{x(e):.1f}" x2="{x(e):.1f}" y1="{y - 4:g}" y2="{y + 4:g}"/>'
        for e in (mark.low, mark.high)
    )
    line = f'<line class="whisker" x1="{x(mark.low):.1f}" x2="{x(mark.high):.1f}" y1="{y:g}" y2="{y:g}"/>'
    return [label, line, ends, dot]


def _ticks(marks: Sequence[Mark], reference: float | None) -> list[float]:
    """Round values, evenly spaced, from below to above every value, interval and the reference."""
    known = [v for m in marks for v in (m.value, m.low, m.high) if v is not None]
    known += [] if reference is None else [reference]
    low, high = min(known), max(known)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    size = float(10.0 ** math.floor(math.log10((high - low) / 4)))
    step = next((s * size for s in STEPS if s * size * 4 >= high - low), 10 * size)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]


def _said(marks: Sequence[Mark], reference: float | None) -> str:
    parts = []
    for m in marks:
        if m.low is None or m.high is None:
            parts.append(f"{plain(m.label, MOST_LABEL)} {number(m.value)} (no interval)")
        else:
            value, low, high = together(m.value, m.low, m.high)
            parts.append(f"{plain(m.label, MOST_LABEL)} {value} ({low} to {high})")
    line = "" if reference is None else f" Dashed line: {number(reference)}."
    return "; ".join(parts) + "." + line
