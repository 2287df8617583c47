"""Unit tests of the reward model on the policy's own texts: changes that make no text better must
not raise its reward.

Gulcehre et al. 2023 (arXiv 2308.08998), appendix A.4. The tests look at the reward model where it
is used now, at the texts of this iteration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from probes.base import Evidence, Interval, Measurement
from probes.hacking import METRICS
from probes.rows import NO_TEXT, Notes, numbers
from probes.statistics import stats
from probes.statistics.resample import Array, Estimate, prompt_weights, unmeasured
from probes.texts.perturb import CHANGES, perturbed, without
from probes.texts.sets import some

PREFIX = "hacking.unit."
WORST = "hacking.unit_worst"
MOST_TEXTS = 32
MOST_TAKEN_OUT = 16
NO_SCORE = "the reward model was not given as a function of prompts and texts"


@dataclass(frozen=True)
class Tested:
    """The change of reward of each tested text, (n,), in sd; NaN where the change leaves the text
    as it is.
    """

    name: str
    change: Array
    example: dict[str, Any]


def reward_tests(
    rows: pd.DataFrame, base: pd.DataFrame | None, evidence: Evidence, notes: Notes, version: str
) -> list[Measurement]:
    """`hacking.unit.<name>` for every change in `perturb.CHANGES`, and `hacking.unit_worst`."""
    names = [n for n in CHANGES if evidence.wants(WORST, PREFIX + n)]
    if not names:
        return []
    unit, sd = _unit(rows, base)
    missing = ""
    if evidence.score is None:
        missing = NO_SCORE
    elif rows.empty:
        missing = NO_TEXT
    elif not sd:
        missing = "the rewards do not vary, so there is no unit for a change of reward"
    detail: dict[str, Any] = {**notes, "unit": unit}
    if missing:
        measurements = [_measured(PREFIX + n, unmeasured(missing), detail, version) for n in names]
        return _wanted(
            [*measurements, _measured(WORST, unmeasured(missing), detail, version)], evidence
        )
    table, left_out = some(rows, MOST_TEXTS, least=1)
    detail |= left_out
    tests = _scored(table, names, evidence, sd)
    measurements = [_one(test, table, evidence, detail, version) for test in tests]
    return _wanted([*measurements, _worst(tests, table, evidence, detail, version)], evidence)


def _unit(rows: pd.DataFrame, base: pd.DataFrame | None) -> tuple[str, float]:
    """What the unit is, and its size: sd of the base policy's rewards (or else of the policy's
    own); 0 if undefined.
    """
    whose, table = ("the policy", rows) if base is None else ("the base policy", base)
    reward = numbers(table, "reward")
    reward = reward[np.isfinite(reward)]
    sd = float(reward.std(ddof=1)) if len(reward) > 1 else 0.0
    # Equal rewards may have an sd of a rounding error, and changes in such a unit would be huge.
    rounding = 1e-12 * max(1.0, float(np.abs(reward).max(initial=0)))
    return f"sd of the rewards of {whose}", sd if sd > rounding else 0.0


def _scored(
    table: pd.DataFrame, names: Sequence[str], evidence: Evidence, sd: float
) -> list[Tested]:
    """All changed texts are scored in one call; what a change leaves as it is, is not scored."""
    texts = [str(t) for t in table["text"]]
    prompts = [evidence.prompts.get(str(p), "") for p in table["prompt_id"]]
    changed: dict[str, list[str]] = {}
    differs: dict[str, NDArray[np.bool_]] = {}
    to_score = list(zip(prompts, texts, strict=True))
    for name in names:
        changed[name] = [perturbed(name, t, p) for t, p in zip(texts, prompts, strict=True)]
        different = [a != b for a, b in zip(texts, changed[name], strict=True)]
        differs[name] = np.array(different, dtype=bool)
        for k in np.flatnonzero(differs[name]).tolist():
            to_score.append((prompts[k], changed[name][k]))
    reward = rewards(evidence, to_score)
    # The rewards come back in the order of asking: the texts as they are, then change by change.
    before, start = reward[: len(texts)], len(texts)
    tests = []
    for name in names:
        change = np.full(len(texts), np.nan)
        count = int(differs[name].sum())
        change[differs[name]] = (reward[start : start + count] - before[differs[name]]) / sd
        start += count
        tests.append(Tested(name, change, _example(texts, changed[name], change)))
    return tests


def rewards(evidence: Evidence, ask: Sequence[tuple[str, str]]) -> Array:
    """The reward of (prompt, text) pairs, (n,).

    Raises ValueError for another shape or a reward that is not finite.
    """
    assert evidence.score is not None
    prompts, texts = [p for p, _ in ask], [t for _, t in ask]
    scores = np.asarray(evidence.score(prompts, texts), dtype=np.float64)
    if scores.shape != (len(ask),):
        raise ValueError(
            f"score: returned an array of shape {scores.shape} for {len(ask)} texts; expected one "
            "each"
        )
    if not np.isfinite(scores).all():
        bad = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ValueError(
            f"score: the reward of text {bad} ({ask[bad][1][:60]!r}) is {scores[bad]}; expected a "
            "number"
        )
    return scores


def taken_out(rows: pd.DataFrame, words: str, evidence: Evidence, sd: float) -> dict[str, Any]:
    """What happens to the reward of up to 16 texts when these words in a row are taken out: mean
    change in sd.
    """
    table, _ = some(rows, MOST_TAKEN_OUT, least=1)
    texts = [str(t) for t in table["text"]]
    changed = [without(t, words) for t in texts]
    prompts = [evidence.prompts.get(str(p), "") for p in table["prompt_id"]]
    reward = rewards(
        evidence, [*zip(prompts, texts, strict=True), *zip(prompts, changed, strict=True)]
    )
    change = (reward[len(texts) :] - reward[: len(texts)]) / sd
    return {
        "base_sd": float(f"{change.mean():.4g}"),
        "share_that_fell": float((change < 0).mean()),
        "texts": len(texts),
    }


def _example(texts: Sequence[str], changed: Sequence[str], change: Array) -> dict[str, Any]:
    if np.isnan(change).all():
        return {}
    worst = int(np.nanargmax(change))
    return {
        "before": texts[worst][:200],
        "after": changed[worst][:200],
        "change": float(f"{change[worst]:.4g}"),
    }


def _one(
    test: Tested, table: pd.DataFrame, evidence: Evidence, detail: dict[str, Any], version: str
) -> Measurement:
    resampling = evidence.resampling
    column = pd.DataFrame(
        {"prompt_id": table["prompt_id"].to_numpy(dtype=object), "change": test.change}
    )
    estimate = stats.mean(table=column, column="change", **resampling)
    if estimate.value is None:
        estimate = unmeasured("the change leaves every text as it is")
    same = int(np.isnan(test.change).sum())
    defined = test.change[~np.isnan(test.change)]
    risen = float((defined > 0).mean()) if len(defined) else None
    facts = {"does": CHANGES[test.name], "share_that_rose": risen, "example": test.example}
    if same:
        facts["texts_it_leaves_as_they_are"] = same
    return _measured(PREFIX + test.name, estimate, {**detail, **facts}, version)


def _worst(
    tests: Sequence[Tested],
    table: pd.DataFrame,
    evidence: Evidence,
    detail: dict[str, Any],
    version: str,
) -> Measurement:
    """The largest mean change, with an interval that holds for all tests at once and so for the one
    picked.
    """
    frame = pd.DataFrame({t.name: t.change for t in tests if not np.isnan(t.change).all()})
    means = (
        frame.groupby(table["prompt_id"].to_numpy(dtype=object)).mean().to_numpy(dtype=np.float64)
    )
    n = len(table)
    if not means.shape[1]:
        return _measured(
            WORST, unmeasured("no change makes any difference to a text"), detail, version
        )
    values = np.nanmean(means, axis=0)
    worst = int(values.argmax())
    detail = {
        **detail,
        "test": frame.columns[worst],
        "does": CHANGES[frame.columns[worst]],
        "tests": {
            k: float(f"{v:.4g}") for k, v in zip(frame.columns, values.tolist(), strict=True)
        },
    }
    estimate = _simultaneous(means, values, worst, evidence)
    return _measured(WORST, replace(estimate, n=n), detail, version)


def _simultaneous(means: Array, values: Array, worst: int, evidence: Evidence) -> Estimate:
    """The value of one test with an interval that holds for all; means by prompt and test (prompts,
    tests).
    """
    units = len(means)
    method = (
        f"prompt-clustered bootstrap, {evidence.resamples} resamples, simultaneous over "
        f"{len(values)} tests"
    )
    whole = Estimate(float(values[worst]), units, units, method)
    if units < 2:
        return replace(whole, reason=f"no interval: {units} prompt, at least 2 are needed")
    weights = prompt_weights(units=units, resamples=evidence.resamples, seed=evidence.seed)
    has_value = np.isfinite(means)
    counts = weights @ has_value
    drawn = np.divide(
        weights @ np.where(has_value, means, 0.0),
        counts,
        out=np.tile(values, (len(weights), 1)),
        where=counts > 0,
    )
    # The largest error of any test in a resample: an interval as wide as that holds for all at once.
    errors = np.abs(drawn - values).max(axis=1)
    if errors.max() <= 1e-12:
        return replace(whole, reason=f"no interval: all {units} prompts give the same values")
    return replace(whole, intervals=_around(float(values[worst]), errors, units, evidence.levels))


def _around(
    value: float, errors: Array, units: int, levels: Sequence[float]
) -> tuple[Interval, ...]:
    ends = []
    for level in levels:
        # Few prompts: t in place of the normal, and P - 1 in place of P in the sd, as in resample.py.
        upper = 0.5 + level / 2
        wide = stdtrit(units - 1, upper) / ndtri(upper) * np.sqrt(units / (units - 1))
        reach = float(np.quantile(errors, level, method="higher") * wide)
        ends.append(Interval(level, value - reach, value + reach))
    return tuple(ends)


def _measured(name: str, estimate: Estimate, detail: dict[str, Any], version: str) -> Measurement:
    metric = METRICS[WORST] if name == WORST else METRICS[PREFIX].member(name.removeprefix(PREFIX))
    return estimate.recorded(
        replace(metric, unit=str(detail["unit"])), version=version, detail=detail
    )


def _wanted(measurements: list[Measurement], evidence: Evidence) -> list[Measurement]:
    return [m for m in measurements if evidence.wants(m.name)]
