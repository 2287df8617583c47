"""Work on files of strangers that may never end or fill the memory, done in a process of its own.

A chat template is a program, and so are the regular expressions of a tokenizer: no look at them
tells whether they end. Python cannot stop a thread, so one helper process does such work for this
one: it gets MEMORY bytes and a number of seconds for each piece, and is ended where it takes more.
It loads no model and no torch, and runs as long as this process does.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput

# Bytes of address space beyond what the helper takes when it begins.
MEMORY = 768 << 20
# The longest answer that is taken, in bytes; a chat of a million characters is below it.
LONGEST_ANSWER = 1 << 24
_LENGTH = struct.Struct("<Q")


class Refused(Exception):
    """The work was done and said no; `kind` is the name of what it raised."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class TooMuch(BadInput):
    """The work took more time, memory or room than it is given."""


def do(task: str, *, seconds: float, **given: Any) -> Any:
    """What a task of this module returns: `render` or `try_tokenizer`.

    `given` and the answer are plain values of JSON. Can be called from any thread. Raises Refused
    with what the task raised, and TooMuch, a sentence without a subject ("took more than 10
    seconds"), where it was stopped.
    """
    with _lock:
        return _ask({"task": task, **given}, seconds)


# --- this process's side

_lock = threading.RLock()
_helper: tuple[subprocess.Popen[bytes], socket.socket] | None = None
# Seconds that the helper may take to begin: it imports transformers, on a machine that may be busy.
BEGINS = 120.0


def _ask(request: dict[str, Any], seconds: float) -> Any:
    line = _begun()
    data = json.dumps(request, default=str).encode()
    try:
        line.settimeout(seconds)
        line.sendall(_LENGTH.pack(len(data)) + data)
        answer = json.loads(_received(line, LONGEST_ANSWER))
    except TimeoutError:
        _end()
        raise TooMuch(f"took more than {seconds:g} seconds") from None
    except (ConnectionError, EOFError):
        _end()
        raise TooMuch(f"ended a process that has {MEMORY >> 20} MB of memory for it") from None
    except BaseException:
        _end()  # what it answers later would be taken for the answer to something else
        raise
    if "too_much" in answer:
        raise TooMuch(answer["too_much"])
    if "refused" in answer:
        raise Refused(*answer["refused"])
    return answer["value"]


def _begun() -> socket.socket:
    """The line to the helper, which is started where there is none; a fork starts its own."""
    global _helper
    if _helper is not None and _owner == os.getpid() and _helper[0].poll() is None:
        return _helper[1]
    if _helper is not None:
        _helper[1].close()
    _start()
    assert _helper is not None
    return _helper[1]


_owner = 0


def _start() -> None:
    global _helper, _owner
    ours, theirs = socket.socketpair()
    with theirs:
        # -P: nothing of the working directory is imported; a stranger's folder may be that.
        command = [sys.executable, "-P", "-m", __name__, str(theirs.fileno())]
        environment = {**os.environ, "PYTHONPATH": _package_path(), "USE_TORCH": "0"}
        process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
    _helper, _owner = (process, ours), os.getpid()
    ours.settimeout(BEGINS)
    try:
        _received(ours, 16)
    except (OSError, EOFError) as e:
        _end()
        raise BadInput(f"the helper process for files of strangers does not begin ({e})") from None


def _package_path() -> str:
    """Where this package lies, for a helper that finds nothing by the working directory."""
    given = os.environ.get("PYTHONPATH")
    ours = str(Path(__file__).resolve().parents[2])
    return f"{ours}{os.pathsep}{given}" if given else ours


def _end() -> None:
    global _helper
    if _helper is None or _owner != os.getpid():
        return
    process, line = _helper
    _helper = None
    line.close()
    process.kill()
    process.wait()


atexit.register(_end)


def _received(line: socket.socket, most: int) -> bytes:
    (length,) = _LENGTH.unpack(_exactly(line, _LENGTH.size))
    if length > most:
        raise ConnectionError("a longer answer than is taken")
    return _exactly(line, length)


def _exactly(line: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        block = line.recv(min(length - len(data), 1 << 20))
        if not block:
            raise EOFError("it ended")
        data += block
    return bytes(data)


# --- the helper's side


def render(given: dict[str, Any]) -> list[str]:
    """Conversations as a chat template writes them, by transformers' own sandbox."""
    from transformers.utils.chat_template_utils import render_jinja_template

    texts, _ = render_jinja_template(given["conversations"], **given["arguments"])
    return [str(text) for text in texts]


def try_tokenizer(given: dict[str, Any]) -> int:
    """Read a tokenizer.json and let it cut texts on which a bad regular expression runs for ever;
    how many tokens are added to its vocabulary.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(given["path"])
    for text in given["texts"]:
        tokenizer.encode(text)
    return len(tokenizer.get_added_tokens_decoder())


TASKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "render": render,
    "try_tokenizer": try_tokenizer,
}


def _serve(line: socket.socket) -> None:
    from transformers.utils import chat_template_utils  # noqa: F401 - before memory is limited

    _limit_memory()
    _send(line, b"begun")
    while True:
        try:
            request = json.loads(_received(line, 1 << 40))
        except (EOFError, ConnectionError):
            return  # the process that this one works for has ended
        _send(line, _answer(request))


def _answer(request: dict[str, Any]) -> bytes:
    try:
        answer = json.dumps({"value": TASKS[request.pop("task")](request)}).encode()
        if len(answer) <= LONGEST_ANSWER:
            return answer
        answer_or_error: dict[str, Any] = {"too_much": f"gives {len(answer):,} bytes"}
    except (MemoryError, OverflowError):
        answer_or_error = {"too_much": f"takes more than {MEMORY >> 20} MB of memory"}
    except RecursionError:
        answer_or_error = {"too_much": "calls itself without end"}
    except Exception as e:  # noqa: BLE001 - it is said to the process that asked
        answer_or_error = {"refused": [type(e).__name__, str(e)[:2000]]}
    return json.dumps(answer_or_error).encode()


def _send(line: socket.socket, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        line.sendall(_LENGTH.pack(len(data)) + data)


def _limit_memory() -> None:
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
