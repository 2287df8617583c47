"""What stands above every page about a run: which run, its state, overrides, whose judgement the
human score is.

A page's script is short:

    with frame.guarded():
        run = frame.chosen()
        ...

`chosen` stops the page where no run can be shown; `guarded` turns a damaged folder into a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from reports.record import series
from reports.viewer import badges, reading
from reports.viewer.pages import link_to_folder
from reports.viewer.text import multiline, said
from restaudit.evidence.record import Run, Summary

ROOT, CHOSEN, KEY = "runs_root", "chosen_summary", "run"
LIVE = "5s"


def above(title: str, *, of_broken: bool = False) -> None:
    """Draw the title, the chooser and the run's state; stop the page where there is nothing to
    show.

    With `of_broken` the page goes on for a folder that cannot be read.
    """
    st.title(title)
    with st.container(horizontal=True, vertical_alignment="center"):
        summary = _choose()
        look = badges.state(summary.state)
        st.badge(summary.state, icon=look.icon, color=look.colour, help=look.meaning)
        if summary.steps_planned:
            st.caption(f"{summary.steps_done} of {summary.steps_planned} steps", width="content")
        if summary.started:
            said(f"started {summary.started[:16].replace('T', ' ')} UTC")
    st.session_state[CHOSEN] = summary
    if summary.problem is not None:
        problem(
            "This run folder cannot be read",
            "Nothing of it is shown, since nothing in it can be relied on.",
            summary.problem,
        )
        if of_broken:
            return
        link_to_folder("evidence.py", summary.path.name, "Verify: what is wrong first")
        st.stop()
    # A page that changed under a reader's eyes could not be read: it says that there is more.
    if summary.state == "running":
        _follow(str(summary.path))
    with guarded():
        _overrides(Run(summary.path))


def summary() -> Summary:
    """What the list says of the chosen run, or of a folder that cannot be read."""
    chosen_summary: Summary = st.session_state[CHOSEN]
    return chosen_summary


def chosen() -> Run:
    """The chosen run, opened."""
    return Run(st.session_state[CHOSEN].path)


@contextmanager
def guarded() -> Iterator[None]:
    """Show what is wrong with a damaged folder in place of the rest of the page."""
    try:
        yield
    # What was drawn above stays: it was read before the damage was met.
    except series.READ_ERRORS as error:
        problem(
            "The rest of this run cannot be shown",
            "A file that the ledger names is missing or damaged. `restaudit verify` names the "
            "first one.",
            f"{type(error).__name__}: {error}",
        )
        st.stop()


def problem(title: str, body: str, detail: str) -> None:
    """A message in our words, and what went wrong as plain text."""
    st.error(body, title=title)
    st.code(multiline(detail), language=None, wrap_lines=True)


def whose_score(run: Run) -> None:
    """Say on every page that shows a human score whose judgement it is."""
    human = series.human_score(run)
    said(f"Human score: {human.name}. {human.description}")


def _choose() -> Summary:
    summaries = {s.path.name: s for s in reading.summaries(str(st.session_state[ROOT]))}
    if not summaries:
        st.info(
            "There is no run to show yet. The Runs page says how to make the first one.",
            title="No runs here yet",
        )
        st.stop()
    names = list(summaries)
    # Where neither the session nor the address names one: the newest run.
    if KEY not in st.session_state and KEY not in st.query_params:
        st.session_state[KEY] = names[0]
    name = st.selectbox(
        "Run",
        names,
        index=None,
        key=KEY,
        bind="query-params",
        placeholder="Choose a run",
        label_visibility="collapsed",
        width=460,
    )
    # The address and the browser are not to be trusted with a path: only a name that was found is
    # opened.
    if name not in summaries:
        st.info(
            "The address names a run that is not in this folder. Choose one of the list.",
            title="No such run",
        )
        st.stop()
    return summaries[name]


@st.fragment(run_every=LIVE)
def _follow(path: str) -> None:
    """Say that a running run went on; the reader decides when the page is drawn again."""
    run = Run(path)
    done, planned = len(run.done & set(run.plan["steps"])), len(run.plan["steps"])
    last = run.events[-1].step if run.events else "nothing yet"
    seen = st.session_state.setdefault(f"seen_{path}", len(run.events))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(
            done / max(planned, 1), text=f"{done} of {planned} steps, last done: {last}", width=460
        )
        if len(run.events) != seen and st.button(
            "Show what is new", key=f"refresh_{path}", icon=":material/refresh:"
        ):
            st.session_state[f"seen_{path}"] = len(run.events)
            st.rerun(scope="app")


def _overrides(run: Run) -> None:
    for o in run.overrides():
        st.warning(
            "A gate of the sealed policy stopped this run, and a person let it go on.",
            title="Overridden",
            icon=":material/warning:",
        )
        said(f"{o.iteration}, {o.time[:16].replace('T', ' ')} UTC: {', '.join(o.gates)} said HALT")
        said(f"Overridden by {o.by}: {o.reason}")
