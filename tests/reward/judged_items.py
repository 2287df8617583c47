"""Judged items with planted truths, for the tests of the reward validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from probes.base import Measurement
from probes.statistics.stats import Resampling
from restaudit.reward.validation.judged import Judged

HOW = Resampling(levels=(0.95,), resamples=300, seed=0)
Numbers = npt.NDArray[np.float64]
Kind = Literal["pairs", "ratings"]


def items(
    kind: Kind,
    reward: Any,
    judged: Any,
    *,
    votes: pd.DataFrame | None = None,
    members: int = 1,
    **columns: Any,
) -> Judged:
    """An item a prompt, in texts of no meaning; one nameless vote each unless `votes` are given."""
    n = len(judged)
    table = pd.DataFrame(
        {
            "item_id": [f"i{k}" for k in range(n)],
            "prompt_id": [f"p{k}" for k in range(n)],
            "prompt": [f"p{k}" for k in range(n)],
            "left": [f"one text {k} of some words" for k in range(n)],
            "right": [f"text {k} other" for k in range(n)] if kind == "pairs" else None,
            "judged": np.asarray(judged, dtype=np.float64),
            "reward": np.asarray(reward, dtype=np.float64),
            "spread": np.nan,
        }
    ).assign(**columns)
    own = pd.DataFrame({"item_id": table["item_id"], "rater": None, "value": table["judged"]})
    return Judged(kind, table, own.dropna(subset="value") if votes is None else votes, members)


def panel(values: Mapping[str, Any]) -> pd.DataFrame:
    """Votes of named raters, each with one value an item."""
    rows = [(f"i{k}", r, float(v)) for r, said in values.items() for k, v in enumerate(said)]
    return pd.DataFrame(rows, columns=["item_id", "rater", "value"])


def by_name(found: Sequence[Measurement]) -> dict[str, Measurement]:
    return {m.name.removeprefix("validation."): m for m in found}


def value(found: Sequence[Measurement], name: str) -> float:
    got = by_name(found)[name].value
    assert got is not None, by_name(found)[name].reason
    return got


def sure(n: int = 1000, seed: int = 0) -> tuple[Numbers, Numbers]:
    """Reward differences, and winners drawn with exactly the probability that they state."""
    rng = np.random.default_rng(seed)
    difference = rng.normal(0, 1.5, n)
    return difference, (rng.random(n) < expit(difference)).astype(float)
