"""Statistics of sample tables, each with intervals: whole prompts are resampled, and comparisons
are paired by prompt.

Every function takes tables with a `prompt_id` column and the names of numeric columns (NaN =
undefined), leaves out the rows where a column it needs is undefined, and returns an Estimate. See
resample.py for how intervals are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Unpack

import numpy as np
import pandas as pd

from probes.rows import IS_BASE, NO_TEXT, defined, numbers
from probes.statistics import kendall
from probes.statistics.resample import (
    ANY,
    SHARE,
    Array,
    Bounds,
    Estimate,
    Resampling,
    bootstrap,
    linearised,
    newcombe,
    prompt_weights,
    summarise,
    unmeasured,
    weight_slices,
    wilson,
)

__all__ = [
    "ANY",
    "SHARE",
    "Array",
    "Bounds",
    "Estimate",
    "Resampling",
    "bootstrap",
    "change",
    "change_ratio",
    "correlation",
    "independent_difference",
    "linearised",
    "mean",
    "mean_of",
    "mean_value",
    "prompt_means",
    "ratio_of_sums",
    "share",
    "share_change",
    "split_difference",
    "unmeasured",
    "wilson",
]


def prompt_means(*, table: pd.DataFrame, column: str, by: str = "prompt_id") -> pd.Series[float]:
    """Mean of the column for each prompt, sorted by prompt; prompts where it is nowhere defined are
    absent.
    """
    values = numbers(table, column)
    known = ~np.isnan(values)
    names, place = np.unique(table[by].to_numpy()[known], return_inverse=True)
    return pd.Series(np.bincount(place, values[known]) / np.bincount(place), index=names)


def mean(
    *,
    table: pd.DataFrame,
    column: str,
    by: str = "prompt_id",
    bounds: Bounds = ANY,
    **resampling: Unpack[Resampling],
) -> Estimate:
    """Mean over prompts of the prompts' means: every prompt counts once, however many samples it
    has.
    """
    # Prompt means first: a prompt with more samples must not weigh more, since how many samples a
    # prompt has says nothing about how often people ask it.
    values = np.asarray(prompt_means(table=table, column=column, by=by), dtype=np.float64)
    return mean_of(
        values=values,
        n=len(defined(table, [column])),
        bounds=bounds,
        undefined=f"no sample has a {column} value",
        **resampling,
    )


def mean_of(
    *,
    values: Array,
    n: int,
    unit: str = "prompt",
    bounds: Bounds = ANY,
    undefined: str = "nothing is defined",
    **resampling: Unpack[Resampling],
) -> Estimate:
    """Mean of one value a unit, shape (units,)."""
    totals = np.stack([values, np.ones(len(values))], axis=1)
    return bootstrap(
        totals=totals,
        statistic=lambda s: s[:, 0] / s[:, 1],
        n=n,
        unit=unit,
        bounds=bounds,
        undefined=undefined,
        **resampling,
    )


def mean_value(table: pd.DataFrame | None, column: str) -> float | None:
    """The value of `mean` alone, such as the base policy's; None without a table or a value."""
    if table is None:
        return None
    means = prompt_means(table=table, column=column)
    if means.empty:
        return None
    return float(means.mean())


# --- shares of texts


def share(*, table: pd.DataFrame, column: str, **resampling: Unpack[Resampling]) -> Estimate:
    """Share of the texts for which a bool column holds, 0..1; every prompt counts once.

    NaN (or None) is a text of which it cannot be said, which is left out. Prompts are resampled
    whole. Where all texts agree, none shows a spread, and the interval is Wilson's with every
    prompt one trial: 0 of 50 prompts is not a share of exactly 0.

        rows = rows.assign(asks=["?" in text for text in rows["text"]])
        stats.share(table=rows, column="asks", **evidence.resampling)
    """
    if table.empty:
        return unmeasured(NO_TEXT)
    return mean(table=table, column=column, bounds=SHARE, **resampling)


def share_change(
    *, table: pd.DataFrame, base: pd.DataFrame | None, column: str, **resampling: Unpack[Resampling]
) -> Estimate:
    """`share` of the policy minus that of the base policy, paired by prompt, -1..1.

    Only prompts on which both have texts count. Where no prompt shows a spread (such as a share of
    0 before and after), the interval is Newcombe's (1998), every prompt one trial of each policy.
    Not measured for the base policy itself (`base` None).
    """
    if base is None:
        return unmeasured(IS_BASE)
    if table.empty:
        return unmeasured(NO_TEXT)
    now, then = (prompt_means(table=t, column=column) for t in (table, base))
    now, then = now.align(then, join="inner")
    moved = mean_of(
        values=np.asarray(now - then, dtype=np.float64),
        n=int(defined(table, [column])["prompt_id"].isin(set(now.index)).sum()),
        bounds=(-1.0, 1.0),
        undefined=f"no prompt has {column} values of both policies",
        **resampling,
    )
    if moved.value is None or moved.intervals or moved.units < 2:
        return moved
    # All prompts moved alike, so resampling would give an interval of width zero.
    ends = {"now": float(now.mean()), "then": float(then.mean())}
    return newcombe(moved, **ends, levels=resampling["levels"])


def change(
    *,
    table: pd.DataFrame,
    base: pd.DataFrame,
    columns: Sequence[str],
    standardise: bool = True,
    **resampling: Unpack[Resampling],
) -> Estimate:
    """How far the mean of a column moved from the base policy, paired by prompt; with two columns,
    how much further the first moved than the second.

    Each move is the mean over prompts of (prompt mean - base prompt mean); with `standardise` it is
    divided by the sd of the base policy's samples (ddof 1), which is resampled too. Only rows where
    all the columns are defined count, and prompts that both policies have such rows on.
    """
    rows, before = defined(table, columns), defined(base, columns)
    # Unit (the base policy's sd) and change are statistics of the same resample: taking the sd for
    # known would make the interval too narrow.
    parts = [_change_totals(rows, before, column) for column in columns]
    both = int(rows["prompt_id"].isin(set(before["prompt_id"])).sum())

    def statistic(sums: Array) -> Array:
        moves = [_move(sums[:, 5 * k : 5 * k + 5], standardise) for k in range(len(columns))]
        return moves[0] - moves[1] if len(moves) == 2 else moves[0]

    names = " and ".join(columns)
    undefined = (
        f"no prompt has {names} values that vary for the base policy and are defined for both"
    )
    totals = np.concatenate(parts, axis=1)
    return bootstrap(totals=totals, statistic=statistic, n=both, undefined=undefined, **resampling)


def change_ratio(
    *,
    table: pd.DataFrame,
    base: pd.DataFrame,
    columns: tuple[str, str],
    **resampling: Unpack[Resampling],
) -> Estimate:
    """How far the first column moved for every base sd that the second one moved, each in its own
    base sd.

    As `change`, on rows where both are defined. Not measured where the second column's own change
    may be 0 (its interval at the first level contains it): the ratio would then be anything.
    """
    rows, before = defined(table, columns), defined(base, columns)
    # A ratio whose denominator may be 0 has no finite interval (Fieller 1954); asking first keeps a
    # wild number from being shown.
    below = change(table=rows, base=before, columns=[columns[1]], **resampling)
    if below.value is None:
        return unmeasured(below.reason or "undefined", n=below.n, units=below.units)
    if not below.intervals or below.intervals[0].low <= 0 <= below.intervals[0].high:
        return unmeasured(
            f"the change of {columns[1]} may be 0, so a gain for each unit of it has no meaning",
            n=below.n,
            units=below.units,
        )
    totals = np.concatenate([_change_totals(rows, before, column) for column in columns], axis=1)
    return bootstrap(
        totals=totals,
        statistic=lambda s: _move(s[:, :5], True) / _move(s[:, 5:], True),
        n=below.n,
        undefined=f"{columns[0]} does not vary for the base policy",
        **resampling,
    )


def _move(sums: Array, standardise: bool) -> Array:
    difference, prompts, count, total, squares = sums.T
    variance = (squares - total**2 / count) / (count - 1)
    sd = np.sqrt(np.where(variance > 1e-12 * squares / count, variance, np.nan))
    moved: Array = difference / prompts / (sd if standardise else 1.0)
    return moved


def _change_totals(rows: pd.DataFrame, before: pd.DataFrame, column: str) -> Array:
    """Per prompt of both: difference of means, 1, and the base rows' count, sum and sum of squares
    about their mean.
    """
    prompts_now, _, now = _means_by_prompt(rows, column)
    prompts_then, owner, then = _means_by_prompt(before, column)
    prompts, at_now, at_then = np.intersect1d(
        prompts_now, prompts_then, assume_unique=True, return_indices=True
    )
    values = numbers(before, column)
    values = values[~np.isnan(values)]
    place = np.full(len(prompts_then), -1)
    place[at_then] = np.arange(len(prompts))
    both = place[owner] >= 0
    place, values = place[owner][both], values[both]
    # Sums of squares about the mean, so that they do not cancel; all alike is exactly 0, not a
    # rounding error.
    values = values - values.mean() if _vary(values) else np.zeros(len(values))
    terms = (np.ones(len(values)), values, values**2)
    sums = [np.bincount(place, term, minlength=len(prompts)) for term in terms]
    return np.column_stack([now[at_now] - then[at_then], np.ones(len(prompts)), *sums])


def _means_by_prompt(table: pd.DataFrame, column: str) -> tuple[Any, Any, Array]:
    """Prompts with a defined value, in order; which of them each defined row belongs to; and their
    means.
    """
    values = numbers(table, column)
    known = ~np.isnan(values)
    names, owner = np.unique(table["prompt_id"].to_numpy(dtype=str)[known], return_inverse=True)
    means = np.bincount(owner, values[known], minlength=len(names)) / np.bincount(owner)
    return names, owner, means


def independent_difference(
    *, table: pd.DataFrame, other: pd.DataFrame, column: str, **resampling: Unpack[Resampling]
) -> Estimate:
    """Mean of `table` minus mean of `other` (each over its prompt means), where they share no
    prompts.

    Each side's prompts are resampled on their own; the small-sample widening uses the side with
    fewer prompts.
    """
    sides = [prompt_means(table=t, column=column).to_numpy() for t in (table, other)]
    n = len(defined(table, [column])) + len(defined(other, [column]))
    fewer = min(len(s) for s in sides)
    if fewer == 0:
        return unmeasured(f"one side has no {column} value", n=n)
    # Two seeds, since the two sets of prompts have nothing to do with one another: the same draws
    # would pair them by their order.
    seeds = np.random.SeedSequence(resampling["seed"]).generate_state(2).tolist()
    draws = []
    for means, seed in zip(sides, seeds, strict=True):
        units = len(means)
        weights = prompt_weights(units=units, resamples=resampling["resamples"], seed=seed)
        draws.append(weights @ means / units)
    estimate = summarise(
        value=float(sides[0].mean() - sides[1].mean()),
        replicates=draws[0] - draws[1],
        n=n,
        units=fewer,
        levels=resampling["levels"],
    )
    return replace(estimate, method=f"{estimate.method}, two independent sets of prompts")


def split_difference(
    *, table: pd.DataFrame, column: str, by: str, **resampling: Unpack[Resampling]
) -> Estimate:
    """Mean over the rows where the bool column `by` holds, minus the mean over the other rows."""
    rows = defined(table, [column])
    chosen = rows[by].to_numpy(dtype=bool)
    values = numbers(rows, column)
    parts = pd.DataFrame(
        {
            "in": values * chosen,
            "n_in": 1.0 * chosen,
            "out": values * ~chosen,
            "n_out": 1.0 * ~chosen,
        }
    )
    totals = parts.groupby(rows["prompt_id"].to_numpy()).sum().to_numpy()
    return bootstrap(
        totals=totals,
        statistic=lambda s: s[:, 0] / s[:, 1] - s[:, 2] / s[:, 3],
        n=len(rows),
        undefined=f"one side of {by} has no row with a {column} value",
        **resampling,
    )


def ratio_of_sums(
    *,
    table: pd.DataFrame,
    numerator: str,
    denominator: str,
    bounds: Bounds = ANY,
    **resampling: Unpack[Resampling],
) -> Estimate:
    """Sum of one column over the sum of another, on rows where both are defined."""
    rows = defined(table, [numerator, denominator])
    parts = pd.DataFrame({"top": numbers(rows, numerator), "bottom": numbers(rows, denominator)})
    totals = parts.groupby(rows["prompt_id"].to_numpy()).sum().to_numpy()
    undefined = f"no row has both {numerator} and a {denominator} above 0"

    def statistic(sums: Array) -> Array:
        ratio: Array = sums[:, 0] / sums[:, 1]
        return ratio

    return bootstrap(
        totals=totals,
        statistic=statistic,
        n=len(rows),
        bounds=bounds,
        undefined=undefined,
        **resampling,
    )


# --- correlation


def correlation(
    *,
    table: pd.DataFrame,
    x: str,
    y: str,
    kind: Literal["spearman", "pearson", "kendall"] = "spearman",
    **resampling: Unpack[Resampling],
) -> Estimate:
    """Correlation across samples where both columns are defined; every sample counts once, prompts
    are resampled whole.

    Spearman's is Pearson's on midranks, and the ranks are taken anew in every resample. Kendall's
    is tau-b; see kendall.py for its interval. Range -1..1; needs 3 samples.
    """
    rows = defined(table, [x, y])
    prompts, place = np.unique(rows["prompt_id"].to_numpy(dtype=str), return_inverse=True)
    if len(rows) < 3:
        return unmeasured(
            f"{len(rows)} samples have both {x} and {y}; at least 3 are needed",
            n=len(rows),
            units=len(prompts),
        )
    a, b = numbers(rows, x), numbers(rows, y)
    if not (_vary(a) and _vary(b)):
        constant = y if _vary(a) else x
        return unmeasured(
            f"{constant} is the same for all {len(rows)} samples", n=len(rows), units=len(prompts)
        )
    if kind == "kendall":
        return kendall.tau(a=a, b=b, place=place, units=len(prompts), **resampling)
    value = float(_weighted_correlation(a, b, np.ones((1, len(rows))), kind)[0])
    # A resample holds a weight for each row; taken in slices so that a large audit does not need
    # gigabytes.
    step = max(1, 2_000_000 // len(rows))
    slices = weight_slices(
        units=len(prompts), resamples=resampling["resamples"], seed=resampling["seed"]
    )
    replicates = []
    for weights in slices:
        for k in range(0, len(weights), step):
            by_row = weights[k : k + step][:, place]
            replicates.append(_weighted_correlation(a, b, by_row, kind))
    return summarise(
        value=value,
        replicates=np.concatenate(replicates),
        n=len(rows),
        units=len(prompts),
        bounds=(-1.0, 1.0),
        levels=resampling["levels"],
    )


def _vary(values: Array) -> bool:
    return len(values) > 1 and float(np.ptp(values)) > 1e-12 * float(np.abs(values).max())


def _weighted_correlation(a: Array, b: Array, weights: Array, kind: str) -> Array:
    """Pearson's r of a and b, each of shape (n,), under each row of weights (m, n); NaN where one
    does not vary.
    """
    total = weights.sum(axis=1, keepdims=True)
    centred = []
    for values in (a, b):
        v = (values - values.mean())[None, :]
        if kind == "spearman":
            v = _weighted_ranks(values, weights)
        v = v - (weights * v).sum(axis=1, keepdims=True) / total
        # To at most 1, so that scores of any unit neither overflow nor vanish when squared.
        scale = np.abs(v).max(axis=1, keepdims=True)
        centred.append(v / np.where(scale > 0, scale, 1.0))
    u, v = centred
    squares = (weights * u * u).sum(axis=1), (weights * v * v).sum(axis=1)
    varies = (squares[0] > 1e-12) & (squares[1] > 1e-12)
    product = np.sqrt(np.where(varies, squares[0] * squares[1], 1.0))
    return np.where(varies, np.clip((weights * u * v).sum(axis=1) / product, -1.0, 1.0), np.nan)


def _weighted_ranks(values: Array, weights: Array) -> Array:
    """Midranks of values (n,) under each row of weights (m, n): as if every value stood there
    weight times.
    """
    order = np.argsort(values, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(values[order]) > 0])
    tied = np.add.reduceat(weights[:, order], first, axis=1)
    middle = np.cumsum(tied, axis=1) - tied / 2
    _, place = np.unique(values, return_inverse=True)
    ranks: Array = middle[:, place]
    return ranks
