"""The name a rater goes by: a pseudonym that somebody types, or one that follows from their
login.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from restaudit.people.rating import draw

LONGEST = 40
NAME = re.compile(r"[^\W_][\w .-]*")


def pseudonym(identity: str, secret: bytes) -> str:
    """The name of somebody who logged in: a keyed hash, as an import gives one to an e-mail
    address.
    """
    return f"rater-{draw.name(secret, 'rater', identity)[:10]}"


def checked_name(typed: str, known: Iterable[str]) -> tuple[str | None, str | None]:
    """The rater's name and what is wrong with it.

    A name that is there in other letters is that one: Ana is ana.
    """
    name = " ".join(typed.split())
    if not name:
        return None, None
    if "@" in name:
        return (
            None,
            "Choose a pseudonym, not an e-mail address: the name is stored with every rating.",
        )
    if len(name) > LONGEST:
        return None, f"This name has {len(name)} characters; use at most {LONGEST}."
    if not NAME.fullmatch(name):
        return (
            None,
            "Use letters, digits, spaces and . _ - in the name, and begin with a letter or digit.",
        )
    return next((k for k in known if k.casefold() == name.casefold()), name), None
