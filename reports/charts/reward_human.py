"""The picture of a run: reward against human score over iterations, with diversity and correlation
beside it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.charts.drawing import FAINT, INK, RULE, blank, drawn, write
from reports.record import series
from restaudit.evidence.record import Run
from restaudit.gates import Decision

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LABELS, MAX_LABELS_SMALL = 9, 5
SIZE = (8.0, 5.2)


@dataclass(frozen=True)
class Style:
    """One series' look; colour is never the only difference, so that the chart survives
    greyscale.
    """

    colour: str
    marker: str
    line: Any
    fill: str


# Okabe and Ito's colour-blind-safe palette (jfly.uni-koeln.de/color).
REWARD = Style("#0072B2", "o", "-", "#0072B2")
HUMAN = Style("#D55E00", "s", (0, (5, 2)), "white")
VENDI = Style("#009E73", "^", "-", "#009E73")
DISTINCT = Style("#8a5a83", "D", (0, (4, 2)), "white")
CORRELATION = Style(INK, "v", "-", INK)
VERDICTS = {
    "OK": Style("#009E73", "o", "", "#009E73"),
    "UNDECIDED": Style("#5a5a5a", "D", "", "white"),
    "INCONCLUSIVE": Style("#5a5a5a", "D", "", "white"),
    "WARN": Style("#b36b00", "^", "", "#E69F00"),
    "HALT": Style("#a83200", "X", "", "#D55E00"),
}


def reward_human_chart(run: Run, out: Path) -> bytes:
    """Write the chart as SVG, or as PNG where `out` ends in .png, and return its bytes; the same
    run always gives the same.

    Both scores are changes since the base policy, paired on the same audit prompts, in base-policy
    standard deviations, with 95% intervals. What could not be measured is named with its reason.
    Raises BadInput for a run whose measurements cannot be read, or another file type.
    """
    return write(out, lambda: _draw(run), **_words(run), run=run.path)


def reward_human_bytes(run: Run, kind: str) -> bytes:
    """The chart as `reward_human_chart` writes it, of the kind ".svg" or ".png"."""
    return drawn(lambda: _draw(run), kind, **_words(run))


def _words(run: Run) -> dict[str, str]:
    described = series.describe(series.reward_human_series(run), series.decisions(run))
    title = f"Reward against human score: {run.name}"
    return {"title": _short(title, 200), "text": _short(described, 2000)}


def _draw(run: Run) -> Figure:
    figure = blank(SIZE)
    left = figure.add_gridspec(1, 1, left=0.06, right=0.63, top=0.765, bottom=0.2)
    right = figure.add_gridspec(2, 1, left=0.725, right=0.98, top=0.725, bottom=0.2, hspace=0.62)
    main, diversity = figure.add_subplot(left[0]), figure.add_subplot(right[0])
    correlation = figure.add_subplot(right[1])
    names, human = series.iterations(run), series.human_score(run).name
    changes, r = series.reward_human_series(run), series.correlation_series(run)

    _heading(figure, run, changes)
    _panel(main, "Change from the base policy, in base-policy standard deviations")
    _lines(main, changes, names, {series.REWARD: REWARD, human: HUMAN})
    _frame(main, names, dotted=0.0, at_least=(-0.25, 0.75))
    _verdicts(main, names, series.decisions(run))
    if not names:
        _note(main, "No iteration was audited yet.")

    _panel(diversity, "Diversity, base policy = 1", pad=19)
    ratios, styles = series.diversity_series(run), {"Vendi score": VENDI, "distinct-2": DISTINCT}
    # A line that could not be measured is left out of the legend too: no key without a line.
    missing = {label: series.why_missing(ratios, label) for label in styles}
    measured = {label: style for label, style in styles.items() if missing[label] is None}
    _lines(diversity, ratios, names, measured)
    _frame(diversity, names, dotted=1.0, at_least=(0.8, 1.02))
    if measured:
        _legend_above(diversity, measured)
    else:
        _note(diversity, f"not measured: {missing['Vendi score']}")

    _panel(correlation, "Reward–human correlation")
    _lines(correlation, r, names, {"reward–human correlation": CORRELATION})
    _frame(correlation, names, dotted=0.0, at_least=(0.0, 1.0))
    reason = series.why_missing(r, "reward–human correlation")
    if reason:
        _note(correlation, f"not measured: {reason}")
    _footer(figure, changes)
    return figure


def _panel(axes: Axes, title: str, *, pad: float = 7) -> None:
    axes.set_title(title, fontsize=9, loc="left", pad=pad, x=0.0, color=INK)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def _heading(figure: Figure, run: Run, changes: pd.DataFrame) -> None:
    title = f"Reward against human score · {_short(run.name, 42)}"
    figure.text(0.012, 0.955, title, fontsize=12.5, weight="bold", va="center")
    human = series.human_score(run).name
    keys = (
        (0.9, series.REWARD, f"{series.REWARD} (what training raises)", REWARD),
        (0.856, human, f"Human score: {human}", HUMAN),
    )
    for y, label, text, style in keys:
        reason = series.why_missing(changes, label)
        if reason is None:
            figure.add_artist(_key(figure, 0.014, y, style))
        else:
            text = f"{text}; not measured: {reason}"
        figure.text(0.075, y, _short(text, 104), fontsize=9, va="center")


def _key(figure: Figure, x: float, y: float, style: Style) -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        (x, x + 0.025, x + 0.05),
        (y, y, y),
        color=style.colour,
        linestyle=style.line,
        marker=style.marker,
        markevery=[1],
        markerfacecolor=style.fill,
        markersize=6,
        linewidth=1.8,
        transform=figure.transFigure,
    )


def _lines(axes: Axes, table: pd.DataFrame, names: Sequence[str], styles: dict[str, Style]) -> None:
    size = 6 if len(names) <= 10 else 4
    position = {name: k for k, name in enumerate(names)}
    for label, style in styles.items():
        own = table[(table["label"] == label) & table["value"].notna()]
        x = [position[iteration] for iteration in own["iteration"]]
        y = own["value"].to_numpy()
        axes.plot(x, y, color=style.colour, linestyle=style.line, linewidth=1.8, zorder=3)
        axes.plot(
            x,
            y,
            color=style.colour,
            linestyle="",
            marker=style.marker,
            markersize=size,
            markerfacecolor=style.fill,
            markeredgewidth=1.4,
            zorder=4,
        )
        known = own["low"].notna().to_numpy()
        axes.vlines(
            np.array(x)[known],
            own["low"].to_numpy()[known],
            own["high"].to_numpy()[known],
            color=style.colour,
            linewidth=1.2,
            alpha=0.75,
            zorder=2,
        )


def _verdicts(axes: Axes, names: Sequence[str], decisions: Sequence[Decision]) -> None:
    """The decision of every iteration, as a marker and (where there is room) its word, under the
    iteration's name.
    """
    at = axes.get_xaxis_transform()
    worded = len(names) <= 6
    for decision in decisions:
        style = VERDICTS.get(decision.verdict)
        x = names.index(decision.iteration)
        y = -0.135
        if style is not None:
            axes.plot(
                x,
                y,
                transform=at,
                clip_on=False,
                marker=style.marker,
                color=style.colour,
                markerfacecolor=style.fill,
                markersize=7,
                linestyle="",
                markeredgewidth=1.3,
            )
        if worded or style is None:
            axes.text(
                x,
                y - 0.045,
                decision.verdict,
                transform=at,
                ha="center",
                va="top",
                fontsize=8,
                clip_on=False,
            )
    if decisions:
        start, side = (0.0, "center") if worded else (0.4, "right")
        axes.text(
            start, -0.135, "decision", transform=at, ha=side, va="center", fontsize=8, color=FAINT
        )
    if decisions and not worded:
        _verdict_key(axes, decisions)


def _verdict_key(axes: Axes, decisions: Sequence[Decision]) -> None:
    from matplotlib.lines import Line2D

    present = {decision.verdict for decision in decisions}
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=s.marker,
            color=s.colour,
            markerfacecolor=s.fill,
            markersize=6,
            label=verdict,
        )
        for verdict, s in VERDICTS.items()
        if verdict in present
    ]
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.155),
        ncols=len(handles),
        frameon=False,
        fontsize=8,
        handletextpad=0.2,
        columnspacing=1.4,
    )


def _legend_above(axes: Axes, styles: dict[str, Style]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=s.colour,
            linestyle=s.line,
            marker=s.marker,
            markerfacecolor=s.fill,
            markersize=5,
            label=n,
        )
        for n, s in styles.items()
    ]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.03, 0.98),
        ncols=len(handles),
        frameon=False,
        fontsize=8,
        handlelength=2.2,
        handletextpad=0.4,
        columnspacing=1.0,
        borderaxespad=0.1,
    )


def _frame(
    axes: Axes, names: Sequence[str], *, dotted: float, at_least: tuple[float, float]
) -> None:
    """Ticks at the iterations, a dotted line at the base policy's value, and a range that is never
    a sliver.
    """
    low, high = at_least
    if axes.has_data():
        low, high = axes.get_ylim()
    room = 0.06 * max(high - low, at_least[1] - at_least[0])
    axes.set_ylim(min(low - room, at_least[0]), max(high + room, at_least[1]))
    axes.axhline(dotted, color=FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    most = MAX_LABELS_SMALL
    if axes.get_position().width > 0.4:
        most = MAX_LABELS
    step = max(1, math.ceil(len(names) / most))
    ticks = list(range(0, len(names), step))
    axes.set_xticks(ticks, [series.short_name(names[k]) for k in ticks], fontsize=8)
    axes.set_xlim(-0.4, max(len(names) - 1, 1) + 0.4)
    axes.tick_params(length=3, labelsize=8)


def _note(axes: Axes, text: str) -> None:
    axes.set_yticks([])
    axes.text(
        0.5,
        0.5,
        textwrap.fill(text, 30),
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=8,
    )


def _footer(figure: Figure, changes: pd.DataFrame) -> None:
    prompts = sorted({int(n) for n in changes["n_prompts"] if n})
    if not prompts:
        return
    # Iterations may differ: a prompt without a score before or after is not part of a change.
    count = f"{prompts[0]}"
    if len(prompts) > 1:
        count = f"{prompts[0]} to {prompts[-1]}"
    text = (
        f"Bars are 95% intervals over {count} audit prompts; changes are paired with the base "
        "policy's own outputs."
    )
    figure.text(0.012, 0.028, text, fontsize=8, color=FAINT, va="center")


def _short(text: str, limit: int) -> str:
    """One printable line of at most `limit` characters."""
    # A name may hold anything, and a line break or a control character has no glyph.
    line = "".join(c if c.isprintable() else " " for c in text)
    if len(line) > limit:
        return f"{line[: limit - 1]}…"
    return line
