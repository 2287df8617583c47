"""Blocks of the one document model as Streamlit elements: a page shows what the report shows, and
no other figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from reports.document.model import (
    Block,
    Chart,
    Facts,
    Paragraph,
    Passages,
    Row,
    Section,
    Strip,
    Table,
    cited,
)
from reports.viewer import badges
from reports.viewer.text import escaped, said
from restaudit.evidence.shown import plain
from restaudit.files.spreadsheet import guarded

MOST, CHARTS = 4000, 256
# Rows of sentences that are drawn whole; more scroll in a frame of their own.
MOST_WRAPPED = 40


def draw(section: Section, *, but: Sequence[int] = ()) -> None:
    """Every block of a section in order, but those at these positions."""
    for number, block in enumerate(section.blocks):
        if number not in but:
            draw_block(block, f"{section.key}-{number}")


def draw_block(block: Block, key: str) -> None:
    """One block. All text of it is shown as text: never as Markdown or HTML."""
    if isinstance(block, Paragraph):
        _paragraph(block)
    elif isinstance(block, Facts):
        _facts(block)
    elif isinstance(block, Table):
        _table(block, key)
    elif isinstance(block, Chart):
        _chart(block, key)
    elif isinstance(block, Strip):
        _strip(block)
    elif isinstance(block, Passages):
        _passages(block)


def _paragraph(block: Paragraph) -> None:
    if block.kind == "warning":
        with st.container(border=True):
            said(plain(block.text, MOST))
    else:
        said(plain(block.text, MOST))


def _facts(block: Facts) -> None:
    if block.caption:
        _title(block.caption)
    for fact in block.rows:
        left, right = st.columns([1, 3])
        label = f"{fact.label} ({fact.status})" if fact.status else fact.label
        left.caption(escaped(label))
        right.text(plain(fact.value, MOST) or "–")


def _table(block: Table, key: str) -> None:
    with st.container(gap="xsmall"):
        _title(block.caption)
        _frame(block, key)
        if block.note:
            st.caption(escaped(block.note, MOST))


def _frame(block: Table, key: str) -> None:
    columns = _unique(block.columns)
    cells = [[plain(cell, MOST) for cell in row.cells] for row in block.rows]
    table = pd.DataFrame(cells, columns=columns)
    if any(cited(block)):
        table["record"] = [_files(row) for row in block.rows]
    wide = st.column_config.TextColumn(width="large")
    prose = {columns[k]: wide for k in block.prose if k < len(columns)}
    if table.empty:
        st.caption("none")
        return
    if block.prose and len(table) <= MOST_WRAPPED:
        # Sentences wrap; a data frame would cut them off at the edge of its column.
        st.table(table.map(lambda cell: escaped(cell, MOST)), hide_index=True)
        return
    st.dataframe(
        guarded(table),
        hide_index=True,
        key=key,
        alt=plain(block.caption, MOST),
        column_config=prose,
        height="content" if len(table) <= 15 else 420,
    )


def _files(row: Row) -> str:
    """The files of the record that a row's figures come from, each once."""
    return "; ".join(dict.fromkeys(source.path for source in row.sources))


def _chart(block: Chart, key: str) -> None:
    _title(block.title)
    if not any(line.points for line in block.lines):
        st.caption("nothing was measured")
    else:
        draw_chart(block, key=key, alt=plain(block.said, MOST))
    with st.expander("The same figures as a table"):
        _frame(block.table, f"{key}-figures")


def _strip(block: Strip) -> None:
    _title(block.caption)
    with st.container(horizontal=True):
        for look in block.looks:
            known = look.verdict if look.verdict in badges.VERDICTS else "unknown"
            badge = badges.verdict(look.verdict)
            st.badge(
                f"{escaped(look.name)} {known}",
                icon=badge.icon,
                color=badge.colour,
                help=badge.meaning,
            )


def _passages(block: Passages) -> None:
    _title(block.caption)
    st.caption(escaped(block.rule, MOST))
    for row in block.rows:
        said(plain(row.heading, MOST))
        for column, title, text, note in zip(
            st.columns(len(row.texts)), block.columns, row.texts, row.notes, strict=True
        ):
            with column.container(border=True):
                st.caption(escaped(title))
                said(text or "(an empty text)")
                st.caption(escaped(note))


def _title(text: str) -> None:
    """The title of a table, chart or group of texts."""
    st.markdown(f"**{escaped(text)}**" if text.strip() else "")


def _unique(names: Sequence[str]) -> list[str]:
    """Column names as a data frame needs them: text, and each once."""
    unique: list[str] = []
    for name in names:
        shown = plain(name, MOST) or " "
        while shown in unique:
            shown += " "
        unique.append(shown)
    return unique


# --- charts
#
# They are kept as Vega-Lite specifications, made once: Altair checks every part of a chart, which
# takes a tenth of a second. Every chart of the app is drawn through here, and none by
# `st.altair_chart`: while that converts a chart, it changes what Altair does with data in every
# thread.


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
