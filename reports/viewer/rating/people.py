"""Who is at the desk: a pseudonym that somebody types, or who a login says it is; and what they may do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from restaudit.rating import draw

ROLES = ("viewer", "rater", "approver")
LONGEST = 40
NAME = re.compile(r"[^\W_][\w .-]*")


@dataclass(frozen=True)
class Visitor:
    """`identity` is what a login says of the person, None without a login. `login` is set where one is still needed."""

    role: str
    identity: str | None = None
    login: bool = False

    @property
    def may_rate(self) -> bool:
        """Raters and approvers rate."""
        return self.role in ("rater", "approver") and not self.login

    @property
    def may_ask(self) -> bool:
        """Whoever sits at a desk without login, and approvers, make new sets of tasks."""
        return self.role == "approver" and not self.login


def visitor(user: Mapping[str, Any]) -> Visitor:
    """From st.user. Without a configured login (no `is_logged_in`) everyone may do everything, on their own machine.

    With one, the role is the highest of the claims `restaudit_role` and `roles`, written as it is or as
    `restaudit:ROLE`; without any, a viewer.
    """
    if "is_logged_in" not in user:
        return Visitor("approver")
    if not user["is_logged_in"]:
        return Visitor("viewer", login=True)
    held = {r for claim in ("restaudit_role", "roles") for r in _words(user.get(claim))}
    role = next((r for r in reversed(ROLES) if held & {r, f"restaudit:{r}"}), "viewer")
    email = user.get("email") if user.get("email_verified", True) is True else None
    return Visitor(role, str(email or f"{user.get('iss', '')}@{user.get('sub', '')}"))


def pseudonym(identity: str, secret: bytes) -> str:
    """The name of somebody who logged in: a keyed hash, as an import gives one to an e-mail address."""
    return f"rater-{draw.name(secret, 'rater', identity)[:10]}"


def checked_name(typed: str, known: Iterable[str]) -> tuple[str | None, str | None]:
    """The rater's name and what is wrong with it. A name that is there in other letters is that one: Ana is ana."""
    name = " ".join(typed.split())
    if not name:
        return None, None
    if "@" in name:
        return None, "Choose a pseudonym, not an e-mail address: the name is stored with every rating."
    if len(name) > LONGEST:
        return None, f"This name has {len(name)} characters; use at most {LONGEST}."
    if not NAME.fullmatch(name):
        return None, "Use letters, digits, spaces and . _ - in the name, and begin with a letter or digit."
    return next((k for k in known if k.casefold() == name.casefold()), name), None


def _words(claim: Any) -> list[str]:
    if isinstance(claim, str):
        return claim.replace(",", " ").split()
    return [str(c) for c in claim] if isinstance(claim, list | tuple) else []
