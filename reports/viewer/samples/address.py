"""The view in the address: a value there that this run does not have is left out, and the page says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import streamlit as st

from restaudit.record import printable

MOST_SHOWN = 80


def choices(key: str, options: Sequence[str], written: Callable[[str], str], what: str) -> None:
    """Before a bound widget is drawn: say what the address or the view before asks for and these options lack."""
    labels = {written(o) for o in options}
    state = st.session_state.get(key)
    asked = [*_list(st.query_params.get_all(key)), *(written(str(s)) for s in _list(state) if str(s) not in options)]
    for value in dict.fromkeys(a for a in asked if a not in labels):
        _say(what, value)
    if isinstance(state, str) and state not in options:
        del st.session_state[key]


def numbers(key: str, what: str) -> None:
    """Before a bound number is drawn: say that the address has something else than a number."""
    for value in st.query_params.get_all(key):
        try:
            fine = not value or math.isfinite(float(value))
        except ValueError:
            fine = False
        if not fine:
            _say(what, value)


def page(key: str, pages: int) -> None:
    """Before a bound pager is drawn: say that there are not so many pages, and keep its value inside."""
    state = st.session_state.get(key)
    if isinstance(state, int) and not 1 <= state <= pages:
        st.session_state[key] = 1
    for value in st.query_params.get_all(key):
        if not value.isdecimal() or not 1 <= int(value) <= pages:
            _say("page", value)


def unknown(what: str, value: str) -> None:
    """Say that a value of the address was left out."""
    _say(what, value)


def _list(value: object) -> list[str]:
    if value is None:
        return []
    return [str(v) for v in value] if isinstance(value, list | tuple) else [str(value)]


def _say(what: str, value: str) -> None:
    shown = printable(value[:MOST_SHOWN])
    st.info("The address asks for something that this run does not have; it was left out.", icon=":material/link_off:")
    st.text(f"{what}: {shown}")
