"""The app's entry: where the runs are, the pages, and what stands above each of them. Loaded by
Streamlit only.
"""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from reports.viewer import frame, hosts, people, warming
from reports.viewer.pages import PAGES, Page

# A file of ours: Streamlit would fetch a named icon for the browser tab from a font server.
ICON = Path(__file__).parent / "icon.svg"


def main() -> None:
    """Draw the chosen page, for a browser that asks under one of the app's names."""
    st.set_page_config(page_title="restaudit", page_icon=str(ICON), layout="wide")
    if hosts.refused_session():
        st.error(hosts.REFUSED, title="Not answered here")
        st.stop()
    st.session_state[frame.ROOT] = os.environ.get("RESTAUDIT_RUNS") or "runs"
    groups: dict[str, list[st.Page]] = {}
    by_title: dict[str, Page] = {}
    for page in PAGES:
        made = st.Page(
            page.path, title=page.title, icon=page.icon, default=page is PAGES[0], help=page.help
        )
        groups.setdefault(page.group, []).append(made)
        by_title[page.title] = page
    chosen = st.navigation(groups, position="sidebar", expanded=True)
    people.show_login()
    page = by_title[chosen.title]
    # Drawn here and not by each page: a control that every page has keeps its value from one to the
    # next only if the same script draws it.
    if page.of_run:
        frame.above(page.title, of_broken=page.of_broken)
    else:
        st.title(chosen.title)
    chosen.run()
    warming.drawn.set()


if __name__ == "__main__":
    main()
