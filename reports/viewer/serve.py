"""Starts Streamlit as `python -m streamlit` does, and imports what the pages need while the browser
loads the app.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from reports.viewer import warming

WAIT = 0.02


def main(arguments: Sequence[str]) -> None:
    """Run Streamlit with these arguments until it is stopped."""
    from streamlit.web import cli

    # The state of warming is in a module of its own: this file runs as `__main__`, and a page that
    # imported it would get a second copy.
    warming.start(warming.FIRST, _answers)
    warming.start(warming.REST, warming.looked_at)
    cli.main(list(arguments), prog_name="streamlit")


def _answers() -> None:
    """Return when the server is there."""
    from streamlit import runtime
    from streamlit.runtime.runtime import RuntimeState

    while not runtime.exists() or runtime.get_instance().state == RuntimeState.INITIAL:
        time.sleep(WAIT)


if __name__ == "__main__":
    main(sys.argv[1:])
