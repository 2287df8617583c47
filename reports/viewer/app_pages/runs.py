"""The page that lists every run folder."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from reports.listing import run_table
from reports.viewer import reading, words

PAGE = Path(__file__).parent / "run.py"


def _signed(verdict: str) -> str:
    return f"{words.verdict(verdict).sign} {verdict}"


def _open(folders: list[str]) -> None:
    click = st.session_state["open_run"]
    st.switch_page(PAGE, query_params={"run": folders[click.row]})


root = str(st.session_state["runs_root"])
found = reading.summaries(root)
st.text(f"Folder: {root}")
if not found:
    st.info(
        "Make the first run in a terminal; it trains and audits a small model in minutes.", title="No runs here yet"
    )
    st.code("make demo", language="bash")
    st.caption("Or `restaudit run reviews`. Runs elsewhere: `restaudit ui FOLDER`.")
    st.stop()

table = run_table(found, _signed)
table.insert(0, "open", "Open")
table["state"] = [f"{words.state(s).sign} {s}" for s in table["state"]]
if not table["problem"].any():
    table = table.drop(columns="problem")
st.dataframe(
    table,
    hide_index=True,
    key="runs",
    alt="Runs with their state, progress and decisions, newest first",
    column_config={
        "open": st.column_config.ButtonColumn(
            "", width="small", pinned=True, key="open_run", on_click=_open, args=(list(table["folder"]),)
        ),
        "folder": st.column_config.TextColumn("Run", pinned=True),
        "name": st.column_config.TextColumn("Name"),
        "state": st.column_config.TextColumn("State"),
        "progress": st.column_config.ProgressColumn("Progress", min_value=0, max_value=100, format="%.0f%%"),
        "decisions": st.column_config.TextColumn("Decisions"),
        "started": st.column_config.TextColumn("Started (UTC)"),
        "problem": st.column_config.TextColumn("Problem", width="medium"),
    },
    placeholder="",
)
with st.expander("What the words mean"):
    for group in (words.VERDICTS, words.STATES):
        for word, look in group.items():
            with st.container(horizontal=True):
                st.badge(word, icon=look.icon, color=look.colour)
                st.caption(look.meaning)
