"""The app's entry: where the runs are, the pages, and what stands above each of them. Loaded by
Streamlit only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st

from reports.viewer import frame, people, warming
from reports.viewer.pages import PAGES, Page

# A file of ours: Streamlit would fetch a named icon for the browser tab from a font server.
ICON = Path(__file__).parent / "icon.svg"


def main(script: str) -> None:
    """Draw the chosen page; `script` is the file Streamlit was started with."""
    st.set_page_config(page_title="restaudit", page_icon=str(ICON), layout="wide")
    st.session_state[frame.ROOT] = str(runs_root(script, sys.argv, os.environ))
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
    if _is_the_program(script, sys.argv):
        warming.begin_if_nobody_did()


def runs_root(script: str, argv: Sequence[str], environ: Mapping[str, str]) -> Path:
    """The folder of runs: the argument after `streamlit run app.py --`, else RESTAUDIT_RUNS, else
    ./runs.
    """
    if len(argv) > 1 and _is_the_program(script, argv):
        return Path(argv[1])
    return Path(environ.get("RESTAUDIT_RUNS") or "runs")


def _is_the_program(script: str, argv: Sequence[str]) -> bool:
    """Streamlit puts the script at the head of `argv`; an `argv` that starts otherwise belongs to
    another program.
    """
    return bool(argv) and Path(argv[0]).resolve() == Path(script).resolve()


if __name__ == "__main__":
    main(__file__)
