"""Agreement: Krippendorff's published example, planted disagreement and drift, and ratings that
tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import Evidence, Measurement
from probes.agreement import PROBE, rater_table, read_ratings
from probes.statistics.krippendorff import Metric, alpha
from tests.probes.panel import ratings

HOW: Any = {"levels": (0.95,), "resamples": 400, "seed": 1}
_ = np.nan
# Krippendorff's example: 4 observers, 12 units (Content Analysis, chapter 12; "Computing
# Krippendorff's Alpha").
EXAMPLE = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
)
UNITS = np.tile(np.array([f"u{i:02d}" for i in range(12)]), 4)


def by_hand(units: Any, scores: Any, metric: Metric) -> float:
    """Alpha from the coincidence matrix, pair by pair, as the book writes it."""
    values = sorted({s for s in scores if not np.isnan(s)})
    place = {v: i for i, v in enumerate(values)}
    met = np.zeros((len(values), len(values)))
    for unit in set(units):
        of = [s for s, u in zip(scores, units, strict=True) if u == unit and not np.isnan(s)]
        for i, a in enumerate(of):
            for j, b in enumerate(of):
                if i != j:
                    met[place[a], place[b]] += 1 / (len(of) - 1)
    n = met.sum(axis=0)

    def distance(i: int, j: int) -> float:
        a, b = values[i], values[j]
        if metric == "nominal":
            return float(a != b)
        if metric == "ordinal":
            low, high = min(i, j), max(i, j)
            return float((n[low : high + 1].sum() - (n[low] + n[high]) / 2) ** 2)
        if metric == "interval":
            return float((a - b) ** 2)
        return float(((a - b) / (a + b)) ** 2) if a + b else 0.0

    pairs = [(i, j) for i in range(len(values)) for j in range(len(values))]
    observed = sum(met[i, j] * distance(i, j) for i, j in pairs)
    expected = sum(n[i] * n[j] * distance(i, j) for i, j in pairs) / (n.sum() - 1)
    return float(1 - observed / expected)


@pytest.mark.parametrize(
    ("metric", "published"),
    [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)],
)
def test_krippendorffs_example_gives_his_values(metric: Metric, published: float) -> None:
    found = alpha(units=UNITS, scores=EXAMPLE.ravel(), metric=metric, **HOW)
    assert found.value == pytest.approx(published, abs=5e-4)
    assert (found.n, found.units) == (40, 11)
    assert found.intervals[0].low < published < found.intervals[0].high <= 1


@given(st.integers(0, 10_000), st.sampled_from(["nominal", "ordinal", "interval", "ratio"]))
@settings(max_examples=40, deadline=None)
def test_alpha_is_the_books_for_any_table_with_gaps(seed: int, metric: Metric) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, size=60).astype(float)
    scores[rng.random(60) < 0.3] = np.nan
    scores[:2], units = (0.0, 3.0), np.array([f"u{i % 15}" for i in range(60)])
    scores[15:17] = (0.0, 3.0)
    found = alpha(units=units, scores=scores, metric=metric, levels=(0.95,), resamples=100, seed=1)
    assert found.value == pytest.approx(by_hand(units, scores, metric))


@pytest.mark.parametrize("metric", ["nominal", "ordinal", "interval", "ratio"])
def test_resampling_a_unit_twice_is_as_if_it_were_there_twice(metric: Metric) -> None:
    from probes.statistics.krippendorff import alpha_of_counts

    rng = np.random.default_rng(4)
    counts = rng.integers(0, 3, size=(9, 4)).astype(float)
    weights = rng.integers(0, 3, size=(5, 9)).astype(float)
    values = np.array([1.0, 2.0, 4.0, 5.0])
    found = alpha_of_counts(counts=counts, values=values, metric=metric, weights=weights)
    for w, one in zip(weights.astype(int), found, strict=True):
        again = alpha_of_counts(counts=np.repeat(counts, w, axis=0), values=values, metric=metric)
        assert one == pytest.approx(again[0])


def test_the_interval_of_alpha_covers_the_truth_92_to_98_times_in_100() -> None:
    # Variance of quality 1, of a rater's noise ½: alpha of many units is 1 / 1.5.
    rng = np.random.default_rng(3)
    units, hits = np.repeat([f"u{i:02d}" for i in range(40)], 3), 0
    for run in range(300):
        scores = np.repeat(rng.normal(size=40), 3) + rng.normal(0, np.sqrt(0.5), 120)
        (i,) = alpha(units=units, scores=scores, levels=(0.95,), resamples=200, seed=run).intervals
        hits += i.low <= 2 / 3 <= i.high
    assert 0.92 <= hits / 300 <= 0.985


def test_samples_of_one_prompt_are_resampled_together() -> None:
    table = ratings(seed=2, prompts=30)
    twice = pd.concat([table, table.assign(sample_id=table["sample_id"] + "b")])
    names, scores = twice["sample_id"].to_numpy(dtype=str), twice["score"].to_numpy()
    apart = alpha(units=names, scores=scores, **HOW)
    together = alpha(
        units=names, scores=scores, clusters=twice["prompt_id"].to_numpy(dtype=str), **HOW
    )
    assert (apart.units, together.units) == (60, 30)
    widths = [e.intervals[0].high - e.intervals[0].low for e in (apart, together)]
    assert widths[1] > 1.2 * widths[0]


def test_impossible_scores_are_refused_and_ratios_need_scores_of_0_or_more() -> None:
    units = np.array(["a", "a", "b", "b"])
    with pytest.raises(ValueError, match="rating 2 is infinite"):
        alpha(units=units, scores=np.array([1, 2, np.inf, 1]), **HOW)
    with pytest.raises(ValueError, match="rating 0 is below 0"):
        alpha(units=units, scores=np.array([-1.0, 2, 3, 1]), metric="ratio", **HOW)


# --- the probe


@pytest.fixture
def probed(make_samples: Callable[..., pd.DataFrame]) -> Callable[..., dict[str, Measurement]]:
    outputs = make_samples(seed=1, prompts=2, families=0)

    def of(table: pd.DataFrame | None, **more: Any) -> dict[str, Measurement]:
        given: dict[str, Any] = {
            "human_label": "PEOPLE",
            "resamples": 400,
            "levels": (0.95, 0.99),
            **more,
        }
        return {m.name: m for m in PROBE.run(Evidence(outputs=outputs, ratings=table, **given))}

    return of


def test_people_who_agree_have_a_high_alpha_and_people_who_guess_one_near_0(probed: Any) -> None:
    agree = probed(ratings(seed=1, prompts=80, noise=0.4))["agreement.alpha"]
    guess = probed(ratings(seed=1, prompts=80, noise=30.0))["agreement.alpha"]
    assert agree.value > 0.75
    assert guess.interval(0.95).low < 0.1
    assert guess.interval(0.95).high < 0.3
    assert agree.detail["dimension"] == "helpful"


def test_of_several_dimensions_the_lowest_is_the_headline(probed: Any) -> None:
    clear, vague = ratings(seed=1, noise=0.3), ratings(seed=2, noise=3.0, dimensions=["tone"])
    found = probed(pd.concat([clear, vague]))
    assert found["agreement.alpha"].value == found["agreement.alpha.tone"].value
    assert found["agreement.alpha"].value < found["agreement.alpha.helpful"].value
    assert found["agreement.alpha"].detail["dimension"] == "tone"
    assert "lowest of 2" in found["agreement.alpha"].method


def test_a_dimension_of_which_nothing_is_known_leaves_the_headline_unknown(probed: Any) -> None:
    once = ratings(seed=2, each=1, dimensions=["tone"])
    found = probed(pd.concat([ratings(seed=1), once]))
    assert found["agreement.alpha.helpful"].value is not None
    assert found["agreement.alpha"].value is None
    assert "tone: no unit was rated twice" in found["agreement.alpha"].reason


def test_a_rater_who_becomes_milder_is_found_and_named(probed: Any) -> None:
    found = probed(ratings(seed=5, prompts=120, drift={"cem": 1.5}))["agreement.drift"]
    assert found.detail["largest"]["rater"] == "cem"
    assert found.detail["largest"]["drift"] > 0
    assert found.interval(0.95).low > 0.5
    assert {r["rater"] for r in found.detail["raters"]} == {"ann", "ben", "cem", "dia"}


def test_raters_who_stay_where_they_are_show_no_drift_although_one_is_severe(probed: Any) -> None:
    false = 0
    for seed in range(20):
        table = ratings(seed=seed, prompts=60, severity={"ann": -1.5})
        false += probed(table, levels=(0.95,))["agreement.drift"].intervals[0].low > 0
    assert false <= 3


def test_the_rater_table_shows_who_differs_from_whom(probed: Any) -> None:
    table = ratings(seed=3, prompts=80, severity={"ben": 2.0}, noise=0.4)
    detail = probed(table)["agreement.alpha.helpful"].detail
    pair = next(p for p in detail["pairs"] if (p["rater"], p["other"]) == ("ann", "ben"))
    assert pair["mean_difference"] == pytest.approx(-2, abs=0.5)
    assert pair["correlation"] > 0.6
    assert pair["alpha"] < pair["correlation"]
    assert sum(r["ratings"] for r in detail["raters"]) == len(table)
    assert max(detail["raters"], key=lambda r: r["above_others"])["rater"] == "ben"


def test_pairs_beyond_the_most_shown_are_counted() -> None:
    many = ratings(seed=1, prompts=60, each=25, raters=[f"r{i:02d}" for i in range(25)])
    shown, left_out = rater_table(read_ratings(many).rows)
    assert (len(shown), left_out) == (200, 100)


def test_a_repeated_item_tells_about_its_rater_and_is_no_second_rating(probed: Any) -> None:
    table = ratings(seed=1).assign(check=False)
    table["item_id"] = table["sample_id"]
    again = table.head(8).assign(
        check=True, item_id=[f"c{i}" for i in range(8)], score=table["score"].head(8) + 1
    )
    found, plain = probed(pd.concat([table, again], ignore_index=True)), probed(table)
    assert found["agreement.alpha"].value == plain["agreement.alpha"].value
    oneself = found["agreement.alpha.helpful"].detail["with_oneself"]
    assert oneself == {"repeats": 8, "mean_absolute_difference": 1.0, "same": 0}
    assert found["agreement.alpha"].detail["repeats_put_apart"] == 8


NOTHING: dict[str, tuple[Callable[[], pd.DataFrame | None], dict[str, Any], str]] = {
    "a lexicon scored": (lambda: None, {"human_label": "LEXICON"}, "which has no raters"),
    "only means are known": (lambda: None, {"human_label": "PEOPLE"}, "only their means"),
    "no rows": (lambda: ratings(seed=1).iloc[:0], {}, "there are no ratings"),
    "nobody gave a score": (
        lambda: ratings(seed=1).assign(score=np.nan),
        {},
        "there are no ratings",
    ),
    "one rater": (lambda: ratings(seed=1, each=1, raters=["ann"]), {}, "one rater gave all 40"),
    "all alike": (lambda: ratings(seed=1).assign(score=4.0), {}, "all 120 ratings are 4"),
    "nothing twice": (lambda: ratings(seed=1, each=1), {}, "no unit was rated twice"),
}


@pytest.mark.parametrize("case", NOTHING)
def test_ratings_that_tell_nothing_give_no_alpha_and_say_why(case: str, probed: Any) -> None:
    table, more, why = NOTHING[case]
    found = probed(table(), **more)
    assert found["agreement.alpha"].value is None
    assert why in found["agreement.alpha"].reason
    if case != "all alike":
        assert found["agreement.drift"].value is None


def test_one_prompt_gives_an_alpha_without_an_interval(probed: Any) -> None:
    table = ratings(seed=1, prompts=6, noise=1.0).assign(prompt_id="p000")
    found = probed(table)["agreement.alpha"]
    assert found.intervals == ()
    assert "1 prompt, at least 2" in found.reason


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.drop(columns="submitted_at"), "no times"),
        (lambda t: t.assign(submitted_at="2026-11-01T09:00:00Z"), "at different times"),
        (lambda t: t.head(12), "in each half"),
    ],
)
def test_without_times_or_with_too_little_work_no_drift_is_given(
    change: Any, why: str, probed: Any
) -> None:
    found = probed(change(ratings(seed=1)))["agreement.drift"]
    assert found.value is None
    assert why in found.reason


WRONG: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "a column is missing": (
        lambda t: t.drop(columns="rater"),
        r"ratings: lacks the column\(s\) rater",
    ),
    "nobody's rating": (lambda t: t.assign(rater=None), "row 0 has no rater"),
    "words for numbers": (lambda t: t.assign(score="good"), "column score is"),
    "an infinite score": (lambda t: t.assign(score=np.inf), "row 0, column score is infinite"),
    "no time": (
        lambda t: t.assign(submitted_at="yesterday"),
        "row 0, column submitted_at is 'yesterday'",
    ),
    "one person twice": (
        lambda t: pd.concat([t, t.head(1)], ignore_index=True),
        "rated p0../0 twice for helpful",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_ratings_that_are_not_what_they_say_are_refused_with_column_and_row(
    case: str, probed: Any
) -> None:
    change, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        probed(change(ratings(seed=1)))


def test_the_order_of_ratings_changes_nothing(probed: Any) -> None:
    table = ratings(seed=6, dimensions=["helpful", "tone"])
    assert probed(table) == probed(table.sample(frac=1, random_state=1))


def test_only_what_is_wanted_is_measured(probed: Any) -> None:
    assert list(probed(ratings(seed=6), only=frozenset({"agreement.drift"}))) == ["agreement.drift"]
