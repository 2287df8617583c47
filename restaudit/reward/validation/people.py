"""How well the reward agrees with people, beside how well one of those people agrees with the
others.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Unpack

import numpy as np
import pandas as pd

from probes.base import Measurement
from probes.statistics.stats import (
    SHARE,
    Estimate,
    Resampling,
    correlation,
    ratio_of_sums,
    unmeasured,
)
from restaudit.reward.validation.judged import Judged, advantage, agreement, measured, unit_of

CONCORDANCE = (
    "of two items that the judges rate differently, the share that the reward puts in their order"
)


def people(judged: Judged, **resampling: Unpack[Resampling]) -> list[Measurement]:
    """Agreement and rank correlation with the judges, and both beside a person on the same
    judgements.

    A person is compared with the others who judged the same item: with their majority (pairs), or
    their mean (ratings). `less_one_person` is the reward's agreement with the same others less that
    person's, paired: above 0, the reward predicts the others better than one of them does.
    """
    rows, unit = judged.usable, unit_of(judged)
    name, against = "pearson", "the mean of the judges"
    if judged.kind == "pairs":
        name, against = "pair_accuracy", "the majority of the judges"
    left_out, why = _left_out(judged)
    person = less = unmeasured(why, n=len(left_out))
    if not why:
        person = agreement(judged, left_out, "own", **resampling)
        less = advantage(judged, left_out, "reward", "own", **resampling)
    measurements = [
        measured(
            agreement(judged, rows, **resampling), name, unit, f"the reward against {against}"
        ),
        measured(
            _ranks(judged, **resampling),
            "spearman",
            "rho",
            f"ranks of the reward against {_against_ranks(judged)}",
        ),
        measured(_concordance(judged, **resampling), "concordance", "share", CONCORDANCE),
        measured(
            person, "one_person", unit, "one judge against the others who judged the same item"
        ),
        measured(
            less, "less_one_person", unit, "the reward less one judge, against the same others"
        ),
    ]
    if judged.kind == "pairs":
        two = _two_agree(judged, **resampling)
        meaning = "two judges of one pair prefer the same"
        measurements.append(measured(two, "two_people_agree", "share", meaning))
    return measurements


def _against_ranks(judged: Judged) -> str:
    if judged.kind == "ratings":
        return "ranks of the judges' mean"
    return "ranks of the share of votes, every pair both ways round"


def _ranks(judged: Judged, **resampling: Unpack[Resampling]) -> Estimate:
    """Spearman's rho; a pair counts both ways round, so that which response stands left plays no
    part.
    """
    rows = judged.table[judged.table["judged"].notna()]
    if judged.kind == "ratings":
        return correlation(table=rows, x="reward", y="judged", kind="spearman", **resampling)
    # Rounded, or 1/3 and 1 - 2/3 would be two ranks.
    rows = rows.assign(judged=rows["judged"].round(9))
    mirrored = rows.assign(reward=-rows["reward"], judged=(1 - rows["judged"]).round(9))
    both = correlation(
        table=pd.concat([rows, mirrored]), x="reward", y="judged", kind="spearman", **resampling
    )
    return Estimate(both.value, len(rows), both.units, both.method, both.intervals, both.reason)


def _concordance(judged: Judged, **resampling: Unpack[Resampling]) -> Estimate:
    """(1 + tau-b) / 2 of ratings; items of pairs are compared with nothing but each other
    already.
    """
    if judged.kind == "pairs":
        return unmeasured("pairs were judged as pairs; pair_accuracy says it", n=len(judged.table))
    rows = judged.table[judged.table["judged"].notna()]
    tau = correlation(table=rows, x="reward", y="judged", kind="kendall", **resampling)
    if tau.value is None:
        return tau
    ends = tuple(replace(i, low=(1 + i.low) / 2, high=(1 + i.high) / 2) for i in tau.intervals)
    error = None if tau.error is None else tau.error / 2
    return replace(tau, value=(1 + tau.value) / 2, intervals=ends, error=error)


def _left_out(judged: Judged) -> tuple[pd.DataFrame, str]:
    """A row a judgement that others of the same item can be compared with: own vote, reward, and
    `judged` by them.

    And the reason where there is none.
    """
    rows = judged.judgements
    by_item = rows.groupby("item_id")["judged"]
    if judged.kind == "pairs":
        own = np.sign(rows["judged"] - 0.5)
        others = np.sign(own.groupby(rows["item_id"]).transform("sum") - own)
        rows = rows.assign(own=own, judged=0.5 + others / 2)[others != 0]
    else:
        n = by_item.transform("size")
        others = (by_item.transform("sum") - rows["judged"]) / (n - 1).where(n > 1)
        rows = rows.assign(own=rows["judged"], judged=others)[n > 1]
    return rows, "" if len(rows) else "no item has two judges"


def _two_agree(judged: Judged, **resampling: Unpack[Resampling]) -> Estimate:
    """Of two judges of one pair drawn at random, the chance that both prefer the same response;
    every pair once.
    """
    votes = judged.judgements.assign(for_left=lambda t: (t["judged"] > 0.5).astype(float))
    counts = votes.groupby("item_id")["for_left"].agg(["size", "sum"])
    n, k = counts["size"], counts["sum"]
    share = ((k * (k - 1) + (n - k) * (n - k - 1)) / (n * (n - 1)).where(n > 1)).rename("same")
    rows = judged.table.assign(same=judged.table["item_id"].map(share), one=1.0)
    if not rows["same"].notna().any():
        return unmeasured("no pair has two judges")
    return ratio_of_sums(
        table=rows, numerator="same", denominator="one", bounds=SHARE, **resampling
    )


# --- do preferences go round in circles? A scalar reward's cannot; people's can

MEANING = "share of three responses to one prompt of which each is preferred to one of the others"
BY_CHANCE = 0.25


def transitivity(judged: Judged, **resampling: Unpack[Resampling]) -> list[Measurement]:
    """Share of cyclic triads (Kendall & Babington Smith 1940) among three responses that were
    compared with each other.

    People: by majority of their votes; 0.25 is what coin tosses give. A scalar reward orders all
    texts, so its share is 0 whatever it was trained on: that is no evidence for it.
    """
    if judged.kind == "ratings":
        none = unmeasured("ratings are numbers, and numbers are in order")
        return [
            measured(none, "transitivity.people", "share", MEANING),
            measured(none, "transitivity.reward", "share", MEANING),
        ]
    compared = triads(judged.usable)
    if compared.empty:
        people = own = unmeasured(
            "no three responses to one prompt were all compared with each other"
        )
    else:
        people = ratio_of_sums(
            table=compared, numerator="cyclic", denominator="one", bounds=SHARE, **resampling
        )
        why = "no interval: a scalar reward is transitive by construction, this is not evidence"
        prompts = compared["prompt_id"].nunique()
        own = Estimate(0.0, len(compared), prompts, "by construction", reason=why)
    return [
        measured(people, "transitivity.people", "share", MEANING, by_chance=BY_CHANCE),
        measured(own, "transitivity.reward", "share", MEANING, by_chance=BY_CHANCE),
    ]


def triads(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for every three responses of a prompt of which all three pairs have a preferred one:
    prompt_id, cyclic (1.0 or 0.0), one. `rows` has prompt, left, right and judged, the share of
    votes for left.
    """
    rows_of_triads: list[tuple[str, float]] = []
    for prompt, pairs in rows.groupby("prompt", sort=True):
        better: dict[str, set[str]] = {}
        for left, right, judged in pairs[["left", "right", "judged"]].itertuples(index=False):
            if judged != 0.5:
                winner, loser = (left, right) if judged > 0.5 else (right, left)
                better.setdefault(winner, set()).add(loser)
        near: dict[str, set[str]] = {}
        for winner, losers in better.items():
            for loser in losers:
                near.setdefault(winner, set()).add(loser)
                near.setdefault(loser, set()).add(winner)
        for a in sorted(near):
            for b, c in combinations(sorted(n for n in near[a] if n > a), 2):
                if c not in near[b]:
                    continue
                three = {a, b, c}
                # Of three in order one wins twice and one never; in a circle each wins once.
                circle = all(len(better.get(x, set()) & three) == 1 for x in three)
                rows_of_triads.append((str(prompt), float(circle)))
    return pd.DataFrame(rows_of_triads, columns=["prompt_id", "cyclic"]).assign(one=1.0)
