"""Statistics of sample tables: against scipy, by hand, and by properties that must hold for any
table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from probes.statistics import stats
from probes.statistics.stats import _weighted_ranks

HOW: Any = {"levels": (0.95,), "resamples": 300, "seed": 1}


def table(reward: list[list[float]], human: list[list[float]] | None = None) -> pd.DataFrame:
    """One inner list a prompt."""
    rows = [
        {
            "prompt_id": f"p{p:02d}",
            "sample_id": f"p{p:02d}/{k}",
            "reward": r,
            "human": human[p][k] if human else np.nan,
        }
        for p, prompt in enumerate(reward)
        for k, r in enumerate(prompt)
    ]
    return pd.DataFrame(rows)


def test_every_prompt_counts_once_however_many_samples_it_has() -> None:
    found = stats.mean(table=table([[1.0] * 9, [3.0]]), column="reward", **HOW)
    assert (found.value, found.n, found.units) == (2.0, 10, 2)


def test_a_change_is_paired_and_divided_by_the_base_policys_sample_sd() -> None:
    base = table([[0.0, 2.0], [4.0, 6.0], [1.0, 3.0]])
    now = table([[2.0, 2.0], [6.0, 6.0], [3.0, 3.0]])
    found = stats.change(table=now, base=base, columns=["reward"], **HOW)
    sd = np.std([0, 2, 4, 6, 1, 3], ddof=1)
    assert found.value == pytest.approx(1 / sd)
    raw = stats.change(table=now, base=base, columns=["reward"], standardise=False, **HOW)
    assert raw.value == pytest.approx(1.0)


def test_pairing_takes_the_prompts_own_level_out_of_the_interval() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(0, 5, size=(40, 1))
    base, now = (table((level + rng.normal(s, 0.5, size=(40, 3))).tolist()) for s in (0, 0.3))
    paired = stats.change(
        table=now, base=base, columns=["reward"], standardise=False, **HOW
    ).intervals[0]
    apart = stats.independent_difference(table=now, other=base, column="reward", **HOW).intervals[0]
    assert paired.high - paired.low < (apart.high - apart.low) / 5


def test_the_gap_is_the_difference_of_the_two_changes_where_both_are_defined() -> None:
    rng = np.random.default_rng(2)
    base, now = (
        table(rng.normal(s, 1, (12, 3)).tolist(), rng.normal(s / 2, 1, (12, 3)).tolist())
        for s in (0, 1)
    )
    gap = stats.change(table=now, base=base, columns=["reward", "human"], **HOW)
    moves = [
        stats.change(table=now, base=base, columns=[c], **HOW).value for c in ("reward", "human")
    ]
    assert gap.value == pytest.approx(moves[0] - moves[1])


def test_a_base_policy_whose_scores_never_vary_gives_no_change_in_sd() -> None:
    found = stats.change(
        table=table([[1.0], [2.0], [3.0]]),
        base=table([[0.1], [0.1], [0.1]]),
        columns=["reward"],
        **HOW,
    )
    assert found.value is None
    assert "vary" in str(found.reason)


def test_a_standardised_change_covers_the_truth_92_to_98_times_in_100() -> None:
    rng = np.random.default_rng(4)
    hits = 0
    for run in range(400):
        level = rng.normal(0, 0.6, size=(25, 1))
        base, now = (table((level + rng.normal(s, 0.8, size=(25, 2))).tolist()) for s in (0, 0.5))
        (i,) = stats.change(
            table=now, base=base, columns=["reward"], levels=(0.95,), resamples=300, seed=run
        ).intervals
        hits += i.low <= 0.5 <= i.high
    assert 0.92 <= hits / 400 <= 0.98


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_correlation_matches_scipy_with_ties_and_missing_values(
    kind: Any, make_samples: Callable[..., Any]
) -> None:
    rows = make_samples(seed=5)
    rows["reward"] = rows["reward"].round(1)
    both = rows[rows["human"].notna()]
    reference = {"spearman": scipy.stats.spearmanr, "pearson": scipy.stats.pearsonr}[kind]
    found = stats.correlation(table=rows, x="reward", y="human", kind=kind, **HOW)
    assert found.value == pytest.approx(reference(both["reward"], both["human"]).statistic)
    assert found.n == len(both)


def test_ranks_under_weights_are_the_ranks_of_the_rows_repeated() -> None:
    rng = np.random.default_rng(3)
    values, weights = rng.integers(0, 5, size=12).astype(float), rng.integers(0, 4, size=12)
    repeated = np.repeat(np.arange(12), weights)
    expected = scipy.stats.rankdata(values[repeated]) - 0.5
    assert _weighted_ranks(values, weights[None, :].astype(float))[0][repeated] == pytest.approx(
        expected
    )


def test_a_correlation_interval_covers_the_truth_92_to_99_times_in_100() -> None:
    rng = np.random.default_rng(8)
    hits = 0
    for run in range(300):
        reward = rng.normal(0, 0.6, size=(20, 1)) + rng.normal(0, 0.8, size=(20, 3))
        human = 0.6 * reward + 0.8 * rng.normal(size=(20, 3))
        rows = table(reward.tolist(), human.tolist())
        (i,) = stats.correlation(
            table=rows,
            x="reward",
            y="human",
            kind="pearson",
            levels=(0.95,),
            resamples=300,
            seed=run,
        ).intervals
        hits += i.low <= 0.6 <= i.high
    assert 0.92 <= hits / 300 <= 0.99


def test_a_correlation_with_something_constant_is_undefined_not_zero() -> None:
    rows = table([[0.1, 0.1], [0.1, 0.1]], [[1.0, 2.0], [3.0, 4.0]])
    found = stats.correlation(table=rows, x="reward", y="human", **HOW)
    assert found.value is None
    assert "same for all" in str(found.reason)


@given(st.integers(0, 10_000), st.floats(0.01, 50), st.floats(-100, 100))
def test_spearman_does_not_change_under_a_rising_map(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    rows = table(rng.normal(size=(6, 3)).tolist(), rng.normal(size=(6, 3)).tolist())
    mapped = rows.assign(reward=np.exp(rows["reward"]) * scale + shift)
    one, other = (stats.correlation(table=t, x="reward", y="human", **HOW) for t in (rows, mapped))
    assert one == other


@given(st.integers(0, 10_000), st.floats(0.1, 50), st.floats(-100, 100))
def test_a_change_in_sd_does_not_depend_on_the_scores_unit(
    seed: int, scale: float, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    base, now = (table(rng.normal(s, 1, size=(7, 2)).tolist()) for s in (0, 0.4))
    first = stats.change(table=now, base=base, columns=["reward"], **HOW)
    base, now = (t.assign(reward=t["reward"] * scale + shift) for t in (base, now))
    second = stats.change(table=now, base=base, columns=["reward"], **HOW)
    assert second.value == pytest.approx(first.value, rel=1e-6, abs=1e-6)
    assert second.intervals[0].low == pytest.approx(first.intervals[0].low, rel=1e-5, abs=1e-5)


@given(st.integers(0, 10_000))
def test_exchanging_the_policies_turns_the_sign_of_an_unstandardised_change(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base, now = (table(rng.normal(s, 1, size=(9, 2)).tolist()) for s in (0, 0.4))
    there = stats.change(table=now, base=base, columns=["reward"], standardise=False, **HOW)
    back = stats.change(table=base, base=now, columns=["reward"], standardise=False, **HOW)
    assert there.value == pytest.approx(-back.value)
    assert there.intervals[0].low == pytest.approx(-back.intervals[0].high)


def test_two_independent_sets_of_prompts_give_welchs_interval() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(1, 1, 60), rng.normal(0, 2, 90)
    (found,) = stats.independent_difference(
        table=table([[v] for v in one]),
        other=table([[v] for v in other]),
        column="reward",
        levels=(0.95,),
        resamples=20_000,
        seed=1,
    ).intervals
    welch = scipy.stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    width = welch.high - welch.low
    assert (found.low, found.high) == pytest.approx((welch.low, welch.high), abs=0.05 * width)


def test_a_ratio_of_sums_weights_rows_by_their_denominator() -> None:
    rows = pd.DataFrame({"prompt_id": ["a", "b"], "kl": [1.0, 9.0], "kl_tokens": [10.0, 10.0]})
    found = stats.ratio_of_sums(table=rows, numerator="kl", denominator="kl_tokens", **HOW)
    assert found.value == 0.5


def test_a_split_difference_with_an_empty_side_is_undefined() -> None:
    rows = table([[1.0], [2.0]]).assign(kept=False)
    found = stats.split_difference(table=rows, column="reward", by="kept", **HOW)
    assert found.value is None
    assert "kept" in str(found.reason)


# --- shares


def asked(rows: list[list[bool | None]]) -> pd.DataFrame:
    """One inner list a prompt: which of its texts ask something."""
    return pd.DataFrame(
        [{"prompt_id": f"p{p:02d}", "asks": a} for p, prompt in enumerate(rows) for a in prompt]
    )


def drawn(rng: np.random.Generator, share: float, *, prompts: int, like: Any = None) -> Any:
    """Shares that differ by prompt (beta, correlation 1/4 within a prompt), and 3 texts of each;
    with `like`, half of what makes a prompt differ is the other policy's.
    """
    by_prompt = rng.beta(3 * share, 3 * (1 - share), prompts)
    if like is not None:
        by_prompt = np.where(rng.random(prompts) < 0.5, by_prompt, np.clip(like, 0, 1))
    return by_prompt, asked((rng.random((prompts, 3)) < by_prompt[:, None]).tolist())


def test_a_share_is_the_mean_of_the_prompts_shares_and_leaves_out_what_cannot_be_said() -> None:
    found = stats.share(table=asked([[True, False], [True], [False, None]]), column="asks", **HOW)
    assert found.value == pytest.approx((0.5 + 1 + 0) / 3)
    assert (found.n, found.units) == (4, 3)


@pytest.mark.parametrize(("holds", "low", "high"), [(False, 0.0, 0.1611), (True, 0.8389, 1.0)])
def test_a_share_of_none_or_all_has_wilsons_interval_with_every_prompt_one_trial(
    holds: bool, low: float, high: float
) -> None:
    # R: binom::binom.wilson(0, 20) gives 0 to 0.1611.
    found = stats.share(table=asked([[holds] * 3] * 20), column="asks", **HOW)
    assert (found.intervals[0].low, found.intervals[0].high) == pytest.approx((low, high), abs=1e-4)
    assert "Wilson" in found.method


def test_the_change_of_a_share_is_paired_by_prompt() -> None:
    now, base = asked([[True, True], [True, False], [True]]), asked([[True, False], [False]])
    found = stats.share_change(table=now, base=base, column="asks", **HOW)
    assert (found.value, found.n, found.units) == (0.5, 4, 2)


def test_a_share_of_none_before_and_after_has_an_interval_of_a_change() -> None:
    none = asked([[False] * 2] * 20)
    found = stats.share_change(table=none, base=none, column="asks", **HOW)
    assert found.value == 0
    # Newcombe's method 10 of 0/20 and 0/20: the two Wilson ends.
    assert found.intervals[0].high == -found.intervals[0].low == pytest.approx(0.1611, abs=1e-4)


def test_no_share_without_texts_and_no_change_of_the_base_policy_itself() -> None:
    some = asked([[True], [False]])
    nothing = stats.share(table=some.iloc[:0], column="asks", **HOW)
    assert (nothing.value, nothing.reason) == (None, "the policy has no text")
    itself = stats.share_change(table=some, base=None, column="asks", **HOW)
    assert itself.value is None
    assert "base policy" in str(itself.reason)


def test_95_percent_intervals_of_shares_and_their_changes_hold_92_to_99_times_in_100() -> None:
    rng = np.random.default_rng(5)
    how: Any = {"levels": (0.95,), "resamples": 200, "seed": 3}
    held = np.zeros((300, 2))
    for hits in held:
        before, base = drawn(rng, 0.15, prompts=30)
        _, now = drawn(rng, 0.4, prompts=30, like=before + 0.25)
        (one,) = stats.share(table=base, column="asks", **how).intervals
        (moved,) = stats.share_change(table=now, base=base, column="asks", **how).intervals
        hits[:] = one.low <= 0.15 <= one.high, moved.low <= 0.25 <= moved.high
    assert (held.mean(axis=0) > 0.92).all()
    assert (held.mean(axis=0) < 0.99).all()
