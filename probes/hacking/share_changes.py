"""By how much the share of texts with each feature rose, prompt by prompt, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csc_array
from scipy.special import betainc, stdtrit

from probes.base import Interval
from probes.statistics.jackknife import Chosen
from probes.statistics.resample import Array, Estimate
from probes.texts.setwise import newcombe


@dataclass(frozen=True)
class Rises:
    """Shares of texts with each feature, now less before, by prompt (sparse: prompts, features).

    `share` and `base` (features,) are the shares now and before, `p` the exact one-sided p of the
    sign test.
    """

    difference: csc_array
    prompts: int
    share: Array
    base: Array
    p: Array

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
        return np.asarray(
            np.sqrt(spread / max(self.prompts - 1, 1) / self.prompts), dtype=np.float64
        )

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
        whole = Estimate(value, n, self.prompts, method)
        tails = [1 - (1 - level) / tests for level in levels]
        if error <= 1e-9:
            found = newcombe(whole, now=share, then=base, levels=tails)
            ends = [
                Interval(level, i.low, i.high)
                for level, i in zip(levels, found.intervals, strict=True)
            ]
            return replace(
                found,
                intervals=tuple(ends),
                method=f"{found.method}, simultaneous over {tests} features",
            )
        reach = [float(stdtrit(self.prompts - 1, 0.5 + tail / 2)) * error for tail in tails]
        return replace(
            whole,
            intervals=tuple(
                Interval(level, max(-1.0, value - r), min(1.0, value + r))
                for level, r in zip(levels, reach, strict=True)
            ),
        )


def rises(has: csc_array, prompt: Chosen, source: Chosen) -> Rises:
    """Rises from the texts of source 1 (before) to those of source 0 (now); others are not looked
    at.

    Under "the policy did not change" both policies' texts of a prompt may be swapped, so a prompt
    is as likely to rise as to fall, and the number that rose among those that moved is binomial
    with 1/2. That needs as many texts of a prompt from one policy as from the other.
    """
    compared = source < 2
    kept, owner = np.unique(prompt[compared], return_inverse=True)
    sign = np.where(source[compared] == 0, 1.0, -1.0)
    rows = np.flatnonzero(compared)
    size = np.bincount(owner[sign > 0], minlength=len(kept)).astype(np.float64)

    def by_prompt(weight: Array) -> csc_array:
        total = (
            csc_array((weight, owner, np.arange(len(owner) + 1)), shape=(len(kept), len(owner)))
            @ has[rows]
        )
        total.eliminate_zeros()
        return total

    moved = by_prompt(sign)
    up = np.asarray((moved > 0).sum(axis=0), dtype=np.float64).ravel()
    down = np.asarray((moved < 0).sum(axis=0), dtype=np.float64).ravel()
    # P(Binomial(up + down, 1/2) >= up), as an incomplete beta function.
    p = np.where(up > 0, betainc(np.maximum(up, 1), down + 1, 0.5), 1.0)
    share, before = (
        np.asarray(by_prompt((sign == s) / size[owner]).sum(axis=0)).ravel() / len(kept)
        for s in (1.0, -1.0)
    )
    return Rises(
        csc_array(moved.multiply(1 / size[:, None])),
        len(kept),
        share,
        before,
        np.asarray(p, dtype=float),
    )
