"""Agreement: do the people who rate see the same thing, and do they go on seeing it the same
way?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from probes.base import Evidence, Measurement, Metric, Probe
from probes.raters import Ratings, others_mean, rater_table, read_ratings, severity
from probes.statistics.krippendorff import alpha
from probes.statistics.largest import largest_absolute
from probes.statistics.resample import Array, Estimate, Resampling, prompt_weights, unmeasured

VERSION = "1"
HEAD, EACH, DRIFT = "agreement.alpha", "agreement.alpha.", "agreement.drift"
# Ratings beside others' that each half of a rater's work must hold for a drift to be looked for.
FEWEST_A_HALF = 5
CUSTOMARY = "Krippendorff: .8 for firm conclusions, .667 the lowest for tentative ones"


def run(evidence: Evidence) -> list[Measurement]:
    """All of agreement.*; see docs/probes.md for each one's formula and how it can mislead."""
    how = Resampling(levels=evidence.levels, resamples=evidence.resamples, seed=evidence.seed)
    about: dict[str, Any] = {"human_label": evidence.human_label}
    ratings = None if evidence.ratings is None else read_ratings(evidence.ratings)
    why = _nobody(evidence, ratings)
    if ratings is None or why is not None:
        none = unmeasured(why or "no ratings were given")
        return [_alpha(HEAD, none, about), _drift(none, about)]
    about |= {k: v for k, v in ratings.notes.items() if v}
    found = []
    if evidence.wants(HEAD, EACH):
        found += _alphas(ratings, about, how)
    if evidence.wants(DRIFT):
        found.append(_drift(*_drifts(ratings, about, how)))
    return found


def _nobody(evidence: Evidence, ratings: Ratings | None) -> str | None:
    if ratings is None:
        if evidence.human_label == "PEOPLE":
            return "people's single ratings were not given, only their means"
        return f"nobody rated: the human score is {evidence.human_label}, which has no raters"
    if ratings.rows.empty:
        return "there are no ratings"
    if ratings.rows["rater"].nunique() == 1:
        return f"one rater gave all {len(ratings.rows)} ratings; agreement needs at least two"
    return None


def _alphas(ratings: Ratings, about: Mapping[str, Any], how: Resampling) -> list[Measurement]:
    each = {str(name): rows for name, rows in ratings.rows.groupby("dimension")}
    found = {
        name: alpha(
            units=_names(rows, "unit"),
            scores=rows["score"].to_numpy(dtype=np.float64),
            metric="interval",
            clusters=_names(rows, "prompt_id"),
            **how,
        )
        for name, rows in each.items()
    }
    head, lowest = _lowest(found)
    detail = {**about, "dimension": lowest, "metric": "interval", "customary": CUSTOMARY}
    out = [_alpha(HEAD, head, detail)]
    for name, rows in each.items():
        pairs, left_out = rater_table(rows)
        more: dict[str, Any] = {"metric": "interval", "raters": severity(rows), "pairs": pairs}
        if left_out:
            more["pairs_left_out"] = left_out
        repeats = ratings.checks[ratings.checks["dimension"] == name]
        if len(repeats):
            more["with_oneself"] = _repeated(repeats)
        out.append(_alpha(f"{EACH}{name}", found[name], {**about, **more}))
    return out


def _lowest(found: Mapping[str, Estimate]) -> tuple[Estimate, str | None]:
    """The dimension that people agree on least; nothing where one is unknown, since that one may be
    the least.
    """
    unknown = [(name, str(e.reason)) for name, e in found.items() if e.value is None]
    if unknown:
        name, reason = unknown[0]
        n = sum(e.n for e in found.values())
        return unmeasured(
            reason if len(found) == 1 else f"{name}: {reason}", n=n, units=found[name].units
        ), None
    name = min(found, key=lambda k: (found[k].value or 0.0, k))
    lowest = found[name]
    if len(found) > 1:
        lowest = replace(lowest, method=f"{lowest.method}, the lowest of {len(found)} dimensions")
    return lowest, name


def _repeated(repeats: pd.DataFrame) -> dict[str, Any]:
    apart = (repeats["after"] - repeats["before"]).abs()
    return {
        "repeats": len(repeats),
        "mean_absolute_difference": float(apart.mean()),
        "same": int((apart == 0).sum()),
    }


def _names(rows: pd.DataFrame, column: str) -> np.ndarray[Any, np.dtype[np.str_]]:
    return rows[column].to_numpy(dtype=str)


# --- drift


def _drifts(
    ratings: Ratings, about: Mapping[str, Any], how: Resampling
) -> tuple[Estimate, dict[str, Any]]:
    """The largest change of a rater's distance from the others, first half of the rater's own work
    to second half.
    """
    rows = ratings.rows.assign(apart=ratings.rows["score"] - others_mean(ratings.rows))
    detail: dict[str, Any] = dict(about)
    timed = rows[rows["time"].notna() & rows["apart"].notna()]
    if rows["time"].isna().all():
        return unmeasured("the ratings have no times", n=len(rows)), detail
    if timed.empty:
        return unmeasured(
            "nothing that was rated at a known time was rated by anybody else", n=len(rows)
        ), detail
    if len(timed) < len(rows):
        detail["without_time_or_other_rater"] = len(rows) - len(timed)
    prompts, place = np.unique(_names(timed, "prompt_id"), return_inverse=True)
    sums, names, left_out = [], [], []
    for (rater, dimension), own in timed.groupby(["rater", "dimension"]):
        late = (own["time"] > own["time"].sort_values().iloc[(len(own) - 1) // 2]).to_numpy()
        name = {"rater": str(rater), "dimension": str(dimension)}
        if min(late.sum(), (~late).sum()) < FEWEST_A_HALF:
            left_out.append(name)
            continue
        names.append({**name, "first": int((~late).sum()), "second": int(late.sum())})
        at, apart = (
            place[timed.index.get_indexer(own.index)],
            own["apart"].to_numpy(dtype=np.float64),
        )
        sums += [
            np.bincount(at, v, minlength=len(prompts))
            for v in (apart * late, 1.0 * late, apart * ~late, 1.0 * ~late)
        ]
    if left_out:
        detail["too_few_ratings"] = left_out
    if not names:
        why = (
            f"no rater has {FEWEST_A_HALF} ratings beside others' in each half of the work, at "
            "different times"
        )
        return unmeasured(why, n=len(timed), units=len(prompts)), detail
    return _largest(np.column_stack(sums), names, len(timed), detail, how)


def _largest(
    totals: Array, names: list[dict[str, Any]], n: int, detail: dict[str, Any], how: Resampling
) -> tuple[Estimate, dict[str, Any]]:
    def moved(sums: Array) -> Array:
        late, late_n, early, early_n = (sums[:, k::4] for k in range(4))
        with np.errstate(divide="ignore", invalid="ignore"):
            change: Array = late / late_n - early / early_n
        return change

    values = moved(totals.sum(axis=0, keepdims=True))[0]
    weights = prompt_weights(units=len(totals), resamples=how["resamples"], seed=how["seed"])
    estimate = largest_absolute(
        values=values,
        replicates=moved(weights @ totals),
        n=n,
        units=len(totals),
        levels=how["levels"],
        unit="prompt",
        over=f"{len(names)} raters and dimensions",
    )
    each = [{**name, "drift": float(v)} for name, v in zip(names, values, strict=True)]
    detail |= {"largest": each[int(np.abs(values).argmax())], "raters": each}
    return estimate, detail


def _alpha(name: str, estimate: Estimate, detail: Mapping[str, Any]) -> Measurement:
    return estimate.measured(
        name, unit="Krippendorff's alpha", version=VERSION, direction="higher", detail=detail
    )


def _drift(estimate: Estimate, detail: Mapping[str, Any]) -> Measurement:
    return estimate.measured(
        DRIFT, unit="score units", version=VERSION, direction="lower", detail=detail
    )


PROBE = Probe(
    name="agreement",
    title="Agreement of the people who rate",
    order=20,
    version=VERSION,
    goal=(
        "Do the people who rate agree with each other beyond chance, and do they stay where they "
        "were?"
    ),
    reads=(
        "ratings.sample_id",
        "ratings.prompt_id",
        "ratings.rater",
        "ratings.dimension",
        "ratings.score",
        "ratings.submitted_at",
        "ratings.item_id",
        "ratings.check",
        "human_label",
    ),
    measures=(
        Metric(HEAD, "agreement of the raters", "Krippendorff's alpha", "agreement", "higher"),
        Metric(EACH, "agreement of the raters on …", "Krippendorff's alpha", "agreement", "higher"),
        Metric(DRIFT, "largest drift of a rater", "score units", "agreement", "lower"),
    ),
    references=(
        (
            "Krippendorff 2019, Content Analysis: An Introduction to Its Methodology, 4th edition, "
            "chapter 12"
        ),
        "Zapf et al. 2016, Measuring inter-rater reliability for nominal data - which "
        "coefficients and confidence "
        "intervals are appropriate?, BMC Medical Research Methodology 16:93",
    ),
    weaknesses=(
        "Alpha falls when the texts are all about equally good, though people judge as well as "
        "before: it compares disagreement with the spread of the ratings.",
        (
            "People who share a blind spot, or an instruction that forces one answer, agree and "
            "are wrong together."
        ),
        "The interval metric takes the steps of the scale for equal; a scale of words may not be.",
        "With two raters a drift of one cannot be told from the other's drift the other way.",
        "A drift is looked for within each rater's own work: one always off shows in the rater "
        "table, not here. "
        "And if later texts are harder for one rater than for the others, that looks like drift.",
    ),
    run=run,
)
