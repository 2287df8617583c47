"""The search for a learning rate: what was tried, how it is judged on D_eval, and which rate is
taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from probes.texts.grams import coded, grams, rarefied
from probes.texts.sets import words_of
from restaudit.evidence.record import BASE, D_EVAL, Run, read_table, write_json

FILE = "search.json"
JUDGED_BY = "mean reward on D_eval after one Grow step's worth of samples"


@dataclass(frozen=True)
class Tried:
    """One rate: mean reward on D_eval, and distinct-2 there over the base policy's at as many
    bigrams.
    """

    reward: float
    variety: float


@dataclass(frozen=True)
class Search:
    """What the search found by method and learning rate, and the rate chosen of each method."""

    reward: Mapping[str, Mapping[str, float]]
    chosen: Mapping[str, str]
    variety: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def judged(run: Run) -> Tried:
    """The last policy of a run of the search, on D_eval; nobody's judgement and no audit prompt is
    used.
    """
    base, last = (
        read_table(run.path / i / "d_eval.parquet", D_EVAL, ["text", "reward"])
        for i in (BASE, run.iterations()[-1])
    )
    then, now = (
        np.bincount(grams(coded([words_of(t) for t in table["text"]]), 2).code)
        for table in (base, last)
    )
    size = int(min(now.sum(), then.sum()))
    variety = rarefied(now, size) / rarefied(then, size) if size else 0.0
    return Tried(float(np.mean(last["reward"])), variety)


def choose(tried: Mapping[str, Tried], least: float | None) -> str:
    """The rate with the highest reward among those that keep `least` variety; where none does, that
    with the most.
    """
    kept = {rate: t for rate, t in tried.items() if least is None or t.variety >= least}
    if not kept:
        return max(tried, key=lambda rate: tried[rate].variety)
    return max(kept, key=lambda rate: kept[rate].reward)


def write(
    folder: Path,
    found: Mapping[str, Mapping[str, Tried]],
    given: Mapping[str, str],
    least: float | None,
) -> Search:
    """Choose every method's rate, with `given` those that needed no search, and write it down."""
    chosen = {**given, **{m: choose(t, least) for m, t in found.items()}}
    reward = {m: {rate: t.reward for rate, t in tried.items()} for m, tried in found.items()}
    variety = {m: {rate: t.variety for rate, t in tried.items()} for m, tried in found.items()}
    write_json(
        {
            "judged_by": JUDGED_BY,
            "least_variety": least,
            "reward": reward,
            "variety": variety,
            "chosen": chosen,
        },
        folder / FILE,
    )
    return Search(reward, chosen, variety)


def searched(folder: Path) -> Search:
    """The search of a study; empty before it is done."""
    path = folder / FILE
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return Search(found.get("reward", {}), found.get("chosen", {}), found.get("variety", {}))
