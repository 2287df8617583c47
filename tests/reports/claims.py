"""Claims of a login that began just now, as Streamlit hands them to a page."""

from __future__ import annotations

import time
from typing import Any


def login(**more: Any) -> dict[str, Any]:
    """A login of somebody at a provider; claims of None are left out."""
    claims = {
        "is_logged_in": True,
        "iss": "https://id.example",
        "sub": "7",
        "iat": int(time.time()),
        "email_verified": True,
        **more,
    }
    return {key: value for key, value in claims.items() if value is not None}
