"""Where what is no part of a run is kept for its user: fetched artifacts, and drafts of the app."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = "RESTAUDIT_CACHE"


def cache_folder() -> Path:
    """RESTAUDIT_CACHE, or a folder of ours in the user's cache folder; it need not be there yet."""
    if given := os.environ.get(CACHE):
        return Path(given)
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("restaudit"))
