"""The six statuses that an answer of a document can have, and what each means: the same in every
document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Status = Literal["MEASURED", "RECORDED", "COMPUTED", "DECLARED", "MISSING", "N-A"]
STATUSES: tuple[Status, ...] = get_args(Status)
MEANINGS: Mapping[Status, str] = {
    "MEASURED": "a measurement, with its interval where one could be had",
    "RECORDED": "taken down by the program, from its configuration, data or ledger",
    "COMPUTED": "worked out from what is recorded, by a stated method",
    "DECLARED": "said by a named person; nobody verified it",
    "MISSING": "nobody said it",
    "N-A": "does not apply, for the reason given",
}
