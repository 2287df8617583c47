"""Many tests and many looks: R's p.adjust, published boundaries of group-sequential designs, and
how often a family of nulls is wrongly rejected.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import multivariate_normal

from probes.statistics.multiplicity import Spending, benjamini_hochberg, holm, increments

P = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_holm_is_rs_p_adjust() -> None:
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.04, 0.01, 0.9]) == pytest.approx([0.08, 0.03, 0.9])


def test_benjamini_and_hochbergs_own_example_rejects_their_four() -> None:
    # Table of Benjamini & Hochberg 1995, section 3.3: 15 endpoints; at q = .05 the first four are
    # rejected.
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    assert (benjamini_hochberg(p) <= 0.05).sum() == 4
    assert (holm(p) <= 0.05).sum() == 3


@given(P)
def test_false_discovery_rates_are_scipys(p: list[float]) -> None:
    assert benjamini_hochberg(p) == pytest.approx(
        scipy.stats.false_discovery_control(p, method="bh")
    )


@given(P)
def test_adjusting_never_lowers_a_p_value_never_passes_1_and_keeps_the_order(
    p: list[float],
) -> None:
    order = np.argsort(p, kind="stable")
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert (adjusted >= np.array(p) - 1e-12).all()
        assert (adjusted <= 1).all()
        assert (np.diff(adjusted[order]) >= -1e-12).all()
    assert (holm(p) >= benjamini_hochberg(p) - 1e-12).all()


def test_holm_errs_at_most_5_times_in_100_families_and_plain_tests_in_most() -> None:
    p = scipy.stats.norm.sf(np.random.default_rng(0).normal(size=(2000, 20)))
    adjusted = np.apply_along_axis(holm, 1, p)
    assert (adjusted.min(axis=1) <= 0.05).mean() == pytest.approx(0.05, abs=0.015)
    assert (p.min(axis=1) <= 0.05).mean() > 0.5


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1])
def test_a_p_value_that_is_none_is_refused_with_its_place(adjust: object, wrong: float) -> None:
    with pytest.raises(ValueError, match="p-value 1 is"):
        adjust([0.2, wrong])  # type: ignore[operator]


def test_an_empty_family_is_empty() -> None:
    assert len(holm([])) == len(benjamini_hochberg([])) == 0


# --- many looks

# Boundaries of a two-sided 5% test at t = .2, .4, .6, .8, 1 (as ldbounds, PASS and gsDesign print
# them).
PUBLISHED: dict[Spending, list[float]] = {
    "obrien_fleming": [4.8769, 3.3569, 2.6803, 2.2898, 2.0310],
    "pocock": [2.4380, 2.4268, 2.4101, 2.3966, 2.3859],
}


@pytest.mark.parametrize("spending", PUBLISHED)
def test_what_is_spent_at_each_look_is_what_the_published_boundaries_spend(
    spending: Spending,
) -> None:
    t = np.arange(1, 6) / 5
    together = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    bounds, passed = PUBLISHED[spending], [0.0]
    for k in range(1, 6):
        within = (
            ndtr(bounds[0])
            if k == 1
            else multivariate_normal(cov=together[:k, :k], seed=0).cdf(bounds[:k])
        )
        passed.append(1 - float(within))
    spent = increments(alpha=0.025, looks=5, spending=spending)
    assert spent == pytest.approx(np.diff(passed), abs=1e-4)


@pytest.mark.parametrize(
    ("alpha", "spending", "by_then"),
    [
        (0.05, "obrien_fleming", [0.00001, 0.0019, 0.0114, 0.0284, 0.05]),
        (0.025, "obrien_fleming", [0.0, 0.0004, 0.0038, 0.0122, 0.025]),
        (0.025, "pocock", [0.0074, 0.0131, 0.0177, 0.0216, 0.025]),
        (0.05, "uniform", [0.01, 0.02, 0.03, 0.04, 0.05]),
    ],
)
def test_the_spending_functions_of_lan_and_demets(
    alpha: float, spending: Spending, by_then: list[float]
) -> None:
    assert np.cumsum(increments(alpha=alpha, looks=5, spending=spending)) == pytest.approx(
        by_then, abs=6e-5
    )


@pytest.mark.parametrize("spending", ["uniform", "pocock", "obrien_fleming"])
def test_looking_five_times_errs_no_more_often_than_planned_and_plain_tests_do(
    spending: Spending,
) -> None:
    rng = np.random.default_rng(0)
    p = 1 - ndtr(np.cumsum(rng.normal(size=(20_000, 5)), axis=1) / np.sqrt(np.arange(1, 6)))
    errs = (p < increments(alpha=0.05, looks=5, spending=spending)).any(axis=1).mean()
    assert errs <= 0.053
    assert (p < 0.05).any(axis=1).mean() > 0.1


@pytest.mark.parametrize(("alpha", "looks"), [(0.0, 3), (1.0, 3), (0.05, 0)])
def test_a_plan_without_looks_or_error_is_refused(alpha: float, looks: int) -> None:
    with pytest.raises(ValueError, match="expected 0 < alpha < 1"):
        increments(alpha=alpha, looks=looks)
