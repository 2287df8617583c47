"""The login at the side of every page, where the server is configured with one."""

from __future__ import annotations

import streamlit as st

from reports.viewer.people import person
from restaudit.evidence.shown import plain

MOST_NAME = 120


def beside() -> None:
    """Who is logged in, with which role, and the way in or out; nothing where the server has no
    login.
    """
    who = person(st.user.to_dict())
    if not who.login:
        return
    with st.sidebar, st.container(gap="xsmall"):
        if who.logged_in:
            st.text(plain(who.name or "Logged in without a name", MOST_NAME))
            st.text(f"Role: {who.role}")
            st.button("Log out", key="side_logout", icon=":material/logout:", on_click=st.logout)
        else:
            st.text("Not logged in: you can read, download and verify.")
            st.button("Log in", key="side_login", icon=":material/login:", on_click=st.login)
