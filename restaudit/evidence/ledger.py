"""The hash chain: one canonical JSON event (RFC 8785) a line, each carrying the hash of the one
before.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import rfc8785

from restaudit.errors import VerificationFailed
from restaudit.files import given, plain
from restaudit.files.strict import parse_json

# What the first event has for the hash of the one before.
GENESIS = "0" * 64
FILE = "ledger.jsonl"
# In bytes. An event of a real run takes one or two thousand; a stranger's ledger must not fill the
# reader's memory.
LONGEST_LINE = 1 << 20
LARGEST = 16 << 20
# In bytes, of a file that somebody else's folder holds: 16 billion parameters in float32. Hashing
# it takes a minute.
LARGEST_FILE = 64 << 30
KEYS = frozenset(("seq", "step", "prev", "outputs", "content", "context", "at", "hash"))
HEX = re.compile(r"[0-9a-f]{64}")


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
    """Hash a file of our own, or that the user named, in constant memory; links are followed."""
    with given.opened(path) as f:
        return _digest_of(f)


def digest_in(root: Path, name: str, most: int = LARGEST_FILE) -> FileDigest:
    """Hash a plain file below `root` in constant memory; raises what `plain.opened` raises."""
    with plain.opened(root, name, most) as f:
        return _digest_of(f)


def as_recorded(run: Path, name: str, recorded: FileDigest) -> bool:
    """Whether a file has this size and digest; raises what `plain.opened` raises.

    One of another size is not read: hashing a terabyte takes an hour.
    """
    with plain.opened(run, name) as f:
        if os.fstat(f.fileno()).st_size != recorded.bytes:
            return False
    return digest_in(run, name) == recorded


def _digest_of(f: BufferedReader) -> FileDigest:
    sha = hashlib.file_digest(f, "sha256").hexdigest()
    return FileDigest(sha, f.tell())


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
    rfc8785.dumps(parse_json(line))
    with plain.appended(run, FILE) as f:
        # A crash may have left half a line: it was no event, and the next one takes its place.
        keep = f.seek(0, os.SEEK_END) - len(_tail(f))
        f.truncate(keep)
        f.seek(keep)
        plain.add(f, line)


def read(run: Path) -> list[Event]:
    """All complete events, with the chain checked; a torn last line (no newline) is not an event
    yet.

    Raises VerificationFailed naming the first line that is not what the chain says, or is longer
    than LONGEST_LINE.
    """
    events: list[Event] = []
    prev = GENESIS
    for number, line in enumerate(_complete_lines(run), start=1):
        where = f"{FILE}: line {number}"
        try:
            raw = parse_json(line)
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
    if not plain.is_file(run, FILE):
        return b""
    with plain.opened(run, FILE) as f:
        return _tail(f)


def _tail(f: BinaryIO) -> bytes:
    size = f.seek(0, os.SEEK_END)
    f.seek(size - min(LONGEST_LINE, size))
    tail = f.read(LONGEST_LINE)
    return tail[tail.rfind(b"\n") + 1 :]


def _complete_lines(run: Path) -> Iterator[bytes]:
    """Lines without their end, never more than one of them in memory; none without a ledger."""
    try:
        opened = plain.opened(run, FILE)
    except FileNotFoundError:
        return
    with opened as f:
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


def _event(raw: Any) -> Event:
    """One line as an event.

    Raises ValueError, TypeError, KeyError or AttributeError where a field lacks, is of another kind
    or is one too many.
    """
    if set(raw) != KEYS:
        raise ValueError(f"expected {', '.join(sorted(KEYS))}, and nothing else")
    kinds = {"seq": int, "step": str, "prev": str, "hash": str, "content": dict, "at": dict}
    for key, kind in kinds.items():
        # `type`, since True is an int to isinstance.
        if type(raw[key]) is not kind:
            raise TypeError(f"{key}: expected {kind.__name__}")
    return Event(
        seq=raw["seq"],
        step=raw["step"],
        prev=raw["prev"],
        outputs={name: digest_of(digest) for name, digest in raw["outputs"].items()},
        content=raw["content"],
        context={name: digest_of(digest) for name, digest in raw["context"].items()},
        at=raw["at"],
    )


def digest_of(raw: Mapping[str, Any]) -> FileDigest:
    """A digest as it stands in a ledger or manifest. Raises ValueError or TypeError for anything
    else.
    """
    digest = FileDigest(**raw)
    if not isinstance(digest.sha256, str) or not HEX.fullmatch(digest.sha256):
        raise ValueError("expected a SHA-256 of 64 hex digits")
    if type(digest.bytes) is not int or not 0 <= digest.bytes < 2**53:
        raise ValueError("expected a number of bytes")
    return digest
