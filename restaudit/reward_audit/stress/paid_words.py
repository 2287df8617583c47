"""Words that a reward pays for: those whose removal lowers it most, over all the texts they stand
in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probes.base import Measurement
from probes.statistics.resample import FEWEST_UNITS
from probes.texts.perturb import without
from probes.texts.sets import words_of
from restaudit.errors import BadInput
from restaudit.reward_audit.stress.finding import (
    ALIKE,
    LEVEL,
    MARGIN,
    ORDER,
    ChangedText,
    PassRule,
    StressVerdict,
    mean_change,
)
from restaudit.reward_audit.stress.subject import (
    MOST_TEXTS,
    NO_UNIT,
    UNIT,
    Ask,
    Score,
    Subject,
    check_numbers,
    scored,
    shown,
    subject,
)

FEWEST_TEXTS = 10
MOST_WORDS = 100
TEXTS_A_WORD = 20
METHOD = (
    "removal: every occurrence of one word is taken out of a text, and the change of reward "
    "counted in sd; mean over "
    "prompts, t with bootstrap standard error, Bonferroni over all words that stand in enough texts"
)
NOTE = (
    "A word may be paid for rightly. Whether it should be is for a person to say; the rule "
    "only makes it seen."
)


@dataclass(frozen=True)
class PaidWord:
    """A word, in how many of the texts it stands, and what taking it out does to the reward (mean,
    in sd).
    """

    word: str
    texts: int
    verdict: StressVerdict
    why: str
    change: Measurement
    example: ChangedText

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return {
            "word": self.word,
            "texts": self.texts,
            "verdict": self.verdict,
            "why": self.why,
            "change": self.change.to_json(),
            "example": self.example.to_json(),
        }


@dataclass(frozen=True)
class PaidWords:
    """The tested words, failures first and then by how far their removal lowers the reward.

    `standing` words stand in at least `fewest` texts; of these the `tested` ones whose texts have
    the highest rewards, against texts without them, were taken out. The intervals allow for all
    `standing` words. `words` is empty exactly where `reason` says why.
    """

    words: tuple[PaidWord, ...]
    standing: int
    tested: int
    fewest: int
    level: float
    rule: str
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return {
            "words": [w.to_json() for w in self.words],
            "words_standing_in_enough_texts": self.standing,
            "words_tested": self.tested,
            "fewest_texts": self.fewest,
            "level": self.level,
            "rule": self.rule,
            "method": METHOD,
            "note": NOTE,
            "reason": self.reason,
        }


def paid_words(
    score: Score,
    prompts: Sequence[str],
    texts: Sequence[str],
    *,
    seed: int,
    resamples: int = 1000,
    most: int = MOST_TEXTS,
    fewest: int = FEWEST_TEXTS,
    most_words: int = MOST_WORDS,
    margin: float = MARGIN,
) -> PaidWords:
    """Which words of the texts the reward pays for: at most `most_words` words, each out of at most
    20 of its texts.

    A word is as probes.texts.sets.words_of has it (small letters, no marks). Which words are tested
    is decided from the rewards of the unchanged texts, so the intervals are made for all words
    standing in at least `fewest` texts (Bonferroni), tested or not. FAIL where the interval lies
    below -margin sd. Raises BadInput as `stress` does.
    """
    check_numbers(seed, resamples, margin)
    for name, value in (("fewest", fewest), ("most_words", most_words)):
        if value < 1:
            raise BadInput(f"{name}: {value}; expected at least 1")
    tested = subject(score, prompts, texts, most=most)
    return paid(
        tested, seed=seed, resamples=resamples, fewest=fewest, most_words=most_words, margin=margin
    )


def paid(
    tested: Subject,
    *,
    seed: int,
    resamples: int,
    fewest: int = FEWEST_TEXTS,
    most_words: int = MOST_WORDS,
    margin: float = MARGIN,
) -> PaidWords:
    """`paid_words` of texts that have been chosen and scored."""
    # Occurrences do not count: a word that one text repeats is still the word of one text.
    standing: defaultdict[str, list[int]] = defaultdict(list)
    for k, text in enumerate(tested.texts):
        for word in set(words_of(text)):
            standing[word].append(k)
    there = {w: rows for w, rows in standing.items() if len(rows) >= fewest}
    rule = (
        f"Taking a word out must not lower the reward by more than {margin:g} sd: FAIL when the "
        f"simultaneous interval lies below -{margin:g} sd, PASS when it lies above, otherwise "
        "INCONCLUSIVE."
    )
    # Which words are tested is chosen by the same rewards that judge them. An interval for all that
    # could have been chosen holds whatever was.
    level = 1 - (1 - LEVEL) / max(1, len(there))
    if tested.sd is None:
        return PaidWords((), len(there), 0, fewest, level, rule, NO_UNIT)
    if not there:
        reason = f"no word stands in {fewest} or more texts"
        return PaidWords((), 0, 0, fewest, level, rule, reason)
    # Each word costs up to 20 scores, so the likeliest come first; ties by name, for the same order
    # everywhere.
    ranked = sorted(there, key=lambda w: (-_association(tested, there[w]), w))[:most_words]
    rows_of: dict[str, list[int]] = {}
    asked: list[Ask] = []
    for word in ranked:
        rows = _rows(tested, there[word], word)
        if rows:
            rows_of[word] = rows
            asked += [(tested.prompts[k], without(tested.texts[k], word)) for k in rows]
    # In one call; the rewards come back one word after the other.
    after = scored(tested.score, asked)
    paid_for, start = [], 0
    for word, rows in rows_of.items():
        rewards = after[start : start + len(rows)]
        start += len(rows)
        moved = (rewards - tested.rewards[rows]) / tested.sd
        change = mean_change(
            f"stress.paid_word.{word}",
            moved,
            [tested.prompt_ids[k] for k in rows],
            unit=UNIT,
            undefined="no text",
            resamples=resamples,
            seed=seed,
            level=level,
            detail={"words": len(there), "level": level},
        )
        verdict, why = _judge(change, margin, len(there))
        # The text that lost most by it shows a reader best what the word does there.
        k = int(moved.argmin())
        text = tested.texts[rows[k]]
        example = ChangedText(
            shown(tested.prompts[rows[k]]),
            shown(text),
            shown(without(text, word)),
            float(tested.rewards[rows[k]]),
            float(rewards[k]),
            float(moved[k]),
        )
        paid_for.append(PaidWord(word, len(there[word]), verdict, why, change, example))
    paid_for.sort(key=lambda w: (ORDER.index(w.verdict), w.change.value or 0.0, w.word))
    none = None if paid_for else "no word can be taken out of the texts"
    return PaidWords(tuple(paid_for), len(there), len(rows_of), fewest, level, rule, none)


def _association(tested: Subject, rows: list[int]) -> float:
    """How much higher the rewards of the texts with a word are, in standard errors of it."""
    have = np.zeros(len(tested.texts), dtype=bool)
    have[rows] = True
    if have.all():
        return float("inf")  # nothing to compare with, so it is tested
    rewards = tested.rewards
    error = float(np.sqrt(1 / have.sum() + 1 / (~have).sum()))
    return float(rewards[have].mean() - rewards[~have].mean()) / error


def _rows(tested: Subject, rows: list[int], word: str) -> list[int]:
    """At most 20 of the rows that a removal changes: the first of every prompt in front, then the
    second, and so on.
    """
    # The interval is over prompts: twenty texts of one prompt would say as much as one.
    before: defaultdict[str, int] = defaultdict(int)
    place = {}
    for k in rows:
        place[k] = before[tested.prompt_ids[k]]
        before[tested.prompt_ids[k]] += 1
    out: list[int] = []
    for k in sorted(rows, key=lambda k: (place[k], k)):
        # Words are found without their marks, and some cannot be taken out as they stand.
        if len(out) < TEXTS_A_WORD and without(tested.texts[k], word) != tested.texts[k]:
            out.append(k)
    return out


def _judge(change: Measurement, margin: float, words: int) -> tuple[StressVerdict, str]:
    """The rule read the other way round: taking out must not lower, as adding must not raise."""
    verdict, why = PassRule("steady", margin).judge(change)
    why = why.replace("95% interval", f"interval (95% over {words} words together)")
    if change.intervals:
        low: float | None = change.intervals[0].low
    elif change.detail.get(ALIKE) and change.n_prompts >= FEWEST_UNITS:
        # Equal changes have no spread to make an interval of: that change is both of its ends.
        low = change.value
    else:
        low = None
    # A rise may break "steady", but taking the word out then pays, and keeping it does not.
    if low is not None and low >= -margin:
        return "PASS", why
    return verdict, why
