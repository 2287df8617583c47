"""The hash chain: one canonical JSON event (RFC 8785) a line, each carrying the hash of the one
before.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import rfc8785

from restaudit.errors import VerificationFailed

# What the first event has for the hash of the one before.
GENESIS = "0" * 64
FILE = "ledger.jsonl"
# In bytes. An event of a real run takes one or two thousand; a stranger's ledger must not fill the
# reader's memory.
LONGEST_LINE = 1 << 20
LARGEST = 16 << 20


@dataclass(frozen=True)
class FileDigest:
    """Size and SHA-256 of one file of the run folder."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Event:
    """One finished step.

    `outputs` are files that two runs of the same plan on the same machine have in common, byte for
    byte; `context` files (environment, clocks) are covered by the chain but not compared. `content`
    holds small facts that are compared; `at` holds time, host and durations, which are not.
    """

    seq: int
    step: str
    prev: str
    outputs: Mapping[str, FileDigest]
    content: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, FileDigest] = field(default_factory=dict)
    at: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The event as plain JSON, without its own hash."""
        return {
            "seq": self.seq,
            "step": self.step,
            "prev": self.prev,
            "outputs": {p: vars(d) for p, d in self.outputs.items()},
            "content": dict(self.content),
            "context": {p: vars(d) for p, d in self.context.items()},
            "at": dict(self.at),
        }

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical body, in hex."""
        return hashlib.sha256(rfc8785.dumps(self.body())).hexdigest()


def digest_file(path: Path) -> FileDigest:
    """Hash a file in constant memory."""
    with path.open("rb") as f:
        sha = hashlib.file_digest(f, "sha256").hexdigest()
    return FileDigest(sha, path.stat().st_size)


def append(run: Path, event: Event) -> None:
    """Add one event: a single write, then fsync, so that a crash leaves at most one torn last line.

    Raises ValueError, with nothing written, for a number that would not read back (NaN, infinity,
    whole from 2**53) and for a line longer than LONGEST_LINE.
    """
    line = rfc8785.dumps({**event.body(), "hash": event.hash}) + b"\n"
    if len(line) > LONGEST_LINE:
        raise ValueError(
            f"event '{event.step}' takes {len(line):,} bytes; the longest line is {LONGEST_LINE:,}"
        )
    # RFC 8785 writes the float 2.0**53 as an integer, which it then refuses to write again:
    # unreadable.
    rfc8785.dumps(json.loads(line))
    path = run / FILE
    # A crash may have left half a line: it was no event, and the next one takes its place.
    keep = _complete_bytes(path)
    with path.open("r+b" if path.exists() else "wb") as f:
        f.truncate(keep)
        f.seek(keep)
        f.write(line)
        f.flush()
        os.fsync(f.fileno())


def read(run: Path) -> list[Event]:
    """All complete events, with the chain checked; a torn last line (no newline) is not an event
    yet.

    Raises VerificationFailed naming the first line that is not what the chain says, or is longer
    than LONGEST_LINE.
    """
    path = run / FILE
    if not path.exists():
        return []
    events: list[Event] = []
    prev = GENESIS
    for number, line in enumerate(_complete_lines(path), start=1):
        where = f"{FILE}: line {number}"
        try:
            raw = json.loads(line)
            event = _event(raw)
            claimed = raw["hash"]
            # Not the hash alone: bytes that mean the same (spaces, a key twice) would have it too,
            # and two readers could then see two events in one line.
            intact = (
                event.hash == claimed and rfc8785.dumps({**event.body(), "hash": claimed}) == line
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise VerificationFailed(
                f"{where}: not a ledger event ({type(e).__name__}: {e})"
            ) from None
        if event.seq != number - 1 or event.prev != prev:
            raise VerificationFailed(
                f"{where}: the chain is broken here (an event was removed, added or moved)"
            )
        if not intact:
            raise VerificationFailed(
                f"{where}: the event '{event.step}' was changed after it was written"
            )
        events.append(event)
        prev = claimed
    return events


def comparison_digest(events: Iterable[Event]) -> str:
    """One digest of what two runs of the same plan must share: step names, outputs and content."""
    body: list[Any] = [
        {
            "step": e.step,
            "outputs": {p: vars(d) for p, d in e.outputs.items()},
            "content": dict(e.content),
        }
        for e in events
    ]
    return hashlib.sha256(rfc8785.dumps(body)).hexdigest()


def torn(run: Path) -> bytes:
    """What follows the last complete line; at most LONGEST_LINE bytes of it."""
    path = run / FILE
    if not path.exists():
        return b""
    with path.open("rb") as f:
        f.seek(-min(LONGEST_LINE, path.stat().st_size), os.SEEK_END)
        tail = f.read()
    return tail[tail.rfind(b"\n") + 1 :]


def _complete_bytes(path: Path) -> int:
    return path.stat().st_size - len(torn(path.parent)) if path.exists() else 0


def _complete_lines(path: Path) -> Iterator[bytes]:
    """Lines without their end, never more than one of them in memory."""
    with path.open("rb") as f:
        for number in count(1):
            line = f.readline(LONGEST_LINE + 1)
            if len(line) > LONGEST_LINE:
                raise VerificationFailed(
                    f"{FILE}: line {number}: longer than {LONGEST_LINE:,} bytes; no event is"
                )
            if f.tell() > LARGEST:
                raise VerificationFailed(
                    f"{FILE}: line {number}: beyond {LARGEST:,} bytes; no ledger is that large"
                )
            if not line.endswith(b"\n"):
                return
            yield line[:-1]


def _event(raw: Mapping[str, Any]) -> Event:
    """One line as an event.

    Raises TypeError, KeyError or AttributeError where a field lacks or is of another kind.
    """

    def files(key: str) -> dict[str, FileDigest]:
        digests = {path: FileDigest(**digest) for path, digest in raw[key].items()}
        for digest in digests.values():
            # `type`, since True is an int to isinstance.
            if not isinstance(digest.sha256, str) or type(digest.bytes) is not int:
                raise TypeError(f"{key}: expected a SHA-256 and a number of bytes a file")
        return digests

    kinds = {"step": str, "content": dict, "at": dict}
    if not all(isinstance(raw[field], kind) for field, kind in kinds.items()):
        raise TypeError("expected a step's name, content and at")
    return Event(
        seq=raw["seq"],
        step=raw["step"],
        prev=raw["prev"],
        outputs=files("outputs"),
        content=raw["content"],
        context=files("context"),
        at=raw["at"],
    )
