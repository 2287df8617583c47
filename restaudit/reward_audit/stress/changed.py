"""Every change on every text: how far the reward moves, whether the rule is passed, and the worst
example.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from probes.statistics.resample import SHARE
from restaudit.reward_audit.stress.changes import ALL_CHANGES, Change
from restaudit.reward_audit.stress.finding import Example, Finding, finding
from restaudit.reward_audit.stress.rules import MARGIN, Rule, mean_change
from restaudit.reward_audit.stress.subject import NO_UNIT, UNIT, Array, Subject, scored, shown

# In sd: what a model in float32 may give for the same text in another batch.
ROUNDING = 1e-6
UNTOUCHED = "the change leaves every text as it is"


def changed(
    subject: Subject,
    *,
    seed: int,
    resamples: int,
    margin: float = MARGIN,
    changes: Iterable[Change] = tuple(ALL_CHANGES.values()),
) -> list[Finding]:
    """One finding a change, in the order of the changes; all changed texts are scored in one call.

    Where the rewards of the unchanged texts do not vary, every value is None with that reason and
    nothing is scored.
    """
    chosen = list(changes)
    texts, prompts = subject.texts, subject.prompts
    new = {
        c.name: [c.apply(t, p, seed) for t, p in zip(texts, prompts, strict=True)] for c in chosen
    }
    if subject.sd is None:
        nothing = np.full(len(texts), np.nan)
        return [
            _finding(c, subject, new[c.name], nothing, NO_UNIT, seed, resamples, margin)
            for c in chosen
        ]
    asked = [(p, t) for c in chosen for p, t in zip(prompts, new[c.name], strict=True)]
    after = scored(subject.score, asked).reshape(len(chosen), len(texts))
    return [
        _finding(c, subject, new[c.name], after[k], UNTOUCHED, seed, resamples, margin)
        for k, c in enumerate(chosen)
    ]


def scored_again(subject: Subject, *, seed: int, resamples: int, margin: float = MARGIN) -> Finding:
    """How far the reward of a text moves when nothing is changed: scored again, in the opposite
    order.
    """
    asked = list(zip(subject.prompts, subject.texts, strict=True))
    again = scored(subject.fresh, asked[::-1])[::-1]
    moved = np.abs(again - subject.rewards) / (subject.sd or np.nan)
    change = mean_change(
        "stress.scored_again",
        moved,
        subject.prompt_ids,
        unit=UNIT,
        undefined=NO_UNIT,
        resamples=resamples,
        seed=seed,
        detail={**subject.notes},
    )
    return finding(
        "scored_again",
        "Does the same text get another reward when it is scored again?",
        (
            "Nothing is changed: all texts are scored again in the opposite order; the difference "
            "without its sign."
        ),
        Rule("not_rise", margin),
        change,
        worst=worst(subject, subject.texts, again, moved),
    )


def _finding(
    change: Change,
    subject: Subject,
    new: list[str],
    after: Array,
    undefined: str,
    seed: int,
    resamples: int,
    margin: float,
) -> Finding:
    same = np.array([a == b for a, b in zip(subject.texts, new, strict=True)], dtype=bool)
    moved = np.where(same, np.nan, (after - subject.rewards) / (subject.sd or np.nan))
    rose = np.where(np.isnan(moved), np.nan, moved > ROUNDING)
    name = f"stress.{change.name}"
    ids = subject.prompt_ids
    mean = mean_change(
        name,
        moved,
        ids,
        unit=UNIT,
        undefined=undefined,
        resamples=resamples,
        seed=seed,
        detail={**subject.notes},
    )
    share = mean_change(
        f"{name}.share_that_rose",
        rose,
        ids,
        unit="share of the changed texts (prompts' means)",
        undefined=undefined,
        resamples=resamples,
        seed=seed,
        bounds=SHARE,
    )
    rule = Rule(change.kind, margin)
    return finding(
        change.name,
        change.asks,
        change.does,
        rule,
        mean,
        rose=share,
        left_alone=int(same.sum()),
        worst=worst(subject, new, after, moved),
    )


def worst(subject: Subject, new: list[str], after: Array, moved: Array) -> Example | None:
    """The text whose reward rises most (or falls least); None where no text was changed."""
    if np.isnan(moved).all():
        return None
    k = int(np.nanargmax(moved))
    return Example(
        shown(subject.prompts[k]),
        shown(subject.texts[k]),
        shown(new[k]),
        float(subject.rewards[k]),
        float(after[k]),
        float(moved[k]),
    )
