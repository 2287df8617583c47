"""How often people preferred one policy's text to the other's, with an interval over prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.people.rating.pairs.drawing import FIRST, read_key
from restaudit.people.rating.status import Progress, counted, of_raters
from restaudit.people.rating.store import CHOICES_FILE, human_folder, read_rows

if TYPE_CHECKING:
    from probes.statistics.resample import Estimate

RESAMPLES, SEED, LEVEL = 2000, 20261126, 0.95


@dataclass(frozen=True)
class Wins:
    """What raters chose in one set of pairs.

    `rate`       share of prompts on which the second policy's text was preferred, 0..1: a tie is a
                 half, a prompt's value is the mean of its raters, and prompts with the same text
                 twice are ties
    `better`, `ties`, `worse`  choices for the second policy, for neither, and for the first;
                               repeats are left out
    `agreement`  Krippendorff's alpha of the choices (nominal), whole prompts resampled
    `chose_a`    share of the choices but ties that fell on the text at A, which blinding would have
                 near a half
    """

    name: str
    first: Mapping[str, str]
    second: Mapping[str, str]
    rate: Estimate
    better: int
    ties: int
    worse: int
    prompts: int
    same: int
    raters: int
    agreement: Estimate
    chose_a: float | None


def wins(run: Path, name: str) -> Wins:
    """Count the choices of one set of pairs.

    Raises BadInput when this run has no such set, or a line is damaged.
    """
    folder = human_folder(run)
    key = read_key(folder, name)
    of_set = [r for r in read_rows(folder, CHOICES_FILE) if r.get("tasks") == name]
    rows = [r for r in of_set if r.get("role") == "pair"]
    scores = [r["score"] for r in rows]
    # Of choices that are no tie, whether the text at A was chosen.
    chose_a = []
    for row in rows:
        if row["score"]:
            second_chosen, second_at_a = row["score"] > 0, row.get("shown_as_a") != FIRST
            chose_a.append(second_chosen == second_at_a)
    return Wins(
        name=name,
        first=key["first"],
        second=key["second"],
        rate=_rate(rows, len(key["same"]), key["drawn"]),
        better=sum(s > 0 for s in scores),
        ties=sum(s == 0 for s in scores),
        worse=sum(s < 0 for s in scores),
        prompts=len({r["prompt_id"] for r in rows}),
        same=len(key["same"]),
        raters=len({r["rater_id"] for r in rows}),
        agreement=agreement(rows),
        chose_a=sum(chose_a) / len(chose_a) if chose_a else None,
    )


def pair_progress(run: Path, name: str) -> Progress:
    """How far one set of pairs is rated, and how steady raters are on pairs seen twice with sides
    swapped.
    """
    folder = human_folder(run)
    key = read_key(folder, name)
    rows = [r for r in read_rows(folder, CHOICES_FILE) if r.get("tasks") == name]
    repeats = {i["item_id"]: i["repeats"] for i in key["items"] if i["repeats"] is not None}
    return counted(name, [i["item_id"] for i in key["items"]], key["raters"], rows, repeats)


def _rate(rows: Sequence[Mapping[str, Any]], same: int, drawn: int) -> Estimate:
    import pandas as pd

    from probes.statistics import stats
    from probes.statistics.resample import SHARE, Resampling, unmeasured

    if not rows:
        return unmeasured("nobody rated a pair of this set yet")
    table = pd.DataFrame(
        {"prompt_id": [r["prompt_id"] for r in rows], "won": [(r["score"] + 1) / 2 for r in rows]}
    )
    # Prompts are resampled and not choices: two raters of one pair are no two observations.
    resampling = Resampling(levels=(LEVEL,), resamples=RESAMPLES, seed=SEED)
    rate = stats.mean(table=table, column="won", bounds=SHARE, **resampling)
    if not same or rate.value is None:
        return rate
    # The drawn prompts with one text twice are ties for sure; what was rated speaks for the others.
    share = same / drawn

    def mixed(value: float) -> float:
        return share / 2 + (1 - share) * value

    intervals = tuple(replace(i, low=mixed(i.low), high=mixed(i.high)) for i in rate.intervals)
    method = f"{rate.method}; {same} of {drawn} drawn prompts are ties, their text being the same"
    error = None if rate.error is None else (1 - share) * rate.error
    return replace(rate, value=mixed(rate.value), intervals=intervals, method=method, error=error)


def agreement(rows: Sequence[Mapping[str, Any]]) -> Estimate:
    """Krippendorff's alpha of choices of pairs, without repeats."""
    import numpy as np

    from probes.statistics.krippendorff import alpha

    return alpha(
        units=np.array([r["item_id"] for r in rows], dtype=np.str_),
        scores=np.array([r["score"] for r in rows], dtype=np.float64),
        metric="nominal",
        clusters=np.array([r["prompt_id"] for r in rows], dtype=np.str_),
        levels=(LEVEL,),
        resamples=500,
        seed=SEED,
    )


def named(
    side: Mapping[str, str], other: Mapping[str, str], called: Callable[[str], str] = str
) -> str:
    """How one side is called: its iteration, with its run where the two are of different runs."""
    name = called(side["iteration"])
    if side["run_id"] == other["run_id"]:
        return name
    return f"{side['run']} {name}"


def in_words(result: Wins, called: Callable[[str], str] = str) -> str:
    """The result as a sentence; `called` says how an iteration is written."""
    first = named(result.first, result.second, called)
    second = named(result.second, result.first, called)
    rate = result.rate
    if rate.value is None:
        return f"{second} against {first}: not known: {rate.reason}."
    same = ""
    if result.same:
        same = f", and {result.same} prompts whose texts were the same"
    return (
        f"{second} was preferred to {first} on {rate.value:.0%} of prompts, ties counting half "
        f"({_interval(rate, '.0%')}; {result.prompts} prompts, {of_raters(result.raters)}): "
        f"{result.better} choices for it, {result.ties} ties, {result.worse} against{same}."
    )


def beside(result: Wins) -> list[str]:
    """What a reader of the result must know too, a sentence each."""
    if result.rate.value is None:
        return []
    alpha = result.agreement
    if alpha.value is None:
        lines = [f"Agreement is not known: {alpha.reason}."]
    else:
        lines = [
            f"Agreement: Krippendorff's alpha {alpha.value:.2f} ({_interval(alpha, '.2f')}; "
            f"{alpha.n} choices of shared pairs)."
        ]
    if result.chose_a is not None:
        lines.append(
            f"The text at A was chosen in {result.chose_a:.0%} of choices but ties; sides were "
            "random."
        )
    return lines


def _interval(estimate: Estimate, form: str) -> str:
    """The 95% interval in words, or why there is none."""
    interval = next(iter(estimate.intervals), None)
    if interval is None:
        return estimate.reason or "no interval"
    return f"95% interval {interval.low:{form}} to {interval.high:{form}}"
