"""The checklist of the Verify page: for the chosen run, and for a bundle that somebody handed
over.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from reports.viewer.badges import Colour
from reports.viewer.documents.checking import (
    MIB,
    MOST_UNPACKED,
    MOST_UPLOAD,
    CheckLine,
    Mark,
    Outcome,
    check_bundle,
    check_run,
    public_key,
    witnessed,
)
from reports.viewer.documents.offering import Bar
from reports.viewer.text import escaped, size
from restaudit.errors import BadInput, RestauditError
from restaudit.evidence.seal.anchor import Anchor
from restaudit.evidence.seal.keys import PublicKey
from restaudit.evidence.shown import plain
from restaudit.evidence.verify import recorded_bytes

MARKS: dict[Mark, tuple[str, Colour]] = {
    "waiting": ("·", "gray"),
    "now": ("…", "blue"),
    "right": ("✓", "green"),
    "wrong": ("✕", "red"),
    "note": ("!", "orange"),
    "unreached": ("–", "gray"),
}
AFTER: dict[Mark, str] = {"now": " (under way)", "unreached": " (not reached)"}
# A bundle without texts names hundreds of files: the first lines are read, the rest can be opened.
MOST_SAID = 6


@dataclass(frozen=True)
class Trust:
    """What the reader brought along. `usable`: nothing of it was refused."""

    key: PublicKey | None
    anchor: Anchor | None
    usable: bool


def show_run(folder: Path, events: int | None) -> None:
    """The check of the chosen run; `events` is how many the page has read, None for a folder it
    cannot read.
    """
    st.caption(
        "Reads every file again and compares it with the ledger; a run that is being written is "
        "not disturbed."
    )
    trust = _trust("run")
    place = f"checked:{folder.name}"
    asked = st.button(
        f"Check now{_how_much(folder)}",
        key="check_run",
        type="primary",
        icon=":material/verified:",
        disabled=not trust.usable,
    )
    # A browser can press a button that is drawn as disabled.
    if asked and trust.usable:
        # The list is drawn line by line while files are read: a large run takes minutes.
        bar, show = Bar(), _live()
        try:
            done = check_run(folder, show, bar.add, trusted=trust.key, anchor=trust.anchor)
        finally:
            bar.empty()
        show(())
        st.session_state[place] = (done, datetime.datetime.now(datetime.UTC))
    if place in st.session_state:
        done, when = st.session_state[place]
        checked = f"Checked at {when:%H:%M:%S} UTC"
        # The run may have gone on since: what was checked is what was there then.
        if events is not None and done.wrong is None and events > done.events:
            checked += f"; {events - done.events} event(s) came since"
        _outcome(done, f"{checked}.")


def _how_much(folder: Path) -> str:
    """The bytes that will be read, where the ledger says."""
    try:
        return f" ({size(recorded_bytes(folder))})"
    # A ledger that cannot be read is what the check is for: it will say so.
    except (RestauditError, OSError):
        return ""


def show_bundle() -> None:
    """The check of an uploaded bundle."""
    st.caption(
        f"A bundle from somebody else, at most {MOST_UPLOAD // MIB} MB, that unpacks to at most "
        f"{MOST_UNPACKED // MIB} MB. It is opened in a temporary place that is removed "
        "afterwards; nothing of it is kept. For a larger one: `restaudit verify FILE.zip` in a "
        "terminal."
    )
    given = st.file_uploader(
        "Bundle (ZIP)", ["zip"], key="bundle_upload", max_upload_size=MOST_UPLOAD // MIB
    )
    trust = _trust("bundle")
    usable = trust.usable and given is not None and given.size <= MOST_UPLOAD
    asked = st.button(
        "Check the bundle",
        key="check_bundle",
        type="primary",
        icon=":material/verified:",
        disabled=not usable,
    )
    if given is None:
        return
    place = "checked_bundle"
    if asked and usable:
        bar, show = Bar(), _live()
        # The same upload may be checked again, with another key.
        given.seek(0)
        try:
            done = check_bundle(given, show, bar.add, trusted=trust.key, anchor=trust.anchor)
        finally:
            bar.empty()
        show(())
        st.session_state[place] = (given.file_id, done)
    # A result is never shown beside another file than the one it is about.
    if place in st.session_state and st.session_state[place][0] == given.file_id:
        _outcome(
            st.session_state[place][1],
            "This says something about the file that was uploaded, and nothing about "
            "the run chosen above.",
        )


def _trust(of: str) -> Trust:
    key, anchor, usable = None, None, True
    with st.expander("A key or an anchor that you trust", icon=":material/key:"):
        st.caption(
            "Without them a check shows only that a run is consistent in itself. Bring a public "
            "key that you got another way than the run, and what a witness wrote down."
        )
        pem = st.file_uploader("Public key (PEM)", ["pem"], key=f"key_{of}", max_upload_size=1)
        if pem is not None:
            try:
                key = public_key(pem.getvalue(), "the key")
                st.caption("Key id")
                st.code(key.key_id, language=None, wrap_lines=True)
            except BadInput as e:
                usable = _refused(e)
        file = st.file_uploader("Anchor (JSON)", ["json"], key=f"anchor_{of}", max_upload_size=1)
        if file is not None:
            try:
                anchor = witnessed(file.getvalue())
                st.text(plain(f"Anchor of run {anchor.run_id}, event {anchor.seq}"))
            except BadInput as e:
                usable = _refused(e)
    # What was brought along and cannot be used stops the check: without it the reader would trust
    # less than they think.
    return Trust(key, anchor, usable)


def _refused(error: BadInput) -> bool:
    st.error(
        "Nothing is checked before it is taken away or exchanged.", title="This file cannot be used"
    )
    st.code(str(error), language=None, wrap_lines=True)
    return False


def _live() -> Callable[[tuple[CheckLine, ...]], None]:
    """A place where the list is drawn again whenever a line changes; an empty list takes it
    away.
    """
    place = st.empty()

    def show(lines: tuple[CheckLine, ...]) -> None:
        if not lines:
            place.empty()
            return
        with place.container(gap="small"):
            _lines(lines)

    return show


def _outcome(done: Outcome, note: str) -> None:
    if done.wrong is not None:
        st.error("The check stops at the first thing that is wrong:", title="Not as recorded")
        st.code(done.wrong, language=None, wrap_lines=True)
    else:
        # State and last decision, then overrides and what nothing vouches for, before what is right.
        _said((*done.standing[-2:], *done.standing[:-2]))
        st.success(
            f"{done.events} events. What this does not show is marked ! below.",
            title="Everything that was checked is as recorded",
        )
    st.caption(note)
    with st.container(gap="small"):
        _lines(done.lines)
    if done.head:
        with st.container(gap="xsmall"):
            st.caption(
                "Head: the hash of the last event. Share it with someone outside; only they can "
                "later detect that the ledger was rebuilt."
            )
            st.code(done.head, language=None, wrap_lines=True)
            st.caption("Digest: what two runs of the same plan share")
            st.code(done.digest, language=None, wrap_lines=True)


def _lines(lines: tuple[CheckLine, ...]) -> None:
    for line in lines:
        sign, colour = MARKS[line.mark]
        with st.container(gap=None):
            st.badge(f"{sign} {escaped(line.title)}{AFTER.get(line.mark, '')}", color=colour)
            _said(line.said)


def _said(lines: tuple[str, ...]) -> None:
    for text in lines[:MOST_SAID]:
        st.text(plain(text, 1000))
    rest = lines[MOST_SAID:]
    if rest:
        with st.expander(f"{len(rest)} more lines"):
            lines_of_text = "\n".join(plain(text, 1000) for text in rest)
            st.code(lines_of_text, language=None, wrap_lines=True)
