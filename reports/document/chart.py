"""A document's chart as SVG: series over iterations, or over an axis of numbers, told apart in
greyscale too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from reports.charts.drawing import FAINT, RULE, blank, drawn
from reports.charts.reward_human import CORRELATION, DISTINCT, HUMAN, REWARD, VENDI, Style
from reports.document.glyphs import drawable
from reports.document.model import Chart, FitCurve, Line
from restaudit.evidence.shown import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, LEGEND_ROW, FOOT, AXIS_ROW = 6.6, 2.5, 0.2, 0.42, 0.16
STYLES = (
    REWARD,
    HUMAN,
    VENDI,
    DISTINCT,
    CORRELATION,
    Style("#56B4E9", "P", (0, (1, 1)), "#56B4E9"),
    Style("#b36b00", "<", (0, (6, 1, 1, 1)), "white"),
    Style("#5a5a5a", ">", (0, (3, 1, 1, 1, 1, 1)), "#5a5a5a"),
)
CURVES = (Style(FAINT, "", "-", ""), Style(FAINT, "", (0, (4, 2)), ""))
MOST_LABELS = 12
LABEL = 7
# Charts whose values go across: inches of a row, share of the width for labels, and the characters
# that go there.
ROW, SIDE, MOST_SIDE = 0.22, 0.34, 40
MOST_LEGEND = 58


def svg(chart: Chart) -> str:
    """The chart as one SVG element with its words for who cannot see it, without an XML header."""
    text = drawn(
        lambda: figure(chart), ".svg", title=plain(chart.title), text=plain(chart.said, 1000)
    ).decode("utf-8")
    return text[text.index("<svg ") :].strip()


def figure(chart: Chart) -> Figure:
    """The chart as a matplotlib figure."""
    if chart.across:
        return _across(chart)
    shown = [line for line in chart.lines if line.points]
    keys = len(shown) + len(chart.curves)
    legend = LEGEND_ROW * -(-keys // 2) if keys > 1 else 0.0
    foot = FOOT + (AXIS_ROW if chart.places else 0.0)
    height = HEIGHT + legend + foot - FOOT
    made = blank((WIDTH, height))
    axes = made.add_axes((0.09, foot / height, 0.885, (HEIGHT - 0.85) / height))
    if chart.places:
        _by_place(axes, chart, shown)
    else:
        _by_label(axes, chart, shown)
    if chart.reference is not None:
        axes.axhline(chart.reference, color=FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        if chart.reference_label:
            # Points over an axis of numbers crowd to the right.
            side, at = ("left", 0.005) if chart.places else ("right", 1.0)
            axes.annotate(
                _glyphs(chart.reference_label),
                (at, chart.reference),
                xycoords=("axes fraction", "data"),
                ha=side,
                va="bottom",
                fontsize=LABEL,
                color=FAINT,
            )
    axes.set_title(_glyphs(chart.unit), fontsize=8, loc="left", color=FAINT, pad=5)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=3, labelsize=8)
    if keys > 1:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.12),
            ncols=2,
            frameon=False,
            fontsize=8,
            handlelength=2.6,
            borderaxespad=0.0,
            columnspacing=1.6,
        )
    # An empty frame would look like a fault of the drawing.
    if not shown:
        axes.set_yticks([])
        axes.text(
            0.5,
            0.5,
            "nothing was measured",
            transform=axes.transAxes,
            ha="center",
            va="center",
            fontsize=9,
        )
    return made


def _across(chart: Chart) -> Figure:
    """A row a label, from the top down."""
    # The height follows the rows, so that forty labels stand as far apart as four.
    (line,) = chart.lines
    height = FOOT + AXIS_ROW + ROW * len(line.points)
    made = blank((WIDTH, height))
    axes = made.add_axes(
        (SIDE, (FOOT + AXIS_ROW - 0.1) / height, 0.97 - SIDE, ROW * len(line.points) / height)
    )
    rows = [-p.x for p in line.points]
    axes.plot(
        [p.value for p in line.points], rows, "o", markersize=4.5, color=REWARD.colour, zorder=3
    )
    for row, p in zip(rows, line.points, strict=True):
        if p.low is not None and p.high is not None:
            axes.hlines(row, p.low, p.high, color=REWARD.colour, linewidth=1.4, zorder=2)
    if chart.reference is not None:
        axes.axvline(chart.reference, color=FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    axes.set_yticks(
        rows, [_glyphs(chart.labels[p.x], MOST_SIDE) for p in line.points], fontsize=LABEL
    )
    axes.set_ylim(min(rows) - 0.6, 0.6)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=3, labelsize=LABEL)
    axes.set_xlabel(_glyphs(chart.unit), fontsize=LABEL, color=FAINT, labelpad=2)
    return made


def _by_label(axes: Axes, chart: Chart, shown: Sequence[Line]) -> None:
    """One label after the other, the points of a series joined."""
    for k, line in enumerate(shown):
        places = [p.x for p in line.points]
        behind = len(shown) - 1 - k
        _line(axes, line, STYLES[k % len(STYLES)], places, joined=True, behind=behind)
    step = max(1, -(-len(chart.labels) // MOST_LABELS))
    at = list(range(0, len(chart.labels), step))
    axes.set_xticks(at, [_glyphs(chart.labels[k], 18) for k in at], fontsize=8)
    axes.set_xlim(-0.4, max(len(chart.labels) - 1, 1) + 0.4)


def _by_place(axes: Axes, chart: Chart, shown: Sequence[Line]) -> None:
    """Points over an axis of numbers, each label above its points, and the curves behind them."""
    wide = max(chart.places) or 1.0
    for k, line in enumerate(shown):
        places = [chart.places[p.x] for p in line.points]
        behind = len(shown) - 1 - k
        _line(axes, line, STYLES[k % len(STYLES)], places, joined=False, behind=behind)
    for curve, style in zip(chart.curves, cycle(CURVES)):
        _curve(axes, curve, style)
    axes.set_xlim(-0.04 * wide, 1.05 * wide)
    axes.margins(y=0.12)
    axes.set_xlabel(_glyphs(chart.axis), fontsize=8, color=FAINT, labelpad=3)
    tops: dict[int, float] = {}
    for p in (p for line in shown for p in line.points):
        tops[p.x] = max(p.value if p.high is None else p.high, tops.get(p.x, -math.inf))
    _labels(
        axes,
        [(_glyphs(chart.labels[x], 18), chart.places[x], top) for x, top in sorted(tops.items())],
    )


def _labels(axes: Axes, above: Sequence[tuple[str, float, float]]) -> None:
    """A label above each point (label, x, y), higher where it would lie over one that stands
    already.

    Widths are reckoned from the number of characters: the same chart has the same bytes on every
    machine.
    """
    axes.autoscale_view()
    # Matplotlib's offsets count points, its transform pixels.
    to_points = 72 / axes.figure.dpi
    standing: list[tuple[float, float, float]] = []
    for label, x, y in sorted(above, key=lambda one: (one[2], one[1])):
        middle, foot = axes.transData.transform((x, y)) * to_points
        half, lift = len(label) * LABEL * 0.31, 3.0
        over = [b for left, right, b in standing if left < middle + half and middle - half < right]
        while any(abs(foot + lift - b) < LABEL * 1.1 for b in over):
            lift += 1.0
        standing.append((middle - half, middle + half, foot + lift))
        axes.annotate(
            label,
            (x, y),
            xytext=(0, lift),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=LABEL,
            color=FAINT,
        )


def _curve(axes: Axes, curve: FitCurve, style: Style) -> None:
    axes.plot(
        [x for x, _ in curve.points],
        [y for _, y in curve.points],
        color=style.colour,
        linestyle=style.line,
        linewidth=1.3,
        label=_glyphs(curve.label, MOST_LEGEND),
        zorder=2.5,
    )


def _line(
    axes: Axes, line: Line, style: Style, places: Sequence[float], *, joined: bool, behind: int
) -> None:
    """A series; `behind` counts those that are drawn over it at the same places."""
    axes.plot(
        places,
        [p.value for p in line.points],
        color=style.colour,
        linestyle=style.line if joined else "",
        linewidth=1.6,
        marker=style.marker,
        markersize=5,
        markerfacecolor=style.fill,
        markeredgewidth=1.3,
        label=_glyphs(line.label, MOST_LEGEND),
        zorder=3,
    )
    for at, p in zip(places, line.points, strict=True):
        if p.low is not None and p.high is not None:
            # Wider the more is drawn over it: intervals at one place would hide one another.
            axes.vlines(
                at,
                p.low,
                p.high,
                color=style.colour,
                linewidth=1.2 + 2.2 * behind,
                alpha=0.4 if behind else 0.75,
                zorder=2,
            )


def _glyphs(text: str, most: int = 90) -> str:
    """One line, with what the chart's font cannot draw written as its number."""
    return drawable(plain(text, most))
