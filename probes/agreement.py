"""Agreement: do the people who rate see the same thing, and do they go on seeing it the same
way?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from probes.base import Evidence, Measurement, Metric, Probe, metrics
from probes.rows import numbers
from probes.statistics.krippendorff import alpha, alpha_of_counts
from probes.statistics.largest import largest_absolute
from probes.statistics.resample import Array, Estimate, Resampling, prompt_weights, unmeasured

VERSION = "1"
HEAD, EACH, DRIFT = "agreement.alpha", "agreement.alpha.", "agreement.drift"
METRICS = metrics(
    "agreement",
    (HEAD, "agreement of the raters", "Krippendorff's alpha", "higher"),
    (EACH, "agreement of the raters on …", "Krippendorff's alpha", "higher"),
    (DRIFT, "largest drift of a rater", "score units", "lower"),
)
# Ratings beside others' that each half of a rater's work must hold for a drift to be looked for.
FEWEST_A_HALF = 5
CUSTOMARY = "Krippendorff: .8 for firm conclusions, .667 the lowest for tentative ones"


def run(evidence: Evidence) -> list[Measurement]:
    """All of agreement.*; see docs/probes.md for each one's formula and how it can mislead."""
    resampling = evidence.resampling
    about: dict[str, Any] = {"human_label": evidence.human_label}
    ratings = None if evidence.ratings is None else read_ratings(evidence.ratings)
    why = _nobody(evidence, ratings)
    if ratings is None or why is not None:
        none = unmeasured(why or "no ratings were given")
        return [_recorded(METRICS[HEAD], none, about), _recorded(METRICS[DRIFT], none, about)]
    about |= {k: v for k, v in ratings.notes.items() if v}
    measurements = []
    if evidence.wants(HEAD, EACH):
        measurements += _alphas(ratings, about, resampling)
    if evidence.wants(DRIFT):
        measurements.append(_recorded(METRICS[DRIFT], *_drifts(ratings, about, resampling)))
    return measurements


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


def _alphas(
    ratings: Ratings, about: Mapping[str, Any], resampling: Resampling
) -> list[Measurement]:
    by_dimension = {str(name): rows for name, rows in ratings.rows.groupby("dimension")}
    alphas = {
        name: alpha(
            units=_names(rows, "unit"),
            scores=rows["score"].to_numpy(dtype=np.float64),
            metric="interval",
            clusters=_names(rows, "prompt_id"),
            **resampling,
        )
        for name, rows in by_dimension.items()
    }
    head, lowest = _lowest(alphas)
    detail = {**about, "dimension": lowest, "metric": "interval", "customary": CUSTOMARY}
    measurements = [_recorded(METRICS[HEAD], head, detail)]
    for name, rows in by_dimension.items():
        pairs, left_out = rater_table(rows)
        facts: dict[str, Any] = {"metric": "interval", "raters": severity(rows), "pairs": pairs}
        if left_out:
            facts["pairs_left_out"] = left_out
        repeats = ratings.checks[ratings.checks["dimension"] == name]
        if len(repeats):
            facts["with_oneself"] = _repeated(repeats)
        measurements.append(_recorded(METRICS[EACH].member(name), alphas[name], {**about, **facts}))
    return measurements


def _lowest(alphas: Mapping[str, Estimate]) -> tuple[Estimate, str | None]:
    """The dimension that people agree on least; nothing where one is unknown, since that one may be
    the least.
    """
    # The headline is the worst dimension: a mean would hide that people agree on grammar and not on
    # harm.
    unknown = [(name, str(e.reason)) for name, e in alphas.items() if e.value is None]
    if unknown:
        name, reason = unknown[0]
        if len(alphas) > 1:
            reason = f"{name}: {reason}"
        n = sum(e.n for e in alphas.values())
        return unmeasured(reason, n=n, units=alphas[name].units), None
    name = min(alphas, key=lambda k: (alphas[k].value or 0.0, k))
    lowest = alphas[name]
    if len(alphas) > 1:
        lowest = replace(lowest, method=f"{lowest.method}, the lowest of {len(alphas)} dimensions")
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
    ratings: Ratings, about: Mapping[str, Any], resampling: Resampling
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
        # Halves of the rater's own work, not of the calendar: people rate at different times.
        late = (own["time"] > own["time"].sort_values().iloc[(len(own) - 1) // 2]).to_numpy()
        name = {"rater": str(rater), "dimension": str(dimension)}
        if min(late.sum(), (~late).sum()) < FEWEST_A_HALF:
            left_out.append(name)
            continue
        names.append({**name, "first": int((~late).sum()), "second": int(late.sum())})
        prompt = place[timed.index.get_indexer(own.index)]
        apart = own["apart"].to_numpy(dtype=np.float64)
        # Four sums a rater and dimension, by prompt: `_largest` takes them apart again by their order.
        for term in (apart * late, 1.0 * late, apart * ~late, 1.0 * ~late):
            sums.append(np.bincount(prompt, term, minlength=len(prompts)))
    if left_out:
        detail["too_few_ratings"] = left_out
    if not names:
        why = (
            f"no rater has {FEWEST_A_HALF} ratings beside others' in each half of the work, at "
            "different times"
        )
        return unmeasured(why, n=len(timed), units=len(prompts)), detail
    return _largest(np.column_stack(sums), names, len(timed), detail, resampling)


def _largest(
    totals: Array,
    names: list[dict[str, Any]],
    n: int,
    detail: dict[str, Any],
    resampling: Resampling,
) -> tuple[Estimate, dict[str, Any]]:
    def moved(sums: Array) -> Array:
        late, late_n, early, early_n = (sums[:, k::4] for k in range(4))
        with np.errstate(divide="ignore", invalid="ignore"):
            change: Array = late / late_n - early / early_n
        return change

    values = moved(totals.sum(axis=0, keepdims=True))[0]
    weights = prompt_weights(
        units=len(totals), resamples=resampling["resamples"], seed=resampling["seed"]
    )
    estimate = largest_absolute(
        values=values,
        replicates=moved(weights @ totals),
        n=n,
        units=len(totals),
        levels=resampling["levels"],
        unit="prompt",
        over=f"{len(names)} raters and dimensions",
    )
    each = [{**name, "drift": float(v)} for name, v in zip(names, values, strict=True)]
    detail |= {"largest": each[int(np.abs(values).argmax())], "raters": each}
    return estimate, detail


def _recorded(metric: Metric, estimate: Estimate, detail: Mapping[str, Any]) -> Measurement:
    return estimate.recorded(metric, version=VERSION, detail=detail)


# --- people's single ratings as they are read: checked, what is rated twice, raters side by side

REQUIRED = ("sample_id", "prompt_id", "rater", "dimension", "score")
# Pairs of raters that the table shows, those who share most ratings first.
MOST_PAIRS = 200


@dataclass(frozen=True)
class Ratings:
    """Ratings of what several people may have rated, in a fixed order, and what was left out of
    them.

    rows    unit (what was rated: the item, or the sample where no item is named), prompt_id, rater,
            dimension, score, time (UTC, NaT where unknown)
    checks  the same person's two ratings of one thing: rater, dimension, prompt_id, before, after
    notes   what was left out, counted
    """

    rows: pd.DataFrame
    checks: pd.DataFrame
    notes: Mapping[str, int]


def read_ratings(table: pd.DataFrame) -> Ratings:
    """Check and order a table of ratings (columns: REQUIRED; item_id, submitted_at, check where
    known).

    Rows flagged `check` show a rater's own item a second time: they tell how far a rater agrees
    with himself, and no other rater has seen them, so they are put apart. Raises ValueError naming
    column and row: a missing column or name, a score that is no number or infinite, a time that is
    none, one person's two ratings of one thing.
    """
    missing = [c for c in REQUIRED if c not in table.columns]
    if missing:
        raise ValueError(
            f"ratings: lacks the column(s) {', '.join(missing)}; a table has {', '.join(REQUIRED)}"
        )
    for column in ("sample_id", "prompt_id", "rater", "dimension"):
        if table[column].isna().any():
            row = int(np.flatnonzero(table[column].isna())[0])
            raise ValueError(f"ratings: row {row} has no {column}; every rating needs one")
    if not (pd.api.types.is_numeric_dtype(table["score"]) or table["score"].isna().all()):
        raise ValueError(
            f"ratings: column score is {table['score'].dtype}; expected numbers (NaN = not given)"
        )
    scores = numbers(table, "score")
    if np.isinf(scores).any():
        row = int(np.flatnonzero(np.isinf(scores))[0])
        raise ValueError(
            f"ratings: row {row}, column score is infinite; expected a number, or NaN if not given"
        )
    whole = pd.DataFrame({c: table[c].astype(str).to_numpy(dtype=object) for c in REQUIRED[:-1]})
    named = table["item_id"] if "item_id" in table.columns else table["sample_id"]
    whole["unit"] = named.fillna(table["sample_id"]).astype(str).to_numpy(dtype=object)
    whole["score"], whole["time"] = scores, _times(table)
    check = np.zeros(len(table), dtype=bool)
    if "check" in table.columns:
        check = table["check"].to_numpy(dtype=bool)
    given = ~np.isnan(scores)
    rows = whole[given & ~check].sort_values(["dimension", "unit", "rater"], kind="stable")
    twice = rows.duplicated(["dimension", "unit", "rater"])
    if twice.any():
        repeat = rows[twice].iloc[0]
        raise ValueError(
            f"ratings: row {int(rows.index[twice][0])}: {repeat['rater']} rated {repeat['unit']} "
            f"twice for {repeat['dimension']}; expected one rating a person, thing and dimension"
        )
    notes = {"without_score": int((~given).sum()), "repeats_put_apart": int((given & check).sum())}
    return Ratings(rows.reset_index(drop=True), _repeats(rows, whole[given & check]), notes)


def _times(table: pd.DataFrame) -> pd.Series[Any]:
    if "submitted_at" not in table.columns:
        return pd.Series(pd.NaT, index=range(len(table)), dtype="datetime64[ns, UTC]")
    text = table["submitted_at"].reset_index(drop=True)
    times = pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601")
    wrong = times.isna() & text.notna()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"ratings: row {row}, column submitted_at is {text[row]!r}; expected an ISO time or "
            "nothing"
        )
    return times.astype("datetime64[ns, UTC]")


def _repeats(rows: pd.DataFrame, checks: pd.DataFrame) -> pd.DataFrame:
    key = ["sample_id", "rater", "dimension"]
    # A sample may have been rated at several looks; a check repeats one of them, and the earliest
    # is as good.
    first = rows.sort_values(["time", "unit"], kind="stable").drop_duplicates(key)
    both = checks.merge(first[[*key, "score"]], on=key, suffixes=("_after", "_before"))
    both = both.rename(columns={"score_before": "before", "score_after": "after"})
    return both[["rater", "dimension", "prompt_id", "before", "after"]]


def others_mean(rows: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """For each rating, the mean score of the other people who rated the same thing; NaN where
    nobody else did.
    """
    groups = rows.groupby(["dimension", "unit"])["score"]
    total, count = (groups.transform(kind).to_numpy(dtype=np.float64) for kind in ("sum", "count"))
    # Without the rating itself: it would pull the mean towards it, and every rater look agreeable.
    without_own = total - rows["score"].to_numpy()
    return np.where(count > 1, without_own / np.maximum(count - 1, 1), np.nan)


def rater_table(rows: pd.DataFrame) -> tuple[list[dict[str, Any]], int]:
    """Raters two by two for one dimension, and how many pairs are not shown.

    A row: rater, other, shared (things both rated), mean_difference (rater minus other, score
    units), correlation and alpha (interval metric) of the two; None where fewer than 3 are shared
    or one of them never varies. No intervals: it is there to find the rater to talk to, not to
    decide.
    """
    wide = rows.pivot(index="unit", columns="rater", values="score").sort_index()
    scores = {str(name): wide[name].to_numpy(dtype=np.float64) for name in wide.columns}
    pairs = []
    for one, other in combinations(sorted(scores), 2):
        a, b = scores[one], scores[other]
        both = ~np.isnan(a) & ~np.isnan(b)
        if both.any():
            pairs.append({"rater": one, "other": other, **_pair(a[both], b[both])})
    pairs.sort(key=lambda p: (-p["shared"], p["rater"], p["other"]))
    return pairs[:MOST_PAIRS], max(0, len(pairs) - MOST_PAIRS)


def _pair(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> dict[str, Any]:
    values, column = np.unique(np.concatenate([a, b]), return_inverse=True)
    counts = np.zeros((len(a), len(values)))
    np.add.at(counts, (np.tile(np.arange(len(a)), 2), column), 1.0)
    # Two shared things always correlate at 1 or -1: that says nothing of the raters.
    few = len(a) < 3
    agreed = np.nan
    if not few:
        agreed = float(alpha_of_counts(counts=counts, values=values, metric="interval")[0])
    alike = few or float(np.ptp(a)) == 0 or float(np.ptp(b)) == 0
    return {
        "shared": len(a),
        "mean_difference": float((a - b).mean()),
        "correlation": None if alike else float(np.corrcoef(a, b)[0, 1]),
        "alpha": agreed if np.isfinite(agreed) else None,
    }


def severity(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Each rater: ratings given, and how far above the others' mean of the same things (score
    units, None if alone).
    """
    apart = rows.assign(apart=rows["score"] - others_mean(rows))
    raters = []
    for name, own in apart.groupby("rater"):
        mean = float(own["apart"].mean()) if own["apart"].notna().any() else None
        raters.append({"rater": str(name), "ratings": len(own), "above_others": mean})
    return raters


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
    measures=tuple(METRICS.values()),
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
