"""The app in a real browser: one server on fabricated runs, one Chromium, closed when the tests are
over.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reports.make_run import make_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
REQUIRED = os.environ.get("RESTAUDIT_BROWSER") == "required"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        why = "no Chromium here: apt-get install -y chromium"
        if REQUIRED:
            pytest.fail(why)
        pytest.skip(why)
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        found = p.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-background-networking",
                "--disable-dev-shm-usage",
                # A name of another site that leads to this machine.
                "--host-resolver-rules=MAP *.example 127.0.0.1",
            ],
        )
        yield found
        found.close()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browser") / "runs"
    for state in ("healthy", "halted", "broken"):
        make_run(root / state, state)
    # Rated by tests, each by one.
    for name in ("twenty", "duel"):
        make_run(root / name)
    return root


@pytest.fixture(scope="session")
def address(runs: Path) -> Iterator[str]:
    """The app's address; the process is gone when the tests are."""
    port = free_port()
    log = (runs.parent / "ui.log").open("wb")
    command = [sys.executable, "-m", "restaudit.commands.cli", "ui", str(runs), "--port", str(port)]
    server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        waited(f"http://127.0.0.1:{port}/_stcore/health", server, runs.parent / "ui.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        ended(server)
        log.close()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def ended(server: subprocess.Popen[bytes]) -> None:
    """Stop a server of ours, and wait until it is gone."""
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def waited(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server of ours answers; `log` says why one does not."""
    for _ in range(240):
        if server.poll() is not None:
            pytest.fail(f"the server ended at once: {log.read_text()}")
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.25)
    pytest.fail(f"the server did not start: {log.read_text()}")


class Visit:
    """One tab, with everything its console said."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.errors: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda e: self.errors.append(str(e)))

    def _said(self, message: Any) -> None:
        # Opened below its root, Streamlit first looks for itself beside the page, then at the root.
        if message.type == "error" and "/_stcore/" not in message.location.get("url", ""):
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def open(self, path: str, run: str | None = "healthy") -> Any:
        """Go to a page and wait until Streamlit has drawn it."""
        self.page.goto(f"{self.address}/{path}" + (f"?run={run}" if run else ""))
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until the script has run to its end."""
        self.page.wait_for_selector("[data-testid=stApp]", timeout=60_000)
        self.page.wait_for_selector(
            "[data-testid=stApp][data-test-script-state=notRunning]", timeout=60_000
        )
        self.page.wait_for_timeout(250)


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    yield Visit(context.new_page(), address)
    context.close()
