"""Logins that have ended. Streamlit's cookie is good for 30 days, wherever it was copied to: here a
login ends after a day's work, and when somebody logs out.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from restaudit.files import plain
from restaudit.files.cache import cache_folder

# How long a login counts, from the time that its ID token was issued (`iat`). Roles that a provider
# takes away are gone then.
HOURS = 12
# Seconds that a provider's clock may be ahead of this one.
SKEW = 300
# Below the user's cache folder: an empty file for each login that was ended, named by its digest.
FOLDER = "logged-out"
# What tells one login from another of the same person.
NAMED_BY = ("iss", "sub", "iat", "auth_time", "nonce", "jti", "sid", "at_hash")


def ended(claims: Mapping[str, Any]) -> bool:
    """Whether a login has ended, or does not say when it began."""
    issued = claims.get("iat")
    if isinstance(issued, bool) or not isinstance(issued, int | float):
        return True
    age = time.time() - issued
    return not -SKEW <= age <= 3600 * HOURS or plain.is_file(cache_folder(), _file(claims))


def end(claims: Mapping[str, Any]) -> None:
    """End a login, for every copy of its cookie and after a restart too."""
    folder = cache_folder()
    plain.write(folder, _file(claims), b"", mode=0o600)
    for old in (folder / FOLDER).iterdir():
        # Ended by now by its age.
        if time.time() - old.stat().st_mtime > 3600 * HOURS + 2 * SKEW:
            old.unlink(missing_ok=True)


def _file(claims: Mapping[str, Any]) -> str:
    said = json.dumps([claims.get(name) for name in NAMED_BY], default=str)
    return f"{FOLDER}/{hashlib.sha256(said.encode()).hexdigest()}"
