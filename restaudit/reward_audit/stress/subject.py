"""What is tested: a reward as a function, some real texts, their rewards, and the unit in which
changes are counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probes.rows import Notes
from probes.texts.sets import some
from restaudit.errors import BadInput

Array = NDArray[np.float64]
# (prompts, texts) -> combined rewards (n,), in the reward's own unit.
Score = Callable[[Sequence[str], Sequence[str]], Any]
Ask = tuple[str, str]

MOST_TEXTS = 200
MOST_SHOWN = 1000
# Of 100 resamples two or three lie beyond either end of a 95% interval; of fewer, hardly one.
FEWEST_RESAMPLES = 100
UNIT = "sd of the reward on the unchanged texts"
NO_UNIT = (
    "the rewards of the unchanged texts do not vary, so there is no unit for a change of reward"
)


@dataclass(frozen=True)
class Subject:
    """A reward and the texts it is tested on; `score` remembers what it scored, `fresh` is the
    reward as given.

    `rows` has one row a text, in an order that does not depend on the order given: prompt_id,
    sample_id, prompt, text, reward. `prompt_id` is what is resampled: texts with the same prompt
    share it, a text without a prompt stands alone. `sd` (ddof 1, the reward's own unit) is None
    where the rewards do not vary. `notes` says what was left out.
    """

    score: Score
    fresh: Score
    rows: pd.DataFrame
    sd: float | None
    notes: Notes

    @cached_property
    def prompts(self) -> list[str]:
        """The prompt of every row."""
        return [str(p) for p in self.rows["prompt"]]

    @cached_property
    def texts(self) -> list[str]:
        """The text of every row."""
        return [str(t) for t in self.rows["text"]]

    @cached_property
    def rewards(self) -> Array:
        """The reward of every row, (n,)."""
        return self.rows["reward"].to_numpy(dtype=np.float64)

    @cached_property
    def prompt_ids(self) -> list[str]:
        """The unit of resampling of every row."""
        return [str(p) for p in self.rows["prompt_id"]]


def subject(
    score: Score, prompts: Sequence[str], texts: Sequence[str], *, most: int = MOST_TEXTS
) -> Subject:
    """At most about `most` of the texts, few of many prompts, chosen by checksum
    (probes.texts.sets), and their rewards.

    Raises BadInput for no texts, another number of prompts than texts, something that is no text,
    and a reward that is not one finite number a text.
    """
    if most < 1:
        raise BadInput(f"most: {most}; expected at least 1 text")
    # By checksum and not by place: the same texts in another order give the same subject.
    rows, notes = some(table_of(prompts, texts), most, least=1)
    rows = rows.reset_index(drop=True)
    asked = [(str(p), str(t)) for p, t in zip(rows["prompt"], rows["text"], strict=True)]
    # Several tests ask for the same text again, and a reward may be slow.
    once = remembering(score)
    rewards = scored(once, asked)
    return Subject(once, score, rows.assign(reward=rewards), spread(rewards), notes)


def table_of(prompts: Sequence[str], texts: Sequence[str]) -> pd.DataFrame:
    """The texts as a table: prompt_id, sample_id (both hashes of what they name), prompt and text.

    Raises BadInput.
    """
    if len(prompts) != len(texts):
        raise BadInput(
            f"{len(prompts)} prompts for {len(texts)} texts: give the prompt of every text"
        )
    if not len(texts):
        raise BadInput("no texts to test the reward on: give at least one real text")
    for name, values in (("prompts", prompts), ("texts", texts)):
        for row, value in enumerate(values):
            if not isinstance(value, str):
                raise BadInput(f"{name}: item {row} is {type(value).__name__}; expected text")
            # No tokenizer and no UTF-8 file can hold one; a reward would fail on it much later, and
            # say less.
            if any("\ud800" <= c <= "\udfff" for c in value):
                raise BadInput(
                    f"{name}: item {row} holds half a character (a lone surrogate); expected "
                    "valid Unicode"
                )
    times: Counter[str] = Counter()
    rows = []
    for prompt, text in zip(prompts, texts, strict=True):
        name = _hash(prompt, text)
        # A text may be given twice, and an id must not be.
        times[name] += 1
        # A text without a prompt is a unit of resampling by itself.
        unit = _hash(prompt) if prompt.strip() else _hash(text)
        rows.append((unit, f"{name}-{times[name]}", prompt, text))
    return pd.DataFrame(rows, columns=["prompt_id", "sample_id", "prompt", "text"])


def scored(score: Score, asked: Sequence[Ask]) -> Array:
    """The reward of (prompt, text) pairs, (n,); each different pair is scored once, in one call.

    Raises BadInput unless the reward gives one finite number for each.
    """
    if not asked:
        return np.empty(0)
    # dict.fromkeys keeps the order, which a set would not: the batches, and their rounding, stay
    # the same from one process to the next.
    different = list(dict.fromkeys(asked))
    given = score([p for p, _ in different], [t for _, t in different])
    try:
        rewards = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(
            f"the reward gave no numbers but {type(given).__name__}; expected one number a text"
        ) from None
    if rewards.shape != (len(different),):
        raise BadInput(
            f"the reward gave an array of shape {rewards.shape} for {len(different)} texts; "
            f"expected shape ({len(different)},): one combined reward a text"
        )
    # One infinite reward would make the unit, and so every figure of the report, infinite.
    bad = np.flatnonzero(~np.isfinite(rewards))
    if bad.size:
        k = int(bad[0])
        raise BadInput(
            f"the reward of the text {different[k][1][:60]!r} is {rewards[k]} ({bad.size} of "
            f"{len(rewards)} texts in all); a reward must be a finite number for every text"
        )
    place = {pair: k for k, pair in enumerate(different)}
    by_pair: Array = rewards[[place[pair] for pair in asked]]
    return by_pair


def remembering(score: Score) -> Score:
    """The same reward, asked once for every (prompt, text): several tests change a text in the same
    way.
    """
    known: dict[Ask, float] = {}

    def once(prompts: Sequence[str], texts: Sequence[str]) -> Array:
        asked = list(zip(prompts, texts, strict=True))
        new = [a for a in dict.fromkeys(asked) if a not in known]
        known.update(zip(new, scored(score, new).tolist(), strict=True))
        return np.array([known[a] for a in asked], dtype=np.float64)

    return once


def spread(values: Array) -> float | None:
    """The standard deviation (ddof 1), or None where the values (n,) are all alike or fewer than
    two.
    """
    if len(values) < 2:
        return None
    sd = float(values.std(ddof=1))
    # Equal rewards can differ by rounding, and a change counted in that would be huge.
    rounding = 1e-12 * max(1e-300, float(np.abs(values).max(initial=0)))
    return sd if sd > rounding else None


def check_numbers(seed: int, resamples: int = FEWEST_RESAMPLES, margin: float = 0.0) -> None:
    """Raise BadInput for a seed or a margin below 0, or fewer resamples than percentiles need."""
    # Written so that NaN, which is not below 0 either, is refused too.
    if not margin >= 0:
        raise BadInput(f"margin: {margin}; expected a number of sd, 0 or more")
    if seed < 0:
        raise BadInput(f"seed: {seed}; expected a whole number, 0 or more")
    if resamples < FEWEST_RESAMPLES:
        raise BadInput(
            f"resamples: {resamples}; expected at least {FEWEST_RESAMPLES}, or percentiles mean "
            "nothing"
        )


def shown(text: str) -> str:
    """The text as a report shows it: whole, or its beginning and how many characters follow."""
    rest = len(text) - MOST_SHOWN
    return text if rest <= 0 else f"{text[:MOST_SHOWN]} […{rest} more characters]"


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
