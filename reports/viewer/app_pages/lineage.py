"""The page about the origin of data and policies, what it took, how things were measured, what the
record proves.
"""

from __future__ import annotations

import streamlit as st

from reports.viewer import blocks, frame, guide, reading

TABS = {
    "lineage": "Lineage",
    "data": "Data",
    "compute": "Compute",
    "methods": "Methods",
    "integrity": "Integrity",
}

with frame.guarded():
    run = frame.chosen()
    guide.show("lineage")
    # Not tabs: Streamlit draws all tabs at once, and each of these reads much of the record.
    view = st.segmented_control(
        "View",
        list(TABS),
        default="lineage",
        required=True,
        key="lineage_view",
        bind="query-params",
        format_func=lambda k: TABS[k],
        label_visibility="collapsed",
    )
    if view in TABS:
        blocks.draw(reading.section(run, str(view)))
