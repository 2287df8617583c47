"""A document's chart as SVG: series over iterations with intervals, told apart in greyscale too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.chart import CORRELATION, DISTINCT, HUMAN, REWARD, VENDI, Style
from reports.document.glyphs import drawable
from reports.document.model import Chart, Line
from reports.drawing import FAINT, RULE, blank, drawn
from restaudit.shown import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, LEGEND_ROW = 6.6, 2.5, 0.2
STYLES = (REWARD, HUMAN, VENDI, DISTINCT, CORRELATION,
          Style("#56B4E9", "P", (0, (1, 1)), "#56B4E9"), Style("#b36b00", "<", (0, (6, 1, 1, 1)), "white"),
          Style("#5a5a5a", ">", (0, (3, 1, 1, 1, 1, 1)), "#5a5a5a"))  # fmt: skip
MOST_LABELS = 12
MOST_LEGEND = 58


def svg(chart: Chart) -> str:
    """The chart as one SVG element with its words for who cannot see it, without an XML header."""
    text = drawn(lambda: figure(chart), ".svg", title=plain(chart.title), text=plain(chart.said, 1000)).decode("utf-8")
    return text[text.index("<svg ") :].strip()


def figure(chart: Chart) -> Figure:
    """The chart as a matplotlib figure."""
    shown = [line for line in chart.lines if line.points]
    legend = LEGEND_ROW * -(-len(shown) // 2) if len(shown) > 1 else 0.0
    height = HEIGHT + legend
    made = blank((WIDTH, height))
    axes = made.add_axes((0.09, 0.42 / height, 0.885, (HEIGHT - 0.85) / height))
    spread = min(0.5 / max(len(shown), 1), 0.09)
    for k, line in enumerate(shown):
        _line(axes, line, STYLES[k % len(STYLES)], spread * (k - (len(shown) - 1) / 2))
    if chart.reference is not None:
        axes.axhline(chart.reference, color=FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        if chart.reference_label:
            axes.annotate(
                _glyphs(chart.reference_label), (1.0, chart.reference), xycoords=("axes fraction", "data"),
                ha="right", va="bottom", fontsize=7, color=FAINT,
            )  # fmt: skip
    axes.set_title(_glyphs(chart.unit), fontsize=8, loc="left", color=FAINT, pad=5)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    step = max(1, -(-len(chart.labels) // MOST_LABELS))
    at = list(range(0, len(chart.labels), step))
    axes.set_xticks(at, [_glyphs(chart.labels[k], 18) for k in at], fontsize=8)
    axes.set_xlim(-0.4, max(len(chart.labels) - 1, 1) + 0.4)
    axes.tick_params(length=3, labelsize=8)
    if len(shown) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.12), ncols=2, frameon=False, fontsize=8,
                    handlelength=2.6, borderaxespad=0.0, columnspacing=1.6)  # fmt: skip
    if not shown:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "nothing was measured", transform=axes.transAxes, ha="center", va="center", fontsize=9)
    return made


def _line(axes: Axes, line: Line, style: Style, shift: float) -> None:
    x = [p.x + shift for p in line.points]
    axes.plot(x, [p.value for p in line.points], color=style.colour, linestyle=style.line, linewidth=1.6,
              marker=style.marker, markersize=5, markerfacecolor=style.fill, markeredgewidth=1.3,
              label=_glyphs(line.label, MOST_LEGEND), zorder=3)  # fmt: skip
    for at, p in zip(x, line.points, strict=True):
        if p.low is not None and p.high is not None:
            axes.vlines(at, p.low, p.high, color=style.colour, linewidth=1.2, alpha=0.75, zorder=2)


def _glyphs(text: str, most: int = 90) -> str:
    """One line, with what the chart's font cannot draw written as its number."""
    return drawable(plain(text, most))
