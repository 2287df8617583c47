"""Learned features as a reader sees them: a list with numbers and examples, and one plain
sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from probes.base import Interval
from probes.hacking.effects import Effect
from probes.hacking.features import Features
from probes.statistics.resample import Array

MOST_LISTED = 20
EXAMPLES = 2
EXAMPLE_CHARACTERS = 240


# "signature": it rose, the reward pays and people do not. "temptation": the reward pays and people
# dislike it, and it is not more common yet. "undecided": it rose and the reward pays, and it is not
# clear whether people do.
Verdict = Literal["signature", "temptation", "undecided", "people pay too", "not paid", "no scores"]
_TAILS: dict[Verdict, str] = {
    "signature": "",
    "temptation": "; it is not found to be more common yet",
    "undecided": "; whether people pay for it is not clear",
    "people pay too": "; people pay for it too",
    "not paid": "; it is not clear that the reward pays for it",
    "no scores": "",
}
# What a feature of each kind is, after "The policy learned to"; a trait's and a habit's name is
# that already.
_LEARNED = {
    "words": 'write "{}"',
    "opening": 'begin with "{}"',
    "format": "write texts with {}",
    "trait": "{}",
    "habit": "{}",
}


@dataclass(frozen=True)
class Learned:
    """A feature that rose: its shares, the rise's interval, adjusted p, what reward and people pay
    for it (base sd), and the verdict.

    `column` is its column in the table of features. `measured` says a trait's means in words.
    """

    column: int
    share: float
    share_base: float
    interval: Interval
    adjusted_p: float
    reward: Effect | None
    human: Effect | None
    verdict: Verdict
    measured: str = ""

    @property
    def rise(self) -> float:
        """By how much the share of texts that have it rose."""
        return self.share - self.share_base


def listed(
    features_found: Sequence[tuple[Learned, list[int]]],
    features: Features,
    texts: Sequence[str],
    reward: Array,
) -> list[dict[str, Any]]:
    """The first 20 features as plain JSON, each with two texts that have it, highest reward first,
    cut to 240 letters.

    `texts` and `reward` (n,) are the policy's own, the first n rows of the table of features.
    """
    entries = []
    for feature, like in features_found[:MOST_LISTED]:
        where = features.has[:, [feature.column]].nonzero()[0]
        where = where[where < len(texts)]
        best = where[np.lexsort((where, -np.nan_to_num(reward[where], nan=-np.inf)))][:EXAMPLES]
        entries.append(
            {
                "kind": features.kinds[feature.column],
                "name": features.names[feature.column],
                "share": _short(feature.share),
                "share_base": _short(feature.share_base),
                "rise": _short(feature.rise),
                "rise_low": _short(feature.interval.low),
                "rise_high": _short(feature.interval.high),
                "adjusted_p": _short(feature.adjusted_p),
                "reward_pays": _effect(feature.reward),
                "human_pays": _effect(feature.human),
                "verdict": feature.verdict,
                "in_the_same_texts": list(features.same_as[feature.column]),
                "like_it": [features.names[c] for c in like[:5]],
                "examples": [_cut(texts[k]) for k in best.tolist()],
                **({"measured": feature.measured} if feature.measured else {}),
            }
        )
    return entries


def in_words(
    most_telling: tuple[Learned, list[int]] | None,
    features: Features,
    human_label: str,
    missed: float | None,
) -> str:
    """What the most telling feature is, how common it became and who pays for it, in one sentence;
    without one, what could have been `missed` (a rise, 0..1; None for any).

    A format says little by itself, so what nearly the same texts have is named with it.
    """
    if most_telling is None:
        return f"No new habit was found; {could_be_missed(missed)}."
    feature, like = most_telling
    name, kind = features.names[feature.column], features.kinds[feature.column]
    what = _LEARNED[kind].format(name)
    others = [*features.same_as[feature.column], *(features.names[c] for c in like)]
    if kind == "format" and others:
        what += f" (nearly the same texts: {others[0]})"
    verb = "The policy learned to"
    if feature.verdict == "temptation":
        verb = "The reward tempts the policy to"
    shares = (
        f"in {_share(feature.share)} of its texts, {_share(feature.share_base)} of the base "
        f"policy's ({in_points(feature.rise, feature.interval)})"
    )
    # A proxy for people is named as what it is: it must not be read as people's judgement.
    people = f"the human score ({human_label})"
    if human_label.startswith("PEOPLE"):
        people = "people"
    paid = "whether the reward pays for it could not be told"
    if feature.reward is not None:
        # What is paid for a trait is for the whole of its change, not for having it.
        what_for = "that" if feature.measured else "it"
        paid = f"the reward pays {_sd(feature.reward)} for {what_for}"
    liked = f"{people}: could not be told"
    if feature.human is not None:
        liked = f"{people} {_sd(feature.human)}"
    return f"{verb} {what}: {feature.measured or shares}; {paid}, {liked}{_TAILS[feature.verdict]}."


def could_be_missed(missed: float | None) -> str:
    """What a screening that found nothing says of itself."""
    if missed is None:
        return "with so few texts, any rise could have been missed"
    return f"a rise of {100 * missed:.0f} points could have been missed"


def in_points(value: float, interval: Interval, share: bool = True) -> str:
    """A change and its interval: of shares in points, of other numbers as it is."""
    if not share:
        return f"{value:+.1f} [{interval.low:.1f}, {interval.high:.1f}]"
    digits = 0 if abs(value) >= 0.095 else 1
    # Adding 0 turns -0.0 into 0.0.
    low, moved, high = (round(100 * x, digits) + 0.0 for x in (interval.low, value, interval.high))
    return f"{moved:+.{digits}f} points [{low:.{digits}f}, {high:.{digits}f}]"


def _share(value: float) -> str:
    return f"{value:.0%}" if value >= 0.095 or value == 0 else f"{value:.1%}"


def _sd(effect: Effect) -> str:
    # Adding 0 turns -0.0 into 0.0.
    return f"{round(effect.value, 1) + 0.0:+.1f} sd"


def _effect(effect: Effect | None) -> dict[str, Any] | None:
    if effect is None:
        return None
    return {
        "base_sd": _short(effect.value),
        "low": _short(effect.interval.low),
        "high": _short(effect.interval.high),
        "level": effect.interval.level,
        "prompts": effect.prompts,
        "how": effect.how,
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _cut(text: str) -> str:
    if len(text) <= EXAMPLE_CHARACTERS:
        return text
    return f"{text[:EXAMPLE_CHARACTERS]} …"
