"""A file for a person: made when they ask, kept in their session until they ask for another, then
downloaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import streamlit as st

from reports.document.model import Document
from reports.viewer import blocks, frame, hosts
from reports.viewer.text import escaped, file_name, said, size
from restaudit.errors import RestauditError
from restaudit.evidence.record import Run
from restaudit.evidence.shown import plain

MOST = 4000
# Seconds between two drawings of a bar: each is a message to the browser, and files are read in
# pieces of a megabyte.
EVERY = 0.1


@dataclass(frozen=True)
class Prepared:
    """A file and what it was made of; it is handed out only for the same."""

    of: Hashable
    name: str
    mime: str
    data: bytes


def identity(run: Run) -> tuple[str, str]:
    """The run and its head."""
    # A new event makes a file that was prepared before it another one.
    return str(run.path), run.events[-1].hash if run.events else ""


def offer(key: str, of: Hashable, name: str, mime: str, make: Callable[[], bytes]) -> None:
    """A button that makes a file, and the download once it is made.

    One file a place and session is held.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        asked = st.button("Prepare", key=f"{key}_prepare", icon=":material/build:")
        failed = _made(key, of, name, mime, make) if asked else None
        held = st.session_state.get(f"{key}_file")
        if isinstance(held, Prepared) and held.of == of:
            st.download_button(
                f"Download {escaped(held.name)} ({size(len(held.data))})",
                held.data,
                held.name,
                held.mime,
                key=f"{key}_download",
                on_click="ignore",
                type="primary",
                icon=":material/download:",
            )
    if failed is not None:
        not_done("This file was not made", failed)


def not_done(title: str, error: Exception) -> None:
    """Say that nothing was written or changed, and why."""
    frame.problem(title, "Nothing was written or changed.", str(error))


def banner(document: Document, *, but: str = "") -> None:
    """What stands before everything else in a document: overrides, halts, whose judgement, no
    conformity.
    """
    lines = [line for line in document.banner if line != but]
    if lines:
        with st.container(border=True, gap="xsmall"):
            for line in lines:
                said(plain(line, MOST))


def read_section(document: Document, key: str, label: str, *, skip: int = 0) -> None:
    """One section of a document, chosen by its title."""
    sections = document.sections[skip:]
    at = st.selectbox(
        label,
        range(len(sections)),
        format_func=lambda k: plain(sections[k].title),
        key=key,
        width=460,
    )
    if at in range(len(sections)):
        blocks.draw(sections[at])


def _made(
    key: str, of: Hashable, name: str, mime: str, make: Callable[[], bytes]
) -> RestauditError | None:
    # The old file goes first, so that two large ones are never held at once.
    st.session_state.pop(f"{key}_file", None)
    try:
        hosts.require()
        with st.spinner("Making the file"):
            data = make()
    except RestauditError as e:
        return e
    st.session_state[f"{key}_file"] = Prepared(of, file_name(name), mime, data)
    return None


class Bar:
    """A bar of bytes. A new stage begins at nothing."""

    def __init__(self) -> None:
        self._stage, self._done, self._drawn = "", 0, 0.0
        self._place = st.empty()

    def add(self, stage: str, count: int, total: int) -> None:
        """Count bytes of a stage that has `total` of them (0: nobody knows)."""
        if stage != self._stage:
            self._stage, self._done, self._drawn = stage, 0, 0.0
        self._done += count
        now, finished = time.monotonic(), self._done >= total > 0
        if now - self._drawn < EVERY and not finished:
            return
        self._drawn = now
        if total:
            share = min(self._done / total, 1.0)
            text = f"{stage}: {size(self._done)} of {size(total)}"
        else:
            share, text = 0.0, f"{stage}: {size(self._done)}"
        self._place.progress(share, text=text)

    def empty(self) -> None:
        """Take the bar away."""
        self._place.empty()
