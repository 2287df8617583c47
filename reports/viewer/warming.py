"""What the pages import, imported beforehand: for the first page while the browser loads the app,
for others after it.

In threads of their own; a reader who is faster waits for no more than what the page imports itself.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from threading import Event, Thread

FIRST = ("pandas", "reports.record.series", "reports.viewer.frame")
# In the order in which a reader comes to them: a run and its charts, samples, the desk, documents.
REST = (
    "reports.run_report.build",
    "reports.viewer.charts",
    "reports.viewer.samples.browse",
    "reports.viewer.rating.screen",
    "reports.exports.export",
    "reports.viewer.documents.making",
    "reports.viewer.documents.check_view",
)
# How long after the first page the others are imported: the browser is still drawing, served by
# this process.
LOOK = 1.5
# Set when a page was drawn for the first time.
drawn = Event()


def looked_at() -> None:
    """Return when the browser has had time to draw the first page."""
    drawn.wait()
    time.sleep(LOOK)


def start(modules: tuple[str, ...], wait: Callable[[], object] | None = None) -> None:
    """Import these, when `wait` returns."""
    Thread(target=_imported, args=(modules, wait), name="warming", daemon=True).start()


def _imported(modules: tuple[str, ...], wait: Callable[[], object] | None) -> None:
    if wait is not None:
        wait()
    for name in modules:
        # A page that needs what is not installed says so itself.
        with suppress(ImportError):
            import_module(name)
    # Streamlit collects garbage after every script, and would look through all that was imported
    # each time, which takes most of the time of a page. What is there now stays until the process
    # ends.
    gc.collect()
    gc.freeze()
