"""Who the app answers: asked with real sockets under forged names and from forged origins."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from streamlit import config
from streamlit.runtime.context import ContextProxy, StreamlitHeaders
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from reports import commands
from reports.viewer import hosts, serve
from restaudit.errors import BadInput
from tests.browser.conftest import ended, free_port, waited

ROOT = Path(__file__).parents[2]
Address = tuple[str, int]
# Every kind of path that Streamlit serves, and the methods that change something there.
READ = (
    "/",
    "/run",
    "/documents?run=halted&documents_view=Override",
    "/_stcore/health",
    "/_stcore/host-config",
    "/_stcore/agent/openapi.json",
    "/media/0123456789abcdef.zip",
    "/static/js/none.js",
    "/favicon.png",
    "/auth/login",
    "/oauth2callback?code=1&state=2",
)
CHANGE = (
    ("PUT", "/_stcore/upload_file/session/file"),
    ("DELETE", "/_stcore/upload_file/session/file"),
    ("POST", "/_stcore/agent/interact"),
    ("POST", "/_stcore/agent/mcp"),
)


def started(command: list[str], log: Path, port: int, **more: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        server = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "STREAMLIT_SERVER_HEADLESS": "true", **more},
        )
    waited(f"http://127.0.0.1:{port}/_stcore/health", server, log)
    return server


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """`restaudit ui`, that was given a further name."""
    port, folder = free_port(), tmp_path_factory.mktemp("hosts")
    command = [sys.executable, "-m", "restaudit.commands.cli", "ui", str(folder)]
    command += ["--port", str(port), "--host", "Audit.Example.org"]
    server = started(command, folder / "ui.log", port)
    yield "127.0.0.1", port
    ended(server)


def _ask(place: Address, path: str, method: str = "GET", **headers: str | list[str]) -> int:
    """The status of a request with exactly these headers; 0 where Streamlit itself refused it."""
    connection = http.client.HTTPConnection(*place, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        for one in [value] if isinstance(value, str) else value:
            connection.putheader(name.replace("_", "-"), one)
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    with connection.getresponse() as answer:
        # Streamlit refuses uploads by itself that lack its token; that is not what is looked for.
        streamlits = answer.status == 403 and answer.read() != hosts.REFUSED.encode()
    connection.close()
    return 0 if streamlits else answer.status


def _websocket(place: Address, *headers: str) -> int:
    """The status of a websocket handshake with these headers; 101 is one that was taken."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET /_stcore/stream HTTP/1.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: streamlit",
        *headers,
    ]
    with socket.create_connection(place, timeout=30) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return int(connection.recv(4096).split(b" ", 2)[1])


def _foreign(port: int) -> list[str]:
    return [
        "evil.example",
        f"evil.example:{port}",
        f"localhost.evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        f"evil.example:{port}@localhost:{port}",
        f"localhost:{port}.evil.example",
        f"localhost:{port},evil.example",
        f"localhost :{port}",
        "localhost",
        "localhost:1",
        "",
        f"192.0.2.7:{port}",
        f"[::ffff:127.0.0.1]:{port}",
        f"0.0.0.0:{port}",
    ]


def test_own_names_are_answered_with_and_without_their_origin(place: Address) -> None:
    port = place[1]
    for host in (f"localhost:{port}", f"LOCALHOST:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert _ask(place, "/_stcore/health", Host=host) == 200
        assert _ask(place, "/_stcore/health", Host=host, Origin=f"http://{host}") == 200
        assert _websocket(place, f"Host: {host}", f"Origin: http://{host}") == 101


def test_a_name_that_was_given_is_answered_as_a_proxy_hands_it_on(place: Address) -> None:
    assert _ask(place, "/", Host="audit.example.org") == 200
    public, other = "Origin: https://audit.example.org", "Origin: https://audit.example.net"
    assert _websocket(place, "Host: audit.example.org", public) == 101
    assert _websocket(place, "Host: audit.example.org", other) == 403
    assert _websocket(place, f"Host: 127.0.0.1:{place[1]}", public) == 403


@pytest.mark.parametrize("path", READ)
def test_another_name_is_refused_wherever_it_asks(place: Address, path: str) -> None:
    for host in _foreign(place[1]):
        assert _ask(place, path, Host=host) == 403, host
    own = f"localhost:{place[1]}"
    # Which is believed is up to whoever reads them; headers that anybody can send are never.
    assert _ask(place, path, Host=[own, "evil.example"]) in (400, 403)
    assert (
        _ask(place, path, Host="evil.example", X_Forwarded_Host=own, Forwarded=f"host={own}") == 403
    )


@pytest.mark.parametrize("path", READ)
def test_another_origin_is_refused_wherever_it_asks(place: Address, path: str) -> None:
    own = f"127.0.0.1:{place[1]}"
    for origin in (
        "null",
        "",
        "file://",
        "http://localhost:3000",
        "http://evil.example",
        own,
        "http://localhost",
    ):
        assert _ask(place, path, Host=own, Origin=origin) == 403, origin
    assert _ask(place, path, Host=own, Origin=[f"http://{own}", "http://evil.example"]) == 403


@pytest.mark.parametrize(("method", "path"), CHANGE)
def test_what_changes_something_needs_an_origin(place: Address, method: str, path: str) -> None:
    own = f"127.0.0.1:{place[1]}"
    assert _ask(place, path, method, Host=own) == 403
    assert _ask(place, path, method, Host=own, Origin="http://evil.example") == 403
    assert _ask(place, path, method, Host=f"evil.example:{place[1]}", Origin=f"http://{own}") == 403
    assert _ask(place, path, method, Host=own, Origin=f"http://{own}") != 403


def test_a_websocket_of_another_page_is_refused(place: Address) -> None:
    own = f"127.0.0.1:{place[1]}"
    for host in _foreign(place[1]):
        # A name that is led to this machine: the browser takes it for one site.
        assert _websocket(place, f"Host: {host}", f"Origin: http://{host}") in (400, 403), host
        assert _websocket(place, f"Host: {host}", f"Origin: http://{own}") in (400, 403), host
    for origin in ("null", "http://evil.example", "http://localhost:3000", f"ftp://{own}", own):
        assert _websocket(place, f"Host: {own}", f"Origin: {origin}") == 403, origin
    assert _websocket(place, f"Host: {own}") == 403
    assert _websocket(place, f"Host: {own}", "Host: evil.example", f"Origin: http://{own}") in (
        400,
        403,
    )
    assert _websocket(place, f"Origin: http://{own}") in (400, 403)


def test_a_page_loads_nothing_of_other_sites_and_stands_in_none(place: Address) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{place[1]}/", timeout=30) as answer:
        policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "http" not in policy


def test_streamlit_run_app_py_is_guarded_too(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = started([*command, "--", str(tmp_path)], tmp_path / "ui.log", port)
    try:
        place = "127.0.0.1", port
        assert _ask(place, "/", Host=f"127.0.0.1:{port}") == 200
        assert _ask(place, "/", Host=f"evil.example:{port}") == 403
        evil = f"evil.example:{port}"
        assert _websocket(place, f"Host: {evil}", f"Origin: http://{evil}") == 403
    finally:
        ended(server)


# --- the rule itself


def test_on_all_addresses_a_numeric_one_is_the_apps_and_no_other_machines() -> None:
    wide = hosts.names("0.0.0.0", 8501)
    assert not wide.refuse(["192.0.2.7:8501"], ["http://192.0.2.7:8501"], changes=True)
    assert not wide.refuse(["[2001:db8::1]:8501"], [], changes=False)
    assert wide.refuse(["192.0.2.7:8501"], ["http://198.51.100.9:8501"], changes=True)
    assert wide.refuse(["evil.example:8501"], ["http://evil.example:8501"], changes=True)
    assert wide.refuse(["192.0.2.7"], [], changes=False)
    narrow = hosts.names("127.0.0.1", 8501)
    assert narrow.refuse(["192.0.2.7:8501"], [], changes=False)


def test_an_app_on_the_usual_port_is_asked_without_one() -> None:
    assert not hosts.names("127.0.0.1", 80).refuse(["localhost"], [], changes=False)
    assert not hosts.names("127.0.0.1", 443, tls=True).refuse(["localhost"], [], changes=False)
    assert hosts.names("127.0.0.1", 443).refuse(["localhost"], [], changes=False)


def test_a_tunnel_is_named_with_its_port() -> None:
    through = hosts.names("127.0.0.1", 8501, ["localhost:9000"])
    own = ["http://localhost:9000"]
    assert not through.refuse(["localhost:9000"], own, changes=True)
    assert through.refuse(["localhost:9001"], ["http://localhost:9001"], changes=True)


@pytest.mark.parametrize("name", ["*", "http://a.example", "a.example/x", "a b", "a:b", "a@b", ""])
def test_what_is_no_name_is_refused_before_the_server_starts(
    app: typer.Typer, tmp_path: Path, name: str
) -> None:
    result = CliRunner().invoke(app, ["ui", str(tmp_path), "--host", name])
    assert isinstance(result.exception, BadInput)
    assert "NAME:PORT" in str(result.exception)


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    commands.register(made)
    return made


def _asked_with(monkeypatch: pytest.MonkeyPatch, *headers: tuple[str, str]) -> None:
    given = StreamlitHeaders(headers)
    monkeypatch.setattr(ContextProxy, "headers", property(lambda self: given))


def test_without_the_guard_the_page_itself_says_that_it_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RESTAUDIT_RUNS", str(tmp_path))
    evil = f"evil.example:{config.get_option('server.port')}"
    _asked_with(monkeypatch, ("Host", evil), ("Origin", f"http://{evil}"))
    page = AppTest.from_file(str(serve.SCRIPT), default_timeout=60).run()
    assert [e.value for e in page.error] == [hosts.REFUSED]
    assert not page.title
    with pytest.raises(BadInput, match="does not answer"):
        hosts.require()


def test_a_session_needs_one_host_and_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"localhost:{config.get_option('server.port')}"
    _asked_with(monkeypatch, ("Host", own), ("Origin", f"http://{own}"))
    hosts.require()
    for headers in (
        [("Host", own)],
        [("Origin", f"http://{own}")],
        [("Host", own), ("Origin", "http://evil.example")],
        [("Host", own), ("Origin", f"http://{own}"), ("Origin", "http://evil.example")],
        [("Host", "evil.example"), ("X-Forwarded-Host", own), ("Origin", f"http://{own}")],
    ):
        _asked_with(monkeypatch, *headers)
        assert hosts.refused_session(), headers
