"""One writer, one step at a time: files to a temporary place, fsync, rename, and the ledger event
last.

A step whose event is in the ledger is done; any other step is done again from the start. So a kill
at any moment loses at most the step in hand.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from restaudit.errors import BadInput, Interrupted, RestauditError
from restaudit.evidence import ledger
from restaudit.evidence.record import WRITER, json_bytes
from restaudit.files import plain
from restaudit.files.signs import printable

if TYPE_CHECKING:
    from restaudit.evidence.seal.signer import Signer

LOCK = ".lock"
# In bytes: the most that is shown of what another process says of itself.
SHORT = 1000

Content = Mapping[str, Any]


def seed_of(run_seed: int, step: str) -> int:
    """The seed of a step: a function of the run's seed and the step's name, never of what ran
    before. 0 .. 2^31-1.
    """
    # A hash, and not a counter: a resumed run skips steps, and must draw what the run that nobody
    # killed drew. 31 bits, since some libraries take no larger seed.
    return int.from_bytes(hashlib.sha256(f"{run_seed}/{step}".encode()).digest()[:4], "big") >> 1


class Writer:
    """The one writer of a run folder. Use as a context manager; a second writer is refused.

    With a `signer` the plan is signed as soon as it is recorded, and the head of the ledger after
    every gate. Entering raises VerificationFailed where what it signed earlier does not fit the
    ledger.
    """

    def __init__(
        self,
        run: Path,
        *,
        announce: Callable[[str], None] | None = None,
        signer: Signer | None = None,
        interrupts: bool = True,
    ) -> None:
        """`interrupts`: whether Ctrl-C waits for the end of a step; a trainer of somebody else's
        has its own way.
        """
        self.run = run
        self.signer = signer
        self.announce = announce or (lambda _: None)
        self.interrupted = False
        self._held = ExitStack()
        self._handler: Any = None
        self._interrupts = interrupts
        self._notes: dict[str, Any] = {}

    def __enter__(self) -> Writer:
        self._is_new = not self.run.exists()
        try:
            self.run.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(plain.locked(self.run, LOCK))
        except plain.Busy:
            raise BadInput(
                f"{self.run}: another process is writing this run ({_writer(self.run)}); wait or "
                "stop it"
            ) from None
        except OSError as e:
            raise BadInput(f"{self.run}: cannot be written: {e.strerror}") from None
        try:
            self._begin()
        except BaseException:
            self._held.close()
            raise
        if self._interrupts:
            with suppress(ValueError):  # not the main thread: nobody can send us Ctrl-C there
                self._handler = signal.signal(signal.SIGINT, self._on_interrupt)
        return self

    def _begin(self) -> None:
        """With the lock held: what there is, and that we are the one who writes."""
        # What a killed process was in the middle of; no event names it, so no reader knew it.
        plain.remove_temporary(self.run)
        # A run goes on with what lies in its folder, and libraries open some of it by its path: a
        # link or a pipe anywhere is refused here, once for all.
        plain.names(self.run)
        self.events = ledger.read(self.run)
        if self.signer is not None:
            self.signer.check(self.run, self.events)
            self.signer.sign(self.run, self.events)
        plain.write(
            self.run, WRITER, json_bytes({"pid": os.getpid(), "host": socket.gethostname()})
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
        (self.run / WRITER).unlink(missing_ok=True)
        if self._is_new and not self.events:
            # Nothing was sealed: what was refused leaves no folder behind that looks like a run.
            # The lock goes while it is held; the folder goes only if nobody put anything into it.
            (self.run / LOCK).unlink(missing_ok=True)
            with suppress(OSError):
                self.run.rmdir()
        self._held.close()

    def _on_interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        # The first Ctrl-C waits for the step in hand, which can be an hour's work; the second drops
        # it, and loses no more than a kill would.
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        self.announce("stopping at the end of this step (Ctrl-C again to drop it)")

    def has(self, step: str) -> bool:
        """Whether this step is done."""
        return any(e.step == step for e in self.events)

    def content(self, step: str) -> Content:
        """What a finished step noted in the ledger."""
        return next(e.content for e in self.events if e.step == step)

    def note(self, key: str, value: Any) -> None:
        """Put a fact that may differ between runs (timings, notices) beside the clock of the step
        in hand.
        """
        self._notes.setdefault(key, []).append(value)

    def step(
        self,
        name: str,
        folder: str,
        make: Callable[[Path], Content],
        *,
        context: tuple[str, ...] = (),
        since: float | None = None,
    ) -> Content:
        """Do a step unless it is done.

        `make` writes files into the empty folder it is given and returns small facts for the
        ledger; the files then appear together under `folder` of the run. Names in `context` are
        recorded but not compared between runs. A failure inside `make` leaves the run as it was
        before the step. What a step records may have begun before it, in somebody else's trainer:
        `since` (of time.monotonic) is when.
        """
        if self.has(name):
            return self.content(name)
        if self.interrupted:
            raise Interrupted(
                f"stopped before step {name}; go on with: restaudit resume {self.run}"
            )
        began = time.monotonic() if since is None else since
        self._notes = {}
        try:
            with plain.stage(self.run, f"{name.replace('/', '-')}-") as temporary:
                content = make(temporary)
                digests = self._put(temporary, folder)
            # Last of all: without its event a step did not happen, and is done again.
            self._append(name, digests, content, time.monotonic() - began, context)
            # After the event: a crash in between leaves a head without its signature, which the next
            # writer makes up for when it enters.
            if self.signer is not None:
                self.signer.sign(self.run, self.events)
        except OSError as e:
            raise RestauditError(
                f"{self.run}: step {name} could not be written ({e.strerror or e}); everything "
                f"before it is safe. When that is mended: restaudit resume {self.run}"
            ) from e
        return content

    def _put(self, temporary: Path, folder: str) -> dict[str, ledger.FileDigest]:
        """Move what a step made to its place below `folder` of the run; the digest of each file.

        The order is what makes a crash harmless. Contents reach the disk before their names do, or
        a power cut could leave a whole name on an empty file; names (their folder) reach it before
        the event, or the ledger could promise a file that is not there.
        """
        places = {
            name: (PurePosixPath(folder) / name).as_posix() for name in plain.names(temporary)
        }
        digests = {place: ledger.digest_file(temporary / name) for name, place in places.items()}
        for name in places:
            _sync(temporary / name)
        for name, place in places.items():
            plain.place(temporary / name, self.run, place)
        return digests

    def _append(
        self,
        name: str,
        digests: Mapping[str, ledger.FileDigest],
        content: Content,
        seconds: float,
        context: tuple[str, ...],
    ) -> None:
        at: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "host": socket.gethostname(),
            "seconds": round(seconds, 3),
            **self._notes,
        }
        # Beside the clock, since it differs between two runs of one plan that shall compare equal.
        if not self.events:
            at["run_id"] = uuid.uuid4().hex
        event = ledger.Event(
            seq=len(self.events),
            step=name,
            prev=self.events[-1].hash if self.events else ledger.GENESIS,
            outputs={p: d for p, d in digests.items() if p not in context},
            content=content,
            context={p: d for p, d in digests.items() if p in context},
            at=at,
        )
        ledger.append(self.run, event)
        self.events.append(event)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _writer(run: Path) -> str:
    try:
        text = plain.read_text(run, WRITER, SHORT)
        return printable(text.replace("\n", " ").strip())
    except (OSError, RestauditError):
        return "unknown"
