"""Looking again and again until what is waited for is there, whole, and no longer changing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from restaudit.console import Reporter
from restaudit.data.generations import Generations
from restaudit.errors import BadInput, Interrupted
from restaudit.trainers.watch.completeness import STATE, Signature, checkpoint_lacks, signature
from restaudit.trainers.watch.folder import Found, find
from restaudit.trainers.watch.generations import read
from restaudit.trainers.watch.settings import Asked

T = TypeVar("T")

POLL = 2.0  # seconds


@dataclass(frozen=True)
class Not:
    """Why something is not there yet."""

    why: str


@dataclass
class Watcher:
    """Looks at a folder.

    Without `follow` one look must do; with it, what is not there is waited for.

    What is followed is taken when it has been the same for POLL seconds, and is whole. `columns`
    are the names of all columns that were read so far, the files' own ones too where --column gave
    them.
    """

    asked: Asked
    reporter: Reporter
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    interrupted: Callable[[], bool] = lambda: False
    columns: set[str] = field(default_factory=set)
    _since: dict[Path, tuple[Signature, float]] = field(default_factory=dict)
    _last: tuple[Path, Signature, Generations] | None = None

    def until(self, ready: Callable[[Found | None], T | Not]) -> T:
        """What `ready` makes of the folder, as soon as it is not Not.

        Raises BadInput with the reason where nothing is waited for, or nothing has changed for
        `idle_timeout` seconds.
        """
        said, before, since = None, None, self.clock()
        while True:
            found = find(self.asked.folder, self.asked.pattern)
            now = self._look(found)
            answer = ready(found)
            if not isinstance(answer, Not):
                return answer
            if not self.asked.follow:
                raise BadInput(answer.why)
            if now != before:
                before, since = now, self.clock()
            if self.interrupted():
                raise Interrupted(f"stopped while waiting; {answer.why}")
            idle = self.asked.idle_timeout
            if idle is not None and self.clock() - since >= idle:
                raise BadInput(f"{answer.why} (nothing has changed there for {idle:g} s)")
            if answer.why != said:
                said = answer.why
                self.reporter.line(f"waiting: {said}")
            self.sleep(POLL)

    def lacks(self, found: Found, path: Path) -> Not | None:
        """Why what lies at `path` cannot be taken yet, or None."""
        if self.asked.follow and (
            path not in self._since or self.clock() - self._since[path][1] < POLL
        ):
            return Not(f"{path} is new, or still being written")
        if found.kind == "checkpoints":
            state = any((p / STATE).exists() for p in found.steps.values() if p != path)
            lack = checkpoint_lacks(path, state=state and path in found.steps.values())
            return (
                None
                if lack is None
                else Not(f"{path} is no whole checkpoint: {lack}{self._perhaps()}")
            )
        try:
            self.generations(path)
        except BadInput as e:
            return Not(f"{e}{self._perhaps()}")
        return None

    def generations(self, path: Path) -> Generations:
        """The file's generations; that it did not change while it was read is made sure of."""
        before = signature(path)
        if self._last is not None and self._last[:2] == (path, before):
            return self._last[2]
        found = read(path, self.asked.columns)
        if signature(path) != before:
            raise BadInput(f"{path} changed while it was read")
        self._last = (path, before, found)
        renamed = {
            own
            for name, own in self.asked.columns.items()
            if f"{name} is column '{own}'" in found.notes
        }
        self.columns |= {*found.table.columns, *renamed}
        return found

    def _look(self, found: Found | None) -> dict[Path, Signature]:
        """Signatures of all that is there now; since when each has been the same is remembered."""
        now = {} if found is None else {p: signature(p) for p in found.steps.values()}
        if self.asked.base is not None:
            now[self.asked.base] = signature(self.asked.base)
        at, before = self.clock(), self._since
        self._since = {
            p: before[p] if p in before and before[p][0] == s else (s, at) for p, s in now.items()
        }
        return now

    def _perhaps(self) -> str:
        return (
            ""
            if self.asked.follow
            else "; if it is still being written, wait for it, or give --follow"
        )
