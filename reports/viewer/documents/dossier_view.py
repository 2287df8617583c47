"""The whole document of the run's reward model as a file: every question with its answer, and what
nobody said.
"""

from __future__ import annotations

import streamlit as st

from reports.run_report.origins import REWARD
from reports.viewer.documents import cached
from reports.viewer.documents.making import TYPES
from reports.viewer.documents.offering import identity, offer
from reports.viewer.documents.report_view import choose_format
from restaudit.evidence.record import Run

FIRST = "as training began"


def show(run: Run) -> None:
    """The reward as training began or, where it was fitted again, as it was before a later Grow
    step.
    """
    if REWARD not in run.done:
        return  # the page says so already
    st.header("The whole document")
    st.caption("Every question about it with its answer, where that stands, and what nobody said.")
    refits = [name for name, _ in run.refits()]
    which = (
        st.selectbox("Which reward", [FIRST, *refits], key="dossier_reward", width=320)
        if refits
        else FIRST
    )
    grow = which if which in refits else ""
    form = choose_format("dossier_format")
    offer(
        "dossier",
        (*identity(run), grow, form),
        f"{run.path.name}-reward-model{f'-{grow}' if grow else ''}.{form}",
        TYPES[form][1],
        lambda: cached.dossier_bytes(run, grow, form),
    )
