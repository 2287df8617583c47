"""What a key or a button of the desk does, and when it counts: an answer carries the text that it
answers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import streamlit as st

from reports.record import series
from reports.viewer import people
from reports.viewer.rating import desk, pair_view
from reports.viewer.rating.desk import OpenSet, Standing
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from restaudit.people.rating import RatingsRefused, in_app

# What the session holds: what was said of the last click (a kind and a text), which text is in sight
# since when, and when the desk was drawn last.
SAID, SEEN, SEEN_AT, DRAWN = "rating_said", "rating_seen", "rating_seen_at", "rating_drawn"


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


class Drawn:
    """When the desk of a session was last drawn to its end, or interrupted, and when a key was last
    pressed, counted or not; in seconds.

    An object and no value of the session: that takes none while a drawing is interrupted.
    """

    ended = pressed = -math.inf


@st.cache_resource(max_entries=16, show_spinner="Checking the texts of this set")
def _opened(key: tuple[str, ...]) -> OpenSet:
    path, name, *_ = key
    return desk.open_set(Run(path), name)


def opened(run: Run, name: str) -> OpenSet:
    """The set, checked once until the run goes on or a file of tasks changes."""
    return _opened((str(run.path), name, run.events[-1].hash, desk.stamp(run.path)))


def answer(here: Here, score: float | str) -> None:
    """Give a text its score, or a pair its choice."""
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
    too_soon = _too_soon()
    if st.session_state.get(SEEN) == here:
        return not too_soon
    st.session_state[SAID] = "", "A key for the text before was not counted."
    return False


def _too_soon() -> bool:
    """Whether a key comes sooner after the desk was drawn than anybody reads, or as soon after the
    last one as if it were held down. Says so.
    """
    drawing, now = st.session_state.setdefault(DRAWN, Drawn()), time.monotonic()
    drawn, pressed = now - drawing.ended, now - drawing.pressed
    drawing.pressed = now
    if drawn >= desk.QUICK and pressed >= desk.HELD * desk.QUICK:
        return False
    st.session_state[SAID] = "", "Too soon after the last key; not counted."
    return True


def skip(here: Here) -> None:
    """Leave a text for the end."""
    if not _counts(here):
        return

    def leave() -> None:
        run = Run(here.run)
        at = _standing(run, here.tasks, here.rater)
        if here.item not in at.due:
            raise BadInput("this text was answered or skipped in another window")
        more = {"tasks": here.tasks, "item_id": here.item, "after": at.done}
        in_app.note(run.path, "skipped", here.rater, **more)

    _do("Skipped; it comes at the end.", leave)


def unskip(path: str, name: str, rater: str, items: tuple[str, ...]) -> None:
    """Ask again for what was skipped."""

    def back() -> None:
        for item in items:
            in_app.note(Path(path), "unskipped", rater, tasks=name, item_id=item)

    _do("", back)


def undo(path: str, name: str, rater: str, last: tuple[str, str] | None) -> None:
    """Take back what the browser showed as the last answer."""

    def back() -> None:
        run = Run(path)
        desk.undo(run, opened(run, name), _standing(run, name, rater), rater, last)

    if not _too_soon():
        _do("Taken back; rate it again.", back, failed="undo")


def _standing(run: Run, name: str, rater: str) -> Standing:
    one = opened(run, name)
    return desk.standing(one, desk.rows_of(run.path, one.file), in_app.read_notes(run.path), rater)


def _do(
    message: str, action: Callable[[], object], *, kind: str = "", failed: str = "error"
) -> None:
    """Do it for who may rate now, and say so or what went wrong (as `failed`) where the page is
    drawn next.
    """
    try:
        people.acting("Rating", lambda who: who.may_rate, "rater")
        action()
        st.session_state[SAID] = kind, message
    except RatingsRefused as refused:
        # The same text in two windows, or two keys at once.
        if any("rated item" in p for p in refused.problems):
            st.session_state[SAID] = "", "Answered already; that answer stands."
        else:
            st.session_state[SAID] = failed, " ".join(refused.problems)
    except series.READ_ERRORS as error:
        st.session_state[SAID] = failed, str(error)
