"""Ratios of rates: against published examples, with zero cells, and by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats.contingency import relative_risk

from probes.rates import koopman, rate_ratio, risk_ratio

AT: Any = {"levels": (0.95,)}
IDS = np.array([f"p{i:03d}" for i in range(200)])


def counted(x: int, n: int, y: int, m: int) -> Any:
    return risk_ratio(events=x, trials=n, other_events=y, other_trials=m, **AT)


def table(values: Any) -> pd.DataFrame:
    """One inner list a prompt."""
    rows = [(IDS[p], v) for p, prompt in enumerate(values) for v in prompt]
    return pd.DataFrame(rows, columns=["prompt_id", "refused"])


@pytest.mark.parametrize(
    ("x", "n", "y", "m"), [(10, 75, 12, 225), (27, 122, 44, 487), (1, 9, 5, 6)]
)
def test_katzs_interval_is_scipys(x: int, n: int, y: int, m: int) -> None:
    found, reference = counted(x, n, y, m), relative_risk(x, n, y, m)
    assert found.value == pytest.approx(reference.relative_risk)
    ends = reference.confidence_interval(0.95)
    assert (found.intervals[0].low, found.intervals[0].high) == pytest.approx((ends.low, ends.high))


def test_koopmans_interval_is_that_of_his_paper() -> None:
    # Koopman 1984: 36 of 40 against 16 of 80.
    found = koopman(36, 40, 16, 80, level=0.95)
    assert (found.low, found.high) == pytest.approx((2.94, 7.15), abs=0.005)


def test_exchanging_the_sides_turns_the_ratio_over() -> None:
    there, back = koopman(7, 40, 16, 80, level=0.9), koopman(16, 80, 7, 40, level=0.9)
    assert (there.low, there.high) == pytest.approx((1 / back.high, 1 / back.low), rel=1e-6)


def test_no_event_above_gives_0_with_an_upper_end_and_no_event_below_no_ratio_but_its_lower_end() -> (
    None
):
    none = counted(0, 40, 16, 80)
    assert none.value == 0
    assert none.intervals[0].low == 0
    assert 0.1 < none.intervals[0].high < 1
    assert "Koopman" in none.method
    below = counted(3, 40, 0, 80)
    assert below.value is None
    assert "above 1.6" in str(below.reason)
    assert "every ratio fits" in str(counted(0, 40, 0, 80).reason)
    assert "no trial" in str(counted(0, 0, 1, 5).reason)


def test_all_events_on_both_sides_give_no_interval_of_width_zero() -> None:
    found = counted(40, 40, 80, 80)
    assert found.value == 1
    assert found.intervals[0].low < 0.95
    assert found.intervals[0].high > 1.02


@pytest.mark.parametrize(("x", "n"), [(5, 4), (-1, 4)])
def test_counts_that_are_none_are_refused(x: int, n: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= events <= trials"):
        counted(x, n, 1, 2)
    with pytest.raises(ValueError, match="no event on either side"):
        koopman(0, 4, 0, 4, level=0.95)


def test_with_one_sample_a_prompt_and_no_pairing_effect_it_is_near_katz() -> None:
    rng = np.random.default_rng(0)
    now, base = (rng.random((200, 1)) < p for p in (0.4, 0.25))
    found = rate_ratio(table=table(now * 1.0), base=table(base * 1.0), column="refused", **AT)
    katz = counted(int(now.sum()), 200, int(base.sum()), 200)
    assert found.value == pytest.approx(katz.value)
    ends = katz.intervals[0]
    assert (found.intervals[0].low, found.intervals[0].high) == pytest.approx(
        (ends.low, ends.high), rel=0.12
    )


def test_a_clustered_ratio_covers_the_truth_92_to_98_times_in_100() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(400):
        often = rng.beta(2, 6, (60, 1))
        now, base = (rng.random((60, 3)) < often * f for f in (1.5, 1.0))
        sides = [
            pd.DataFrame({"prompt_id": np.repeat(IDS[:60], 3), "refused": 1.0 * s.ravel()})
            for s in (now, base)
        ]
        (i,) = rate_ratio(table=sides[0], base=sides[1], column="refused", **AT).intervals
        # P(now) is mean of min(1, 1.5·often): beta(2, 6) is above 2/3 in under 1 of 100 draws.
        hits += i.low <= 1.4995 <= i.high
    assert 0.92 <= hits / 400 <= 0.98


def test_zero_events_of_a_policy_are_said_as_what_they_are() -> None:
    none, some = table(np.zeros((20, 2))), table(np.tile([[1.0, 0.0], [0.0, 0.0]], (10, 1)))
    found = rate_ratio(table=none, base=some, column="refused", **AT)
    assert found.value == 0
    assert found.intervals[0].low == 0
    assert 0.2 < found.intervals[0].high < 2
    assert "each prompt one trial" in found.method
    back = rate_ratio(table=some, base=none, column="refused", **AT)
    assert back.value is None
    assert "nothing to be a multiple of" in str(back.reason)


def test_one_prompt_no_shared_prompt_and_impossible_rates_give_no_number() -> None:
    one = rate_ratio(table=table([[1.0, 0.0]]), base=table([[1.0, 1.0]]), column="refused", **AT)
    assert (one.value, one.intervals) == (0.5, ())
    assert "at least 2" in str(one.reason)
    apart = rate_ratio(
        table=table([[1.0]]), base=table([[1.0]]).assign(prompt_id="q"), column="refused", **AT
    )
    assert apart.value is None
    with pytest.raises(ValueError, match=r"base: column refused has 2\.0"):
        rate_ratio(table=table([[1.0]]), base=table([[2.0]]), column="refused", **AT)
