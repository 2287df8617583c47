"""The page that lists every run folder: find, filter, open, and choose some to compare."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from reports.record.series import run_table
from reports.viewer import badges, comparing, reading
from reports.viewer.frame import LIVE, ROOT
from reports.viewer.pages import BY_FILE
from reports.viewer.text import said
from restaudit.evidence.record import Summary
from restaudit.evidence.shown import plain
from restaudit.files.spreadsheet import guarded

FIND, STATES, TABLE, OPEN = "find", "states", "runs", "open_run"
MOST_PROBLEM = 600


def _signed(verdict: str) -> str:
    return f"{badges.verdict(verdict).sign} {verdict}"


def _open(folders: list[str]) -> None:
    click = st.session_state[OPEN]
    st.switch_page(BY_FILE["run.py"].path, query_params={"run": folders[click.row]})


def _empty() -> None:
    st.info(
        "Make the first run in a terminal; it trains and audits a small model in minutes.",
        title="No runs here yet",
    )
    st.code("make demo", language="bash")
    st.caption("Or `restaudit run reviews`. Runs elsewhere: `restaudit ui FOLDER`.")


def _wanted(found: Sequence[Summary]) -> list[Summary]:
    """The runs that the reader's filters leave."""
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    text = left.text_input(
        "Find",
        key=FIND,
        bind="query-params",
        placeholder="part of a name",
        icon=":material/search:",
    )
    # Only states that occur: a filter that leaves nothing is no help.
    there = list(dict.fromkeys(s.state for s in found))
    states = right.pills(
        "State",
        there,
        key=STATES,
        selection_mode="multi",
        format_func=lambda s: f"{badges.state(s).sign} {s}",
    )
    kept = [s for s in found if not states or s.state in states]
    return [s for s in kept if text.casefold() in f"{s.path.name} {s.name}".casefold()]


def _list(found: Sequence[Summary]) -> None:
    table = run_table(found, _signed)
    table.insert(0, "open", "Open")
    table["state"] = [f"{badges.state(s).sign} {s}" for s in table["state"]]
    # Beside the state, and not in a column that may be out of sight: whoever looks down the list
    # must see that a gate was overruled.
    marks = ["" if not o else "⚠ overridden, " for o in table.pop("overridden")]
    table["state"] = [f"{mark}{s}" for s, mark in zip(table["state"], marks, strict=True)]
    # Most folders have none, and the column is wide.
    if not table["problem"].any():
        table = table.drop(columns="problem")
    event = st.dataframe(
        guarded(table),
        hide_index=True,
        key=TABLE,
        on_select="rerun",
        selection_mode="multi-row",
        alt="Runs with their state, progress and decisions, newest first",
        column_config={
            "open": st.column_config.ButtonColumn(
                "",
                width="small",
                pinned=True,
                key=OPEN,
                on_click=_open,
                args=(list(table["folder"]),),
            ),
            "folder": st.column_config.TextColumn("Run", pinned=True),
            "name": st.column_config.TextColumn("Name"),
            "state": st.column_config.TextColumn("State", width=190 if any(marks) else None),
            "progress": st.column_config.ProgressColumn(
                "Progress", min_value=0, max_value=100, format="%.0f%%"
            ),
            "latest": st.column_config.TextColumn("Last decision"),
            "decisions": st.column_config.TextColumn("All decisions"),
            "started": st.column_config.TextColumn("Started (UTC)"),
            "problem": st.column_config.TextColumn("Problem", width="medium"),
        },
        placeholder="",
    )
    for folder, problem in zip(table["folder"], table.get("problem", []), strict=False):
        if problem:
            said(plain(f"{folder}: {problem}", MOST_PROBLEM))
    # A run that went away since it was ticked has no row any more.
    _compare([str(table["folder"].iloc[k]) for k in event.selection.rows if k < len(table)])


def _compare(chosen: Sequence[str]) -> None:
    if len(chosen) < 2:
        st.caption("Tick two or more runs to compare them.")
    else:
        comparing.link(chosen, f"Compare these {len(chosen)} runs")


def _follow(root: str, names: set[str]) -> None:
    _list([s for s in reading.summaries(root) if s.path.name in names])


root = str(st.session_state[ROOT])
every = reading.summaries(root)
said(f"Folder: {root}")
if not every:
    _empty()
    st.stop()
shown = _wanted(every)
if not shown:
    st.info("No run of this folder is left by these filters.", title="Nothing found")
elif any(s.state == "running" for s in every):
    # A run that is being written is followed; what the reader ticked or typed stays.
    st.fragment(run_every=LIVE)(_follow)(root, {s.path.name for s in shown})
else:
    _list(shown)
with st.expander("What the words mean"):
    for group in (badges.VERDICTS, badges.STATES):
        for word, look in group.items():
            with st.container(horizontal=True):
                st.badge(word, icon=look.icon, color=look.colour)
                st.caption(look.meaning)
