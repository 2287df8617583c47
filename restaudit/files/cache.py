"""Where what is no part of a run is kept for its user: fetched artifacts, and drafts of the app."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from restaudit.errors import BadInput
from restaudit.files import plain

CACHE = "RESTAUDIT_CACHE"
KEY = "cache.key"


def cache_folder() -> Path:
    """RESTAUDIT_CACHE, or a folder of ours in the user's cache folder; it need not be there yet."""
    if given := os.environ.get(CACHE):
        return Path(given)
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("restaudit"))


def cache_key() -> bytes:
    """32 random bytes that only this user can read, made when they are first asked for.

    They lie outside the cache (user_state_dir; XDG_STATE_HOME moves it): whoever may write into the
    cache, which several people can share, cannot say that something in it was made by this user.
    Raises BadInput where they can be neither read nor written.
    """
    from platformdirs import user_state_dir

    folder = Path(user_state_dir("restaudit"))
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with plain.appended(folder, KEY, mode=0o600) as f:
            # Two processes that begin at once agree on one.
            fcntl.flock(f, fcntl.LOCK_EX)
            key = f.read(33)
            if not key:
                key = secrets.token_bytes(32)
                f.write(key)
    except OSError as e:
        raise BadInput(
            f"{folder}: cannot be used ({e.strerror}), and a key for what is kept in the cache lies "
            "there; set XDG_STATE_HOME to a folder of your own"
        ) from None
    if len(key) != 32:
        raise BadInput(f"{folder / KEY}: not 32 bytes; delete it, and a new one is made")
    return key
