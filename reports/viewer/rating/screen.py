"""The page's screen: who rates and which set, the instructions, then one text after another."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial

import streamlit as st

from reports.record import series
from reports.viewer import frame, people
from reports.viewer.people import Person
from reports.viewer.rating import desk, forms, keys, pair_view, results
from reports.viewer.rating.desk import AnySet, OpenSet, Standing, all_sets, called, progress_of
from reports.viewer.rating.keys import DRAWN, SAID, SEEN, SEEN_AT, Drawn, Here, opened
from reports.viewer.text import escaped, said
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from restaudit.people.rating import in_app
from restaudit.people.rating.pairs.sheet import PairSheet
from restaudit.people.rating.sheet import Sheet, ShownText
from restaudit.people.rating.status import of_raters
from restaudit.people.rating.store import CHOICES_FILE
from restaudit.people.waiting import REFIT, tasks_name, waited_for, what_is_missing

# What the session holds: who rates which set, and to whom something was said.
RATER, SET, OWNER = "rater", "set", "rating_owner"
# Heights stay, so that nothing moves under a thumb; a prompt of four lines fits a phone.
PROMPT_HEIGHT, TEXT_HEIGHT = 144, 196
MOST_BUTTONS, MOST_NAMES = 21, 12
# What the last click wanted and did not get: title, and what stands all the same.
TROUBLE = {
    "error": ("Not saved", "This answer was not saved. Your earlier answers are. Why:"),
    "undo": ("Not taken back", "Your last answer stands, and all answers are saved. Why:"),
}


def show(run: Run) -> None:
    """The page, or one message about what keeps the desk shut."""
    try:
        _show(run)
    except BadInput as error:
        _shut(error)


def _show(run: Run) -> None:
    guest = people.here()
    if guest.login and not guest.logged_in:
        forms.login()
        return
    waits = _waits(run)
    if waits is not None and not waits:
        _other_wait(run)
    if not run.iterations():
        st.info(
            "Ratings are given to the texts of an audit. The first one has not been recorded yet.",
            title="Nothing to rate yet",
        )
        return
    sets = all_sets(run)
    if waits and waits not in sets:
        st.warning(
            "Resume the run in a terminal: it writes the same tasks again.",
            title="The rating tasks are gone",
        )
        st.code(f"restaudit resume {shlex.quote(str(run.path))}", language="bash")
    if guest.identity is None:
        rater, chosen = _typed(run, sets, waits)
    else:
        # Derived and not typed: a login cannot rate twice under two names, and its address is not
        # stored.
        rater = desk.pseudonym(guest.identity, desk.secret_of(run))
        said(f"You are {rater}, {guest.role}. The name follows from your login and hides it.")
        chosen = _choose(run, sets, waits, rater)
    tasks = sets.get(chosen)
    if tasks is not None:
        _work(run, tasks, guest, rater)
    if guest.may_ask:
        forms.new_set(run, SET, first=not sets)
        forms.new_pairs(run, SET)


def _work(run: Run, tasks: AnySet, guest: Person, rater: str | None) -> None:
    if not guest.may_rate:
        _watch(run, tasks)
    elif rater is None:
        _progress_of_set(run, tasks)
        st.info("Type a rater name above to begin.")
    elif (why := _barred(opened(run, tasks.name), rater)) is not None:
        st.warning(why, title="This rater cannot rate this run")
    else:
        _rate(run, tasks.name, rater)


def _typed(run: Run, sets: dict[str, AnySet], waits: str | None) -> tuple[str | None, str]:
    """The name somebody typed and the chosen set; out of the way once rating has begun."""
    named = st.session_state.get(RATER) or st.query_params.get(RATER)
    began = bool(named and sets)
    with st.expander("Who rates, and which set", expanded=not began, icon=":material/badge:"):
        left, right = st.columns(2)
        with left:
            typed = st.text_input(
                "Your rater name",
                key=RATER,
                bind="query-params",
                max_chars=desk.LONGEST_NAME,
                placeholder="A pseudonym, like ana",
                help="Stored with every rating. Use the same name when you come back.",
            )
            known = desk.known_raters(
                [*desk.rows_of(run.path), *desk.rows_of(run.path, CHOICES_FILE)]
            )
            name, wrong = desk.checked_name(str(typed or ""), known)
            if wrong:
                st.error(wrong)
            elif known:
                others = " and others" if len(known) > MOST_NAMES else ""
                said(f"Rated here before: {', '.join(known[:MOST_NAMES])}{others}")
        with right:
            chosen = _choose(run, sets, waits, name)
    return name, chosen


def _choose(run: Run, sets: dict[str, AnySet], waits: str | None, rater: str | None) -> str:
    """The chosen set; "" where there is none."""
    if not sets:
        said("No set of rating tasks was drawn yet.")
        return ""
    usual = desk.first_choice(list(sets.values()), waits, in_app.read_notes(run.path), rater)
    if st.session_state.get(SET, st.query_params.get(SET)) not in sets:
        st.session_state[SET] = usual
    # No format_func: the address holds what is shown.
    name = st.selectbox("Set of texts", list(sets), index=None, key=SET, bind="query-params")
    # Going back in the browser takes a choice away that the address did not name.
    chosen = name if name in sets else usual
    waits_for_it = ": the run waits for this set" if chosen == waits else ""
    said(f"{chosen}: {called(sets[chosen])}{waits_for_it}")
    return chosen


@st.fragment
def _rate(run: Run, name: str, rater: str) -> None:
    """Everything that changes with an answer; only this is drawn again, within a key press."""
    drawing = st.session_state.setdefault(DRAWN, Drawn())
    try:
        _desk(run, opened(run, name), rater)
    except series.READ_ERRORS as error:
        _shut(error)
    finally:
        drawing.ended = time.monotonic()


def _desk(run: Run, one: OpenSet, rater: str) -> None:
    rows = desk.rows_of(run.path, one.file)
    at = desk.standing(one, rows, in_app.read_notes(run.path), rater)
    # What was said to one rater, or about one set, is not said to the next.
    if st.session_state.get(OWNER) != (one.tasks.name, rater):
        st.session_state[OWNER] = one.tasks.name, rater
        st.session_state.pop(SAID, None)
    # Whoever has seen results knows which policy is which, and can no longer rate blind.
    if at.handed_in:
        results.show_results(run, one.tasks, rater=rater)
        _next(run, one.tasks)
        return
    if not at.read:
        _trouble()
        forms.instructions(run, one, rater)
        _progress_of_set(run, one.tasks)
        return
    _status(at)
    if at.due:
        _text(run, one, at, rater)
    else:
        _nothing_due(run, one, at, rater)
    results.so_far(run, one.tasks, rows, at)
    _next(run, one.tasks)


def _status(at: Standing) -> None:
    """How far one is, and what became of the last answer: always one line, so that nothing below it
    moves.
    """
    total = at.done + len(at.due) + len(at.aside)
    kind, message = st.session_state.get(SAID) or ("", "")
    counts = f"{at.done} of {total} rated"
    if at.aside:
        counts += f", {len(at.aside)} skipped"
    if kind == "rated" and at.done % desk.BREAK_EVERY == 0:
        message = "A short break now? Your place is kept."
    if kind in TROUBLE:
        _trouble()
        message = ""
    message = message or "Answers are saved at once."
    st.progress(at.done / max(total, 1), text=f"{counts}. {message}")


def _trouble() -> None:
    """Say what went wrong with the last click, if something did."""
    kind, message = st.session_state.get(SAID) or ("", "")
    if kind in TROUBLE:
        title, body = TROUBLE[kind]
        st.error(body, title=title)
        said(message)


def _text(run: Run, one: OpenSet, at: Standing, rater: str) -> None:
    item = one.shown[at.due[0]]
    here = Here(str(run.path), one.tasks.name, rater, item.item_id, desk.token(asdict(item)))
    # The clock starts when the text first comes into sight, and not at each redraw.
    if st.session_state.get(SEEN) != here:
        st.session_state[SEEN], st.session_state[SEEN_AT] = here, datetime.now(UTC)
    if isinstance(one.sheet, PairSheet):
        pair_view.texts(one.sheet, item, here.token, partial(keys.answer, here))
    else:
        _single(one.sheet, item, here)
    with st.container(horizontal=True, gap="small"):
        _undo_button(run, one, at, rater)
        st.button(
            "Skip",
            key=f"skip_{here.token}",
            shortcut="S",
            icon=":material/skip_next:",
            on_click=keys.skip,
            args=(here,),
            help="Leave this text for the end.",
        )
        with st.popover("Instructions", icon=":material/menu_book:"):
            said(one.sheet.instructions)
        forms.hand_in(run, one, at, rater)


def _single(sheet: Sheet, item: ShownText, here: Here) -> None:
    """One text and its scale."""
    with st.container(border=True, height=PROMPT_HEIGHT, gap="xxsmall", key="rating_prompt"):
        st.caption("Prompt")
        said(item.prompt)
    with st.container(border=True, height=TEXT_HEIGHT, gap="xxsmall", key="rating_response"):
        st.caption("Response")
        said(item.response or "(an empty text)")
    low, high = sheet.labels[0], sheet.labels[-1]
    said(f"Your score for {sheet.dimension}:")
    if len(sheet.choices) <= MOST_BUTTONS:
        with st.container(horizontal=True, gap="small", key="rating_scores"):
            for k, (label, shortcut) in enumerate(zip(sheet.labels, desk.keys(sheet), strict=True)):
                st.button(
                    label,
                    key=f"score_{k}_{here.token}",
                    shortcut=shortcut,
                    width=72,
                    on_click=keys.answer,
                    args=(here, sheet.choices[k]),
                    help={0: "the lowest", len(sheet.labels) - 1: "the highest"}.get(k),
                )
        st.caption(f"{escaped(low)} is the lowest, {escaped(high)} the highest score.")
    else:
        forms.long_scale(sheet, here.token, partial(keys.answer, here))


def _undo_button(run: Run, one: OpenSet, at: Standing, rater: str) -> None:
    st.button(
        "Undo",
        key=f"undo_{desk.token(one.tasks.name, rater, at.last)}",
        shortcut="U",
        icon=":material/undo:",
        disabled=at.last is None,
        on_click=keys.undo,
        args=(str(run.path), one.tasks.name, rater, at.last),
        help="Takes your last answer back. It stays in the desk's log as taken back.",
    )


def _nothing_due(run: Run, one: OpenSet, at: Standing, rater: str) -> None:
    if at.aside:
        st.info(
            f"You skipped {len(at.aside)} texts. Rate them now, or hand in without them.",
            title="The rest is done",
        )
    elif at.done:
        st.success(
            "Hand in to see the results. Until then you can take your last answer back.",
            title="All rated",
        )
    else:
        st.info(
            "Every text of this set has its ratings from others.", title="Nothing is left for you"
        )
    with st.container(horizontal=True, gap="small"):
        _undo_button(run, one, at, rater)
        if at.aside:
            st.button(
                "Rate the skipped texts",
                key="unskip",
                on_click=keys.unskip,
                args=(str(run.path), one.tasks.name, rater, at.aside),
            )
        forms.hand_in(run, one, at, rater)


# --- around it


def _waits(run: Run) -> str | None:
    """The set this run waits for; "" where it waits for something else; None where it does not
    wait.
    """
    if run.state != "waiting":
        return None
    look = waited_for(run)
    return "" if look.endswith(REFIT) else tasks_name(look)


def _other_wait(run: Run) -> None:
    st.info(
        "It waits for a sheet that is filled in outside this page.",
        title="This run waits for people",
    )
    st.code(
        what_is_missing(run) or f"restaudit resume {shlex.quote(str(run.path))}",
        language=None,
        wrap_lines=True,
    )


def _progress_of_set(run: Run, tasks: AnySet) -> None:
    at = progress_of(run, tasks)
    said(f"{at.rated} of {at.wanted} ratings are in: {called(tasks)}, {of_raters(at.raters)} each.")
    _next(run, tasks)


def _next(run: Run, tasks: AnySet) -> None:
    """What the run waits for, and what to do when nothing is missing."""
    if _waits(run) != tasks.name:
        return
    at = progress_of(run, tasks)
    if at.missing:
        st.info(
            f"{at.missing} of {at.wanted} ratings are missing. A text wants "
            f"{of_raters(at.raters)}. When none is missing, go on in a terminal:",
            title="This run waits for this set",
        )
    else:
        st.success("Go on in a terminal:", title="All ratings are in")
    st.code(f"restaudit resume {shlex.quote(str(run.path))}", language="bash")


def _watch(run: Run, tasks: AnySet) -> None:
    st.info("Your role is viewer: you see how far a set is, and its results when it is complete.")
    _progress_of_set(run, tasks)
    if progress_of(run, tasks).complete:
        results.show_results(run, tasks)


def _barred(one: OpenSet, rater: str) -> str | None:
    facts = one.book.facts_of(rater)
    if facts.model:
        return (
            "The run's list of raters (human/raters.json) says that this rater is a model, not "
            "a person."
        )
    if facts.developer:
        return (
            "The run's list of raters (human/raters.json) says that this rater develops the model."
        )
    return None


def _shut(error: Exception) -> None:
    frame.problem(
        "The rating desk cannot be used now",
        "Ratings that were saved are kept. The line below says what is wrong, and what helps.",
        str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}",
    )
