"""Do preferences go round in circles?

A scalar reward's cannot; the people's, where three responses were compared.
"""

from __future__ import annotations

from itertools import combinations
from typing import Unpack

import pandas as pd

from probes.base import Measurement
from probes.statistics.stats import SHARE, Estimate, Resampling, ratio_of_sums, unmeasured
from restaudit.reward.validation.judged import Judged
from restaudit.reward.validation.paired import measured

MEANING = "share of three responses to one prompt of which each is preferred to one of the others"
BY_CHANCE = 0.25


def transitivity(judged: Judged, **how: Unpack[Resampling]) -> list[Measurement]:
    """Share of cyclic triads (Kendall & Babington Smith 1940) among three responses that were
    compared with each other.

    People: by majority of their votes; 0.25 is what coin tosses give. A scalar reward orders all
    texts, so its share is 0 whatever it was trained on: that is no evidence for it.
    """
    if judged.kind == "ratings":
        why = "ratings are numbers, and numbers are in order"
        return [
            measured(unmeasured(why), f"transitivity.{who}", "share", MEANING)
            for who in ("people", "reward")
        ]
    found = triads(judged.usable)
    if found.empty:
        people = own = unmeasured(
            "no three responses to one prompt were all compared with each other"
        )
    else:
        people = ratio_of_sums(
            table=found, numerator="cyclic", denominator="one", bounds=SHARE, **how
        )
        why = "no interval: a scalar reward is transitive by construction, this is not evidence"
        own = Estimate(0.0, len(found), found["prompt_id"].nunique(), "by construction", reason=why)
    return [
        measured(people, "transitivity.people", "share", MEANING, by_chance=BY_CHANCE),
        measured(own, "transitivity.reward", "share", MEANING, by_chance=BY_CHANCE),
    ]


def triads(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for every three responses of a prompt of which all three pairs have a preferred one:
    prompt_id, cyclic (1.0 or 0.0), one. `rows` has prompt, left, right and judged, the share of
    votes for left.
    """
    found: list[tuple[str, float]] = []
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
                if c in near[b]:
                    won = [sum(y in better.get(x, ()) for y in (a, b, c)) for x in (a, b, c)]
                    found.append((str(prompt), float(won == [1, 1, 1])))
    return pd.DataFrame(found, columns=["prompt_id", "cyclic"]).assign(one=1.0)
