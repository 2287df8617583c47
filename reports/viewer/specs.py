"""Charts as Vega-Lite specifications, made once: Altair checks every part of a chart, which takes a
tenth of a second.

Every chart of the app is drawn through here, and none by `st.altair_chart`: while that converts a
chart, it changes what Altair does with data in every thread.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from reports.document.model import Chart

CHARTS = 256


def draw_chart(chart: Chart, height: int = 320, *, key: str, alt: str) -> None:
    """A chart of the document model."""
    _drawn(_of_document(chart, height), key, alt)


def draw_lines(
    table: pd.DataFrame,
    iterations: tuple[str, ...],
    human: str,
    *,
    title: str,
    dotted: float,
    height: int,
    key: str,
    alt: str,
) -> None:
    """Series over iterations, as `charts.lines` makes them."""
    _drawn(_of_lines(table, iterations, human, title, dotted, height), key, alt)


@st.cache_data(max_entries=CHARTS, show_spinner=False)
def _of_document(chart: Chart, height: int) -> dict[str, Any]:
    from reports.viewer import charts

    return _as_spec(charts.document_chart(chart, height))


@st.cache_data(max_entries=CHARTS, show_spinner=False)
def _of_lines(
    table: pd.DataFrame,
    iterations: tuple[str, ...],
    human: str,
    title: str,
    dotted: float,
    height: int,
) -> dict[str, Any]:
    from reports.viewer import charts

    return _as_spec(
        charts.lines(table, iterations, human, title=title, dotted=dotted, height=height)
    )


def _as_spec(chart: Any) -> dict[str, Any]:
    import altair as alt

    # Otherwise a chart of more than 5,000 points is refused.
    alt.data_transformers.disable_max_rows()
    spec: dict[str, Any] = chart.to_dict()
    # Widths of Altair's own theme; Streamlit's theme sets them.
    spec.pop("config", None)
    return spec


def _drawn(spec: dict[str, Any], key: str, alt: str) -> None:
    st.vega_lite_chart(spec=spec, key=key, alt=alt)
