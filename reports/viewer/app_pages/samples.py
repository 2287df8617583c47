"""The page with the texts behind every number."""

from __future__ import annotations

import streamlit as st

from reports.viewer import frame
from reports.viewer.samples.address import Address
from reports.viewer.samples.browse import browse
from reports.viewer.samples.prompt import ACROSS, VIEW, one_prompt
from reports.viewer.samples.rows import places

VIEWS = ["Search", ACROSS]

with frame.guarded():
    run = frame.chosen()
    if not places(run):
        st.info(
            "Samples appear after the base policy's audit.", title="Nothing has been audited yet"
        )
        st.stop()
    frame.whose_score(run)
    view = Address(st.container(gap="xsmall")).view(VIEWS, VIEW)
    if view == ACROSS:
        one_prompt(run)
    else:
        browse(run)
