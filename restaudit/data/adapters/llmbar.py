"""LLMBar (Zeng et al. 2023, arXiv 2310.07641): pairs with an objective answer, many made to
mislead. MIT licence.
"""

from __future__ import annotations

from restaudit.data.records import Dropped, Feedbacks, PairRecord
from restaudit.data.tables import OpenedSource, pick, shown
from restaudit.errors import BadInput

_VOTE = {1: 1, 2: -1}


def pairs(opened: OpenedSource) -> Feedbacks:
    """`input`, `output_1`, `output_2`, and `label` 1 or 2: the better one as the authors settled
    it, no single judge.

    The sets the authors processed from FairEval, LLMEval² and MT-Bench have the same columns.
    """
    for row in opened.rows():
        first, second = pick(row, "output_1", opened.source), pick(row, "output_2", opened.source)
        prompt, label = pick(row, "input", opened.source), pick(row, "label", opened.source)
        if not all(isinstance(text, str) for text in (prompt, first, second)):
            yield Dropped(row.where, "not text")
            continue
        if not isinstance(label, int) or isinstance(label, bool) or label not in _VOTE:
            raise BadInput(
                f"{opened.name}: {row.where}: column 'label': got {shown(label)}; expected 1 or 2"
            )
        yield PairRecord(row.where, prompt, first, second, {None: _VOTE[label]})
