"""Which words stand behind the reward's largest errors: occlusion on texts that people judged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from probes.texts.sets import WORD
from restaudit.errors import BadInput
from restaudit.reward_audit.stress.subject import (
    NO_UNIT,
    UNIT,
    Array,
    Ask,
    Score,
    scored,
    shown,
    spread,
    table_of,
)

METHOD = "occlusion, one word (or two words in a row) at a time, at one place of the text"
# One text of 200 words costs 399 scores.
ERRORS, SPANS, MOST_PLACES = 10, 5, 200
LIMITS = (
    "Taking a word out may leave a text that nobody would write; the reward extrapolates there.",
    (
        "Words that only act together (one stands in for the other) show little when one of them "
        "is taken out."
    ),
    (
        "The largest errors are picked by the people's judgements too, so part of each is those "
        "judgements' own noise."
    ),
)


@dataclass(frozen=True)
class Span:
    """One or two words at one place, and how the reward changes when they are taken out, in sd."""

    words: str
    place: int
    change_sd: float


@dataclass(frozen=True)
class Explained:
    """A large error: both judgements, standardised over the judged texts, and the words the reward
    rests on most.

    `error` is the standardised reward less the standardised human judgement: above 0, the reward is
    too high. `spans` have the largest change either way first, and none that changes nothing.
    `words_tried` of `words` is how far into the text was looked.
    """

    prompt: str
    text: str
    reward: float
    human: float
    error: float
    spans: tuple[Span, ...]
    words: int
    words_tried: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return {**asdict(self), "spans": [asdict(s) for s in self.spans]}


@dataclass(frozen=True)
class Attribution:
    """The largest errors, largest first; empty with a reason where there is none.

    `judged` texts were compared.
    """

    errors: tuple[Explained, ...]
    judged: int
    scored: int
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return {
            "method": METHOD,
            "unit": f"errors: standardised reward less standardised human judgement; spans: {UNIT}",
            "errors": [e.to_json() for e in self.errors],
            "judged": self.judged,
            "scored": self.scored,
            "limits": list(LIMITS),
            "reason": self.reason,
        }


def attribute(
    score: Score,
    prompts: Sequence[str],
    texts: Sequence[str],
    human: Sequence[float] | Array,
    *,
    errors: int = ERRORS,
    spans: int = SPANS,
) -> Attribution:
    """The words behind the largest errors of a reward.

    `human` (n,) is people's judgement of each text in any unit, higher is better, NaN where nobody
    judged. Reward and judgement are standardised over the judged texts; of the `errors` largest
    differences (either way), every word and every two words in a row among the first 200 words are
    taken out at their place, one at a time, and the reward's change is counted in sd of the judged
    texts' rewards. Nothing is drawn at random. Raises BadInput as `stress` does, and for judgements
    of another length or infinite ones.
    """
    table_of(prompts, texts)
    for name, value in (("errors", errors), ("spans", spans)):
        if value < 1:
            raise BadInput(f"{name}: {value}; expected at least 1")
    judged = np.asarray(human, dtype=np.float64)
    if judged.shape != (len(texts),):
        raise BadInput(
            f"human: shape {judged.shape} for {len(texts)} texts; expected one judgement (or NaN) "
            "a text"
        )
    if np.isinf(judged).any():
        raise BadInput(
            f"human: item {int(np.flatnonzero(np.isinf(judged))[0])} is infinite; expected a "
            "number, or NaN"
        )
    # Both scales are arbitrary; standardised over the same texts they can be subtracted.
    rows = np.flatnonzero(~np.isnan(judged)).tolist()
    rewards = scored(score, [(prompts[k], texts[k]) for k in rows])
    sd, human_sd = spread(rewards), spread(judged[rows])
    if sd is None or human_sd is None:
        # The first thing that is wrong, in the order in which a reader could mend it.
        if len(rows) < 2:
            reason = "fewer than two texts were judged"
        elif human_sd is None:
            reason = "the human judgements do not vary"
        else:
            reason = NO_UNIT
        return Attribution((), len(rows), len(rows), reason)
    z = (rewards - rewards.mean()) / sd
    error = z - (judged[rows] - judged[rows].mean()) / human_sd
    # Ties by the text itself: the order in which texts were given must not show.
    order = sorted(
        range(len(rows)), key=lambda i: (-abs(float(error[i])), texts[rows[i]], prompts[rows[i]])
    )[:errors]
    cuts = {i: _cuts(texts[rows[i]]) for i in order}
    asked: list[Ask] = []
    for i in order:
        asked += [(prompts[rows[i]], shorter) for _, _, shorter in cuts[i]]
    after = scored(score, asked)
    explained, start = [], 0
    for i in order:
        moved = (after[start : start + len(cuts[i])] - rewards[i]) / sd
        start += len(cuts[i])
        tried = [
            Span(words, place, float(change))
            for (words, place, _), change in zip(cuts[i], moved, strict=True)
        ]
        # Of equal changes the shorter words first: one word says more than it and its neighbour.
        tried.sort(key=lambda span: (-abs(span.change_sd), len(span.words), span.place))
        top = tuple(span for span in tried[:spans] if span.change_sd != 0)
        k, words = rows[i], len(WORD.findall(texts[rows[i]]))
        explained.append(
            Explained(
                shown(prompts[k]),
                shown(texts[k]),
                float(rewards[i]),
                float(judged[k]),
                float(error[i]),
                top,
                words,
                min(words, MOST_PLACES),
            )
        )
    return Attribution(tuple(explained), len(rows), len(rows) + len(after))


def _cuts(text: str) -> list[tuple[str, int, str]]:
    """Every one or two words in a row among the first 200: the words, their place (from 0), and the
    text without.
    """
    words = list(WORD.finditer(text))[:MOST_PLACES]
    out = []
    for size in (1, 2):
        for k in range(len(words) - size + 1):
            a, b = words[k].start(), words[k + size - 1].end()
            # Two spaces where the word stood would be a second change. Line ends stay: they are the
            # text's form.
            new = re.sub(r"[ \t]{2,}", " ", f"{text[:a]}{text[b:]}").strip()
            out.append((text[a:b], k, new))
    return out
