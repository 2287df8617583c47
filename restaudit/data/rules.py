"""The row rules at work: each bad row is refused with its place, or counted under its reason, never
lost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable

from restaudit.config import RowAction, RowRules
from restaudit.data.records import RowReport
from restaudit.errors import BadInput

_UNDECODED = re.compile("[\ud800-\udfff]")


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
            key = {"not UTF-8": "non_utf8", "too long": "too_long", "not finite": "non_finite"}.get(
                reason, reason
            )
            raise BadInput(
                f"{self.source}: {where}: column '{column}': {reason}; {expected} "
                f"(to drop and count such rows instead, set rows.{key}: count)"
            )
        self.dropped[reason] += 1
        return False
