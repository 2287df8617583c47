"""The stages of a check, in the order in which `verify` works through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from restaudit.errors import BadInput


class Stage(Enum):
    """One stage; its value is its title. Where a check stops, the stage that was told last failed.

    ARCHIVE, LIST and CONTENTS say something about bundles only: opening the file, reading its
    manifest, and comparing what lies beside the record with it.
    """

    ARCHIVE = "The archive, opened with care"
    CHAIN = "The chain of the ledger"
    LIST = "The bundle's own list"
    FILES = "Every recorded file, and no other"
    PLAN = "The sealed plan"
    SIGNATURES = "Signatures"
    ORDER = "Steps in the plan's order"
    DECISIONS = "Decisions, recomputed from measurements and plan"
    CONTENTS = "What the bundle holds beside the record"
    ANCHOR = "What a witness saw"
    REPORT = "The report, rendered again"

    @property
    def title(self) -> str:
        """What people read."""
        return self.value


# Told each stage as it begins.
Tell = Callable[[Stage], None]


@contextmanager
def within(stage: Stage, tell: Tell | None) -> Iterator[None]:
    """The lines of one stage.

    A block and not a call, so that a check outside of every stage can be seen in the source, and a
    test finds it. Raises BadInput for what this machine will not read: that says nothing about the
    record.
    """
    if tell is not None:
        tell(stage)
    try:
        yield
    except OSError as e:
        raise BadInput(f"{e.filename or stage.title}: cannot be read ({e.strerror or e})") from None
