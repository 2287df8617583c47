"""The app's Altair charts; the theme gives the colours, and marks and dashes differ too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from reports.document.model import Chart
from reports.record.series import REWARD, short_name

DIVERSITY = ("Vendi score", "distinct-2")
CORRELATION = "reward–human correlation"
# Read on white and on the dark theme alike; the theme gives marks no colour of its own.
NEUTRAL = "#7a7a7a"
# Numbers at an axis: as many digits as they have, six at most.
TICKS = "~r"
# Pixels that a line of the legend takes from the drawing.
KEY_ROW = 24
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down")
DASHES = ([1, 0], [6, 3], [1, 0], [6, 3], [1, 0])


def lines(
    table: pd.DataFrame,
    iterations: Sequence[str],
    human: str,
    *,
    title: str,
    dotted: float,
    height: int,
) -> Any:
    """Series over iterations with their 95% intervals; `dotted` is the base policy's own value."""
    # All series, measured or not: each keeps its colour whatever else is shown.
    every = [REWARD, human, *DIVERSITY, CORRELATION]
    measured = set(table.loc[table["value"].notna(), "label"])
    shown = [label for label in every if label in measured]
    data = _placed(table, iterations)
    names = [short_name(i) for i in iterations]
    several = table["label"].nunique() > 1
    return _drawn(
        data, names, every, shown, title=title, dotted=dotted, height=height, legend=several
    )


def document_chart(chart: Chart, height: int = 320) -> Any:
    """A chart of the document model: the same series, order and colours as in the report."""
    if chart.places:
        return over_places(chart, height)
    labels = [line.label for line in chart.lines]
    shown = [line.label for line in chart.lines if line.points]
    looks = list(range(len(chart.labels)))
    data = _points(chart, looks).drop(columns="look")
    return _drawn(
        data,
        list(chart.labels),
        labels,
        shown,
        title=chart.unit,
        dotted=chart.reference,
        height=height,
        legend=len(shown) > 1,
    )


def over_places(chart: Chart, height: int) -> Any:
    """Points over an axis of numbers with their intervals, and the curves behind them."""
    shown = [line.label for line in chart.lines if line.points]
    every = [line.label for line in chart.lines]
    curved = [curve.label for curve in chart.curves]
    points = _points(chart, chart.places)
    points["d"] = [chart.places[look] for look in points.pop("look")]
    curve_rows = []
    for curve in chart.curves:
        curve_rows += [{"x": x, "value": y, "curve": curve.label} for x, y in curve.points]
    curves = pd.DataFrame(curve_rows, columns=["x", "value", "curve"])
    tops = (
        points.assign(top=points["high"].fillna(points["value"]))
        .groupby(["name", "d"], as_index=False)["top"]
        .max()
    )
    x = alt.X(
        "x:Q",
        title=chart.axis,
        scale=alt.Scale(nice=False, padding=24),
        axis=alt.Axis(grid=False, tickCount=8),
    )
    y = alt.Y(
        "value:Q",
        title=None,
        scale=alt.Scale(zero=False, nice=False, padding=20),
        axis=alt.Axis(format=TICKS),
    )
    colour = alt.Color("label:N", scale=alt.Scale(domain=every), legend=_key(shown, columns=1))
    shape = alt.Shape("label:N", scale=_cycled(every, SHAPES), legend=_key(shown, columns=1))
    stroke = {
        "orient": "bottom",
        "offset": 8,
        "symbolType": "stroke",
        "symbolStrokeColor": NEUTRAL,
        "symbolStrokeWidth": 2,
        "symbolSize": 300,
    }
    dash = alt.StrokeDash(
        "curve:N", scale=_cycled(curved, DASHES), legend=_key(curved, columns=1, **stroke)
    )
    tooltip = [alt.Tooltip("d:Q", format=".3f", title="d"), *_tooltip(points)]
    marks = alt.Chart(points).encode(x=x, color=colour, tooltip=tooltip)
    layers = (
        alt.Chart(curves).mark_line(strokeWidth=2, color=NEUTRAL).encode(x=x, y=y, strokeDash=dash)
        + _whiskers(marks, shown)
        + marks.mark_point(size=70, filled=True, opacity=1).encode(y=y, shape=shape)
        + alt.Chart(tops)
        .mark_text(dy=-8, fontSize=11, color=NEUTRAL)
        .encode(x="d:Q", y=alt.Y("top:Q", title=None), text="name:N")
    )
    return _titled(
        _dotted(chart.reference) + layers if chart.reference is not None else layers,
        chart.unit,
        height + KEY_ROW * len(shown + curved),
    )


def _points(chart: Chart, places: Sequence[float]) -> pd.DataFrame:
    """The chart's points with their place on the x axis, a row each; `look` is the number of
    theirs. All series of a look stand at the same place, which is where they were measured.
    """
    rows = []
    for line in chart.lines:
        for point in line.points:
            rows.append(
                {
                    "x": float(places[point.x]),
                    "look": point.x,
                    "name": chart.labels[point.x],
                    "label": line.label,
                    "value": point.value,
                    "low": point.low,
                    "high": point.high,
                }
            )
    columns = ["x", "look", "name", "label", "value", "low", "high"]
    # Without an interval anywhere the column would be one of objects, which no axis can scale.
    return pd.DataFrame(rows, columns=columns).astype({"low": "float64", "high": "float64"})


def _drawn(
    data: pd.DataFrame,
    names: Sequence[str],
    every: Sequence[str],
    shown: Sequence[str],
    *,
    title: str,
    dotted: float | None,
    height: int,
    legend: bool,
) -> Any:
    x = alt.X(
        "x:Q",
        title=None,
        scale=alt.Scale(domain=[-0.3, max(len(names) - 1, 1) + 0.3], nice=False),
        axis=alt.Axis(
            values=list(range(len(names))),
            # The axis is one of numbers, so that series can stand beside one another; the names are
            # put back as its labels. As JSON, since a name may hold a quote.
            labelExpr=f"{json.dumps(names, ensure_ascii=False)}[datum.value]",
            grid=False,
            labelOverlap=True,
        ),
    )
    key = _key(shown) if legend else None
    colour = alt.Color("label:N", scale=alt.Scale(domain=list(every)), legend=key)
    tooltip = _tooltip(data)
    marks = alt.Chart(data).encode(x=x, color=colour, tooltip=tooltip)
    y = alt.Y("value:Q", title=None, scale=_heights(data), axis=alt.Axis(format=TICKS))
    line = marks.mark_line(strokeWidth=2).encode(
        y=y, strokeDash=alt.StrokeDash("label:N", scale=_cycled(every, DASHES), legend=None)
    )
    point = marks.mark_point(size=70, filled=True, opacity=1).encode(
        y=y, shape=alt.Shape("label:N", scale=_cycled(every, SHAPES), legend=key)
    )
    layers = _whiskers(marks, shown) + line + point
    return _titled(_dotted(dotted) + layers if dotted is not None else layers, title, height)


def _heights(data: pd.DataFrame) -> Any:
    """The scale of the values. Not from 0: ratios near 1 would all look alike."""
    ends = data[["low", "value", "high"]].to_numpy(dtype=float)
    known = ends[np.isfinite(ends)]
    # Where nothing differs there is no scale, and an axis of it would read 0.000000.
    if known.size and np.ptp(known) < 1e-9 * max(1.0, float(np.abs(known).max())):
        middle = float(known[0])
        return alt.Scale(domain=[middle - 0.5, middle + 0.5])
    return alt.Scale(zero=False, nice=True)


def _key(shown: Sequence[str], **more: Any) -> Any:
    usual = {
        "orient": "top",
        "symbolSize": 90,
        "symbolOpacity": 1,
        "symbolStrokeWidth": 0,
        "offset": 2,
        "labelLimit": 700,
    }
    return alt.Legend(title=None, values=list(shown), **{**usual, **more})


def _tooltip(data: pd.DataFrame) -> list[Any]:
    shown = [
        alt.Tooltip("name:N", title="after"),
        alt.Tooltip("label:N", title="what"),
        alt.Tooltip("value:Q", format=".3f"),
        alt.Tooltip("low:Q", format=".3f", title="95% low"),
        alt.Tooltip("high:Q", format=".3f", title="95% high"),
    ]
    if "n_prompts" in data:
        shown.append(alt.Tooltip("n_prompts:Q", title="prompts"))
    return shown


def _whiskers(marks: Any, shown: Sequence[str]) -> Any:
    """The intervals of every series. Wider the more is drawn over it: intervals at one place would
    hide one another.
    """
    layers = []
    for k, label in enumerate(shown):
        one = marks.transform_filter(
            # Without an interval there is nothing to draw a bar between.
            f"isValid(datum.low) && datum.label === {json.dumps(label, ensure_ascii=False)}"
        )
        width = 1.5 + 2.5 * (len(shown) - 1 - k)
        layers.append(
            one.mark_rule(strokeWidth=width, opacity=0.5).encode(
                y=alt.Y("low:Q", title=None), y2="high:Q"
            )
        )
    return alt.layer(*layers)


def _dotted(value: float) -> Any:
    base = alt.Chart(pd.DataFrame({"base": [value]})).mark_rule(strokeDash=[2, 3], color=NEUTRAL)
    return base.encode(y=alt.Y("base:Q", title=None))


def _titled(layers: Any, title: str, height: int) -> Any:
    return layers.properties(
        height=height,
        title=alt.Title(title, anchor="start", fontSize=13, fontWeight="normal", offset=4),
    )


def _cycled(every: Sequence[str], looks: Sequence[Any]) -> Any:
    """Marks and dashes in order, from the beginning again where there are more series than
    looks.
    """
    return alt.Scale(domain=list(every), range=list(islice(cycle(looks), len(every))))


def _placed(table: pd.DataFrame, iterations: Sequence[str]) -> pd.DataFrame:
    """Only what was measured, with its place on the x axis."""
    data = table[table["value"].notna()].copy()
    place = {name: k for k, name in enumerate(iterations)}
    # Of a table in which nothing was measured the column would be one of text.
    data["x"] = data["iteration"].map(place).astype("float64")
    data["name"] = [short_name(iteration) for iteration in data["iteration"]]
    return data
