"""One document of a reward model: answers, tables, failures.

Every format is drawn from it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from restaudit.evidence.statuses import Status
from restaudit.reward_audit.document.fields import Topic

NOBODY = "nobody said it"


@dataclass(frozen=True)
class Evidence:
    """Where an answer stands: a file (relative to the folder), the place in it, and the file's
    SHA-256.
    """

    path: str
    at: str
    sha256: str


@dataclass(frozen=True)
class Mark:
    """A value with its interval, to be drawn; `low` and `high` None where there is no interval."""

    label: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Table:
    """Rows of text under a caption.

    `marks` are drawn in `unit`, beside the line `reference` where there is one.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marks: tuple[Mark, ...] = ()
    unit: str = ""
    reference: float | None = None


@dataclass(frozen=True)
class Reading:
    """What the record says to one question: a value (plain JSON) or tables; or why there is
    nothing.

    `not_applicable` says that the question makes no sense here, for the reason in `absent`.
    """

    value: Any = None
    tables: tuple[Table, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    absent: str = ""
    not_applicable: bool = False


@dataclass(frozen=True)
class FieldAnswer:
    """One question answered, or not.

    value     plain JSON; None where tables say it all, or nobody said it
    reason    why it is MISSING or N-A; "" elsewhere
    who       who could fill it
    declared  what a person said besides a record that answers, or None
    """

    key: str
    asks: str
    status: Status
    who: str
    value: Any = None
    tables: tuple[Table, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""
    declared: Any = None


def by_file(evidence: Sequence[Evidence]) -> list[tuple[str, str, str]]:
    """A row a file, in order: its name, the places in it, its SHA-256."""
    found: dict[str, list[Evidence]] = {}
    for e in evidence:
        found.setdefault(e.path, []).append(e)
    return [
        (path, ", ".join(dict.fromkeys(e.at for e in part if e.at)), part[0].sha256)
        for path, part in found.items()
    ]


@dataclass(frozen=True)
class Section:
    """A topic with its answers."""

    topic: Topic
    answers: tuple[FieldAnswer, ...]


@dataclass(frozen=True)
class Failure:
    """A test that fails: what was done and found, and examples."""

    name: str
    says: str
    table: Table | None = None


@dataclass(frozen=True)
class Document:
    """Everything that is shown, in order: overrides, verdict and failures, summary, sections, gaps,
    files.

    overrides    a line for every time somebody let the run go on after HALT
    failures     None where nobody stressed the reward
    declared_by  name and date of who answered what the record cannot, or None
    """

    name: str
    kind: str
    digest: str
    verdict: str
    reasons: tuple[str, ...]
    overrides: tuple[str, ...]
    failures: tuple[Failure, ...] | None
    summary: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    files: Mapping[str, str]
    declared_by: tuple[str, str] | None = None
    validation: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    @property
    def answers(self) -> tuple[FieldAnswer, ...]:
        """All answers, in order."""
        return tuple(a for s in self.sections for a in s.answers)

    @property
    def gaps(self) -> tuple[FieldAnswer, ...]:
        """What nobody said."""
        return tuple(a for a in self.answers if a.status == "MISSING")

    def answer(self, key: str) -> FieldAnswer:
        """The answer to one question."""
        return next(a for a in self.answers if a.key == key)
