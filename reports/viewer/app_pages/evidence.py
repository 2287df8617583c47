"""The page that checks every hash, the chain, signatures and decisions, of the chosen run or of a
bundle.
"""

from __future__ import annotations

import streamlit as st

from reports.viewer import frame
from reports.viewer.documents import check_view

VIEWS = {"run": "This run", "bundle": "A bundle"}

with frame.guarded():
    summary = frame.summary()
    view = st.segmented_control(
        "What to check",
        list(VIEWS),
        default="run",
        required=True,
        key="evidence_view",
        format_func=lambda v: VIEWS[v],
        label_visibility="collapsed",
    )
    if view == "bundle":
        check_view.show_bundle()
    else:
        # A folder that no other page can read is checked too: the list says what is wrong with it.
        events = len(frame.chosen().events) if summary.problem is None else None
        check_view.show_run(summary.path, events)
