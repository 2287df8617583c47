"""What Streamlit serves for `restaudit ui` and for `streamlit run app.py`: the pages of app.py
behind the check of who asks, and what begins with the server.
"""

from __future__ import annotations

import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread

from starlette.middleware import Middleware
from streamlit import config
from streamlit.starlette import App

from reports.viewer import warming
from reports.viewer.hosts import EVERYWHERE, LOOPBACK, Guard

SCRIPT = Path(__file__).with_name("app.py")
GUARDED = (Middleware(Guard),)


@asynccontextmanager
async def begun(_: App) -> AsyncIterator[None]:
    """Import what the pages need, and open the browser; called when the server is there."""
    warming.start(warming.FIRST)
    warming.start(warming.REST, warming.looked_at)
    if not config.get_option("server.headless"):
        Thread(target=webbrowser.open, args=(_address(),), daemon=True).start()
    yield


def _address() -> str:
    host = config.get_option("server.address") or EVERYWHERE[0]
    scheme = "https" if config.get_option("server.sslCertFile") else "http"
    shown = LOOPBACK[0] if host in EVERYWHERE else host
    return f"{scheme}://{shown}:{config.get_option('server.port')}"
