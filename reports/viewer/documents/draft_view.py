"""Drafts of the declarations form on its page: kept as fields are left, offered again after a
reload.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from reports.viewer import frame
from reports.viewer.documents import drafts
from reports.viewer.documents.drafts import Draft
from reports.viewer.documents.form import Given
from restaudit.errors import BadInput
from restaudit.evidence.shown import plain

MOST = 5


def opened(place: str, folder: Path, given: Given) -> None:
    """The form was opened in a new tab: what it began with, and which drafts lie there."""
    state = st.session_state
    state[f"{place}token"] = secrets.token_hex(8)
    state[f"{place}kept"] = given
    found, unreadable = drafts.found(folder)
    state[f"{place}drafts"] = [d for d in found if d.given != given]
    state[f"{place}unreadable"] = unreadable


def offer(place: str, folder: Path, take: Callable[[Given], None]) -> None:
    """The drafts that were there when the form was opened, each to go on with or to throw away."""
    state = st.session_state
    there: list[Draft] = state.get(f"{place}drafts") or []
    for draft in there[:MOST]:
        with st.container(border=True, key=f"{place}draft_{draft.token}", gap="xsmall"):
            answers = sum(bool(v.strip()) for v in draft.given.answers.values())
            st.text(
                plain(
                    f"Typed and not saved, {draft.at:%Y-%m-%d %H:%M} UTC: {answers} answer(s) by "
                    f"{draft.given.declared_by or 'nobody named'}.",
                    400,
                )
            )
            with st.container(horizontal=True):
                st.button(
                    "Go on with it",
                    key=f"{place}draft_take_{draft.token}",
                    on_click=_take,
                    args=(place, folder, draft, take),
                    icon=":material/restore:",
                )
                st.button(
                    "Throw it away",
                    key=f"{place}draft_drop_{draft.token}",
                    on_click=_drop,
                    args=(place, folder, draft),
                    icon=":material/delete:",
                )
    if said := st.session_state.pop(f"{place}draft_said", None):
        frame.problem("A draft could not be removed", "It will be offered again.", str(said))
    if more := there[MOST:]:
        st.caption(f"{len(more)} older ones are in {folder}.")
    if lost := state.get(f"{place}unreadable"):
        st.caption(f"{len(lost)} file(s) in {folder} are no drafts that this version can read.")


def keep(place: str, folder: Path, given: Given) -> None:
    """Keep what is typed now, if it is not what was kept last."""
    state = st.session_state
    if given == state.get(f"{place}kept"):
        return
    try:
        drafts.keep(folder, state[f"{place}token"], given)
        state[f"{place}kept"] = given
    except BadInput as e:
        frame.problem(
            "What you type is not kept outside this tab", "A reload loses it: save it.", str(e)
        )


def saved(place: str, folder: Path, given: Given) -> None:
    """The form was saved: its draft is no longer needed."""
    st.session_state[f"{place}kept"] = given
    _forget(place, folder, st.session_state[f"{place}token"])


def _take(place: str, folder: Path, draft: Draft, take: Callable[[Given], None]) -> None:
    take(draft.given)
    try:
        # First kept as this tab's own, then removed: a crash in between leaves it twice.
        drafts.keep(folder, st.session_state[f"{place}token"], draft.given)
        st.session_state[f"{place}kept"] = draft.given
    except BadInput:
        return
    _drop(place, folder, draft)


def _drop(place: str, folder: Path, draft: Draft) -> None:
    _forget(place, folder, draft.token)
    st.session_state[f"{place}drafts"] = [
        d for d in st.session_state[f"{place}drafts"] if d.token != draft.token
    ]


def _forget(place: str, folder: Path, token: str) -> None:
    try:
        drafts.forget(folder, token)
    except BadInput as e:
        st.session_state[f"{place}draft_said"] = str(e)
