"""Numbers as they are shown: a value and its interval never say more, or less, than they know."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.base import Interval, Measurement
from restaudit.evidence.shown import estimate, figure, measured, number, together


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (0.0904, -6.03, 6.21, ("0.1", "-6.0", "6.2")),
        (0.224, 0.011, 0.438, ("0.22", "0.01", "0.44")),
        (14425.0, 11203.4, 18560.2, ("14,425", "11,203", "18,560")),
        (
            -0.153,
            -0.31,
            0.00484,
            ("-0.153", "-0.310", "0.005"),
        ),  # an end that is above zero looks it
        (0.0, -0.0001, 0.5, ("0.0000", "-0.0001", "0.5000")),
        (-0.001, -0.3, 0.3, ("0.00", "-0.30", "0.30")),  # no minus sign in front of nothing
        (0.5, 0.5, 0.5, ("0.500", "0.500", "0.500")),
        (0.0, 0.0, 0.0, ("0.00", "0.00", "0.00")),
        (1e-9, 1e-10, 2e-9, ("1e-09", "1e-10", "2e-09")),
        (1.0, 0.0, math.inf, ("1", "0", "inf")),
    ],
)
def test_a_value_and_its_interval_have_the_decimals_that_the_interval_allows(
    value, low, high, shown
):
    assert together(value, low, high) == shown


def test_an_end_never_looks_like_the_margin_that_it_does_not_reach():
    assert together(0.7, 0.5004, 0.9) == ("0.70", "0.50", "0.90")
    assert together(0.7, 0.5004, 0.9, apart_from=(0.5,)) == ("0.7000", "0.5004", "0.9000")
    assert together(0.7, 0.5, 0.9, apart_from=(0.5,)) == ("0.70", "0.50", "0.90")


@given(st.floats(-1e4, 1e4), st.floats(0, 1e4), st.floats(0, 1e4))
def test_whether_an_interval_reaches_zero_can_be_read_from_it(value, below, above):
    low, high = value - below, value + above
    _, a, b = (float(t.replace(",", "")) for t in together(value, low, high))
    assert (a > 0, a < 0) == (low > 0, low < 0)
    assert (b > 0, b < 0) == (high > 0, high < 0)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, ("0.1235", "-0.0012", "1.235e+04", "12,345", "–")),
        ({"decimals": 2}, ("0.12", "0.00", "12,345.68", "12,345.00", "–")),
        (
            {"significant": 3, "whole_from": 1000, "minus": "−"},
            ("0.123", "−0.0012", "12,346", "12,345", "–"),
        ),
    ],
)
def test_one_function_shows_a_number_for_every_kind_of_output(options, shown):
    values = (0.12345, -0.0012, 12345.678, 12345, None)
    assert tuple(number(value, **options) for value in values) == shown


def test_a_document_shows_a_measurement_with_its_interval_or_says_that_there_is_none():
    facts = {"unit": "share", "n": 9, "n_prompts": 3, "method": "m", "version": "1"}
    known = Measurement("a.b", -0.42, intervals=(Interval(0.95, -0.53, -0.31),), **facts)
    assert measured(known) == estimate(-0.42, -0.53, -0.31) == "−0.42 [−0.53, −0.31]"
    assert measured(Measurement("a.b", 1234.5, reason="one prompt", **facts)) == figure(1234.5)
    assert measured(Measurement("a.b", None, reason="no text", **facts)) == measured(None) == "–"
