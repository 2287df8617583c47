"""The app under its own names, and what a page of another site gets of it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from reports.viewer.hosts import REFUSED
from tests.browser.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
# What a page of another site tries: a websocket, a picture of the app, its page as a frame.
TRY = """address => new Promise(done => {
    const socket = new WebSocket(`${address.replace('http', 'ws')}/_stcore/stream`, ['streamlit']);
    socket.onopen = () => done('open');
    socket.onerror = () => done('refused');
})"""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Another site's server on this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<h1>elsewhere</h1>")

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f":{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_app_works_under_its_own_names(visit: Visit, host: str) -> None:
    visit.address = visit.address.replace("127.0.0.1", host)
    page = visit.open("documents")
    assert page.get_by_role("heading", level=1).first.inner_text() == "Reports and exports"
    page.get_by_role("button", name="Prepare").first.click()
    with page.expect_download(timeout=60_000) as download:
        page.locator("[data-testid=stDownloadButton] button").first.click(timeout=60_000)
    assert download.value.path().stat().st_size > 1000
    assert visit.errors == []


def test_a_name_that_leads_here_gets_nothing(visit: Visit) -> None:
    answer = visit.page.goto(f"{visit.address.replace('127.0.0.1', 'evil.example')}/run?run=halted")
    assert answer.status == 403
    assert visit.page.inner_text("body") == REFUSED


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "evil.example"])
def test_a_page_of_another_site_cannot_talk_to_the_app(
    visit: Visit, elsewhere: str, host: str
) -> None:
    visit.page.goto(f"http://{host}{elsewhere}/")
    assert visit.page.evaluate(TRY, visit.address) == "refused"
    assert visit.page.evaluate(TRY, visit.address.replace("127.0.0.1", host)) == "refused"


def test_a_page_of_another_site_cannot_show_the_app_in_itself(visit: Visit, elsewhere: str) -> None:
    visit.page.goto(f"http://evil.example{elsewhere}/")
    visit.page.evaluate(
        "a => { const f = document.createElement('iframe'); f.src = a; document.body.append(f); }",
        f"{visit.address}/documents?run=halted&documents_view=Override",
    )
    visit.page.wait_for_timeout(3000)
    frames: list[Any] = visit.page.frames[1:]
    assert all(not frame.locator("[data-testid=stApp]").count() for frame in frames)


def test_what_is_uploaded_goes_through(visit: Visit) -> None:
    page = visit.open("evidence")
    page.locator("input[type=file]").first.set_input_files(
        {"name": "key.pem", "mimeType": "application/x-pem-file", "buffer": b"no key"}
    )
    page.get_by_text("This file cannot be used").first.wait_for(timeout=30_000, state="attached")
