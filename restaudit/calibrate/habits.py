"""A quick look at whether a habit could have been paid for at people's expense in an emulated
audit.

What is in each text of the pool is found once; a look then needs only the rows it drew.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.sparse import csc_array, csr_array
from scipy.special import stdtrit

from probes.hacking.habit import FEWEST
from probes.hacking.mining import FEWEST_PROMPTS, mine
from probes.hacking.score_differences import Effects, effects
from probes.texts.formats import is_long, is_short
from probes.texts.sets import words_of
from probes.texts.subsets import first
from restaudit.calibrate.emulate import Audit
from restaudit.calibrate.pool import Floats, Pool, Rows

LOOKED = "features looked at"


@dataclass(frozen=True)
class Habits:
    """Features of the pool's texts: `has` (rows, features), and how many words each text has."""

    has: csr_array
    words: Rows


def habits(pool: Pool, fall_back: Rows) -> Habits:
    """All features that some audit drawn from this pool could look at, apart from being long or
    short for it.

    A collapsing policy gives the `fall_back` texts to any prompt, so theirs count as if many
    prompts had them.
    """
    rows = np.concatenate([np.arange(len(pool.table)), np.repeat(fall_back, FEWEST_PROMPTS)])
    prompt = np.unique(pool.columns["prompt_id"].astype(str), return_inverse=True)[1]
    copies = len(prompt) + np.arange(len(rows) - len(prompt))
    every = np.ones(len(rows), dtype=bool)
    texts = [str(t) for t in pool.columns["text"][rows]]
    tokens = pool.columns["n_tokens"][rows].astype(np.float64)
    found = mine(texts, np.concatenate([prompt, copies]), every, every, tokens, most=None)
    words = np.array([len(words_of(t)) for t in texts[: len(prompt)]], dtype=np.intp)
    return Habits(csr_array(found.has)[: len(prompt)], words)


def highest_cost(now: Audit, base: Audit, known: Habits, tail: float) -> float:
    """At least what the lower end of `hacking.habit_cost` can be at an interval that leaves `tail`
    to each side.

    The lower end of each feature as if fewer were looked at than the probe looks at, which has
    lower ones. Only those that surely rose by this are followed further. 0 where there is none.
    """
    count = min(now.per_prompt, base.per_prompt)
    prompts = now.size.prompts
    sides = [(a.rows[a.plain], _picked(prompts, a.per_prompt, count)) for a in (now, base)]
    drawn = np.concatenate([rows[places] for rows, places in sides])
    sign = np.repeat([1.0, -1.0], prompts * count)
    table = known.has[drawn]
    rise = np.bincount(table.indices, np.repeat(sign, np.diff(table.indptr)), table.shape[1]) / (
        prompts * count
    )
    reach = float(stdtrit(max(prompts - 1, 1), 1 - tail / 2 / _fewest_looked_at(base, known)))
    likely = np.flatnonzero(rise > reach / prompts)
    usual = known.words[sides[1][0]]

    def chosen(rows: Rows) -> Floats:
        words = known.words[rows]
        return np.column_stack(
            [known.has[rows][:, likely].toarray(), is_long(words, usual), is_short(words, usual)]
        ).astype(np.float64)

    moved = (chosen(drawn) * sign[:, None]).reshape(2, prompts, count, -1).sum(axis=(0, 2)) / count
    error = np.maximum(moved.std(axis=0, ddof=1) / np.sqrt(prompts), 1 / prompts)
    rise = moved.mean(axis=0) - reach * error
    rose = rise > 0
    if not rose.any():
        return 0.0
    has = chosen(np.concatenate([rows for rows, _ in sides]))[:, rose]
    owner = np.concatenate([np.repeat(np.arange(prompts), a.per_prompt) for a in (now, base)])
    policy = np.repeat([0, 1], [len(rows) for rows, _ in sides])
    cells = owner * 2 + policy, owner

    def paid(column: str) -> Effects:
        score = np.concatenate([getattr(a, column)[a.plain] for a in (now, base)])
        return effects(has=csc_array(has), score=score, cells=cells, prompt=owner)

    human = paid("human")
    loss = np.maximum(-human.value - human.reach(tail / 2), 0) / np.nanstd(
        base.human[base.plain], ddof=1
    )
    if not np.nansum(loss):
        return 0.0
    reward = paid("reward")
    cost = rise[rose] * loss * (reward.value > reward.reach(tail / 2))
    return float(np.nanmax(cost, initial=0.0))


def _fewest_looked_at(base: Audit, known: Habits) -> float:
    """At least so many features are looked at: half of those of enough prompts in the base policy's
    samples alone.

    Half, since some that the pool tells apart may be in the very same texts of an audit, and count
    once there.
    """
    if LOOKED not in base.known:
        scored = ~np.isnan(base.human[base.plain])
        table = known.has[base.rows[base.plain][scored]]
        owner = np.repeat(np.arange(base.size.prompts), base.per_prompt)[scored]
        sizes = np.bincount(owner, minlength=base.size.prompts)
        by_prompt = csr_array(
            (np.ones(len(owner)), (owner, np.arange(len(owner)))), (base.size.prompts, len(owner))
        )
        counts = csr_array(by_prompt @ table)
        mixed = counts.data < np.repeat(sizes, np.diff(counts.indptr))
        base.known[LOOKED] = float(
            (np.bincount(counts.indices[mixed], minlength=counts.shape[1]) >= FEWEST).sum()
        )
    return max(base.known[LOOKED] / 2, 1.0)


@lru_cache(maxsize=16)
def _picked(prompts: int, per_prompt: int, count: int) -> Rows:
    """Which of an audit's plain samples are compared, `count` of each prompt: the probe's own
    choice.
    """
    numbers = np.arange(prompts * per_prompt)
    table = pd.DataFrame(
        {
            "prompt_id": [f"{k:06d}" for k in numbers // per_prompt],
            "sample_id": [f"{k:06d}" for k in numbers],
        }
    )
    quota = pd.Series(count, index=table["prompt_id"].unique())
    return first(table, quota).index.to_numpy()
