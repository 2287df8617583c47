"""PandaLM's test set (Wang et al. 2023, arXiv 2306.05087): pairs judged by three people.
Apache-2.0.
"""

from __future__ import annotations

from typing import Any

from restaudit.data.records import Dropped, Feedbacks, PairRecord, PromptRecord, Prompts
from restaudit.data.tables import OpenedSource, SourceRow, pick, shown
from restaudit.errors import BadInput

_VOTE: dict[float, int] = {0: 0, 1: 1, 2: -1}
ANNOTATORS = ("1", "2", "3")


def pairs(opened: OpenedSource) -> Feedbacks:
    """Votes of annotators "1" to "3" (0 is a tie).

    A response that is JSON true is not text and drops its row.
    """
    for row in opened.rows():
        first, second = pick(row, "response1", opened.source), pick(row, "response2", opened.source)
        if not isinstance(first, str) or not isinstance(second, str):
            yield Dropped(row.where, "response is not text")
            continue
        votes: dict[str | None, int] = {a: _vote(opened, row, f"annotator{a}") for a in ANNOTATORS}
        yield PairRecord(row.where, context(opened, row), first, second, votes)


def prompts(opened: OpenedSource) -> Prompts:
    """The contexts alone, for leaving them out of a policy's prompts."""
    for row in opened.rows():
        yield PromptRecord(row.where, context(opened, row))


def context(opened: OpenedSource, row: SourceRow) -> str:
    """Instruction and input, in the form `self_instruct` prompts have."""
    return instruction(pick(row, "instruction", opened.source), pick(row, "input", opened.source))


def instruction(text: Any, given: Any) -> str:
    """An instruction with its input, if it has one, after an empty line."""
    return "\n\n".join(str(part).strip() for part in (text, given) if part and str(part).strip())


def _vote(opened: OpenedSource, row: SourceRow, column: str) -> int:
    value = pick(row, column, opened.source)
    # A list or an object is no key that could be looked up.
    if not isinstance(value, int | float) or value not in _VOTE:
        raise BadInput(
            f"{opened.name}: {row.where}: column '{column}': got {shown(value)}; expected 0 "
            "(tie), 1 or 2"
        )
    return _VOTE[value]
