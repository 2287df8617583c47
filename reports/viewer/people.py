"""Who uses the app and what they may do: everybody everything without a login, else by the roles of
their claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from restaudit.evidence.shown import plain

Role = Literal["viewer", "rater", "approver"]
# From the least to the most; who has several has the highest.
ROLES: tuple[Role, ...] = ("viewer", "rater", "approver")
CLAIMS = ("roles", "restaudit_role")
MOST_NAME = 120


@dataclass(frozen=True)
class Person:
    """`login`: whether the app has a login at all; `name` is "" for who has not logged in, or whose
    login names nobody.

    `identity` is what their pseudonym as a rater is derived from; None without a login.
    """

    login: bool
    role: Role
    name: str = ""
    identity: str | None = None

    @property
    def logged_in(self) -> bool:
        """Whether a login says who they are."""
        return self.identity is not None

    @property
    def may_rate(self) -> bool:
        """Whether they may rate texts."""
        return not self.login or self.role in ("rater", "approver")

    @property
    def may_ask(self) -> bool:
        """Whether they may draw a set of texts that others rate."""
        return not self.login or self.role == "approver"

    @property
    def may_write(self) -> bool:
        """Whether they may keep a report in a run folder, and save declarations, in their name."""
        return not self.login or (self.role == "approver" and bool(self.name))

    @property
    def may_override(self) -> bool:
        """Whether they may let a halted run go on."""
        return self.may_write

    def why_not(self, what: str) -> str:
        """Why somebody may not do what an approver may."""
        if not self.logged_in:
            return f"Log in first. {what} needs the role `approver`."
        if self.role != "approver":
            return f"Your login has no role `approver`. {what} needs it."
        return f"Your login has neither a name nor an e-mail address. {what} is recorded in a name."


def person(claims: Mapping[str, Any]) -> Person:
    """The person of these claims (st.user); Streamlit says `is_logged_in` only where a login is
    configured.

    Roles are the claims `roles` and `restaudit_role`: a list of words, or one text of them, each as
    it is or as `restaudit:ROLE`. Who has none is a viewer.
    """
    if "is_logged_in" not in claims:
        return Person(login=False, role="approver")
    if claims["is_logged_in"] is not True:
        return Person(login=True, role="viewer")
    name, email = str(claims.get("name") or "").strip(), str(claims.get("email") or "").strip()
    full_name = f"{name} ({email})" if name and email else name or email
    # The same person is the same rater whichever way they log in, so an e-mail address goes before
    # a provider's own number; but not one that they could have typed in themselves.
    identity = f"{claims.get('iss', '')}@{claims.get('sub', '')}"
    if email and claims.get("email_verified", True) is True:
        identity = email
    return Person(True, _role(claims), full_name, identity)


def _role(claims: Mapping[str, Any]) -> Role:
    held: set[str] = set()
    for claim in CLAIMS:
        held.update(_words(claims.get(claim)))
    for role in reversed(ROLES):
        if held & {role, f"restaudit:{role}"}:
            return role
    return "viewer"


def _words(claim: Any) -> list[str]:
    if isinstance(claim, str):
        return claim.replace(",", " ").split()
    if isinstance(claim, list | tuple):
        return [str(word) for word in claim]
    return []


# --- the login at the side of every page


def show_login() -> None:
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
