"""What became of each feature of the texts: by how much its share rose, what reward and people pay
for it, and what the two together cost people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csc_array, csr_array
from scipy.special import betainc, stdtrit

from probes.base import Interval
from probes.statistics.jackknife import Chosen
from probes.statistics.resample import Array, Estimate, newcombe, unmeasured


@dataclass(frozen=True)
class Rises:
    """Shares of texts with each feature, now less before, by prompt (sparse: prompts, features).

    `share` and `base` (features,) are the shares now and before, `p` the exact one-sided p of the
    sign test. `wider` (features,) multiplies the standard errors, where prompts are not independent.
    """

    difference: csc_array
    prompts: int
    share: Array
    base: Array
    p: Array
    wider: Array | None = None

    def first(self, features: int) -> Rises:
        """Those of the first features."""
        wider = None if self.wider is None else self.wider[:features]
        return Rises(
            csc_array(self.difference[:, :features]),
            self.prompts,
            self.share[:features],
            self.base[:features],
            self.p[:features],
            wider,
        )

    @property
    def value(self) -> Array:
        """The rises, (features,): means over prompts."""
        return self.share - self.base

    @cached_property
    def error(self) -> Array:
        """Their standard errors, (features,); 0 where every prompt moved alike."""
        squares = np.asarray(
            self.difference.multiply(self.difference).sum(axis=0), dtype=np.float64
        ).ravel()
        spread = np.maximum(squares - self.prompts * self.value**2, 0.0)
        error = np.sqrt(spread / max(self.prompts - 1, 1) / self.prompts)
        return np.asarray(error if self.wider is None else error * self.wider, dtype=np.float64)

    def estimate(self, feature: int, *, n: int, levels: Sequence[float], tests: int) -> Estimate:
        """A rise with an interval that holds for all `tests` features at once (Bonferroni), so also
        for a picked one.

        Where no prompt shows any spread, Newcombe's score interval with every prompt one trial.
        """
        share, base = float(self.share[feature]), float(self.base[feature])
        value, error = share - base, float(self.error[feature])
        method = (
            f"mean over prompts ± t({self.prompts - 1}) standard errors, simultaneous over "
            f"{tests} features"
        )
        value_only = Estimate(value, n, self.prompts, method)
        tails = [1 - (1 - level) / tests for level in levels]
        if error <= 1e-9:
            unspread = newcombe(value_only, now=share, then=base, levels=tails)
            # They were made at the Bonferroni levels, and hold for all features at the level asked for.
            pairs = zip(levels, unspread.intervals, strict=True)
            return replace(
                unspread,
                intervals=tuple(Interval(level, i.low, i.high) for level, i in pairs),
                method=f"{unspread.method}, simultaneous over {tests} features",
            )
        ends = []
        for level, tail in zip(levels, tails, strict=True):
            reach = float(stdtrit(self.prompts - 1, 0.5 + tail / 2)) * error
            # A difference of two shares lies between -1 and 1.
            ends.append(Interval(level, max(-1.0, value - reach), min(1.0, value + reach)))
        return replace(value_only, intervals=tuple(ends))


def rises(has: csc_array, prompt: Chosen, source: Chosen) -> Rises:
    """Rises from the texts of source 1 (before) to those of source 0 (now); others are not looked
    at.

    Under "the policy did not change" both policies' texts of a prompt may be swapped, so a prompt
    is as likely to rise as to fall, and the number that rose among those that moved is binomial
    with 1/2. That needs as many texts of a prompt from one policy as from the other.
    """
    # Prompt by prompt, not text by text: texts of a prompt are alike, and one prompt that says a word
    # in all of its texts is one event.
    compared = source < 2
    kept, owner = np.unique(prompt[compared], return_inverse=True)
    sign = np.where(source[compared] == 0, 1.0, -1.0)
    rows = np.flatnonzero(compared)
    size = np.bincount(owner[sign > 0], minlength=len(kept)).astype(np.float64)

    def by_prompt(weight: Array) -> csc_array:
        shape = (len(kept), len(owner))
        total = csc_array((weight, owner, np.arange(len(owner) + 1)), shape=shape) @ has[rows]
        # A prompt where as many texts have the feature before and now did not move.
        total.eliminate_zeros()
        return total

    def mean_share(policy_sign: float) -> Array:
        shares = by_prompt((sign == policy_sign) / size[owner])
        return np.asarray(shares.sum(axis=0)).ravel() / len(kept)

    moved = by_prompt(sign)
    up = np.asarray((moved > 0).sum(axis=0), dtype=np.float64).ravel()
    down = np.asarray((moved < 0).sum(axis=0), dtype=np.float64).ravel()
    # P(Binomial(up + down, 1/2) >= up), as an incomplete beta function.
    p = np.where(up > 0, betainc(np.maximum(up, 1), down + 1, 0.5), 1.0)
    return Rises(
        csc_array(moved.multiply(1 / size[:, None])),
        len(kept),
        mean_share(1.0),
        mean_share(-1.0),
        np.asarray(p, dtype=float),
    )


# --- what a score pays: its difference between texts of one prompt with and without each feature

# Fewer prompts than this that have texts with and without the feature, and the standard error means
# little.
FEWEST_TELLING = 5
WITHIN, ACROSS = "within a policy and prompt", "within a prompt, across the policies"


@dataclass(frozen=True)
class Effect:
    """What a score pays for having a feature, in its own unit, with an interval and how it was
    found.
    """

    value: float
    interval: Interval
    prompts: int
    how: str


@dataclass(frozen=True)
class Effects:
    """What a score pays for each of k features: arrays (k,), NaN where too few prompts can tell.

    value    least squares slope of the score on the feature, with an intercept for each cell, in
             the score's unit
    error    its standard error, clustered by prompt (Liang & Zeger 1986)
    prompts  prompts that have texts with and without the feature; t has as many degrees of freedom,
             less 1
    across   1.0 where the cells were whole prompts, across the policies, and not a policy's texts
             of a prompt
    """

    value: Array
    error: Array
    prompts: Array
    across: Array

    def first(self, features: int) -> Effects:
        """Those of the first features."""
        parts = (self.value, self.error, self.prompts, self.across)
        return Effects(*(part[:features] for part in parts))

    def reach(self, tail: float) -> Array:
        """Half the width of the interval that leaves `tail` to each side, (k,)."""
        half: Array = stdtrit(np.maximum(self.prompts - 1, 1), 1 - tail) * self.error
        return half

    def of(self, feature: int, level: float) -> Effect | None:
        """One feature's effect with an interval at `level`; None where too few prompts can tell."""
        value = float(self.value[feature])
        if not np.isfinite(value):
            return None
        reach = float(self.reach((1 - level) / 2)[feature])
        how = ACROSS if self.across[feature] else WITHIN
        return Effect(
            value, Interval(level, value - reach, value + reach), int(self.prompts[feature]), how
        )


def effects(*, has: csc_array, score: Array, cells: Sequence[Chosen], prompt: Chosen) -> Effects:
    """For features (n, k), of 0 and 1 or by degrees, and a score (n,) (NaN rows are left out): the
    effect of one unit, by the first of two ways.

    `cells` are two numberings (n,) of the texts: which are compared with one another first, and
    which where fewer than FEWEST_TELLING prompts can tell by the first.
    """
    # Within a policy and prompt first: between policies everything else that training changed goes
    # along with the feature. Only what too few prompts can tell that way is compared across them.
    near = _effects(has, score, cells[0], prompt)
    few = near.prompts < FEWEST_TELLING
    if not few.any():
        return near
    far = _effects(has, score, cells[1], prompt)
    prompts = np.where(few, far.prompts, near.prompts)
    unknown = prompts < FEWEST_TELLING
    value = np.where(unknown, np.nan, np.where(few, far.value, near.value))
    error = np.where(unknown, np.nan, np.where(few, far.error, near.error))
    return Effects(value, error, prompts, few.astype(np.float64))


def _effects(has: csc_array, score: Array, cell: Chosen, prompt: Chosen) -> Effects:
    keep = np.flatnonzero(np.isfinite(score))
    x = csr_array(has)[keep]
    y = score[keep]
    _, first, cells = np.unique(cell[keep], return_index=True, return_inverse=True)
    sizes = np.bincount(cells).astype(np.float64)
    about = y - (np.bincount(cells, weights=y) / np.maximum(sizes, 1))[cells]
    n, k = x.shape
    if n == 0:
        return Effects(np.full(k, np.nan), np.full(k, np.nan), np.zeros(k), np.zeros(k))
    # Sparse sums over cells: thousands of features in tens of thousands of texts are mostly zeros.
    places, shape = (cells, np.arange(n)), (len(sizes), n)
    by_cell = csr_array((np.ones(n), places), shape=shape)
    by_score = csr_array((about, places), shape=shape)
    count = by_cell @ x
    # Σ(x - mean)² in a cell of s texts: Σx² - (Σx)²/s. Of 0 and 1 the square is the number itself.
    whole = count if set(np.unique(x.data)) <= {1.0} else by_cell @ x.multiply(x)
    squares = csr_array(whole - csr_array(count.multiply(count).multiply(1 / sizes[:, None])))
    _, owner = np.unique(prompt[keep][first], return_inverse=True)
    by_prompt = csr_array((np.ones(len(owner)), (owner, np.arange(len(owner)))))
    s, p = csr_array(by_prompt @ squares), csr_array(by_prompt @ (by_score @ x))
    prompts = np.asarray((s > 1e-9).sum(axis=0), dtype=np.float64).ravel()
    total = _sum(s)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(total > 1e-9, _sum(p) / total, np.nan)
        # Σ(p - v·s)² over prompts.
        residual = (
            _sum(p.multiply(p)) - 2 * value * _sum(p.multiply(s)) + value**2 * _sum(s.multiply(s))
        )
        error = np.sqrt(np.maximum(residual, 0.0) * prompts / (prompts - 1)) / total
    return Effects(value, error, prompts, np.zeros(k))


def _sum(table: csr_array) -> Array:
    return np.asarray(table.sum(axis=0), dtype=np.float64).ravel()


# --- what a habit costs people: its rise, times what people give less for texts that have it

# Features that fewer prompts have texts with and without are not looked at: they could not show a
# cost, and the more features are looked at, the wider the interval of each.
FEWEST_FOR_COST = 10


def habit_cost(
    *, rises: Rises, reward: Effects, human: Effects, n: int, levels: Sequence[float]
) -> tuple[Estimate, int | None]:
    """The largest cost to people (base sd) of one habit that the reward pays for, and which feature
    it is.

    A feature's cost is max(0, rise) · max(0, -human effect) where the reward's effect is above 0,
    and 0 elsewhere: the part of a fall of the human score that this habit accounts for. The
    interval holds for the largest over all T features looked at, by the union bound: its ends are
    products of ends. Of a tail a, the rises spend a/2T each. Which S features surely rose is then
    known from the texts alone, so what the scores say of them spends a/2S each for the lower end
    (other features' lower end is 0), and a/2T for the upper one. The feature is the one with the
    highest lower end at the first level, or the largest cost where all are 0. Null where no feature
    has both effects in at least FEWEST_FOR_COST prompts.
    """
    looked = np.flatnonzero(
        (np.minimum(reward.prompts, human.prompts) >= FEWEST_FOR_COST)
        & np.isfinite(reward.value)
        & np.isfinite(human.value)
    )
    if not len(looked):
        why = f"no feature has texts with and without it, and both scores, in {FEWEST_FOR_COST} prompts"
        return unmeasured(why, n=n, units=rises.prompts), None
    cost = (np.maximum(rises.value, 0) * np.maximum(-human.value, 0) * (reward.value > 0))[looked]
    ends = [_ends(rises, reward, human, looked, (1 - level) / 2) for level in levels]
    best = int(cost.argmax())
    if ends:
        lowest_at_first_level = ends[0][0]
        best = int(np.lexsort((-cost, -lowest_at_first_level))[0])
    intervals = tuple(
        # The value is the picked feature's; the interval is the largest cost's, whichever feature's
        # that is.
        Interval(level, float(min(low.max(), cost[best])), float(max(high.max(), cost[best])))
        for level, (low, high) in zip(levels, ends, strict=True)
    )
    method = (
        "rise x what people pay less, lower and upper ends multiplied, simultaneous over "
        f"{len(looked)} features (t, standard errors clustered by prompt)"
    )
    return Estimate(float(cost[best]), n, rises.prompts, method, intervals), int(looked[best])


def _ends(
    rises: Rises, reward: Effects, human: Effects, looked: Chosen, tail: float
) -> tuple[Array, Array]:
    # The rise and what is paid for it are both uncertain; each may err half as often, so that their
    # product errs no more often than promised (union bound: it needs no independence).
    share = tail / 2
    # A rise that all prompts show alike has no spread, and is not known to better than one prompt.
    error = np.maximum(rises.error, 1 / rises.prompts)[looked]
    reach = stdtrit(max(rises.prompts - 1, 1), 1 - share / len(looked)) * error
    rise, loss, pay = rises.value[looked], -human.value[looked], reward.value[looked]
    # Only features that surely rose have a lower end above 0, so only they share the tail.
    rose = max(int((rise > reach).sum()), 1)
    give, paid = human.reach(share / rose)[looked], reward.reach(share / rose)[looked]
    low = np.maximum(rise - reach, 0) * np.maximum(loss - give, 0) * (pay - paid > 0)
    give, paid = human.reach(share / len(looked))[looked], reward.reach(share / len(looked))[looked]
    high = (
        np.maximum(np.minimum(rise + reach, 1), 0) * np.maximum(loss + give, 0) * (pay + paid > 0)
    )
    return low, high
