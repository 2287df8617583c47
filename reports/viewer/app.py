"""The app's entry: where the runs are, and the pages. Loaded by Streamlit only."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st

PAGES = Path(__file__).parent / "app_pages"
# A file of ours: Streamlit would fetch a named icon for the browser tab from a font server.
ICON = Path(__file__).parent / "icon.svg"
ROOT = "runs_root"


def main(script: str) -> None:
    """Draw the chosen page; `script` is the file Streamlit was started with."""
    st.set_page_config(page_title="restaudit", page_icon=str(ICON), layout="wide")
    st.session_state[ROOT] = str(runs_root(script, sys.argv, os.environ))
    page = st.navigation(
        [
            st.Page(
                PAGES / "runs.py",
                title="Runs",
                icon=":material/list:",
                default=True,
                help="Every run in the folder: its state, its steps and what the gates decided. Open one from here.",
            ),
            st.Page(
                PAGES / "run.py",
                title="Run",
                icon=":material/monitoring:",
                help="One run: decisions, reward against human score, every measurement, and samples side by side.",
            ),
        ],
        position="top",
    )
    page.run()


def runs_root(script: str, argv: Sequence[str], environ: Mapping[str, str]) -> Path:
    """The folder of runs: the argument after `streamlit run app.py --`, else RESTAUDIT_RUNS, else ./runs.

    Streamlit puts the script at the head of `argv`; an `argv` that starts otherwise belongs to another program.
    """
    if len(argv) > 1 and Path(argv[0]).resolve() == Path(script).resolve():
        return Path(argv[1])
    return Path(environ.get("RESTAUDIT_RUNS") or "runs")


if __name__ == "__main__":
    main(__file__)
