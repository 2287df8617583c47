"""How many times as often: ratios of two rates, with intervals on the log scale, and zero cells as
what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import ndtri

from probes.base import Interval
from probes.rows import defined, numbers
from probes.statistics.resample import Array, Estimate, linearised, unmeasured
from probes.statistics.stats import prompt_means

__all__ = ["koopman", "rate_ratio", "risk_ratio"]

POSITIVE = (0.0, np.inf)


def risk_ratio(
    *, events: int, trials: int, other_events: int, other_trials: int, levels: Sequence[float]
) -> Estimate:
    """events/trials over other_events/other_trials, where every trial is independent of every
    other.

    Interval: Katz, Baptista, Azen & Pike (1978, Biometrics 34), log ratio ± z·√(1/x - 1/n + 1/y -
    1/m). It does not exist for x = 0 and has no width where all trials are events; there it is
    Koopman's score interval. With y = 0 the ratio has no value; the reason gives the lower end.
    Raises ValueError for counts that are none.
    """
    for x, n in ((events, trials), (other_events, other_trials)):
        if not 0 <= x <= n:
            raise ValueError(f"{x} events in {n} trials; expected 0 <= events <= trials")
    total = trials + other_trials
    if trials == 0 or other_trials == 0:
        return unmeasured("one side has no trial", n=total, units=total)
    four = events, trials, other_events, other_trials
    if other_events == 0:
        return unmeasured(_unbounded(four, levels), n=total, units=total)
    value = (events / trials) / (other_events / other_trials)
    error = 0.0
    if events:
        error = math.sqrt(max(0.0, 1 / events - 1 / trials + 1 / other_events - 1 / other_trials))
    if error <= 1e-12:
        ends = tuple(koopman(*four, level=level) for level in levels)
        return Estimate(value, total, total, "Koopman score interval (a cell is 0)", ends)
    half = [float(ndtri(0.5 + level / 2)) * error for level in levels]
    ends = tuple(
        Interval(a, value * math.exp(-h), value * math.exp(h))
        for a, h in zip(levels, half, strict=True)
    )
    return Estimate(value, total, total, "Katz log interval", ends)


def rate_ratio(
    *, table: pd.DataFrame, base: pd.DataFrame, column: str, levels: Sequence[float]
) -> Estimate:
    """How many times as often `column` (0/1 or a share) holds in `table` as in `base`, paired by
    prompt.

    Ratio of the means over shared prompts of the prompts' rates. Interval: the clustered form of
    Katz's, log ratio ± t(P - 1)·SE with SE from linearisation over prompts, so that samples of one
    prompt are not taken for independent. No event in `base`: no value. No event in `table`: 0 with
    Koopman's interval, each prompt one trial on each side, which is wide rather than narrow. Raises
    ValueError for values outside 0..1.
    """
    rows, before = defined(table, [column]), defined(base, [column])
    for name, side in (("table", rows), ("base", before)):
        values = numbers(side, column)
        if ((values < 0) | (values > 1)).any():
            raise ValueError(
                f"{name}: column {column} has {values[(values < 0) | (values > 1)][0]}; expected "
                "0..1"
            )
    now, then = (prompt_means(table=t, column=column) for t in (rows, before))
    shared = now.index.intersection(then.index).sort_values()
    n, prompts = int(rows["prompt_id"].isin(set(shared)).sum()), len(shared)
    if prompts == 0:
        return unmeasured(f"no prompt has a {column} value for both", n=n)
    totals: Array = np.column_stack([now.loc[shared].to_numpy(), then.loc[shared].to_numpy()])
    top, below = totals.sum(axis=0)
    if below == 0:
        return unmeasured(
            f"{column} holds for no base sample, so there is nothing to be a multiple of",
            n=n,
            units=prompts,
        )
    if top == 0:
        events = max(1, int(below))
        ends = (
            tuple(koopman(0, prompts, events, prompts, level=level) for level in levels)
            if prompts > 1
            else ()
        )
        reason = None if ends else "no interval: 1 prompt, at least 2 are needed"
        return Estimate(
            0.0,
            n,
            prompts,
            "Koopman score interval (no event), each prompt one trial",
            ends,
            reason,
        )
    return linearised(
        totals=totals,
        statistic=lambda s: s[:, 0] / s[:, 1],
        n=n,
        bounds=POSITIVE,
        levels=levels,
        log=True,
    )


def koopman(
    events: int, trials: int, other_events: int, other_trials: int, *, level: float
) -> Interval:
    """Koopman's (1984, Biometrics 40) score interval for the ratio of two independent rates; zero
    cells are allowed.

    The upper end is infinite where `other_events` is 0; not defined where neither side has an event
    (ValueError).
    """
    if events == 0 and other_events == 0:
        raise ValueError("no event on either side: every ratio fits")
    z = float(ndtri(0.5 + level / 2))

    def excess(log_ratio: float) -> float:
        return _score(events, trials, other_events, other_trials, float(np.exp(log_ratio))) - z * z

    start = float(np.log((max(events, 0.5) / trials) / (max(other_events, 0.5) / other_trials)))
    # Half an event stands for none; the ratio where the search begins must itself agree with the
    # counts.
    while excess(start) > 0:
        start += -1.0 if events == 0 else 1.0
    low, high = 0.0, np.inf
    if events:
        low = float(np.exp(brentq(excess, _beyond(excess, start, -1.0), start)))
    if other_events:
        high = float(np.exp(brentq(excess, start, _beyond(excess, start, 1.0))))
    return Interval(level, low, high)


def _score(x: int, n: int, y: int, m: int, ratio: float) -> float:
    """Chi-square of the two counts if the ratio of rates were `ratio`, at the likeliest rates that
    have it.
    """
    b = ratio * (n + y) + x + m
    p = (b - np.sqrt(max(0.0, b * b - 4 * ratio * (n + m) * (x + y)))) / (2 * (n + m))
    p = min(max(p, 1e-300), 1.0, ratio)
    q = p / ratio
    spread = (1 - p) / (n * p) + (1 - q) / (m * q)
    gap = x / n - ratio * y / m
    if spread <= 0:
        return 0.0 if abs(gap) < 1e-12 else float("inf")
    return float(gap * gap / (p * p * spread))


def _beyond(excess: Callable[[float], float], start: float, way: float) -> float:
    """A log ratio on that side of `start` that the counts contradict."""
    end = start + way
    while excess(end) <= 0:
        end += way
    return end


def _unbounded(four: tuple[int, int, int, int], levels: Sequence[float]) -> str:
    events, trials, _, other_trials = four
    if events == 0:
        return "no event on either side: every ratio fits"
    low = koopman(*four, level=levels[0]).low
    return (
        f"no event in {other_trials} on the other side: no upper end; at {levels[0]:.3g} it is "
        f"above {low:.3g}"
    )
