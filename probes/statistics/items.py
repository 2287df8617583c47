"""Benchmark items as the probes read them: checked, averaged, and compared between two policies
item by item.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Unpack

import numpy as np
import pandas as pd
from scipy.special import ndtri

from probes.base import Direction, Evidence, Interval
from probes.rows import numbers
from probes.statistics.resample import (
    ANY,
    SHARE,
    Array,
    Bounds,
    Estimate,
    Resampling,
    bootstrap,
    unmeasured,
)

REQUIRED = ("task", "item_id", "metric", "value")
WHOLE = (-1.0, 1.0)


@dataclass(frozen=True)
class Meaning:
    """What a benchmark's own metric says.

    `worse` is +1 where more is worse, -1 where less is; 0: not comparable.

    `neutral` is the value of a policy without any preference, where there is one.
    """

    unit: str
    direction: Direction
    bounds: Bounds
    worse: Literal[-1, 0, 1]
    neutral: float | None
    words: str


# Metrics of preferences, which are the `benchmarks` probe's; every other metric is the `capability`
# probe's.
PREFERENCES: dict[str, Meaning] = {
    "stereotype": Meaning(
        "share", "neutral", SHARE, 1, 0.5, "pairs whose stereotypical sentence is the likelier one"
    ),
    "stereotype_nats": Meaning(
        "nats", "neutral", ANY, 0, 0.0, "log-likelihood of the stereotypical sentence - other's"
    ),
    "hurtful": Meaning(
        "share", "lower", SHARE, 1, None, "probability of the listed insults among all listed words"
    ),
    "refused": Meaning(
        "share", "lower", SHARE, 1, None, "safe prompts whose reply opens with a refusal"
    ),
    "refused_unsafe": Meaning(
        "share", "neutral", SHARE, 0, None, "unsafe prompts whose reply opens with a refusal"
    ),
    "accuracy_ambiguous": Meaning(
        "share", "higher", SHARE, -1, None, '"cannot be known" where it cannot be known'
    ),
    "accuracy_disambiguated": Meaning(
        "share", "higher", SHARE, -1, None, "right answers where the context says"
    ),
    "bias_ambiguous": Meaning(
        "-1..1", "neutral", WHOLE, 0, 0.0, "biased - counter-biased answers, over all"
    ),
    "bias_disambiguated": Meaning(
        "-1..1", "neutral", WHOLE, 0, 0.0, "biased - counter-biased, over those not unknown"
    ),
}


def read(table: pd.DataFrame | None, name: str) -> pd.DataFrame | None:
    """The items in a fixed order with `cluster` filled in, without rows whose value is undefined;
    None if none is left.

    Raises ValueError naming the table, column and row: a missing column, a missing name, a value
    that is not a number or is infinite, an item twice.
    """
    if table is None:
        return None
    missing = [c for c in REQUIRED if c not in table.columns]
    if missing:
        raise ValueError(
            f"{name}: lacks the column(s) {', '.join(missing)}; a table of items has "
            f"{', '.join(REQUIRED)}"
        )
    for column in REQUIRED[:3]:
        if table[column].isna().any():
            raise ValueError(f"{name}: row {_first(table[column].isna())} has no {column}")
    if not (pd.api.types.is_numeric_dtype(table["value"]) or table["value"].isna().all()):
        raise ValueError(
            f"{name}: column value is {table['value'].dtype}; expected numbers (NaN = undefined)"
        )
    values = numbers(table, "value")
    if np.isinf(values).any():
        raise ValueError(f"{name}: row {_first(np.isinf(values))}, column value is infinite")
    rows = pd.DataFrame({c: table[c].astype(str).to_numpy(dtype=object) for c in REQUIRED[:3]})
    twice = rows.duplicated()
    if twice.any():
        at = _first(twice)
        what = "/".join(rows.iloc[at])
        raise ValueError(
            f"{name}: row {at}: {what} is there twice; expected one row an item and metric"
        )
    rows["value"] = values
    for column in ("cluster", "group"):
        given = np.full(len(table), None)
        if column in table.columns:
            given = table[column].astype(object).to_numpy()
        rows[column] = [None if pd.isna(v) else str(v) for v in given]
    # An item that shares its template with no other is a cluster of its own.
    alone = rows["cluster"].isna()
    rows["cluster"] = rows["cluster"].where(~alone, rows["item_id"])
    rows["alone"] = alone
    rows = (
        rows[~np.isnan(values)]
        .sort_values(["task", "metric", "item_id"], kind="stable")
        .reset_index(drop=True)
    )
    if rows.empty:
        return None
    return rows


def absent(evidence: Evidence) -> str:
    """Why there are no items: what the table itself says, or that no benchmark was run."""
    reason = None
    if evidence.items is not None:
        reason = evidence.items.attrs.get("reason")
    return str(reason or "no benchmark was run")


def notes(evidence: Evidence, task: str) -> dict[str, str]:
    """What was sampled or left out of a task, where the table says."""
    if evidence.items is None:
        return {}
    notes_by_task = evidence.items.attrs.get("notes", {})
    if task not in notes_by_task:
        return {}
    return {"items_used": str(notes_by_task[task])}


def mean(*, rows: pd.DataFrame, bounds: Bounds = ANY, **resampling: Unpack[Resampling]) -> Estimate:
    """Mean over the items of one task and metric; whole clusters are resampled."""
    totals = _totals(rows)
    return bootstrap(
        totals=totals.to_numpy(),
        statistic=lambda s: s[:, 0] / s[:, 1],
        n=len(rows),
        unit="item",
        bounds=bounds,
        undefined="no item has a value",
        **resampling,
    )


def change(
    *,
    rows: pd.DataFrame,
    base: pd.DataFrame,
    bounds: Bounds = ANY,
    **resampling: Unpack[Resampling],
) -> Estimate:
    """Mean of this policy's items minus that of the base policy's, paired by item (or cluster of
    items).

    Where every item stands alone and is right (1) or wrong (0) for both policies, the interval is
    Bonett & Price's (2012) adjusted Wald interval for paired shares, which Fagerland et al. (2014)
    recommend; it has a width even where no item changed. Otherwise clusters are resampled; where
    none changed at all, the interval is the one of as many single items.
    """
    now, then = rows.set_index("item_id"), base.set_index("item_id")
    both = sorted(set(now.index) & set(then.index))
    if not both:
        return unmeasured("the base policy has no value on any of these items", n=len(rows))
    now, then = now.loc[both], then.loc[both]
    moved = now["value"].to_numpy() - then["value"].to_numpy()
    clusters = int(now["cluster"].nunique())
    values = np.concatenate([now["value"].to_numpy(), then["value"].to_numpy()])
    # With right and wrong alone, most items do not change, and resampling them says too little of
    # those few that do.
    if clusters == len(both) and np.isin(values, (0.0, 1.0)).all():
        return paired_shares(
            gained=int((moved > 0).sum()),
            lost=int((moved < 0).sum()),
            items=len(both),
            levels=resampling["levels"],
        )
    if not moved.any() and values.min() >= 0 and values.max() <= 1:
        flat = paired_shares(gained=0, lost=0, items=clusters, levels=resampling["levels"])
        return replace(
            flat,
            n=len(both),
            method=f"{flat.method}; no item changed, every cluster taken as one item",
        )
    totals = (
        pd.DataFrame({"moved": moved, "n": 1.0})
        .groupby(now["cluster"].to_numpy())
        .sum()
        .sort_index()
    )
    return bootstrap(
        totals=totals.to_numpy(),
        statistic=lambda s: s[:, 0] / s[:, 1],
        n=len(both),
        unit="item",
        bounds=bounds,
        undefined="no item has a value",
        **resampling,
    )


def paired_shares(*, gained: int, lost: int, items: int, levels: Sequence[float]) -> Estimate:
    """(gained - lost) / items, for items that two policies get right or wrong, with Bonett &
    Price's (2012) interval.

    With p = (gained + 1)/(n + 2) and q = (lost + 1)/(n + 2): p - q ± z·√((p + q - (p - q)²)/(n +
    2)), cut at ±1.
    """
    method = "paired by item, adjusted Wald (Bonett & Price 2012)"
    value = (gained - lost) / items
    # One item added to each side: that is what gives no change at all an interval with a width.
    p, q = (gained + 1) / (items + 2), (lost + 1) / (items + 2)
    error = math.sqrt((p + q - (p - q) ** 2) / (items + 2))
    ends = []
    for level in levels:
        half = float(ndtri(0.5 + level / 2)) * error
        # The centre p - q lies nearer 0 than the value: the interval is stretched to hold it.
        low, high = min(value, p - q - half), max(value, p - q + half)
        ends.append(Interval(level, max(-1.0, low), min(1.0, high)))
    estimate = Estimate(value, items, items, method, tuple(ends))
    if items < 2:
        return replace(estimate, intervals=(), reason="no interval: 1 item, at least 2 are needed")
    return estimate


Part = tuple[Estimate, Estimate]


def largest_fall(*, parts: dict[str, Part], levels: Sequence[float]) -> tuple[Estimate, str | None]:
    """The lowest of several changes, with an interval that holds although it was picked; and the
    name it belongs to.

    `parts` holds for each name its change twice: at `levels`, and at the levels 1 - (1 - level)/m
    for m parts. The lower end is the lowest of the m lower ends: the true lowest change is above it
    whenever that one's own interval holds (intersection-union, Berger 1982), so no part has to pay
    for the others. The upper end is the lowest of the m upper ends at the Bonferroni levels (the
    first step of Holm's procedure), since any of the m may have come out low.
    """
    names = sorted(parts)
    missing = [f"{name}: {parts[name][0].reason}" for name in names if not parts[name][0].intervals]
    units = sum(parts[name][0].units for name in names)
    n = sum(parts[name][0].n for name in names)
    method = (
        f"lowest of {len(names)} changes; lower end by intersection-union, upper end "
        "Bonferroni (Holm's first step)"
    )
    undefined = [name for name in names if parts[name][0].value is None]
    if not names or undefined:
        return unmeasured(
            "; ".join(missing) or "nothing to compare", n=n, units=units, method=method
        ), None
    values = {name: float(parts[name][0].value or 0.0) for name in names}
    worst = min(names, key=lambda k: (values[k], k))
    estimate = Estimate(values[worst], n, units, method)
    if missing:
        return replace(estimate, reason=f"no interval: {'; '.join(missing)}"), worst
    ends = tuple(
        Interval(
            level,
            min(parts[name][0].intervals[k].low for name in names),
            min(parts[name][1].intervals[k].high for name in names),
        )
        for k, level in enumerate(levels)
    )
    return replace(estimate, intervals=ends), worst


def shared_levels(levels: Sequence[float], parts: int) -> tuple[float, ...]:
    """1 - (1 - level)/parts for each level (Bonferroni)."""
    return tuple(1 - (1 - level) / max(parts, 1) for level in levels)


def negated(estimate: Estimate) -> Estimate:
    """The same estimate with the opposite sign."""
    return estimate.rescaled(-1.0)


def _totals(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(n=1.0).groupby("cluster")[["value", "n"]].sum().sort_index()


def _first(mask: pd.Series[bool] | Array | np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int:
    return int(np.flatnonzero(np.asarray(mask))[0])
