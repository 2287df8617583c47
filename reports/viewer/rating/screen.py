"""The page's screen: who rates and which set, the instructions, then one text after another."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import streamlit as st

from reports.record import series
from reports.viewer import frame, people
from reports.viewer.people import Person
from reports.viewer.rating import desk, forms, pair_view, results
from reports.viewer.rating.desk import AnySet, OpenSet, Standing, all_sets, called, progress_of
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from restaudit.people.rating import RatingsRefused, in_app
from restaudit.people.rating.pairs.sheet import PairSheet
from restaudit.people.rating.sheet import Sheet, ShownText
from restaudit.people.rating.status import of_raters
from restaudit.people.rating.store import CHOICES_FILE
from restaudit.people.waiting import REFIT, tasks_name, waited_for, what_is_missing

# What the session holds: what was said of the last click (a kind and a text) and to whom, which text
# is in sight since when, and when the desk was drawn last.
RATER, SET, SAID, OWNER = "rater", "set", "rating_said", "rating_owner"
SEEN, SEEN_AT, DRAWN = "rating_seen", "rating_seen_at", "rating_drawn"
PROMPT_HEIGHT, TEXT_HEIGHT = 96, 196
MOST_BUTTONS, MOST_NAMES = 21, 12


@dataclass(frozen=True)
class Here:
    """What a browser shows: one text of one set to one rater. An answer carries it, and counts only
    for it; `sha256` is of the text.
    """

    run: str
    tasks: str
    rater: str
    item: str
    sha256: str

    @property
    def token(self) -> str:
        """Part of the key of every button that is about this text."""
        return desk.token(self.tasks, self.rater, self.item, self.sha256)


class Drawing:
    """When the desk of a session was drawn to its end, or interrupted; in seconds.

    An object and no value of the session: that takes none while a drawing is interrupted.
    """

    ended = 0.0


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
        rater = _typed(run, sets, waits)
    else:
        # Derived and not typed: a login cannot rate twice under two names, and its address is not
        # stored.
        rater = desk.pseudonym(guest.identity, desk.secret_of(run))
        st.text(f"You are {rater}, {guest.role}. The name follows from your login and hides it.")
        _choose(run, sets, waits, rater)
    tasks = sets.get(str(st.session_state.get(SET)))
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


def _typed(run: Run, sets: dict[str, AnySet], waits: str | None) -> str | None:
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
                st.text(f"Rated here before: {', '.join(known[:MOST_NAMES])}{others}")
        with right:
            _choose(run, sets, waits, name)
    return name


def _choose(run: Run, sets: dict[str, AnySet], waits: str | None, rater: str | None) -> None:
    if not sets:
        st.text("No set of rating tasks was drawn yet.")
        return
    if st.session_state.get(SET, st.query_params.get(SET)) not in sets:
        st.session_state[SET] = desk.first_choice(
            list(sets.values()), waits, in_app.read_notes(run.path), rater
        )
    # No format_func: the address holds what is shown.
    name = st.selectbox("Set of texts", list(sets), index=None, key=SET, bind="query-params")
    if name in sets:
        waits_for_it = ": the run waits for this set" if name == waits else ""
        st.text(f"{called(sets[name])}{waits_for_it}")


@st.cache_resource(max_entries=16, show_spinner="Checking the texts of this set")
def _opened(key: tuple[str, ...]) -> OpenSet:
    path, name, *_ = key
    return desk.open_set(Run(path), name)


def opened(run: Run, name: str) -> OpenSet:
    """The set, checked once until the run goes on or a file of tasks changes."""
    return _opened((str(run.path), name, run.events[-1].hash, desk.stamp(run.path)))


@st.fragment
def _rate(run: Run, name: str, rater: str) -> None:
    """Everything that changes with an answer; only this is drawn again, within a key press."""
    drawing = st.session_state.setdefault(DRAWN, Drawing())
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
    if kind == "error":
        _trouble()
        message = ""
    message = message or "Answers are saved at once."
    st.progress(at.done / max(total, 1), text=f"{counts}. {message}")


def _trouble() -> None:
    """Say what went wrong with the last click, if something did."""
    kind, message = st.session_state.get(SAID) or ("", "")
    if kind == "error":
        st.error(
            "Nothing was changed. Try again; the line below says what is wrong.", title="Not saved"
        )
        st.text(message)


def _text(run: Run, one: OpenSet, at: Standing, rater: str) -> None:
    item = one.shown[at.due[0]]
    here = Here(str(run.path), one.tasks.name, rater, item.item_id, desk.token(asdict(item)))
    # The clock starts when the text first comes into sight, and not at each redraw.
    if st.session_state.get(SEEN) != here:
        st.session_state[SEEN], st.session_state[SEEN_AT] = here, datetime.now(UTC)
    if isinstance(one.sheet, PairSheet):
        pair_view.texts(one.sheet, item, here.token, partial(_answer, here))
    else:
        _single(one.sheet, item, here)
    with st.container(horizontal=True, gap="small"):
        _undo_button(run, one, at, rater)
        st.button(
            "Skip",
            key=f"skip_{here.token}",
            shortcut="S",
            icon=":material/skip_next:",
            on_click=_skip,
            args=(here,),
            help="Leave this text for the end.",
        )
        with st.popover("Instructions", icon=":material/menu_book:"):
            st.text(one.sheet.instructions)
        forms.hand_in(run, one, at, rater)


def _single(sheet: Sheet, item: ShownText, here: Here) -> None:
    """One text and its scale."""
    with st.container(border=True, height=PROMPT_HEIGHT, gap="xxsmall", key="rating_prompt"):
        st.caption("Prompt")
        st.text(item.prompt)
    with st.container(border=True, height=TEXT_HEIGHT, gap="xxsmall", key="rating_response"):
        st.caption("Response")
        st.text(item.response or "(an empty text)")
    low, high = sheet.labels[0], sheet.labels[-1]
    st.text(f"Your score for {sheet.dimension}, from {low} to {high}:")
    if len(sheet.choices) <= MOST_BUTTONS:
        with st.container(horizontal=True, gap="small", key="rating_scores"):
            for k, (label, key) in enumerate(zip(sheet.labels, desk.keys(sheet), strict=True)):
                st.button(
                    label,
                    key=f"score_{k}_{here.token}",
                    shortcut=key,
                    width=72,
                    on_click=_answer,
                    args=(here, sheet.choices[k]),
                )
    else:
        forms.long_scale(sheet, here.token, partial(_answer, here))


def _undo_button(run: Run, one: OpenSet, at: Standing, rater: str) -> None:
    st.button(
        "Undo",
        key=f"undo_{desk.token(one.tasks.name, rater, at.last)}",
        shortcut="U",
        icon=":material/undo:",
        disabled=at.last is None,
        on_click=_undo,
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
                on_click=_unskip,
                args=(str(run.path), one.tasks.name, rater, at.aside),
            )
        forms.hand_in(run, one, at, rater)


# --- what the buttons do


def _answer(here: Here, score: float | str) -> None:
    if not _counts(here):
        return

    def save() -> None:
        run = Run(here.run)
        one, started = opened(run, here.tasks), st.session_state[SEEN_AT]
        # The files may have been exchanged while the text was in sight, or the set handed in, and
        # its results seen, in another window.
        row = one.shown.get(here.item)
        if row is None or desk.token(asdict(row)) != here.sha256:
            raise BadInput("the texts of this set were changed since this one was shown")
        if _standing(run, here.tasks, here.rater).handed_in:
            raise BadInput(desk.HANDED_IN)
        desk.answer(
            run.path, one, item_id=here.item, rater=here.rater, score=score, started=started
        )

    _do(f"Saved: {_written(score)}.", save, kind="rated")


def _written(score: float | str) -> str:
    return pair_view.LABELS[score] if isinstance(score, str) else f"{score:g}"


def _counts(here: Here) -> bool:
    """Whether a key or a click counts: for the text that is in sight, and not at once. Says why it
    does not.

    While an answer is saved, or its text is on the way to the browser, that still shows the text
    before; what is pressed then was meant for that one.
    """
    if st.session_state.get(SEEN) != here:
        st.session_state[SAID] = "", "A key for the text before was not counted."
        return False
    return not _too_soon()


def _too_soon() -> bool:
    """Whether a key comes sooner after the desk was drawn than anybody reads, as one does that is
    held down; each draws the desk again.
    """
    drawn = st.session_state.get(DRAWN, Drawing).ended
    if time.monotonic() - drawn >= desk.QUICK:
        return False
    st.session_state[SAID] = "", "Too soon after the last key; not counted."
    return True


def _skip(here: Here) -> None:
    if not _counts(here):
        return

    def skip() -> None:
        run = Run(here.run)
        at = _standing(run, here.tasks, here.rater)
        # It was answered in another window.
        if here.item in at.due:
            more = {"tasks": here.tasks, "item_id": here.item, "after": at.done}
            in_app.note(run.path, "skipped", here.rater, **more)

    _do("Skipped; it comes at the end.", skip)


def _unskip(path: str, name: str, rater: str, items: tuple[str, ...]) -> None:
    def back() -> None:
        for item in items:
            in_app.note(Path(path), "unskipped", rater, tasks=name, item_id=item)

    _do("", back)


def _undo(path: str, name: str, rater: str, last: tuple[str, str] | None) -> None:
    def back() -> None:
        run = Run(path)
        desk.undo(run, opened(run, name), _standing(run, name, rater), rater, last)

    if not _too_soon():
        _do("Taken back; rate it again.", back)


def _standing(run: Run, name: str, rater: str) -> Standing:
    one = opened(run, name)
    return desk.standing(one, desk.rows_of(run.path, one.file), in_app.read_notes(run.path), rater)


def _do(message: str, action: Callable[[], object], *, kind: str = "") -> None:
    """Do it for who may rate now, and say so or what went wrong where the page is drawn next."""
    try:
        people.acting("Rating", lambda who: who.may_rate, "rater")
        action()
        st.session_state[SAID] = kind, message
    except RatingsRefused as refused:
        # The same text in two windows, or two keys at once.
        if any("rated item" in p for p in refused.problems):
            st.session_state[SAID] = "", "Answered already; that answer stands."
        else:
            st.session_state[SAID] = "error", " ".join(refused.problems)
    except series.READ_ERRORS as error:
        st.session_state[SAID] = "error", str(error)


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
    st.text(
        f"{at.rated} of {at.wanted} ratings are in: {called(tasks)}, {of_raters(at.raters)} each."
    )
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
