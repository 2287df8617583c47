"""The app's Altair charts; the theme gives the colours, and marks and dashes differ too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from reports.document.model import Chart
from reports.series import REWARD, short_name

DIVERSITY = ("Vendi score", "distinct-2")
CORRELATION = "reward–human correlation"
DODGE = 0.05
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down")
DASHES = ([1, 0], [6, 3], [1, 0], [6, 3], [1, 0])


def lines(table: pd.DataFrame, iterations: Sequence[str], human: str, *, title: str, dotted: float, height: int) -> Any:
    """Series over iterations with their 95% intervals; `dotted` is the base policy's own value."""
    every = [REWARD, human, *DIVERSITY, CORRELATION]
    shown = [label for label in every if label in set(table.loc[table["value"].notna(), "label"])]
    data = _placed(table, iterations, shown)
    names = [short_name(i) for i in iterations]
    several = table["label"].nunique() > 1
    return _drawn(data, names, every, shown, title=title, dotted=dotted, height=height, legend=several)


def document_chart(chart: Chart, height: int = 320) -> Any:
    """A chart of the document model: the same series, order and colours as in the report."""
    labels = [line.label for line in chart.lines]
    shown = [line.label for line in chart.lines if line.points]
    middle = (len(shown) - 1) / 2
    rows = [
        {
            "x": p.x + 2 * DODGE * (shown.index(line.label) - middle), "name": chart.labels[p.x], "label": line.label,
            "value": p.value, "low": p.low, "high": p.high,
        }
        for line in chart.lines
        for p in line.points
    ]  # fmt: skip
    columns = ["x", "name", "label", "value", "low", "high"]
    data = pd.DataFrame(rows, columns=columns).astype({"low": "float64", "high": "float64"})
    return _drawn(data, list(chart.labels), labels, shown, title=chart.unit, dotted=chart.reference, height=height,
                  legend=len(shown) > 1)  # fmt: skip


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
            labelExpr=f"{json.dumps(names, ensure_ascii=False)}[datum.value]",
            grid=False,
            labelOverlap=True,
        ),
    )
    key = alt.Legend(
        title=None,
        orient="top",
        labelLimit=700,
        values=shown,
        symbolSize=90,
        symbolOpacity=1,
        symbolStrokeWidth=0,
        offset=2,
    )
    key = key if legend else None
    colour = alt.Color("label:N", scale=alt.Scale(domain=list(every)), legend=key)
    tooltip = [
        alt.Tooltip("name:N", title="after"),
        alt.Tooltip("label:N", title="what"),
        alt.Tooltip("value:Q", format=".3f"),
        alt.Tooltip("low:Q", format=".3f", title="95% low"),
        alt.Tooltip("high:Q", format=".3f", title="95% high"),
        *([alt.Tooltip("n_prompts:Q", title="prompts")] if "n_prompts" in data else []),
    ]
    marks = alt.Chart(data).encode(x=x, color=colour, tooltip=tooltip)
    y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False, nice=True))
    line = marks.mark_line(strokeWidth=2).encode(
        y=y, strokeDash=alt.StrokeDash("label:N", scale=_cycled(every, DASHES), legend=None)
    )
    point = marks.mark_point(size=70, filled=True, opacity=1).encode(
        y=y, shape=alt.Shape("label:N", scale=_cycled(every, SHAPES), legend=key)
    )
    whisker = (
        marks.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=1.5, opacity=0.7)
        .encode(y=alt.Y("low:Q", title=None), y2="high:Q")
    )
    layers = whisker + line + point
    if dotted is not None:
        base = alt.Chart(pd.DataFrame({"base": [dotted]})).mark_rule(strokeDash=[2, 3], opacity=0.6)
        layers = base.encode(y=alt.Y("base:Q", title=None)) + layers
    return layers.properties(
        height=height, title=alt.Title(title, anchor="start", fontSize=13, fontWeight="normal", offset=4)
    )


def _cycled(every: Sequence[str], looks: Sequence[Any]) -> Any:
    """Marks and dashes in order, from the beginning again where there are more series than looks."""
    return alt.Scale(domain=list(every), range=[looks[k % len(looks)] for k in range(len(every))])


def _placed(table: pd.DataFrame, iterations: Sequence[str], labels: Sequence[str]) -> pd.DataFrame:
    """Only what was measured, with its place on the x axis; two series stand side by side, so that bars do not hide."""
    data = table[table["value"].notna()].copy()
    place = {name: k for k, name in enumerate(iterations)}
    middle = (len(labels) - 1) / 2
    data["x"] = [
        place[i] + 2 * DODGE * (labels.index(label) - middle)
        for i, label in zip(data["iteration"], data["label"], strict=True)
    ]
    data["name"] = [short_name(i) for i in data["iteration"]]
    return data
