"""Controls whose values stand in the address, so that every view can be opened again and sent to
somebody.

Streamlit's own binding writes a control's label into the address, drops a value that it does not
know without a word, and forgets the value while the control is not drawn. Here the address has
names ("g01/i02"), a value that this run does not have is said, and a filter is still there after a
look at one prompt.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from reports.viewer.text import said
from restaudit.files.signs import printable

MOST_SHOWN, MOST_TYPED = 80, 200
PAGE, OFF = "page", "no"
WIDTH = 340


class Address:
    """The controls of one view; `slot` is where the page says which values of the address were left
    out.
    """

    def __init__(self, slot: Any) -> None:
        self.slot = slot
        self._left_out: list[str] = []

    def pick(
        self,
        label: str,
        options: Sequence[str],
        key: str,
        *,
        default: str | None = None,
        written: Callable[[str], str] = str,
        width: int | None = None,
    ) -> str:
        """One of `options`: what the address asks for, else the default (the first one)."""
        usual = options[0] if default is None else default
        # Written before the control is drawn: afterwards Streamlit refuses it.
        st.session_state[_widget(key)] = self._asked(label, key, options) or usual
        chosen = st.selectbox(
            label,
            options,
            key=_widget(key),
            format_func=written,
            width=width or "stretch",
            filter_mode="contains",
            on_change=_write,
            args=(key, _widget(key), usual),
        )
        # A browser can send anything; only a value of the list becomes part of a path.
        return chosen if chosen in options else usual

    def view(self, options: Sequence[str], key: str) -> str:
        """One of a few views, all of them in sight."""
        st.session_state[_widget(key)] = self._asked("View", key, options) or options[0]
        chosen = st.segmented_control(
            "View",
            options,
            required=True,
            key=_widget(key),
            label_visibility="collapsed",
            on_change=_write,
            args=(key, _widget(key), options[0]),
        )
        return str(chosen) if chosen in options else options[0]

    def several(self, label: str, options: Sequence[str], key: str) -> tuple[str, ...]:
        """Any number of `options`."""
        asked = st.query_params.get_all(key)
        for value in asked:
            if value not in options:
                self.unknown(label, value)
        st.session_state[_widget(key)] = [o for o in options if o in asked]
        chosen = st.pills(
            label,
            options,
            selection_mode="multi",
            key=_widget(key),
            on_change=_write,
            args=(key, _widget(key), []),
        )
        return tuple(o for o in options if o in chosen)

    def text(self, label: str, key: str, *, placeholder: str, width: int) -> str:
        """Any text."""
        st.session_state[_widget(key)] = st.query_params.get(key, "")[:MOST_TYPED]
        typed = st.text_input(
            label,
            key=_widget(key),
            type="search",
            max_chars=MOST_TYPED,
            placeholder=placeholder,
            width=width,
            on_change=_write,
            args=(key, _widget(key), ""),
        )
        return str(typed or "")[:MOST_TYPED]

    def number(self, label: str, key: str, placeholder: str) -> float | None:
        """A number, or none."""
        asked = st.query_params.get(key)
        value = None if asked is None else _number(asked)
        if asked is not None and value is None:
            self.unknown(label, asked)
        st.session_state[_widget(key)] = value
        entered = st.number_input(
            label,
            value=None,
            key=_widget(key),
            format="%.4g",
            placeholder=placeholder,
            on_change=_write,
            args=(key, _widget(key), None),
        )
        return None if entered is None else float(entered)

    def switch(self, label: str, key: str) -> bool:
        """On, but for "no" in the address."""
        asked = st.query_params.get(key)
        if asked not in (None, OFF):
            self.unknown(label, asked)
        st.session_state[_widget(key)] = asked != OFF
        return bool(
            st.toggle(label, key=_widget(key), on_change=_write, args=(key, _widget(key), True))
        )

    def page(self, pages: int, of: str) -> int:
        """The page, from 1; no control where there is one only.

        Another list (`of`) begins on its first page.
        """
        number = self._asked_page(pages)
        if pages == 1:
            return 1
        # A key for each list: Streamlit keeps a control's value by its key, and the place in one
        # list says nothing about another.
        key = f"{_widget(PAGE)}_{hashlib.sha256(of.encode()).hexdigest()[:16]}"
        if st.session_state.get(key, number) != number:
            st.session_state[key] = number
        chosen = int(
            st.pagination(
                pages, default=number, key=key, width=WIDTH, on_change=_write, args=(PAGE, key, 1)
            )
        )
        return min(max(chosen, 1), pages)

    def _asked(self, label: str, key: str, options: Sequence[str]) -> str | None:
        """What the address asks for, where it is one of these."""
        asked = st.query_params.get(key)
        if asked is None or asked in options:
            return asked
        self.unknown(label, asked)
        return None

    def _asked_page(self, pages: int) -> int:
        asked = st.query_params.get(PAGE)
        if asked is None:
            return 1
        # A number of thousands of digits takes long to read, and no list has that many pages.
        if asked.isdecimal() and len(asked) < 9 and 1 <= int(asked) <= pages:
            return int(asked)
        self.unknown("Page", asked)
        return 1

    def unknown(self, what: str, value: str) -> None:
        """Say that a value of the address was left out."""
        with self.slot:
            if not self._left_out:
                st.info(
                    "The address asks for what is not there; that was left out.",
                    icon=":material/link_off:",
                )
            said(f"{what}: {printable(value[:MOST_SHOWN])}")
        self._left_out.append(what)


def forget(keys: Sequence[str]) -> None:
    """A callback that takes these values out of the address."""
    for key in (*keys, PAGE):
        st.query_params.pop(key, None)


def _widget(key: str) -> str:
    """The control's name in the session; other pages have controls of the same short names."""
    return f"samples_{key}"


def _write(key: str, widget: str, usual: object) -> None:
    """A callback that puts a control's value into the address, unless it is the usual one."""
    value = st.session_state[widget]
    # Another filter makes another list, which begins on its first page.
    if key != PAGE:
        st.query_params.pop(PAGE, None)
    if value is None or value == usual:
        st.query_params.pop(key, None)
    elif isinstance(value, list):
        st.query_params[key] = [str(v) for v in value]
    else:
        st.query_params[key] = OFF if value is False else str(value)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
