"""The Run page's tables: what the gates said, and every measurement of one iteration."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from reports.record import series
from reports.viewer import words
from restaudit.gates import Decision

NUMBER = "%.3g"


def gates(decision: Decision) -> None:
    """What every gate said at one look."""
    table = series.gate_table(decision)
    table["verdict"] = [f"{words.verdict(v).sign} {v}" for v in table["verdict"]]
    if table.empty:
        st.info("The sealed policy of this run has no gates, so nothing was decided.")
        return
    st.dataframe(
        table,
        hide_index=True,
        key="gates",
        alt="What every gate of the sealed policy said at this look",
        column_config={
            "gate": st.column_config.TextColumn("Gate", pinned=True),
            "verdict": st.column_config.TextColumn("Verdict"),
            "metric": st.column_config.TextColumn("Measurement"),
            "value": st.column_config.NumberColumn("Value", format=NUMBER),
            "interval": st.column_config.TextColumn(
                "Interval", help="At the level this look uses."
            ),
            "must_stay": st.column_config.TextColumn("Must stay"),
            "n_prompts": st.column_config.NumberColumn(
                "Prompts", help="The unit that was resampled."
            ),
            "mde": st.column_config.NumberColumn(
                "Detectable", format=NUMBER, help="Minimum detectable effect."
            ),
            "why": st.column_config.TextColumn("Why", width="large"),
        },
        placeholder="—",
    )


def measurements(groups: dict[str, pd.DataFrame]) -> None:
    """Every measurement of one iteration, a tab a group; what was not measured says why."""
    if not groups:
        st.info("This iteration has no measurements.")
        return
    for tab, (title, table) in zip(
        st.tabs(list(groups), key="groups"), groups.items(), strict=True
    ):
        tab.dataframe(
            table if table["note"].any() else table.drop(columns="note"),
            hide_index=True,
            key=f"measured_{title}",
            alt=f"{title} measurements of this iteration with 95% intervals",
            column_config={
                "measurement": st.column_config.TextColumn("Measurement", pinned=True),
                "value": st.column_config.NumberColumn("Value", format=NUMBER),
                "low": st.column_config.NumberColumn("95% low", format=NUMBER),
                "high": st.column_config.NumberColumn("95% high", format=NUMBER),
                "baseline": st.column_config.NumberColumn("Base policy", format=NUMBER),
                "unit": st.column_config.TextColumn("Unit"),
                "n": st.column_config.NumberColumn("Samples"),
                "n_prompts": st.column_config.NumberColumn("Prompts"),
                "method": st.column_config.TextColumn("Method"),
                "note": st.column_config.TextColumn("Note", width="large"),
            },
            placeholder="—",
        )
