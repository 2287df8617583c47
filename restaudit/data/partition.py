"""A fixed part of a source, by hash, so that two uses of one public set (train, judge, prompt)
share nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from restaudit.config import TableSource
from restaudit.data.rules import RowLedger
from restaudit.errors import BadInput
from restaudit.evidence.chats import fraction

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
    chosen = sorted(range(len(records)), key=lambda i: (fraction(key(records[i]), "limit"), i))[
        :limit
    ]
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
