"""Adjusted p-values: R's p.adjust, scipy's, and how often a family of nulls is wrongly rejected."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from probes.statistics.multiplicity import benjamini_hochberg, benjamini_yekutieli, holm

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
    assert benjamini_yekutieli(p) == pytest.approx(
        scipy.stats.false_discovery_control(p, method="by")
    )


@given(P)
def test_adjusting_never_lowers_a_p_value_never_passes_1_and_keeps_the_order(
    p: list[float],
) -> None:
    order = np.argsort(p, kind="stable")
    for adjusted in (holm(p), benjamini_hochberg(p), benjamini_yekutieli(p)):
        assert (adjusted >= np.array(p) - 1e-12).all()
        assert (adjusted <= 1).all()
        assert (np.diff(adjusted[order]) >= -1e-12).all()
    assert (holm(p) >= benjamini_hochberg(p) - 1e-12).all()


def test_holm_errs_at_most_5_times_in_100_families_and_plain_tests_in_most() -> None:
    p = scipy.stats.norm.sf(np.random.default_rng(0).normal(size=(2000, 20)))
    adjusted = np.apply_along_axis(holm, 1, p)
    assert (adjusted.min(axis=1) <= 0.05).mean() == pytest.approx(0.05, abs=0.015)
    assert (p.min(axis=1) <= 0.05).mean() > 0.5


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg, benjamini_yekutieli])
@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1])
def test_a_p_value_that_is_none_is_refused_with_its_place(adjust: object, wrong: float) -> None:
    with pytest.raises(ValueError, match="p-value 1 is"):
        adjust([0.2, wrong])  # type: ignore[operator]


def test_an_empty_family_is_empty() -> None:
    assert len(holm([])) == len(benjamini_hochberg([])) == len(benjamini_yekutieli([])) == 0
