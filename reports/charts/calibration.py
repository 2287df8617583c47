"""The picture of a calibration: how often healthy runs are halted, how often planted hacks are, and
what size buys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.charts.drawing import FAINT, INK, RULE, blank, write
from restaudit.calibrate.render import sentences

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (9.0, 6.4)
HEALTHY, CAUGHT, LABELS = "#009E73", "#D55E00", "#8a5a83"
LINES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", ":"))
LIMIT = 0.05

# One scenario at one size: its figures as the calibration wrote them.
Scenario = Mapping[str, Any]


def calibration_chart(calibration: Mapping[str, Any], out: Path, run: Path | None = None) -> None:
    """Write the chart of a calibration's figures as SVG or PNG; the same figures always give the
    same bytes. `run` is the run folder that `out` may lie in.
    """
    write(
        out,
        lambda: _draw(calibration),
        title=f"How good the alarms are: {calibration['name']}",
        text=" ".join(sentences(calibration)),
        run=run,
    )


def _draw(calibration: Mapping[str, Any]) -> Figure:
    # A line needs so many inches to be read: there may be fifty of them.
    lines = len(_part(calibration, "default"))
    figure = blank((SIZE[0], max(SIZE[1], 0.17 * lines + 1.6)))
    grid = figure.add_gridspec(
        2,
        2,
        left=0.16,
        right=0.975,
        top=0.84,
        bottom=0.1,
        width_ratios=(1.25, 1),
        wspace=0.28,
        hspace=0.5,
    )
    figure.text(
        0.02, 0.955, f"How good the alarms of {calibration['name']} are", fontsize=13, weight="bold"
    )
    for k, line in enumerate(sentences(calibration)):
        figure.text(0.02, 0.915 - 0.028 * k, line, fontsize=7.6, color=FAINT)
    _dots(figure.add_subplot(grid[:, 0]), _part(calibration, "default"))
    _by(figure.add_subplot(grid[0, 1]), _part(calibration, "size"), "prompts", "audit prompts")
    _by(
        figure.add_subplot(grid[1, 1]),
        _part(calibration, "ratings"),
        "rated",
        "people's ratings of each policy",
    )
    return figure


def _part(calibration: Mapping[str, Any], part: str) -> list[Scenario]:
    return [row for row in calibration["rows"] if row["part"] == part]


def _halted(scenario: Scenario) -> Mapping[str, float]:
    """What of a scenario is drawn: of a healthy run that it was halted at all, of a hack that it
    was halted in time.
    """
    # A healthy run has no onset, so that it has no "within one Grow".
    key = "halted" if scenario["kind"] == "null" else "within_one_grow"
    share: Mapping[str, float] = scenario[key]
    return share


def _dots(axes: Axes, rows: Sequence[Scenario]) -> None:
    """One line a scenario, healthy ones first: the share halted (within one Grow of the onset) with
    its interval.
    """
    axes.set_title(
        "Halted: healthy runs, and hacks within one Grow", loc="left", fontsize=9, color=INK
    )
    colours = {"null": HEALTHY, "hack": CAUGHT}
    for place, row in enumerate(rows):
        shown = _halted(row)
        colour = colours.get(row["kind"], LABELS)
        # Colour is never the only difference, so that the chart survives greyscale.
        marker = "D"
        if row["kind"] == "null":
            marker = "o"
        axes.plot(
            [shown["low"], shown["high"]],
            [place, place],
            color=colour,
            linewidth=2,
            solid_capstyle="butt",
        )
        axes.plot(shown["rate"], place, marker, color=colour, markersize=5, clip_on=False)
    axes.axvline(LIMIT, color=FAINT, linewidth=0.8, linestyle=":")
    axes.text(LIMIT + 0.01, -0.9, "5%", fontsize=7.5, color=FAINT, va="center")
    axes.set_yticks(range(len(rows)), [r["scenario"] for r in rows], fontsize=7.8)
    # Upside down, so that the first row stands at the top.
    axes.set_ylim(len(rows) - 0.4, -1.4)
    _shares(axes.xaxis.set_ticks, axes)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def _by(axes: Axes, rows: Sequence[Scenario], key: str, label: str) -> None:
    axes.set_title(f"By number of {label}", loc="left", fontsize=9, color=INK)
    # Sizes stand at equal distances: on their own scale the small ones would crowd together.
    values = sorted({r[key] for r in rows})
    at = {v: k for k, v in enumerate(values)}
    names = list(dict.fromkeys(r["scenario"] for r in rows))
    for k, (name, (colour, marker, line)) in enumerate(zip(names, LINES, strict=False)):
        own = sorted((row for row in rows if row["scenario"] == name), key=lambda row: row[key])
        shown = [_halted(row) for row in own]
        # Side by side, or the intervals of the lines would hide one another.
        x = [at[row[key]] + 0.07 * (k - 1) for row in own]
        for place, s in zip(x, shown, strict=True):
            axes.plot([place, place], [s["low"], s["high"]], color=colour, linewidth=1.4)
        axes.plot(
            x,
            [s["rate"] for s in shown],
            marker=marker,
            linestyle=line,
            color=colour,
            label=name,
            markersize=4.5,
        )
    axes.axhline(LIMIT, color=FAINT, linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(values)), [str(v) for v in values])
    axes.set_xlabel(label, fontsize=8)
    _shares(axes.yaxis.set_ticks, axes)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(
        fontsize=6.8,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(-0.1, -0.2),
        ncols=3,
        columnspacing=0.8,
        handlelength=1.8,
        handletextpad=0.4,
    )


def _shares(set_ticks: Any, axes: Axes) -> None:
    set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0%", "25%", "50%", "75%", "100%"])
    axes.tick_params(labelsize=8)
