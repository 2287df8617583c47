"""Who is answered: only a page of this app, asked for under one of the app's own names.

A page of another site can have a browser ask this machine: across sites, or as itself, where it
leads a name of its own here (DNS rebinding). Its requests give it away: they name another host, or
come from another origin. X-Forwarded-Host and other headers that anybody can send are never read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from restaudit.errors import BadInput

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Further names of the app, with spaces between: what `restaudit ui --host` sets.
HOSTS = "RESTAUDIT_HOSTS"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What a server listens on to be reached under every address of its machine.
EVERYWHERE = ("0.0.0.0", "::")
NAMED = re.compile(
    r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_]|[a-z0-9_][a-z0-9._-]*[a-z0-9_]))(?::(\d{1,5}))?"
)
ORIGIN = re.compile(r"(https?)://([^/\\?#@\s]+)")
USUAL = {"http": 80, "https": 443}
REFUSED = (
    "This app does not answer here: the address in the browser is not one of its own names, or the "
    "request comes from a page of another site. Open it under the address that `restaudit ui` "
    "prints. Behind a proxy or a tunnel, start it with `restaudit ui --host NAME` (docs/app.md)."
)
# Nothing is loaded from, sent to or shown inside a page of another site, whatever a record says.
# Charts are compiled in the browser (unsafe-eval), and Streamlit writes its styles there.
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'self'; "
    "base-uri 'self'; form-action 'self'; object-src 'none'"
)

Place = tuple[str, int | None]


@dataclass(frozen=True)
class Names:
    """What the app is called: host names in small letters, each with a port, or None for an address
    that says none.

    `everywhere` is the port at which a numeric address is one of the app's too, since it listens on
    all of this machine's; no name of another site leads to a numeric address.
    """

    places: frozenset[Place]
    everywhere: int | None = None

    def refuse(self, hosts: Sequence[str], origins: Sequence[str], *, changes: bool) -> bool:
        """Whether a request with these headers Host and Origin is not answered.

        Without an Origin a request may only read: a browser sends one with everything that changes
        something (`changes`), a websocket among it.
        """
        host = place(hosts[0]) if len(hosts) == 1 else None
        if host is None or not self._ours(host):
            return True
        if not origins:
            return changes
        return len(origins) > 1 or _origin(origins[0]) != host

    def _ours(self, asked: Place) -> bool:
        if asked in self.places:
            return True
        return self.everywhere is not None and asked[1] == self.everywhere and _numeric(asked[0])


def place(text: str) -> Place | None:
    """Host and port of an address as a browser writes them; None where it is none."""
    found = NAMED.fullmatch(text.lower())
    if found is None:
        return None
    port = None if found[3] is None else int(found[3])
    return found[1] or found[2], port


def names(address: str, port: int, given: Sequence[str] = (), *, tls: bool = False) -> Names:
    """The names of an app that listens on this address and port, and was given others.

    A further name is meant with its own port; without one, with the usual ports of a proxy and the
    app's own. Raises BadInput where one is no name.
    """
    own = [*LOOPBACK, *([] if address in EVERYWHERE else [address.lower()])]
    places: set[Place] = {(host, port) for host in own}
    if port == USUAL["https" if tls else "http"]:
        places |= {(host, None) for host in own}
    for text in given:
        further = place(text)
        if further is None:
            raise BadInput(
                f"{text!r}: not a name of the app; give NAME or NAME:PORT as it stands in the "
                "browser's address, without http:// and without a path"
            )
        host, named = further
        places |= {(host, named or port)}
        if named in (None, *USUAL.values()):
            places.add((host, None))
    return Names(frozenset(places), port if address in EVERYWHERE else None)


def given_names() -> list[str]:
    """The further names in the environment."""
    return os.environ.get(HOSTS, "").split()


def of_this_server() -> Names:
    """The names of the app that Streamlit serves in this process."""
    from streamlit import config

    return names(
        config.get_option("server.address") or EVERYWHERE[0],
        int(config.get_option("server.port")),
        given_names(),
        tls=bool(config.get_option("server.sslCertFile")),
    )


def refused_session() -> bool:
    """Whether the websocket that this session hangs on is not answered.

    A second look, for a server that was started without Guard.
    """
    import streamlit as st

    headers = st.context.headers
    # A websocket has headers; without any nobody is there but a test of the pages.
    if not headers:
        return False
    return of_this_server().refuse(headers.get_all("Host"), headers.get_all("Origin"), changes=True)


def require() -> None:
    """For whatever changes something: raises BadInput where the session is not answered."""
    if refused_session():
        raise BadInput(REFUSED)


class Guard:
    """ASGI middleware in front of everything the app serves: pages, files, uploads, the websocket.

    What is refused gets status 403 and no more; what is answered says that it shows nothing of
    other sites, and stands in none.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif not _refused(scope):
            await self.app(scope, receive, _with_policy(send))
        elif scope["type"] == "websocket":
            # Before it was accepted; the server answers 403.
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _say_refused(send)


def _refused(scope: Scope) -> bool:
    headers: list[tuple[bytes, bytes]] = scope["headers"]

    def sent(name: bytes) -> list[str]:
        return [value.decode("latin-1") for key, value in headers if key.lower() == name]

    changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "OPTIONS")
    return of_this_server().refuse(sent(b"host"), sent(b"origin"), changes=changes)


async def _say_refused(send: Send) -> None:
    body = REFUSED.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_policy(send: Send) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: list[Any] = list(message.get("headers", []))
            message["headers"] = [*headers, (b"content-security-policy", POLICY.encode())]
        await send(message)

    return told


def _origin(text: str) -> Place | None:
    found = ORIGIN.fullmatch(text.lower())
    return place(found[2]) if found else None


def _numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
