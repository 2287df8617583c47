"""Forms of the page: login, a new set, the instructions, a long scale, handing in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from reports.record import series
from reports.viewer import people
from reports.viewer.rating import desk
from reports.viewer.rating.desk import OpenSet, Standing, called
from reports.viewer.text import said
from restaudit.evidence.record import Run
from restaudit.people.rating import TaskSet, draw_tasks, in_app
from restaudit.people.rating.asking import (
    DIMENSION,
    PROMPTS,
    RATERS,
    draw_arguments,
    pair_arguments,
    pair_instructions,
    pair_set_name,
    set_name,
)
from restaudit.people.rating.pairs import PairSet, draw_pairs
from restaudit.people.rating.sheet import Sheet

# A button's callback runs before the page is drawn again: what it has to say waits here until then.
REFUSED_NEW, REFUSED_PAIRS = "rating_new_said", "rating_pairs_said"
# Texts of each iteration that the page proposes: with two iterations 44 tasks, some ten minutes for
# one rater.
SITTING = 20


def login() -> None:
    """Who rates is told by the login that this server is configured with."""
    st.info("This server asks who you are before you rate.", title="Log in first")
    st.button("Log in", key="rating_login", icon=":material/login:", on_click=st.login)


def new_set(run: Run, set_key: str, *, first: bool) -> None:
    """Ask for a new set and draw it."""
    proposal = proposed(run)
    refusal = st.session_state.pop(REFUSED_NEW, None)
    with st.expander(
        "Make a new set", expanded=first or refusal is not None, icon=":material/add:"
    ):
        if refusal is not None:
            st.error("Change what the line below names, and draw again.", title="No set was made")
            said(refusal)
        st.caption(
            "Texts are drawn at random and shuffled. Raters see neither iteration, model nor "
            "reward. A tenth of the texts is shown twice, to see whether raters agree with "
            "themselves."
        )
        with st.form("rating_new", border=False):
            st.multiselect(
                "Iterations",
                run.iterations(),
                default=proposal["iterations"],
                key="new_iterations",
                format_func=series.short_name,
            )
            a, b, c, d = st.columns(4)
            a.number_input(
                "Texts of each iteration", 1, 10_000, proposal["per_iteration"], key="new_n"
            )
            b.number_input("Raters for each text", 1, 100, proposal["raters"], key="new_raters")
            c.number_input("Lowest score", -100, 100, proposal["scale"][0], key="new_low")
            d.number_input("Highest score", -100, 100, proposal["scale"][1], key="new_high")
            st.text_input("What is rated", proposal["dimension"], max_chars=60, key="new_dimension")
            st.text_area(
                "Instructions for raters",
                key="new_instructions",
                placeholder=proposal["instructions"],
                help="Raters read these before they begin. Left empty, the text in grey is used.",
            )
            st.form_submit_button(
                "Draw the texts",
                type="primary",
                key="new_draw",
                on_click=_make,
                args=(str(run.path), set_key),
            )


def new_pairs(run: Run, set_key: str) -> None:
    """Ask for a set of pairs and draw it."""
    audited = run.iterations()
    if len(audited) < 2:
        return
    refusal = st.session_state.pop(REFUSED_PAIRS, None)
    with st.expander(
        "Make a new set of pairs (A or B?)", expanded=refusal is not None, icon=":material/compare:"
    ):
        if refusal is not None:
            st.error("Change what the line below names, and draw again.", title="No set was made")
            said(refusal)
        st.caption(
            "Prompts are drawn at random, with one text of each policy. Which one stands at A is "
            "random, and raters see neither iteration, model nor reward. A tenth of the pairs "
            "comes again the other way round."
        )
        with st.form("pairs_new", border=False):
            a, b, c, d = st.columns(4)
            a.selectbox("One policy", audited, key="pairs_first", format_func=series.short_name)
            b.selectbox(
                "The other",
                audited,
                len(audited) - 1,
                key="pairs_second",
                format_func=series.short_name,
            )
            c.number_input("Prompts", 1, 10_000, PROMPTS, key="pairs_n")
            d.number_input("Raters for each pair", 1, 100, RATERS, key="pairs_raters")
            st.text_input("What is compared", DIMENSION, max_chars=60, key="pairs_dimension")
            st.text_area(
                "Instructions for raters",
                key="pairs_instructions",
                placeholder=pair_instructions(DIMENSION),
                help="Raters read these before they begin. Left empty, the text in grey is used.",
            )
            st.form_submit_button(
                "Draw the pairs",
                type="primary",
                key="pairs_draw",
                on_click=_make_pairs,
                args=(str(run.path), set_key),
            )


def _make_pairs(path: str, set_key: str) -> None:
    state = st.session_state
    given = {
        "first": state["pairs_first"],
        "second": state["pairs_second"],
        "n": int(state["pairs_n"]),
        "raters": int(state["pairs_raters"]),
        "dimension": state["pairs_dimension"].strip(),
        "instructions": state["pairs_instructions"],
    }
    try:
        people.acting("Drawing a set", lambda who: who.may_ask)
        state[set_key] = draw_pair_set(Run(path), given).name
    except series.READ_ERRORS as error:
        state[REFUSED_PAIRS] = str(error)


def _make(path: str, set_key: str) -> None:
    state = st.session_state
    given = {
        "iterations": list(state["new_iterations"]),
        "per_iteration": int(state["new_n"]),
        "raters": int(state["new_raters"]),
        "scale": (int(state["new_low"]), int(state["new_high"])),
        "dimension": state["new_dimension"].strip(),
        "instructions": state["new_instructions"],
    }
    try:
        people.acting("Drawing a set", lambda who: who.may_ask)
        # The new set is the chosen one, so that the next click begins it.
        state[set_key] = draw_set(Run(path), given).name
    except series.READ_ERRORS as error:
        state[REFUSED_NEW] = str(error)


def proposed(run: Run) -> dict[str, Any]:
    """What the page proposes: what the run's plan asks of people, else one sitting's worth.

    Raises BadInput while nothing was audited.
    """
    # A run that asks people says how many texts it needs; less would leave it waiting.
    of_people = (run.plan["config"].get("human") or {}).get("kind") == "people"
    return draw_arguments(run, {} if of_people else {"n": SITTING})


def draw_set(run: Run, given: Mapping[str, Any]) -> TaskSet:
    """Draw a set; `given` has iterations, per_iteration, raters, scale, dimension and instructions
    ("" = the default).

    The same choices give the same set. Raises BadInput for choices that make no sense.
    """
    low, high = given["scale"]
    # Instructions are text here: the command line reads a file where its argument names one.
    standing = draw_arguments(
        run, {"scale": f"{low}-{high}", "dimension": given["dimension"] or None}
    )
    chosen = {k: given[k] for k in ("iterations", "per_iteration", "raters")}
    arguments = standing | chosen
    if given["instructions"].strip():
        arguments["instructions"] = given["instructions"].strip()
    return draw_tasks(run.path, name=set_name(arguments), **arguments)


def draw_pair_set(run: Run, given: Mapping[str, Any]) -> PairSet:
    """Draw a set of pairs; `given` has first, second, n, raters, dimension and instructions ("" =
    the default).

    The same choices give the same set, and the one that `restaudit rate pairs` draws. Raises
    BadInput for choices that make no sense.
    """
    # Instructions are text here: the command line reads a file where its argument names one.
    arguments = pair_arguments(run, {**given, "instructions": None})
    if given["instructions"].strip():
        arguments["instructions"] = given["instructions"].strip()
    return draw_pairs(run.path, name=pair_set_name(arguments), **arguments)


def instructions(run: Run, one: OpenSet, rater: str) -> None:
    """What raters read once, before the first text."""
    st.subheader("Read this first")
    with st.container(border=True, key="rating_instructions"):
        said(one.sheet.instructions)
    st.caption(
        f"You will rate up to {called(one.tasks)}. Each rating carries the digest of these "
        f"instructions: {one.sheet.instructions_sha256[:16]}…"
    )
    st.button(
        "I have read this, begin",
        key=f"rating_begin_{desk.token(one.tasks.name, rater)}",
        type="primary",
        on_click=_read,
        args=(str(run.path), one.tasks.name, rater, one.sheet.instructions_sha256),
    )


def _read(path: str, name: str, rater: str, sha256: str) -> None:
    _note(path, "read", rater, tasks=name, sha256=sha256)


def long_scale(sheet: Sheet, token: str, answer: Callable[[float], None]) -> None:
    """A slider for a scale of too many buttons; `token` names the text in its keys."""
    middle = sheet.choices[len(sheet.choices) // 2]
    key = f"score_{token}"
    st.select_slider(
        "Score",
        sheet.choices,
        middle,
        key=key,
        format_func="{:g}".format,
        label_visibility="collapsed",
    )

    def save() -> None:
        # A slider that is gone belonged to another text, whose answer does not count.
        answer(float(st.session_state.get(key, middle)))

    # A button of its own: a slider that is dragged passes through scores that nobody meant.
    st.button("Save", key=f"score_save_{token}", shortcut="Enter", type="primary", on_click=save)


def hand_in(run: Run, one: OpenSet, at: Standing, rater: str) -> None:
    """The end of a set for one rater: results are shown, and nothing more is rated or taken
    back.
    """
    left = len(at.due) + len(at.aside)
    label = "Results" if at.due else "Hand in"
    with st.popover(label, icon=":material/analytics:", type="secondary" if at.due else "primary"):
        if left:
            said(f"{left} texts of this set are not rated by you.")
        said(
            "Seeing results reveals which model wrote what, so handing in is final: you cannot rate "
            "more of this set or undo afterwards."
        )
        st.button(
            "Hand in and show the results",
            key=f"rating_hand_in_{desk.token(one.tasks.name, rater)}",
            type="primary",
            on_click=_handed_in,
            args=(str(run.path), one.tasks.name, rater, at.done, left),
        )


def _handed_in(path: str, name: str, rater: str, rated: int, left: int) -> None:
    _note(path, "handed_in", rater, tasks=name, rated=rated, left=left)


def _note(path: str, what: str, rater: str, **more: object) -> None:
    try:
        people.acting("Rating", lambda who: who.may_rate, "rater")
        in_app.note(Path(path), what, rater, **more)
        st.session_state.pop("rating_said", None)
    except series.READ_ERRORS as error:
        st.session_state["rating_said"] = "error", str(error)
