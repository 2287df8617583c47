"""The page of files and of what only people can say: report, clauses, exports, bundle,
declarations, override.
"""

from __future__ import annotations

import streamlit as st

from reports.viewer import frame, people
from reports.viewer.documents import declare_view, document_view, export_view, override_view
from reports.viewer.pages import link_to

VIEWS = {
    "report": "Report",
    "clauses": "Clause by clause",
    "exports": "Exports",
    "bundle": "Bundle",
    "declare": "Declare",
    "override": "Override",
}

with frame.guarded():
    run = frame.chosen()
    who = people.here()
    if who.login and not who.name:
        st.button("Log in", key="documents_login", on_click=st.login)
    # An override answers a halt; elsewhere there is nothing to override.
    offered = [v for v in VIEWS if v != "override" or run.halt is not None or run.overrides()]
    view = st.segmented_control(
        "View",
        offered,
        default="report",
        required=True,
        key="documents_view",
        bind="query-params",
        format_func=lambda v: VIEWS[v],
        label_visibility="collapsed",
    )
    if view == "clauses":
        document_view.show_clauses(run)
    elif view == "exports":
        export_view.show_exports(run)
    elif view == "bundle":
        export_view.show_bundle(run)
    elif view == "declare":
        declare_view.show(run, who)
    elif view == "override" and view in offered:
        override_view.show(run, who)
    else:
        document_view.show_report(run, who)
    link_to("evidence.py", run)
