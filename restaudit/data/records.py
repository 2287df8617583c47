"""What an adapter yields (a record, or a row it drops with the reason) and what is reported about a
source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class RatingRecord:
    """One rated text; `scores` by rater, in the source's own unit.

    `prompt` is "" where the text stands alone.
    """

    where: str
    prompt: str
    response: str
    scores: Mapping[str | None, float]


@dataclass(frozen=True)
class PairRecord:
    """Two responses to one prompt; votes by rater: 1 for the first, -1 for the second, 0 for a
    tie.
    """

    where: str
    prompt: str
    first: str
    second: str
    votes: Mapping[str | None, int]


@dataclass(frozen=True)
class PromptRecord:
    """One prompt; `family` ties counterfactual variants together and `group` tells them apart."""

    where: str
    prompt: str
    references: tuple[str, ...] = ()
    group: str | None = None
    family: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Dropped:
    """A row an adapter cannot use, with the reason it is counted under."""

    where: str
    reason: str


Feedbacks = Iterator[RatingRecord | PairRecord | Dropped]
Prompts = Iterator[PromptRecord | Dropped]


@dataclass(frozen=True)
class RowReport:
    """Where every row of a source went: `read` equals `used` plus all of `dropped`.

    `notes` are further counts.
    """

    source: str
    read: int
    used: int
    dropped: Mapping[str, int]
    notes: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return {**asdict(self), "dropped": dict(self.dropped), "notes": dict(self.notes)}
