"""The page that puts two or more runs of the folder side by side, on the audit prompts that all of
them answered.
"""

from __future__ import annotations

import streamlit as st

from reports.viewer import badges, blocks, comparing, frame, reading
from reports.viewer.text import said
from restaudit.errors import BadInput
from restaudit.evidence.record import Run, Summary
from restaudit.files.signs import printable

MOST_SHOWN = 80


def _choose(summaries: dict[str, Summary]) -> list[str]:
    """Folders of the list; what the address names beside them is left out, and said."""
    asked = st.query_params.get_all(comparing.KEY)
    chosen = st.multiselect(
        "Runs",
        list(summaries),
        key=comparing.KEY,
        bind="query-params",
        select_all=False,
        max_selections=comparing.MOST_RUNS,
        placeholder="Choose two or more runs",
        format_func=str,
    )
    unknown = [name for name in dict.fromkeys(asked) if name and name not in summaries]
    if unknown:
        st.info(
            "The address names runs that are not in this folder; they were left out.",
            icon=":material/link_off:",
        )
        said(", ".join(printable(a[:MOST_SHOWN]) for a in unknown))
    # The address and the browser are not to be trusted with a path: only a name that was found is
    # opened.
    return [name for name in dict.fromkeys(chosen) if name in summaries]


def _states(chosen: list[Summary]) -> None:
    """The folders with the names that the comparison calls them by, and their states."""
    labels = comparing.labels([s.name for s in chosen])
    with st.container(horizontal=True):
        for summary, label in zip(chosen, labels, strict=True):
            look = badges.state(summary.state)
            with st.container(
                horizontal=True, width="content", vertical_alignment="center", gap="xsmall"
            ):
                folder = summary.path.name
                called = "" if folder == label else f", called {printable(label)} below"
                said(f"{folder}{called}")
                st.badge(summary.state, icon=look.icon, color=look.colour, help=look.meaning)


def _show(chosen: list[Summary]) -> None:
    # All of them at once, or a reader would take one out after the other.
    broken = [s for s in chosen if s.problem is not None]
    for s in broken:
        frame.problem(
            "A chosen run cannot be read",
            "Take it out of the choice.",
            f"{s.path.name}: {s.problem}",
        )
    if broken:
        return
    try:
        document = comparing.compared(tuple(Run(s.path) for s in chosen))
    except BadInput as e:
        st.error(
            "A difference between these runs would not say which policy is better.",
            title="Not comparable",
        )
        for reason in comparing.reasons(str(e)):
            said(f"• {printable(reason)}")
        return
    if document.banner:
        with st.container(border=True):
            st.badge("Read this first", icon=":material/warning:", color="orange")
            for line in document.banner:
                said(printable(line))
    st.caption(document.subtitle)
    for section in document.sections:
        st.header(section.title)
        blocks.draw(section)
    with st.expander("The runs' heads"):
        for label, head in document.heads:
            said(f"{printable(label)}: {head}")


summaries = {s.path.name: s for s in reading.summaries(str(st.session_state[frame.ROOT]))}
if len(summaries) < 2:
    st.info(
        "There are fewer than two runs in this folder. The Runs page says how to make one.",
        title="Nothing yet",
    )
    st.stop()
with frame.guarded():
    chosen = [summaries[name] for name in _choose(summaries)]
    _states(chosen)
    if len(chosen) < 2:
        st.info(
            "The runs need the same base policy, human score and sampling, and audit prompts in "
            "common.",
            title="Choose two or more runs",
        )
    else:
        _show(chosen)
