"""Whether a reply refuses to do what it was asked: listed phrases in its first words, English only.

The phrases and their limits are in probes/data/refusal.json; how often they are right was measured
on hand-labelled replies of a real assistant and on written ones (docs/probes.md). It is a detector
by rule, and errs on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from probes.base import Array
from probes.texts.lists import word_list

READ_WORDS = 60


def refusals(texts: Sequence[str]) -> Array:
    """1.0 where the text refuses, 0.0 where it does not, NaN where it has no words; shape (n,)."""
    return np.array(
        [float(refuses(t)) if re.search(r"\w", t) else np.nan for t in texts], dtype=np.float64
    )


def refuses(text: str) -> bool:
    """Whether one of the listed phrases stands in the first 60 words of the text."""
    start = " ".join(text.split()[:READ_WORDS]).lower().replace("’", "'")
    return bool(_pattern().search(start))


@cache
def _pattern() -> re.Pattern[str]:
    """A phrase that refuses by itself; or "I can't" and the like, at most two words, and an act
    ("help", "provide"); or an apology directly followed by "I can't" at the end of a sentence."""
    data = word_list("refusal")

    def any_of(name: str) -> str:
        return (
            "(?:" + "|".join(re.escape(p) for p in sorted(data[name], key=len, reverse=True)) + ")"
        )

    between = rf"(?:\s+(?!{any_of('not_before')}\b)\w+){{0,{int(data['between'])}}}?"
    acts = (
        rf"{any_of('unable')}{between}\s+{any_of('acts')}\b(?!\s+(?:but|{any_of('not_before')})\b)"
    )
    apology = rf"\b{any_of('sorry')}\b[^.!?]{{0,40}}{any_of('unable')}\s*(?:[.!?]|$)"
    return re.compile(rf"\b{any_of('alone')}\b|\b{acts}|{apology}")
