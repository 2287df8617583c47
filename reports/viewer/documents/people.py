"""Who uses the app: what the login says, where one is configured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

APPROVER = "approver"
ROLES = "roles"


@dataclass(frozen=True)
class Person:
    """`login`: whether the app has a login at all; `name` is "" for who has not logged in."""

    login: bool
    name: str = ""
    roles: frozenset[str] = frozenset()

    @property
    def may_write(self) -> bool:
        """Whether they may keep something in a run folder."""
        return not self.login or bool(self.name)

    @property
    def may_override(self) -> bool:
        """Whether they may let a halted run go on."""
        return not self.login or (bool(self.name) and APPROVER in self.roles)


def person(claims: Mapping[str, Any]) -> Person:
    """The person of these claims (st.user); Streamlit says `is_logged_in` only where a login is configured.

    Roles are the claim `roles`: a list of words, or one text of them.
    """
    if "is_logged_in" not in claims:
        return Person(login=False)
    if claims["is_logged_in"] is not True:
        return Person(login=True)
    name, email = (str(claims.get(k) or "").strip() for k in ("name", "email"))
    both = f"{name} ({email})" if name and email else name or email
    said = claims.get(ROLES)
    roles = re.split(r"[\s,]+", said) if isinstance(said, str) else said if isinstance(said, list | tuple) else []
    return Person(login=True, name=both, roles=frozenset(str(r) for r in roles if r))
