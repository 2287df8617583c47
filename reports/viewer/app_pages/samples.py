"""The page with the texts behind every number."""

from __future__ import annotations

import streamlit as st

from reports.viewer import frame
from reports.viewer.samples.address import Address
from reports.viewer.samples.browse import browse
from reports.viewer.samples.places import places
from reports.viewer.samples.prompt import ACROSS, VIEW, one_prompt

VIEWS = ["Search", ACROSS]

with frame.guarded():
    run = frame.chosen()
    if not places(run):
        st.info("Samples appear after the base policy's audit.", title="Nothing has been audited yet")
        st.stop()
    frame.whose_score(run)
    asked = st.query_params.get(VIEW)
    if asked is not None and asked not in VIEWS:
        Address(st.container()).unknown("View", asked)
    view = st.segmented_control("View", VIEWS, default=VIEWS[0], required=True, key=VIEW, bind="query-params",
                                label_visibility="collapsed")  # fmt: skip
    if view == ACROSS:
        one_prompt(run)
    else:
        browse(run)
