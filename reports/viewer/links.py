"""Links from one page to another that keep the chosen run."""

from __future__ import annotations

import streamlit as st

from reports.viewer.pages import BY_FILE
from restaudit.evidence.record import Run


def to(file: str, run: Run, label: str | None = None) -> None:
    """A link to another page about the same run."""
    to_folder(file, run.path.name, label)


def to_folder(file: str, name: str, label: str | None = None) -> None:
    """A link to another page about the run folder of this name."""
    page = BY_FILE[file]
    st.page_link(page.path, label=label or page.title, icon=page.icon, query_params={"run": name})


def to_samples(run: Run) -> None:
    """The texts behind the numbers of a page."""
    to("samples.py", run, "The texts behind these numbers")
