"""Rows on their way in: what an adapter yields (a record, or a row it drops with the reason), the rules
that records must pass, which part of a source is taken, and the report of where every row went.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from restaudit.config import RowAction, RowRules, TableSource
from restaudit.errors import BadInput
from restaudit.evidence.chats import fraction


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


# --- the row rules at work: a bad row is refused with its place or counted, never lost

_UNDECODED = re.compile("[\ud800-\udfff]")
# The rule of rows.* behind a reason, where it is not called the same.
_RULES = {"not UTF-8": "non_utf8", "too long": "too_long", "not finite": "non_finite"}


class RowLedger:
    """Counts where the rows of one source go, and refuses what the rules refuse."""

    def __init__(self, source: str, rules: RowRules) -> None:
        self.source = source
        self.rules = rules
        self.read = 0
        self.dropped: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self._seen: dict[Hashable, str] = {}

    def drop(self, reason: str, count: int = 1) -> None:
        """Count rows that an adapter, not a rule, leaves out."""
        self.dropped[reason] += count

    def texts_ok(
        self, where: str, texts: Iterable[tuple[str, str]], *, may_be_empty: frozenset[str]
    ) -> bool:
        """Whether every (column, text) passes the rules on content; counts the row if one does
        not.
        """
        for column, text in texts:
            if _UNDECODED.search(text):
                return self._fail(
                    self.rules.non_utf8, "not UTF-8", where, column, "expected UTF-8 text"
                )
            if not text.strip() and column not in may_be_empty:
                return self._fail(self.rules.empty, "empty", where, column, "expected some text")
            if len(text) > self.rules.max_chars:
                expected = (
                    f"{len(text)} characters, expected at most {self.rules.max_chars} "
                    "(rows.max_chars)"
                )
                return self._fail(self.rules.too_long, "too long", where, column, expected)
        return True

    def finite(self, where: str, column: str, ok: bool) -> bool:
        """Whether a number is finite; counts the row if not."""
        return ok or self._fail(
            self.rules.non_finite, "not finite", where, column, "expected a finite number"
        )

    def some(self, where: str, column: str, ok: bool, expected: str) -> bool:
        """Whether a row has the ratings or votes it is for; a row without any is an empty one."""
        return ok or self._fail(self.rules.empty, "empty", where, column, expected)

    def first_time(self, where: str, column: str, keys: Iterable[Hashable]) -> bool:
        """Whether none of these contents was seen before in this source; counts the row if one
        was.
        """
        keys = list(keys)
        for key in keys:
            if key in self._seen:
                return self._fail(
                    self.rules.duplicate,
                    "duplicate",
                    where,
                    column,
                    f"the same as {self._seen[key]}",
                )
        self._seen.update(dict.fromkeys(keys, where))
        return True

    def report(self, used: int) -> RowReport:
        """The final account."""
        return RowReport(
            self.source,
            self.read,
            used,
            dict(sorted(self.dropped.items())),
            dict(sorted(self.notes.items())),
        )

    def _fail(self, action: RowAction, reason: str, where: str, column: str, expected: str) -> bool:
        if action == "refuse":
            key = _RULES.get(reason, reason)
            raise BadInput(
                f"{self.source}: {where}: column '{column}': {reason}; {expected} "
                f"(to drop and count such rows instead, set rows.{key}: count)"
            )
        self.dropped[reason] += 1
        return False


# --- a fixed part of a source, by hash: two uses of one public set (train, judge) share nothing

PART = "part"
_RANGE = re.compile(r"(\d{1,3})-(\d{1,3})")
T = TypeVar("T")


def in_part(source: TableSource, key: str) -> bool:
    """Whether a normalised text falls into `options.part`, for example "0-35" (percent, the end not
    included).
    """
    if PART not in source.options:
        return True
    low, high = _bounds(source)
    return low / 100 <= fraction(key, "part") < high / 100


def disjoint(a: TableSource, b: TableSource) -> bool:
    """Whether two uses of one file take parts of it that have no row in common."""
    (low_a, high_a), (low_b, high_b) = _bounds(a), _bounds(b)
    return high_a <= low_b or high_b <= low_a


def limited(
    records: list[T], limit: int | None, ledger: RowLedger, key: Callable[[T], str]
) -> list[T]:
    """At most `limit` records, chosen by hash and left in file order; the others are counted."""
    if limit is None or len(records) <= limit:
        return records
    # By hash, so that a longer file or another order of its rows changes little of what is taken.
    by_hash = sorted(range(len(records)), key=lambda i: (fraction(key(records[i]), "limit"), i))
    chosen = by_hash[:limit]
    ledger.drop(f"over the limit of {limit}", len(records) - limit)
    return [records[i] for i in sorted(chosen)]


def _bounds(source: TableSource) -> tuple[int, int]:
    given = str(source.options.get(PART, "0-100"))
    match = _RANGE.fullmatch(given)
    if match is None or not int(match[1]) < int(match[2]) <= 100:
        raise BadInput(
            f"{source.source}: options.part is '{given}'; expected percentages such as 0-35"
        )
    return int(match[1]), int(match[2])
