"""A fixed part of a source, by hash, so that two uses of one public set (train, judge, prompt) share nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from restaudit.config import TableSource
from restaudit.data.chats import fraction
from restaudit.data.rules import RowLedger
from restaudit.errors import BadInput

PART = "part"
_RANGE = re.compile(r"(\d{1,3})-(\d{1,3})")
T = TypeVar("T")


def in_part(source: TableSource, key: str) -> bool:
    """Whether a normalised text falls into `options.part`, for example "0-35" (percent, the end not included)."""
    if PART not in source.options:
        return True
    given = str(source.options[PART])
    match = _RANGE.fullmatch(given)
    if match is None or not int(match[1]) < int(match[2]) <= 100:
        raise BadInput(f"{source.source}: options.part is '{given}'; expected percentages such as 0-35")
    return int(match[1]) / 100 <= fraction(key, "part") < int(match[2]) / 100


def limited(records: list[T], limit: int | None, ledger: RowLedger, key: Callable[[T], str]) -> list[T]:
    """At most `limit` records, chosen by hash and left in file order; the others are counted."""
    if limit is None or len(records) <= limit:
        return records
    chosen = sorted(range(len(records)), key=lambda i: (fraction(key(records[i]), "limit"), i))[:limit]
    ledger.drop(f"over the limit of {limit}", len(records) - limit)
    return [records[i] for i in sorted(chosen)]
