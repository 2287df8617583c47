"""The decomposition of a human gain: expected from the base policy's own relation, observed, and
what is beyond.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from probes import Evidence, measure
from probes.divergence.curves import fit
from probes.divergence.expected import Scored, decompose, decompose_rated, outside, relation_of

HOW = {"levels": (0.95,), "resamples": 300, "seed": 3}


def policy(
    rng: np.random.Generator,
    effects: np.ndarray[Any, Any],
    *,
    per: int,
    shift: float = 0.0,
    harm: float = 0.0,
) -> pd.DataFrame:
    """Samples whose human score is 0.6·reward + noise - harm; rewards move up by `shift`."""
    prompts = len(effects)
    owner = np.repeat(np.arange(prompts), per)
    reward = effects[owner] + shift + rng.normal(size=len(owner))
    human = 0.6 * reward + 0.3 * effects[owner] + rng.normal(scale=0.8, size=len(owner)) - harm
    return pd.DataFrame(
        {
            "prompt_id": [f"p{k:03d}" for k in owner],
            "sample_id": [f"p{k:03d}/{j}" for j, k in enumerate(owner)],
            "text": "a text",
            "n_tokens": 2,
            "reward": reward,
            "human": human,
        }
    )


def pair(
    seed: int, *, prompts: int = 40, shift: float, harm: float = 0.0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    effects = rng.normal(scale=0.5, size=prompts)
    return policy(rng, effects, per=2, shift=shift, harm=harm), policy(rng, effects, per=4)


def test_observed_is_expected_minus_beyond_and_its_unit_is_the_base_policys_human_sd() -> None:
    table, base = pair(1, shift=1.0)
    parts = decompose(table=table, base=base, **HOW)
    assert parts.observed.value == pytest.approx(parts.expected.value - parts.beyond.value)
    moved = table.groupby("prompt_id")["human"].mean() - base.groupby("prompt_id")["human"].mean()
    assert parts.observed.value == pytest.approx(moved.mean() / base["human"].std())
    assert parts.inflation == pytest.approx(parts.beyond.value * base["human"].std())
    assert (parts.low, parts.high) == (base["reward"].min(), base["reward"].max())


def test_the_line_is_fitted_within_prompts_so_that_prompt_effects_do_not_bend_it() -> None:
    rng = np.random.default_rng(5)
    base = policy(rng, rng.normal(scale=3.0, size=400), per=4)
    assert decompose(table=base, base=base, **HOW).slope == pytest.approx(0.6, abs=0.05)
    pooled = np.polyfit(base["reward"], base["human"], 1)[0]
    assert pooled > 0.8


def test_moving_along_the_relation_is_not_divergence_however_large_the_raw_gap() -> None:
    """Regressional Goodhart: reward up by a whole sd, human score by much less, and nothing is
    wrong.
    """
    rng = np.random.default_rng(2)
    effects = rng.normal(scale=0.3, size=300)
    table, base = policy(rng, effects, per=4, shift=1.5), policy(rng, effects, per=8)
    parts = decompose(table=table, base=base, **HOW)
    gap = (table["reward"].mean() - base["reward"].mean()) / base[
        "reward"
    ].std() - parts.observed.value
    assert gap > 0.3
    assert abs(parts.beyond.value) < 0.08
    assert abs(parts.beyond_isotonic.value) < 0.35  # flat beyond the range: it expects less


def test_what_people_lose_beyond_the_relation_is_found_in_their_own_standard_deviations() -> None:
    rng = np.random.default_rng(3)
    effects = rng.normal(scale=0.3, size=300)
    base = policy(rng, effects, per=8)
    parts = decompose(table=policy(rng, effects, per=4, shift=0.5, harm=0.5), base=base, **HOW)
    assert parts.beyond.value == pytest.approx(0.5 / base["human"].std(), abs=0.08)
    assert parts.beyond.intervals[0].low > 0.2


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_interval_of_the_divergence_covers_zero_as_often_as_it_says_when_nothing_is_wrong(
    shift: float,
) -> None:
    hits = 0
    runs = 150
    for seed in range(runs):
        table, base = pair(100 + seed, shift=shift)
        interval = decompose(table=table, base=base, isotonic=False, **HOW).beyond.intervals[0]
        hits += interval.low <= 0 <= interval.high
    assert 0.90 <= hits / runs <= 0.99


def bent(
    seed: int, *, shift: float, prompts: int = 60, df: float | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A policy and its base whose human score levels off at high rewards, the rewards being
    heavy-tailed with `df`; moving along the relation, nothing is wrong.
    """
    rng = np.random.default_rng(seed)
    effects = rng.normal(scale=0.3, size=prompts)

    def rows(per: int, move: float) -> pd.DataFrame:
        table = policy(rng, effects, per=per)
        noise = rng.normal(size=len(table)) if df is None else rng.standard_t(df, size=len(table))
        reward = noise + move
        human = np.tanh(reward) + rng.normal(scale=0.6, size=len(table))
        return table.assign(reward=reward, human=human)

    return rows(8, shift), rows(16, 0.0)


@pytest.mark.parametrize("df", [None, 2.5])
def test_a_relation_that_levels_off_is_no_divergence_with_heavy_tailed_rewards_neither(
    df: float | None,
) -> None:
    beyond, of_line, alarms = [], [], 0
    for seed in range(40):
        table, base = bent(seed, shift=1.0, df=df)
        found = decompose(table=table, base=base, isotonic=False, **HOW).beyond
        beyond.append(found.value)
        alarms += found.intervals[0].low > 0
        base_reward = base["reward"] - base.groupby("prompt_id")["reward"].transform("mean")
        slope = (base_reward * base["human"]).sum() / (base_reward**2).sum()
        moved = [table[c].mean() - base[c].mean() for c in ("reward", "human")]
        of_line.append((slope * moved[0] - moved[1]) / base["human"].std())
    assert abs(np.mean(beyond)) < 0.04
    assert abs(np.mean(of_line)) > 0.06
    assert alarms <= 4


def test_one_absurd_reward_of_the_base_policy_decides_nothing() -> None:
    table, base = bent(1, shift=1.0)
    before = decompose(table=table, base=base, isotonic=False, **HOW)
    base.loc[5, "reward"] = 1e6
    after = decompose(table=table, base=base, isotonic=False, **HOW)
    assert after.expected.value == pytest.approx(before.expected.value, abs=0.03)
    assert after.expected.value > 0.3


REWARDS = {
    "many values": (lambda r: r, 3),
    "two values": (lambda r: (r > 0.3).astype(float), 1),
    "three values, each of many rows": (lambda r: np.clip(np.round(r), -1, 1), 2),
    "four values": (lambda r: np.clip(np.round(r + 0.5), -1, 2), 3),
    "many at the lowest": (lambda r: np.maximum(r, 0.0), 3),
    "all but a few the same": (lambda r: np.where(r > 2.2, r, 0.0), 1),
}


@pytest.mark.parametrize("case", REWARDS)
def test_the_curve_has_as_many_pieces_as_the_base_rewards_carry(case: str) -> None:
    change, pieces = REWARDS[case]
    table, base = bent(2, shift=0.5)
    rows = [t.assign(reward=change(t["reward"].to_numpy())) for t in (table, base)]
    parts = decompose(table=rows[0], base=rows[1], isotonic=False, **HOW)
    assert parts.pieces == pieces
    said = "straight line" if pieces == 1 else f"{pieces} linear pieces"
    assert said in parts.beyond.method
    assert parts.beyond.intervals[0].low < parts.beyond.value < parts.beyond.intervals[0].high
    points = np.array(parts.curve)
    assert np.isfinite(points).all()
    assert parts.slope == pytest.approx(1.0, abs=1.0)


def test_few_rows_and_prompts_whose_rewards_do_not_vary_carry_a_straight_line() -> None:
    rng = np.random.default_rng(1)
    prompt = np.repeat(np.arange(40), 4)
    reward = rng.normal(size=160)
    assert relation_of(Scored(prompt, reward, reward)).pieces == 3
    few = prompt < 7
    assert relation_of(Scored(prompt[few], reward[few], reward[few])).pieces == 1
    flat = np.where(prompt < 7, reward, reward[4 * prompt])
    assert relation_of(Scored(prompt, flat, flat)).pieces == 1


def rated(table: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    chosen = rng.choice(len(table), n, replace=False)
    human = np.full(len(table), np.nan)
    human[chosen] = table["human"].to_numpy()[chosen]
    return table.assign(human=human, inclusion=n / len(table))


def test_with_few_ratings_the_interval_still_covers_and_the_rewards_make_it_narrower() -> None:
    hits, widths, plain = 0, [], []
    runs = 120
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        effects = rng.normal(scale=0.3, size=60)
        table, base = policy(rng, effects, per=8, shift=0.8), policy(rng, effects, per=8)
        few = rated(table, 60, rng), rated(base, 100, rng)
        parts = decompose_rated(table=few[0], base=few[1], **HOW)
        interval = parts.observed.intervals[0]
        truth = 0.48 / np.hypot(0.8, 0.6 * np.hypot(1.0, 0.3) + 0.3 * 0.3)
        hits += interval.low <= truth <= interval.high
        widths.append(interval.high - interval.low)
        blind = decompose_rated(
            table=few[0].assign(reward=rng.normal(size=len(table))),
            base=few[1].assign(reward=rng.normal(size=len(base))),
            **HOW,
        )
        plain.append(blind.observed.intervals[0].high - blind.observed.intervals[0].low)
    assert hits / runs >= 0.9
    assert np.mean(widths) < 0.9 * np.mean(plain)


def test_with_ratings_of_some_rows_the_relation_is_a_curve_too_and_all_rated_gives_the_same() -> (
    None
):
    few, all_rated = [], []
    for seed in range(25):
        table, base = bent(seed, shift=1.0)
        rng = np.random.default_rng(seed)
        parts = decompose_rated(table=rated(table, 150, rng), base=rated(base, 150, rng), **HOW)
        assert parts.pieces == 3
        few.append(parts.beyond.value)
        assert parts.observed.value == pytest.approx(
            parts.expected.value - parts.beyond.value, abs=1e-9
        )
        whole = decompose_rated(
            table=table.assign(inclusion=1.0), base=base.assign(inclusion=1.0), **HOW
        )
        exact = decompose(table=table, base=base, isotonic=False, **HOW)
        all_rated.append(whole.beyond.value - exact.beyond.value)
    assert abs(np.mean(few)) < 0.06
    assert np.abs(all_rated).max() < 0.06


def test_ratings_that_few_rows_have_carry_a_straight_line() -> None:
    table, base = bent(3, shift=0.5)
    rng = np.random.default_rng(3)
    parts = decompose_rated(table=rated(table, 25, rng), base=rated(base, 25, rng), **HOW)
    assert parts.pieces == 1
    assert "straight line" in parts.beyond.method
    assert parts.beyond.intervals


def test_ratings_drawn_with_unequal_chances_are_weighed_back() -> None:
    rng = np.random.default_rng(8)
    effects = np.zeros(400)
    table, base = policy(rng, effects, per=4, shift=0.5), policy(rng, effects, per=4)
    chance = np.where(
        table["human"] > table["human"].median(), 0.5, 0.1
    )  # people were shown the better ones
    drawn = rng.random(len(table)) < chance
    some = table.assign(human=table["human"].where(drawn), inclusion=chance)
    weighed = decompose_rated(table=some, base=base.assign(inclusion=1.0), **HOW).observed.value
    as_if_equal = decompose_rated(
        table=some.assign(inclusion=0.3), base=base.assign(inclusion=1.0), **HOW
    ).observed.value
    truth = (table["human"].mean() - base["human"].mean()) / base["human"].std()
    assert weighed == pytest.approx(truth, abs=0.12)
    assert as_if_equal > truth + 0.15


UNDEFINED = {
    "one base sample a prompt": lambda b: b.groupby("prompt_id").head(1),
    "constant reward": lambda b: b.assign(reward=1.0),
    "constant human score": lambda b: b.assign(human=1.0),
    "no human score": lambda b: b.assign(human=np.nan),
}


@pytest.mark.parametrize("case", UNDEFINED)
def test_a_relation_that_cannot_be_seen_gives_no_number_and_the_reason(case: str) -> None:
    table, base = pair(4, shift=0.5)
    parts = decompose(table=table, base=UNDEFINED[case](base), **HOW)
    assert (parts.expected.value, parts.beyond.value, parts.beyond_isotonic.value) == (
        None,
        None,
        None,
    )
    assert parts.beyond.reason


def test_ratings_nobody_says_how_they_were_chosen_are_refused_unless_their_chances_are_given() -> (
    None
):
    table, base = pair(6, shift=0.5)
    some = table.assign(human=table["human"].where(table.index % 3 == 0))
    only = frozenset({"divergence.human_change", "divergence.beyond_expected", "divergence.human"})
    evidence = Evidence(outputs=some, base=base, human_sampling="unknown", only=only, resamples=200)
    found, _ = measure(evidence)
    assert {m.name: m.value for m in found} == dict.fromkeys(only)
    assert all("inclusion" in (m.reason or "") for m in found)
    known = [t.assign(inclusion=c) for t, c in ((some, 1 / 3), (base, 1.0))]
    again, _ = measure(replace(evidence, outputs=known[0], base=known[1]))
    assert all(m.value is not None for m in again)


def test_rewards_outside_the_base_policys_are_counted() -> None:
    assert outside(np.array([0.0, 1.0, 2.0, np.nan]), 0.5, 1.5) == pytest.approx(
        [1, 0, 1, np.nan], nan_ok=True
    )


# --- curves


@pytest.mark.parametrize(("form", "peak"), [("bon", 2.5), ("rl", np.exp(1.0 / 0.4 - 1))])
def test_a_curve_of_known_form_gives_its_parameters_and_peak_back(form: str, peak: float) -> None:
    d = np.linspace(0.5, 6, 9)
    gain = d * (1.0 - 0.2 * d) if form == "bon" else d * (1.0 - 0.4 * np.log(d))
    curve = fit(distance=d, gain=gain, form=form)
    assert not isinstance(curve, str)
    assert curve.alpha == pytest.approx(1.0)
    assert curve.peak == pytest.approx(peak)
    assert curve.residual == pytest.approx(0, abs=1e-9)


def test_three_points_or_one_distance_are_no_curve_and_a_rising_one_has_no_peak() -> None:
    d = np.array([1.0, 2.0, 3.0, 4.0])
    assert "at least 4" in str(fit(distance=d[:3], gain=d[:3], form="bon"))
    assert "same distance" in str(fit(distance=np.ones(4), gain=d, form="bon"))
    rising = fit(distance=d, gain=d * (1 + 0.1 * d), form="bon")
    assert not isinstance(rising, str)
    assert rising.peak is None
