"""The page with the texts behind every number."""

from __future__ import annotations

import streamlit as st

from reports.viewer import frame, reading, samples

with frame.guarded():
    run = frame.chosen()
    view = reading.overview(run)
    if not view.iterations:
        st.info("Samples appear after the base policy's audit.", title="Nothing has been audited yet")
        st.stop()
    st.header("Samples side by side")
    samples.side_by_side(run, view.iterations, view.human.name)
