"""Who uses the app and what they may do: everybody everything without a login, else by the roles of
their claims.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from reports.viewer import hosts, logins
from reports.viewer.text import said
from restaudit.errors import BadInput
from restaudit.evidence.shown import invisible, plain

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

    def why_not(self, what: str, role: Role = "approver") -> str:
        """Why somebody may not do what this role may."""
        if not self.logged_in:
            return f"Log in first. {what} needs the role `{role}`."
        if ROLES.index(self.role) < ROLES.index(role):
            return f"Your login has no role `{role}`. {what} needs it."
        return f"Your login names nobody. {what} is recorded in a name."


def here() -> Person:
    """Who this session belongs to, as things are now."""
    return person(st.user.to_dict())


def acting(what: str, may: Callable[[Person], bool], role: Role = "approver") -> Person:
    """Who does this now. Every handler that changes something asks: a browser can press a button
    that was drawn for another login, or for one that ended since.

    Raises BadInput where they may not, or where it is no page of this app that asks.
    """
    hosts.require()
    who = here()
    if not may(who):
        raise BadInput(who.why_not(what, role).replace("`", ""))
    return who


def person(claims: Mapping[str, Any]) -> Person:
    """The person of these claims (st.user); Streamlit says `is_logged_in` only where a login is
    configured.

    Roles are the claims `roles` and `restaudit_role`: a list of words, or one text of them, each as
    it is or as `restaudit:ROLE`. Who has none is a viewer. A login that has ended is none.
    """
    if "is_logged_in" not in claims:
        return Person(login=False, role="approver")
    if claims["is_logged_in"] is not True or logins.ended(claims):
        return Person(login=True, role="viewer")
    vouched, identity = _identity(claims)
    typed = str(claims.get("name") or "").strip()
    # People choose how they are called. What a provider vouches for stands behind it, and a name
    # that could be taken for that is left out.
    called = "" if any(c in "@()" or invisible(c) for c in typed) else typed
    full_name = f"{called} ({vouched})" if called and vouched else vouched
    return Person(True, _role(claims), full_name, identity)


def _identity(claims: Mapping[str, Any]) -> tuple[str, str]:
    """What the provider vouches for, as people read it, and what a rater's pseudonym is derived
    from.

    The same person is the same rater whichever way they log in, so an e-mail address goes before a
    provider's own number; but not one that they could have typed in themselves.
    """
    email = str(claims.get("email") or "").strip()
    # Some providers write the word.
    if email and claims.get("email_verified") in (True, "true"):
        return email, email
    issuer, subject = str(claims.get("iss") or ""), str(claims.get("sub") or "")
    return f"{subject} at {issuer}" if subject else "", f"{issuer}@{subject}"


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
    who = here()
    if not who.login:
        return
    with st.sidebar, st.container(gap="xsmall"):
        if who.logged_in:
            said(plain(who.name or "Logged in without a name", MOST_NAME))
            said(f"Role: {who.role}")
            st.button("Log out", key="side_logout", icon=":material/logout:", on_click=_log_out)
            return
        if st.user.to_dict().get("is_logged_in") is True:
            said(f"Your login ended: you logged out, or {logins.HOURS} hours went by.")
        said("Not logged in: you can read, download and verify.")
        st.button("Log in", key="side_login", icon=":material/login:", on_click=st.login)


def _log_out() -> None:
    # First here: the cookie that the browser forgets could have been copied.
    try:
        logins.end(st.user.to_dict())
    finally:
        st.logout()
