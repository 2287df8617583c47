"""What no single word shows: traits that are a matter of degree, and a habit that is spread over
many words. Each becomes a feature that texts have or have not, beside those of `features.mine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csc_array
from scipy.special import stdtrit

from probes.base import Evidence, Interval
from probes.hacking.features import AnyKind
from probes.hacking.paid import Scores
from probes.hacking.spread import FOLDS, Spread, named, signs_of, spread
from probes.hacking.traits import TRAITS, Trait, has_less, has_more, traits_of
from probes.hacking.wording import in_points
from probes.statistics.flips import Largest, largest_of, signs
from probes.statistics.jackknife import Chosen
from probes.statistics.resample import Array

# Traits together, and the model, each err at most so often where nothing changed.
ERROR = 0.025
# The model takes its time for each, and its p need not be finer.
FLIPS, FLIPS_OF_MODEL = 999, 399
# Fewer prompts than this have too few swaps for a p of ERROR.
FEWEST_PROMPTS = 8


@dataclass(frozen=True)
class Wide:
    """Features beside the words: `has` (texts, features), their kinds and names ("copy words of the
    prompt"), and p, adjusted within each kind.

    degrees   what the scores pay for is told by: a trait in units of its change between the policies,
              (n, features); of the habit, whether a text has it
    t         the difference between the policies, in standard errors
    measured  for a trait, its means and their difference as people read them; "" for the habit
    wider     factor of each rise's standard error
    detail    what the model of many signs found, for the record
    """

    has: csc_array
    degrees: csc_array
    kinds: tuple[AnyKind, ...]
    names: tuple[str, ...]
    general: tuple[bool, ...]
    p: Array
    t: Array
    measured: tuple[str, ...]
    wider: Array
    detail: dict[str, Any]


def wide(
    texts: Sequence[str],
    prompt: Chosen,
    source: Chosen,
    prompts: Sequence[str | None],
    scores: Scores,
    evidence: Evidence,
) -> Wide:
    """Traits, and the habit that the model of many signs finds, of texts (n,).

    `prompt` and `source` (n,) as in `effects.rises`; `prompts` are the prompts' texts by number,
    None where one is not known.
    """
    compared = source < 2
    kept, owner = np.unique(prompt[compared], return_inverse=True)
    if len(kept) < FEWEST_PROMPTS:
        nothing = np.empty(0)
        empty = csc_array((len(texts), 0))
        return Wide(empty, empty, (), (), (), nothing, nothing, (), nothing, {})
    drawn = signs(prompts=len(kept), flips=FLIPS, seed=evidence.seed)
    values = traits_of(texts, prompt, source, prompts)
    now = source[compared] == 0
    means = [_means(value[compared], owner, now, len(kept)) for value in values.values()]
    tested = largest_of(np.column_stack([a - b for a, b, _ in means]), drawn)
    level = evidence.levels[0]
    columns, degrees, names, measured = [], [], [], []
    for k, (key, value) in enumerate(values.items()):
        trait, rose = TRAITS[key], tested.t[k] >= 0
        usual = value[(source == 1) | (source == 2)]
        columns.append(has_more(value, usual) if rose else has_less(value, usual))
        after, before, known = means[k]
        degrees.append(_in_units(value, float((after - before).mean()) / known))
        names.append(trait.more if rose else trait.less)
        measured.append(_in_words(trait, after, before, known, tested, level))
    looked = signs_of(texts, prompt, compared)
    habit = spread(looked, prompt, source, drawn[:FLIPS_OF_MODEL])
    name, detail = _habit(habit, looked, scores)
    kinds: list[AnyKind] = ["trait"] * len(values)
    return Wide(
        csc_array(np.column_stack([*columns, habit.has])),
        csc_array(np.column_stack([*degrees, habit.has])),
        (*kinds, "habit"),
        (*names, name),
        (*(TRAITS[key].general for key in values), True),
        np.append(tested.p, habit.p),
        np.append(np.abs(tested.t), habit.t),
        (*measured, ""),
        np.append(np.ones(len(values)), np.sqrt(2)),
        {"traits": len(values), "model_of_many_signs": {**detail, **_told_apart(habit.auc, level)}},
    )


def _in_units(value: Array, change: float) -> Array:
    """A trait as so many times its change between the policies; what is undefined shows nothing."""
    known = np.isfinite(value)
    if not known.any() or change == 0:
        return np.zeros(len(value))
    in_units: Array = np.where(known, value, value[known].mean()) / change
    return in_units


def _means(value: Array, owner: Chosen, now: Any, prompts: int) -> tuple[Array, Array, float]:
    """Means of a trait by prompt, now and before, 0 and 0 where one of them has none; and the share
    of prompts where both have one (1 where none has, so that nothing is divided by 0).
    """
    known = np.isfinite(value)

    def of(which: Any) -> Array:
        there = known & which
        count = np.bincount(owner[there], minlength=prompts)
        total = np.bincount(owner[there], value[there], minlength=prompts)
        mean: Array = np.divide(total, count, out=np.full(prompts, np.nan), where=count > 0)
        return mean

    a, b = of(now), of(~now)
    # A prompt that shows nothing must not move the mean, and its sign must be free to turn.
    unknown = np.isnan(a) | np.isnan(b)
    share = 1.0 if unknown.all() else float(1 - unknown.mean())
    return np.where(unknown, 0.0, a), np.where(unknown, 0.0, b), share


def _in_words(
    trait: Trait, now: Array, then: Array, known: float, tested: Largest, level: float
) -> str:
    # Means are of the prompts that have the trait at all; the others stand in the table with 0.
    now, then = now / known, then / known
    difference = now - then
    # The test's own t, so that an interval holds 0 just where the test finds nothing.
    reach = tested.reach(level) * float(difference.std()) / np.sqrt(max(len(difference) - 1, 1))
    a, b, moved = float(now.mean()), float(then.mean()), float(difference.mean())
    interval = Interval(level, moved - reach, moved + reach)
    change = in_points(moved, interval, share=trait.scale == "share")
    reads = trait.reads.format(trait.shown(a))
    return f"{reads}, {trait.shown(b)} in the base policy's texts ({change})"


def _habit(found: Spread, looked: Any, scores: Scores) -> tuple[str, dict[str, Any]]:
    """The habit's name by its strongest signs; they are looked for only where there is one."""
    detail: dict[str, Any] = {"p": round(found.p, 4), "signs": len(looked.names)}
    if found.p > ERROR:
        return "write in a way of its own", detail
    has = csc_array(looked.has)
    paid = tuple(scores.effects(has, score) for score in (scores.reward, scores.human))
    more, less = named(found, looked, (paid[0], paid[1]))
    detail |= {"writes_more": more, "writes_less": less}
    parts = [f"{word} of {', '.join(of)}" for word, of in (("more", more), ("less", less)) if of]
    return f"write {' and '.join(parts)}" if parts else "write in a way of its own", detail


def _told_apart(auc: Array, level: float) -> dict[str, Any]:
    """How well the policies' texts are told apart: 0.5 is not at all, 1 is always."""
    n = len(auc)
    # Folds learn from one another, which doubles the variance (see `spread`).
    reach = float(stdtrit(n - 1, 0.5 + level / 2) * auc.std(ddof=1) * np.sqrt(2 / n))
    value = float(auc.mean())
    return {
        "auc_within_prompts": round(value, 4),
        "low": round(max(value - reach, 0.0), 4),
        "high": round(min(value + reach, 1.0), 4),
        "level": level,
        "folds": min(FOLDS, n),
    }
