"""Data-to-text ratings (Novikova et al. 2017, EMNLP; files of Yuan et al. 2021, BARTScore): SFRES,
SFHOT, BAGEL.
"""

from __future__ import annotations

from typing import Any

from restaudit.data.records import Dropped, Feedbacks, PromptRecord, Prompts, RatingRecord
from restaudit.data.tables import OpenedSource, pick

ASK = "Say this to a customer in one sentence: "
# A whole number may have more digits than a float can hold.
MOST = 1e300
_SCORES = ("quality", "naturalness", "informativeness")


def ratings(opened: OpenedSource) -> Feedbacks:
    """System outputs with the median of their human ratings, 1 to 6.

    `options.score` chooses which of the three.
    """
    score = opened.option("score", "quality", _SCORES)
    for index in range(len(opened.artifacts)):
        for row in opened.rows(index):
            scores: Any = pick(row, "scores", opened.source)
            value: Any = scores.get(score) if isinstance(scores, dict) else None
            if type(value) not in (int, float) or (type(value) is int and abs(value) > MOST):
                yield Dropped(row.where, "malformed")
                continue
            prompt = ASK + str(pick(row, "src", opened.source))
            text = str(pick(row, "sys_summ", opened.source))
            where = _where(opened, index, row.where)
            # One rater who is called "median": the file has no single judgements.
            yield RatingRecord(where, prompt, text, {"median": float(value)})


def prompts(opened: OpenedSource) -> Prompts:
    """Meaning representations, with every human reference."""
    for index in range(len(opened.artifacts)):
        for row in opened.rows(index):
            references = pick(row, "ref_summs", opened.source)
            texts: list[str] = []
            if isinstance(references, list):
                texts = [text for text in references if isinstance(text, str)]
            prompt = ASK + str(pick(row, "src", opened.source))
            distinct = tuple(dict.fromkeys(texts))
            yield PromptRecord(_where(opened, index, row.where), prompt, distinct)


def _where(opened: OpenedSource, index: int, where: str) -> str:
    return where if index == 0 else f"{where} of {opened.artifacts[index].spec}"
