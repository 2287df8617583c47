"""Letting a halted run go on: who and why, looked at once more before it enters the ledger."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import streamlit as st

from reports.viewer import frame, reading
from reports.viewer.people import Person, acting
from reports.viewer.text import said
from restaudit.errors import RestauditError
from restaudit.evidence.override import NAME, REASON, override, wrong_text
from restaudit.evidence.record import Halt, Run
from restaudit.evidence.seal.signer import Signer, given_signer


def show(run: Run, who: Person) -> None:
    """The view; it is offered only for a run that was halted."""
    if (halt := run.halt) is None:
        _after(run)
        return
    place = f"override:{run.path.name}:"
    said(f"Gates that said HALT at {halt.iteration}: {', '.join(halt.gates)}.")
    st.write(
        "An override lets this run go on under the same sealed policy. Your name and reason enter "
        "the ledger, stand first in every report, and cannot be taken back. Look at the samples "
        "and the interval first."
    )
    if who.login and not who.may_override:
        st.info(who.why_not("An override"), title="Not yours to do")
        return
    if not who.login:
        st.warning(
            "This app has no login: anybody who can open it can do this, in any name. What is "
            "typed is recorded.",
            title="Nobody checks who you are",
        )
    looked_at, typed = st.session_state.get(f"{place}review") or (halt, None)
    if looked_at != halt:
        del st.session_state[f"{place}review"]
        typed = None
        st.warning(
            "Another gate stopped it since you looked. Nothing was recorded; look at it again.",
            title="This is another halt",
        )
    if typed is None:
        _ask(halt, place, who)
    else:
        _confirm(run, halt, place, typed)


def _ask(halt: Halt, place: str, who: Person) -> None:
    with st.form(f"{place}form"):
        if who.login:
            said(f"Name: {who.name}")
            name = who.name
        else:
            name = st.text_input(
                "Your name", key=f"{place}name", max_chars=NAME[1], persist_state="session"
            )
        reason = st.text_area(
            "Reason, so that somebody who was not there can judge it",
            key=f"{place}reason",
            max_chars=REASON[1],
            persist_state="session",
        )
        if not st.form_submit_button("Look at it once more", key=f"{place}next"):
            return
    # One line in the ledger: a line break that was typed is a space.
    typed = {"by": " ".join(name.split()), "reason": " ".join(reason.split())}
    for what, label in (("by", "Your name"), ("reason", "Reason")):
        problem = wrong_text(what, typed[what])
        if problem is not None:
            st.error("What you typed is still here.", title=f"{label}: {problem}")
            return
    st.session_state[f"{place}review"] = halt, typed
    st.rerun()


def _confirm(run: Run, halt: Halt, place: str, typed: Mapping[str, str]) -> None:
    with st.container(border=True):
        st.subheader("This will be recorded")
        said(
            f"{typed['by']} lets {run.name} go on after HALT at {halt.iteration} "
            f"({', '.join(halt.gates)}):"
        )
        said(typed["reason"])
        with st.container(horizontal=True):
            sure = st.button("Record the override", key=f"{place}record", type="primary")
            st.button(
                "Go back",
                key=f"{place}back",
                on_click=lambda: st.session_state.pop(f"{place}review", None),
            )
    if not sure:
        return
    try:
        who = acting("An override", lambda one: one.may_override)
        override(
            run.path,
            by=who.name if who.login else typed["by"],
            reason=typed["reason"],
            given=_signer(run),
        )
    except RestauditError as e:
        frame.problem("The override was not recorded", _instead(run), str(e))
        return
    del st.session_state[f"{place}review"]
    # The chooser above the page reads states again after a few seconds only.
    reading.summaries.clear()
    st.rerun()


def _after(run: Run) -> None:
    st.success(
        "It stands first on every page and in every report.", title="The override is recorded"
    )
    if run.state in ("stopped", "waiting"):
        st.write("To go on, in a terminal:")
        key = " --key FILE" if run.plan.get("signer") else ""
        st.code(
            f"restaudit resume {shlex.quote(str(run.path))}{key}", language="bash", wrap_lines=True
        )


def _signer(run: Run) -> Signer | None:
    """The key that this app was started with (RESTAUDIT_KEY), for a run whose plan names one.

    None is ever uploaded.
    """
    return given_signer(None) if run.plan.get("signer") else None


def _instead(run: Run) -> str:
    if not run.plan.get("signer"):
        return "Nothing was changed."
    return (
        "Nothing was changed. This run is signed: use `restaudit override RUN --by NAME --reason "
        "TEXT --key FILE` in a terminal, or start the app with the run's key in `RESTAUDIT_KEY`."
    )
