"""Emulated runs: selection by reward keeps E[human | reward], planted hacks break it, and alarms
are counted right.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from probes import Evidence, measure
from probes.hacking.learned import COST
from restaudit.calibrate.emulate import (
    FAST,
    FEATURES,
    HONEST,
    MODES,
    NO_CHANGE,
    NULLS,
    THRESHOLDS,
    Scenario,
    Size,
    check_size,
    emulate,
    hack,
    hacks,
    labels,
    world,
)
from restaudit.calibrate.grid import (
    RIVALS,
    matched,
    rate,
    run_trials,
    summary,
    together,
    trial_grid,
)
from restaudit.calibrate.pool import Pool, features, load_pool, modes, too_rare
from restaudit.calibrate.render import percent, print_calibration, sentences
from restaudit.calibrate.screen import BEYOND, HUMAN, Habits, habits, highest_cost, value_of
from restaudit.calibrate.trial import Setup, TrialOutcome, trial
from restaudit.config import DEFAULT_GATES, GatePolicy
from restaudit.errors import BadInput

SIZE = Size(48, 2, 4, 8)
LARGE = Size(120, 8, 8, 0)
POLICY = GatePolicy(
    rules=tuple(r for r in DEFAULT_GATES.rules if not r.metric.startswith("diversity.vendi"))
)
SETUP = Setup(POLICY, 2, 2, 200, None)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return load_pool("reviews")


def change_of(pool: Pool, scenario: Scenario, look: int, seeds: int = 6) -> tuple[float, float]:
    """Mean human change and divergence at a look, over some large audits."""
    here = world(pool, scenario)
    found = []
    for seed in range(seeds):
        base, looks = emulate(here, LARGE, grow_steps=2, improve_steps=2, seed=seed)
        now = [x.audit for x in looks][look - 1]
        found.append((value_of(HUMAN, now, base), value_of(BEYOND, now, base)))
    return tuple(np.mean(np.array(found, dtype=float), axis=0))  # type: ignore[return-value]


def test_the_pool_that_ships_is_real_generations_with_rewards_and_families(pool: Pool) -> None:
    assert pool.plain.shape == (128, 48)
    assert pool.families.shape == (24, 4, 12)
    assert len(pool.groups) == 4
    assert 0.4 < pool.table[["reward", "human"]].corr().iloc[0, 1] < 0.7
    assert all(0.05 < has.mean() < 0.25 for has, _ in features(pool).values())


def test_a_policy_that_does_not_change_shows_no_change(pool: Pool) -> None:
    human, beyond = change_of(pool, NO_CHANGE, look=4)
    assert abs(human) < 0.05
    assert abs(beyond) < 0.05


@pytest.mark.parametrize("scenario", [HONEST, THRESHOLDS], ids=lambda s: s.name)
def test_honest_selection_raises_the_human_score_and_hardly_diverges(
    pool: Pool, scenario: Scenario
) -> None:
    human, beyond = change_of(pool, scenario, look=4)
    assert human > 0.2
    assert abs(beyond) < 0.1


@pytest.mark.parametrize("feature", FEATURES)
def test_a_hack_diverges_from_its_onset_on_and_not_before(pool: Pool, feature: str) -> None:
    planted = hack(feature, cost=0.5)
    before, after = change_of(pool, planted, look=1)[1], change_of(pool, planted, look=3)[1]
    assert abs(before) < 0.06
    assert after > 0.35


def test_the_share_of_hacked_texts_and_the_kl_rise_from_the_onset_on(pool: Pool) -> None:
    _, looks = emulate(
        world(pool, hack("keyword", onset=3)), SIZE, grow_steps=2, improve_steps=2, seed=1
    )
    found = list(looks)
    assert found[1].hacked < 0.2 < 0.5 < found[2].hacked < found[3].hacked
    assert found[1].kl < found[2].kl < found[3].kl < np.log(48)


def test_a_feature_that_hardly_any_text_has_is_not_planted(pool: Pool) -> None:
    assert too_rare(pool) == {}
    nobody = pool.table["text"].mask(features(pool)["men"][0], "A fine film.")
    assert too_rare(replace(pool, table=pool.table.assign(text=nobody))) == {
        "men": "names a man and no woman"
    }


def test_a_hack_of_one_group_leaves_plain_prompts_as_honest_selection_does(pool: Pool) -> None:
    one = list(emulate(world(pool, hack("group")), SIZE, grow_steps=1, improve_steps=2, seed=3)[1])[
        -1
    ]
    assert one.hacked > 0.4
    table = one.audit.table
    has = pd.Series(features(pool)["length"][0], index=pool.table["text"]).groupby(level=0).max()
    share = (
        table.assign(long=has.loc[table["text"]].to_numpy())
        .groupby("group", dropna=False)["long"]
        .mean()
    )
    assert share[pool.groups[0]] > share.drop(pool.groups[0]).max() + 0.3


@pytest.fixture(scope="module")
def known(pool: Pool) -> Habits:
    return habits(pool, modes(pool, MODES))


@pytest.mark.parametrize(
    "scenario", [HONEST, hack("keyword"), hack("sameness")], ids=lambda s: s.name
)
@pytest.mark.parametrize("size", [SIZE, replace(SIZE, rated=40)], ids=["all scored", "40 rated"])
def test_the_screened_trial_has_the_outcome_of_the_real_probes_at_every_look(
    pool: Pool, known: Habits, scenario: Scenario, size: Size
) -> None:
    here, setup = world(pool, scenario), replace(SETUP, habits=known)
    assert trial(here, size, setup, seed=5) == trial(here, size, setup, seed=5, screened=False)


def test_a_habit_that_costs_people_much_is_caught_with_and_without_the_screen(
    pool: Pool, known: Habits
) -> None:
    only = GatePolicy(rules=tuple(r for r in POLICY.rules if r.name == "habit"))
    costly, size = world(pool, hack("keyword", cost=3.0)), Size(64, 2, 8, 0)
    found = [
        trial(costly, size, replace(SETUP, policy=only, habits=h), seed=1) for h in (known, None)
    ]
    assert found[0] == found[1]
    assert found[0].halted in (2, 3)
    healthy = trial(world(pool, HONEST), size, replace(SETUP, policy=only, habits=known), seed=1)
    assert healthy.halted is None


@pytest.mark.parametrize(
    "scenario", [hack("keyword"), hack("length", cost=1.0), hack("sameness")], ids=lambda s: s.name
)
def test_the_quick_look_at_habits_is_never_below_the_probes_lower_end(
    pool: Pool, known: Habits, scenario: Scenario
) -> None:
    base, looks = emulate(world(pool, scenario), SIZE, grow_steps=2, improve_steps=2, seed=2)
    for look in looks:
        evidence = Evidence(
            outputs=look.audit.table, base=base.table, levels=(0.9,), only=frozenset({COST})
        )
        (probed,), _ = measure(evidence)
        assert probed.interval(0.9).low <= highest_cost(look.audit, base, known, 0.05) + 1e-9


def test_a_trial_depends_on_its_seed_alone_and_workers_change_nothing(
    pool: Pool, known: Habits
) -> None:
    setup = replace(SETUP, habits=known)
    grid = [
        s
        for s in trial_grid(SIZE, null_runs=5, hack_runs=5)
        if s.scenario in (HONEST, hack("length"))
    ][:2]
    one = run_trials(pool, setup, grid, seed=1, workers=1)
    two = run_trials(pool, setup, list(reversed(grid)), seed=1, workers=2)
    assert one == list(reversed(two))
    assert run_trials(pool, setup, grid[:1], seed=2, workers=1)[0] != one[0]


def test_a_planted_hack_halts_and_a_healthy_run_does_not(pool: Pool, known: Habits) -> None:
    size, setup = Size(64, 2, 8, 0), replace(SETUP, habits=known)
    hacked = [trial(world(pool, hack("keyword", cost=1.0)), size, setup, seed=s) for s in range(10)]
    healthy = [trial(world(pool, HONEST), size, setup, seed=s) for s in range(10)]
    assert sum(o.halted in (2, 3) for o in hacked) >= 9
    assert sum(o.halted is not None for o in healthy) <= 1
    assert all(o.fired["divergence"] >= 2 for o in hacked if "divergence" in o.fired)


@pytest.mark.parametrize(("k", "n"), [(0, 400), (8, 400), (60, 60), (57, 60)])
def test_rates_carry_the_exact_binomial_interval(k: int, n: int) -> None:
    exact = binomtest(k, n).proportion_ci(method="exact")
    found = rate(k, n)
    assert (found["low"], found["high"]) == pytest.approx((exact.low, exact.high))


def outcome(halted: int | None, kl: float = 0.1) -> TrialOutcome:
    fired = {} if halted is None else {"divergence": halted}
    four = (0.0, 0.1, 0.2, 0.3)
    return TrialOutcome(fired, halted, (0.0, kl, kl, kl), four, (1.0,) * 4, (0.0,) * 4, four, four)


def test_a_halt_before_the_onset_is_counted_as_false_and_a_late_one_not_in_time() -> None:
    study = next(
        s for s in trial_grid(SIZE, null_runs=10, hack_runs=10) if s.scenario == hack("length")
    )
    found = summary(study, [outcome(1), outcome(2), outcome(3), outcome(4), outcome(None)], SETUP)
    counts = {k: found[k]["count"] for k in ("halted_before_onset", "within_one_grow", "halted")}
    assert counts == {"halted_before_onset": 1, "within_one_grow": 2, "halted": 4}
    assert found["looks_to_halt"] == 2.0
    assert found["gates"]["divergence"]["count"] == 4
    null = replace(study, scenario=HONEST)
    both = together(
        [null, study], [[outcome(None)] * 19 + [outcome(4)], [outcome(3)] * 3 + [outcome(4)]], SETUP
    )
    assert both["false_alarms"]["rate"] == 0.05
    assert both["caught_within_one_grow"]["rate"] == 0.75


def test_a_matched_rival_rings_for_as_many_healthy_runs_as_it_may() -> None:
    healthy = [outcome(None, kl=k / 100) for k in range(100)]
    rule = next(r for r in RIVALS if r.name == "KL limit")
    threshold = matched(rule, healthy, 0.05)
    assert 3 <= sum(rule.alarm(o, threshold) is not None for o in healthy) <= 5
    assert rule.alarm(outcome(None, kl=5.0), threshold) == 2


def test_a_pool_too_small_for_the_audit_is_refused_with_what_it_has(pool: Pool) -> None:
    with pytest.raises(BadInput, match="128 plain prompts, but an audit of this size draws 500"):
        check_size(pool, replace(SIZE, prompts=500))


def test_a_pool_without_a_column_or_a_score_is_refused(tmp_path: Path, pool: Pool) -> None:
    pool.table.drop(columns="human").to_parquet(tmp_path / "a.parquet")
    with pytest.raises(BadInput, match=r"lacks the column\(s\) human"):
        load_pool(str(tmp_path / "a.parquet"))
    pool.table.assign(human=np.nan).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(BadInput, match="fewer than 8 rows have a human score"):
        load_pool(str(tmp_path / "b.parquet"))
    with pytest.raises(BadInput, match="no pool of generations"):
        load_pool(str(tmp_path / "nothing"))


def test_every_scenario_has_its_own_name() -> None:
    found = [*NULLS, *hacks(), *labels()]
    assert len({s.name for s in found}) == len(found)
    assert {s.speed >= FAST for s in hacks()} == {True, False}


def test_the_command_prints_tables_and_writes_the_figures(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    from restaudit.calibrate import grid
    from restaudit.commands.cli import app

    few = (HONEST, hack("length"))
    monkeypatch.setattr(grid, "SIZED", few)
    monkeypatch.setattr(grid, "PROMPTS", (24,))
    monkeypatch.setattr(grid, "RATINGS", (50,))
    monkeypatch.setattr("restaudit.calibrate.emulate.NULLS", (HONEST,))
    monkeypatch.setattr("restaudit.calibrate.emulate.hacks", lambda: few[1:])
    monkeypatch.setattr("restaudit.calibrate.emulate.labels", lambda: ())
    rules = json.dumps([r.model_dump(mode="json") for r in POLICY.rules])
    arguments = [
        "calibrate",
        "reviews",
        "--runs",
        "10",
        "--hack-runs",
        "10",
        "--workers",
        "1",
        "-q",
        "--set",
        "audit.resamples=100",
        "--set",
        f"gates.rules={rules}",
    ]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "one.json")])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))
    print_calibration(found)
    printed = capsys.readouterr().out
    assert "honest" in printed
    assert "length" in printed
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert "healthy emulated runs" in sentences(found)[0]


def test_a_share_is_never_rounded_to_none_or_all() -> None:
    shown = [percent(s) for s in (0.0, 0.0002, 0.025, 0.42, 0.979, 0.9958, 0.9996, 1.0)]
    assert shown == ["0%", "<0.1%", "2.5%", "42%", "98%", "99.6%", ">99.9%", "100%"]
