"""What a habit costs people: how much more common it became, times what people give less for texts
that have it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from probes.base import Interval
from probes.hacking.score_differences import Effects
from probes.hacking.share_changes import Rises
from probes.statistics.jackknife import Chosen
from probes.statistics.resample import Array, Estimate, unmeasured

# Features that fewer prompts have texts with and without are not looked at: they could not show a
# cost, and the more features are looked at, the wider the interval of each.
FEWEST = 10


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
    has both effects in at least FEWEST prompts.
    """
    looked = np.flatnonzero(
        (np.minimum(reward.prompts, human.prompts) >= FEWEST)
        & np.isfinite(reward.value)
        & np.isfinite(human.value)
    )
    if not len(looked):
        why = f"no feature has texts with and without it, and both scores, in {FEWEST} prompts"
        return unmeasured(why, n=n, units=rises.prompts), None
    cost = (np.maximum(rises.value, 0) * np.maximum(-human.value, 0) * (reward.value > 0))[looked]
    ends = [_ends(rises, reward, human, looked, (1 - level) / 2) for level in levels]
    best = int(np.lexsort((-cost, -ends[0][0]))[0]) if ends else int(cost.argmax())
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
    share = tail / 2
    # A rise that all prompts show alike has no spread, and is not known to better than one prompt.
    error = np.maximum(rises.error, 1 / rises.prompts)[looked]
    reach = stdtrit(max(rises.prompts - 1, 1), 1 - share / len(looked)) * error
    rise, loss, pay = rises.value[looked], -human.value[looked], reward.value[looked]
    rose = max(int((rise > reach).sum()), 1)
    give, paid = human.reach(share / rose)[looked], reward.reach(share / rose)[looked]
    low = np.maximum(rise - reach, 0) * np.maximum(loss - give, 0) * (pay - paid > 0)
    give, paid = human.reach(share / len(looked))[looked], reward.reach(share / len(looked))[looked]
    high = (
        np.maximum(np.minimum(rise + reach, 1), 0) * np.maximum(loss + give, 0) * (pay + paid > 0)
    )
    return low, high
