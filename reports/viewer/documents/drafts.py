"""What somebody typed into the declarations form and did not save: kept outside the run, and
offered again.

One file a browser tab, in a folder for a run and a person below the user's cache folder, readable
by the user alone. A draft is no declaration: nothing but the form reads it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from reports.viewer import frame
from reports.viewer.documents.form import Given
from restaudit.errors import BadInput
from restaudit.evidence.shown import plain
from restaudit.files import plain as files
from restaudit.files.cache import cache_folder
from restaudit.files.strict import parse_json

FOLDER, SCHEMA, LARGEST = "drafts", 1, 4 << 20
# How many drafts are offered at once.
MOST = 5
TOKEN = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Draft:
    """Typed and not saved; `at` is when, `token` the tab's."""

    token: str
    at: datetime.datetime
    given: Given


def folder_of(run_id: str, person: str) -> Path:
    """Where a person's drafts about a run lie; `person` is what a login says of them, "" without
    one.
    """
    name = hashlib.sha256(json.dumps([run_id, person]).encode()).hexdigest()[:32]
    return cache_folder() / FOLDER / name


def write(folder: Path, token: str, given: Given) -> None:
    """Keep what is in the form, in the place of what the same tab kept before.

    Raises BadInput where that fails.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    text = json.dumps({"schema": SCHEMA, "at": now, **asdict(given)}, ensure_ascii=True)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file that only its owner can read.
        files.write(folder, _file(folder, token).name, text.encode(), mode=0o600)
    except OSError as e:
        raise BadInput(f"{folder}: cannot be written: {e.strerror}") from None


def drafts_in(folder: Path, *, but: str = "") -> tuple[list[Draft], list[str]]:
    """Drafts of other tabs, the newest first, and the names of files that are none."""
    drafts: list[Draft] = []
    unreadable: list[str] = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        if path.stem == but:
            continue
        draft = _read(path)
        if draft is None:
            unreadable.append(path.name)
        else:
            drafts.append(draft)
    return sorted(drafts, key=lambda d: d.at, reverse=True), unreadable


def remove(folder: Path, token: str) -> None:
    """Remove a draft; one that is gone is gone."""
    try:
        _file(folder, token).unlink(missing_ok=True)
    except OSError as e:
        raise BadInput(f"{folder}: cannot be removed: {e.strerror}") from None


def _file(folder: Path, token: str) -> Path:
    if not TOKEN.fullmatch(token):
        raise BadInput(f"{token!r}: not the name of a draft")
    return folder / f"{token}.json"


def _read(path: Path) -> Draft | None:
    try:
        if not TOKEN.fullmatch(path.stem):
            return None
        raw = parse_json(files.read(path.parent, path.name, LARGEST))
        at = datetime.datetime.fromisoformat(raw["at"]).astimezone(datetime.UTC)
        return Draft(path.stem, at, _given(raw)) if raw["schema"] == SCHEMA else None
    except (BadInput, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _given(raw: dict[str, Any]) -> Given:
    given = Given(
        raw["declared_by"], raw["role"], raw["date"], raw["signature_file"], dict(raw["answers"])
    )
    texts = (
        given.declared_by,
        given.role,
        given.date,
        given.signature_file,
        *given.answers,
        *given.answers.values(),
    )
    if not all(isinstance(t, str) for t in texts):
        raise TypeError("expected texts")
    if given.date:
        datetime.date.fromisoformat(given.date)
    return given


# Drafts of the declarations form on its page: kept as fields are left, offered again after a
# reload.


def begin(place: str, folder: Path, given: Given) -> None:
    """The form was opened in a new tab: what it began with, and which drafts lie there."""
    state = st.session_state
    state[f"{place}token"] = secrets.token_hex(8)
    state[f"{place}kept"] = given
    found, unreadable = drafts_in(folder)
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


def keep_typed(place: str, folder: Path, given: Given) -> None:
    """Keep what is typed now, if it is not what was kept last."""
    state = st.session_state
    if given == state.get(f"{place}kept"):
        return
    try:
        write(folder, state[f"{place}token"], given)
        state[f"{place}kept"] = given
    except BadInput as e:
        frame.problem(
            "What you type is not kept outside this tab", "A reload loses it: save it.", str(e)
        )


def forget_saved(place: str, folder: Path, given: Given) -> None:
    """The form was saved: its draft is no longer needed."""
    st.session_state[f"{place}kept"] = given
    _forget(place, folder, st.session_state[f"{place}token"])


def _take(place: str, folder: Path, draft: Draft, take: Callable[[Given], None]) -> None:
    take(draft.given)
    try:
        # First kept as this tab's own, then removed: a crash in between leaves it twice.
        write(folder, st.session_state[f"{place}token"], draft.given)
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
        remove(folder, token)
    except BadInput as e:
        st.session_state[f"{place}draft_said"] = str(e)
