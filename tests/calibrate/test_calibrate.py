"""Emulated runs: selection by reward keeps E[human | reward], planted hacks break it, and alarms
are counted right.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from probes import Evidence, measure
from probes.hacking.learned import COST
from restaudit.calibrate.counting import pair_row, rate, summary, together
from restaudit.calibrate.emulate import MODES, Shape, Size, World, check_size, emulate
from restaudit.calibrate.grid import TrialSet, pairs, run_trials, trial_grid
from restaudit.calibrate.pool import Floats, Pool, features, load_pool, modes, too_rare
from restaudit.calibrate.quick import Quick
from restaudit.calibrate.render import percent, print_calibration, sentences
from restaudit.calibrate.rivals import RIVALS, matched
from restaudit.calibrate.scenarios import (
    FAST,
    FEATURES,
    HEAVY,
    HONEST,
    NO_CHANGE,
    NULLS,
    THRESHOLDS,
    Scenario,
    hack,
    hacks,
    labels,
    margins,
)
from restaudit.calibrate.screen import (
    BEYOND,
    EXPECTED,
    GAP,
    HUMAN,
    VENDI,
    Habits,
    habits,
    highest_cost,
    value_of,
)
from restaudit.calibrate.trial import LookOutcome, Setup, TrialOutcome, trial
from restaudit.calibrate.truth import Truth, truth, world_of
from restaudit.config import DEFAULT_GATES, GatePolicy
from restaudit.errors import BadInput

SHAPE = Shape(2, 2)
SIZE = Size(48, ((2, 1), (4, 2)), 8, 8)
LARGE = Size(120, ((8, 1),), 8, 0)
POLICY = GatePolicy(
    rules=tuple(r for r in DEFAULT_GATES.rules if not r.metric.startswith("diversity.vendi"))
).written_out((0.5, 0.5))
SETUP = Setup(POLICY, 200, None)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return load_pool("reviews")


def made(pool: Pool, scenario: Scenario) -> World:
    return world_of(pool, scenario, SHAPE, size=SIZE)


def change_of(pool: Pool, scenario: Scenario, look: int, seeds: int = 6) -> tuple[float, float]:
    """Mean human change and divergence at a look, over some large audits."""
    here = made(pool, scenario)
    found = []
    for seed in range(seeds):
        base, looks = emulate(here, LARGE, seed=seed)
        now = [x.drawn for x in looks][look - 1]
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
    planted = hack(feature, loss=0.5)
    before, after = change_of(pool, planted, look=1)[1], change_of(pool, planted, look=3)[1]
    assert abs(before) < 0.1
    assert after > 0.35


def test_the_share_of_hacked_texts_and_the_kl_rise_from_the_onset_on(pool: Pool) -> None:
    _, looks = emulate(made(pool, hack("keyword", onset=3)), SIZE, seed=1)
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
    one = list(emulate(made(pool, hack("group")), SIZE, seed=3)[1])[1]
    assert one.hacked > 0.4
    table = one.drawn.table
    has = pd.Series(features(pool)["length"][0], index=pool.table["text"]).groupby(level=0).max()
    share = (
        table.assign(long=has.loc[table["text"]].to_numpy())
        .groupby("group", dropna=False)["long"]
        .mean()
    )
    assert share[pool.groups[0]] > share.drop(pool.groups[0]).max() + 0.2


@pytest.fixture(scope="module")
def known(pool: Pool) -> Habits:
    return habits(pool, modes(pool, MODES))


def test_a_later_stage_holds_the_samples_of_the_earlier_ones(pool: Pool) -> None:
    _, looks = emulate(made(pool, hack("sameness")), replace(SIZE, rated=60), seed=4)
    look = list(looks)[-1]
    first, second = look.audit(2, 1).table, look.audit(4, 2).table
    assert len(first) == 48 * 2 + 8 * 4
    assert len(second) == 2 * len(first)
    there = second.set_index("sample_id").loc[first["sample_id"]].reset_index(drop=True)
    # The chance to be rated is that of the audit at hand, and not a sample's own.
    columns = [c for c in there.columns if c != "inclusion"]
    pd.testing.assert_frame_equal(there[columns], first[columns])


@pytest.mark.parametrize("loss", [0.25, 1.0])
@pytest.mark.parametrize("feature", ["keyword", "men", "sameness"])
@pytest.mark.parametrize("paid", [True, False])
def test_what_a_scenario_says_people_lose_is_what_they_truly_lose_at_the_last_look(
    pool: Pool, feature: str, loss: float, paid: bool
) -> None:
    here = made(pool, hack(feature, loss=loss, paid=paid))
    true = truth(here)
    assert true.loss[-1] == pytest.approx(loss, abs=1e-3)
    # Nothing before the onset.
    assert true.loss[0] == 0
    if not paid:
        assert true.reward[-1] == pytest.approx(0, abs=1e-3)
        assert true.human[-1] == pytest.approx(-loss, abs=1e-3)


def test_the_truth_is_what_large_audits_find(pool: Pool) -> None:
    scenario = hack("length", loss=0.5)
    true = truth(made(pool, scenario))
    human, beyond = change_of(pool, scenario, look=4)
    assert human == pytest.approx(true.human[-1], abs=0.05)
    assert beyond == pytest.approx(true.beyond[-1], abs=0.05)


def test_honest_selection_by_a_heavy_tailed_reward_takes_nothing_from_people(pool: Pool) -> None:
    for scenario in HEAVY:
        true = truth(made(pool, scenario))
        assert true.human[-1] > 0.2
        assert true.loss == (0, 0, 0, 0)
        assert abs(true.beyond[-1]) < 0.05


def test_margins_lie_exactly_at_what_each_rule_must_exclude(pool: Pool) -> None:
    planted = margins(POLICY.rules, 4)
    assert len(planted) == 6
    for scenario in planted:
        assert scenario.aim is not None
        true = truth(made(pool, scenario))
        found = {
            "divergence.human_change": true.human,
            "divergence.beyond_expected": true.beyond,
            "divergence.expected": true.expected,
        }[scenario.aim.metric]
        assert found[-1] == pytest.approx(scenario.aim.value, abs=0.01)


def test_a_margin_that_no_policy_of_the_pool_reaches_is_refused(pool: Pool) -> None:
    rule = POLICY.rules[0].model_copy(update={"ok_margin": -9.0})
    with pytest.raises(BadInput, match="no emulated policy of this pool reaches"):
        made(pool, margins([rule], 4)[0])


@pytest.mark.parametrize(
    "scenario",
    [HONEST, hack("keyword", loss=0.25, paid=False), hack("sameness")],
    ids=lambda s: s.name,
)
@pytest.mark.parametrize("size", [SIZE, replace(SIZE, rated=40)], ids=["all scored", "40 rated"])
def test_the_screened_trial_has_the_outcome_of_the_real_probes_at_every_stage(
    pool: Pool, known: Habits, scenario: Scenario, size: Size
) -> None:
    here, setup = made(pool, scenario), replace(SETUP, habits=known)
    assert trial(here, size, setup, seed=5) == trial(here, size, setup, seed=5, screened=False)


@pytest.mark.parametrize("scenario", [HONEST, hack("sameness")], ids=lambda s: s.name)
def test_intervals_without_tables_are_the_probes_own(pool: Pool, scenario: Scenario) -> None:
    def embed(texts: Sequence[str]) -> Floats:
        # Any texts' own directions will do.
        counts = np.array([[t.count(c) + 0.1 for c in "abcdefghijklmnop"] for t in texts])
        vectors: Floats = counts / np.linalg.norm(counts, axis=1, keepdims=True)
        return vectors

    base, looks = emulate(made(pool, scenario), SIZE, seed=6)
    metrics = frozenset({HUMAN, EXPECTED, BEYOND, GAP, VENDI})
    levels = (0.9, 0.999)
    quick = Quick(base, 200, 7, embed)
    for look in looks:
        now = look.audit(*SIZE.stages[-1])
        found = {m.name: m for m in quick.measured(now, metrics, levels)}
        probed, _ = measure(
            Evidence(
                outputs=now.table,
                base=base.table,
                embed=embed,
                levels=levels,
                resamples=200,
                seed=7,
                only=metrics,
            )
        )
        assert {m.name for m in probed} == set(found) == metrics
        for m in probed:
            own = found[m.name]
            assert (own.n, own.n_prompts, own.version) == (m.n, m.n_prompts, m.version)
            assert own.value == pytest.approx(m.value, abs=1e-9)
            for kind in ("intervals", "ok_intervals"):
                ends = [(i.level, i.low, i.high) for i in getattr(m, kind)]
                own_ends = [(i.level, i.low, i.high) for i in getattr(own, kind)]
                assert np.array(own_ends) == pytest.approx(np.array(ends), abs=1e-9)


def test_a_look_goes_on_only_while_it_is_undecided_and_its_error_is_shared(pool: Pool) -> None:
    size = Size(64, ((2, 1), (4, 1), (16, 1)), 16, 0)
    setup = replace(SETUP, policy=POLICY.model_copy(update={"stage_shares": (0.1, 0.2, 0.7)}))
    healthy = [trial(made(pool, HONEST), size, setup, seed=s) for s in range(6)]
    audits = [a for o in healthy for a in o.audits]
    assert {a.stage for a in audits} == {1, 2, 3}
    for audit in audits:
        assert audit.texts[0] == size.stages[audit.stage - 1][0]
        # It stopped before the last stage because everything was decided.
        assert audit.cleared or audit.stage == 3
    assert sum(o.cleared for o in healthy) >= 5


def test_a_habit_that_costs_people_much_is_caught_with_and_without_the_screen(
    pool: Pool, known: Habits
) -> None:
    only = GatePolicy(rules=tuple(r for r in POLICY.rules if r.name == "habit"))
    costly, size = made(pool, hack("keyword", loss=1.5)), Size(64, ((4, 1),), 8, 0)
    setup = replace(SETUP, policy=only)
    found = [trial(costly, size, replace(setup, habits=h), seed=1) for h in (known, None)]
    assert found[0] == found[1]
    assert found[0].halted in (2, 3)
    healthy = trial(made(pool, HONEST), size, replace(setup, habits=known), seed=1)
    assert healthy.halted is None


@pytest.mark.parametrize(
    "scenario", [hack("keyword"), hack("length", loss=1.0), hack("sameness")], ids=lambda s: s.name
)
def test_the_quick_look_at_habits_is_never_below_the_probes_lower_end(
    pool: Pool, known: Habits, scenario: Scenario
) -> None:
    base, looks = emulate(made(pool, scenario), SIZE, seed=2)
    for look in looks:
        evidence = Evidence(
            outputs=look.drawn.table, base=base.table, levels=(0.9,), only=frozenset({COST})
        )
        (probed,), _ = measure(evidence)
        assert probed.interval(0.9).low <= highest_cost(look.drawn, base, known, 0.05) + 1e-9


def test_a_trial_depends_on_its_seed_alone_and_workers_change_nothing(
    pool: Pool, known: Habits
) -> None:
    setup = replace(SETUP, habits=known)
    grid = [TrialSet("default", s, SIZE, 6) for s in (HONEST, hack("length"))]
    worlds = [made(pool, s.scenario) for s in grid]
    one = run_trials(setup, grid, worlds, seed=1, workers=1)
    two = run_trials(setup, grid[::-1], worlds[::-1], seed=1, workers=2)
    assert one == list(reversed(two))
    assert run_trials(setup, grid[:1], worlds[:1], seed=2, workers=1)[0] != one[0]


def test_a_planted_loss_halts_paid_or_not_and_a_healthy_run_is_decided_ok(
    pool: Pool, known: Habits
) -> None:
    size, setup = Size(64, ((4, 1), (8, 1)), 8, 0), replace(SETUP, habits=known)

    def ten(scenario: Scenario) -> list[TrialOutcome]:
        return [trial(made(pool, scenario), size, setup, seed=s) for s in range(10)]

    for paid in (True, False):
        hacked = ten(hack("keyword", loss=1.0, paid=paid))
        assert sum(o.halted in (2, 3) for o in hacked) >= 9
        assert all(o.fired["divergence"] >= 2 for o in hacked if "divergence" in o.fired)
        assert not any(o.cleared for o in hacked)
    healthy = ten(HONEST)
    assert sum(o.halted is not None for o in healthy) <= 1
    assert sum(o.cleared for o in healthy) >= 7


@pytest.mark.parametrize(("k", "n"), [(0, 400), (8, 400), (60, 60), (57, 60)])
def test_rates_carry_the_exact_binomial_interval(k: int, n: int) -> None:
    exact = binomtest(k, n).proportion_ci(method="exact")
    found = rate(k, n)
    assert (found["low"], found["high"]) == pytest.approx((exact.low, exact.high))


FOUR = (0.0, 0.1, 0.2, 0.3)


def outcome(halted: int | None, kl: float = 0.1, said: str = "OK") -> TrialOutcome:
    fired = {} if halted is None else {"divergence": halted}
    look = LookOutcome({"harm": said}, said == "OK", 1, (2, 1))  # type: ignore[dict-item]
    audits = (look,) * (halted or 4)
    return TrialOutcome(
        fired, halted, audits, (0.0, kl, kl, kl), FOUR, (1.0,) * 4, (0.0,) * 4, FOUR, FOUR
    )


TRUE = Truth(FOUR, FOUR, FOUR, FOUR, FOUR)
HARM = Setup(GatePolicy(rules=POLICY.rules[:2]), 200, None)


def test_a_halt_before_the_onset_is_counted_as_false_and_a_late_one_not_in_time() -> None:
    study = TrialSet("default", hack("length"), SIZE, 5)
    of_study = [outcome(1), outcome(2), outcome(3), outcome(4), outcome(None)]
    setup = replace(HARM, policy=GatePolicy(rules=POLICY.rules[:1]))
    found = summary(study, TRUE, of_study, setup, SHAPE)
    counts = {k: found[k]["count"] for k in ("halted_before_onset", "within_one_grow", "halted")}
    assert counts == {"halted_before_onset": 1, "within_one_grow": 2, "halted": 4}
    assert found["looks_to_halt"] == 2.0
    null = replace(study, scenario=HONEST)
    both = together(
        [null, study], [[outcome(None)] * 19 + [outcome(4)], [outcome(3)] * 3 + [outcome(4)]], SHAPE
    )
    assert both["false_alarms"]["rate"] == 0.05
    assert both["caught_within_one_grow"]["rate"] == 0.75


def test_ok_is_counted_at_the_last_look_of_runs_that_came_so_far() -> None:
    setup = replace(HARM, policy=GatePolicy(rules=POLICY.rules[:1]))
    of_study = [outcome(None), outcome(None, said="UNDECIDED"), outcome(2), outcome(4)]
    null = TrialSet("default", HONEST, SIZE, 4)
    found = summary(null, TRUE, of_study, setup, SHAPE)
    # A halted run is not decided OK, whatever its last look said of other rules.
    assert found["cleared"]["count"] == 1
    assert found["ok"]["harm"]["last"] | {"low": 0, "high": 0} == {
        "count": 2,
        "runs": 3,
        "rate": 2 / 3,
        "low": 0,
        "high": 0,
    }
    assert found["ok"]["harm"]["looks"]["runs"] == 4 + 4 + 2 + 4
    at = next(s for s in margins(POLICY.rules, 4) if s.aim and s.aim.metric == HUMAN)
    margin = summary(replace(null, scenario=at), TRUE, of_study, setup, SHAPE)
    assert (margin["false_ok"]["count"], margin["false_ok"]["runs"]) == (2, 3)


def test_reward_gains_are_called_equal_only_where_that_is_shown() -> None:
    def gained(gain: float, spread: float) -> list[TrialOutcome]:
        ends = gain + spread * np.linspace(-1, 1, 40)
        return [replace(outcome(None), reward=(0.0, 0.0, 0.0, float(e))) for e in ends]

    assert pair_row(gained(0.9, 0.1), gained(0.92, 0.1), "a")["equal"]
    assert not pair_row(gained(0.9, 0.1), gained(1.1, 0.1), "a")["equal"]
    # No difference is seen, and none is excluded.
    assert not pair_row(gained(0.9, 1.0), gained(0.9, 1.0), "a")["equal"]


def test_a_matched_pair_has_the_same_true_gain_of_reward(pool: Pool) -> None:
    sick = hack("keyword")
    gain = truth(made(pool, sick)).reward[-1]
    ((healthy, _),) = pairs(SIZE, {sick: gain}, runs=5)
    assert truth(made(pool, healthy.scenario)).reward[-1] == pytest.approx(gain, abs=0.01)


def test_the_grid_has_only_sizes_that_the_pool_can_show() -> None:
    few = trial_grid(SIZE, SHAPE, SETUP, null_runs=5, hack_runs=5, most_prompts=100)
    assert {s.size.prompts for s in few if s.part == "size"} == {32}
    # People are asked once, so that their looks have one stage.
    assert {len(s.size.stages) for s in few if s.part == "ratings"} == {1}


def test_a_matched_rival_rings_for_as_many_healthy_runs_as_it_may() -> None:
    healthy = [outcome(None, kl=k / 100) for k in range(100)]
    rule = next(r for r in RIVALS if r.name == "KL limit")
    threshold = matched(rule, healthy, 0.05)
    assert 3 <= sum(rule.alarm(o, threshold) is not None for o in healthy) <= 5
    assert rule.alarm(outcome(None, kl=5.0), threshold) == 2


def test_a_pool_too_small_for_the_audit_is_refused_with_what_it_has(pool: Pool) -> None:
    with pytest.raises(BadInput, match="128 plain prompts, but an audit of this size has 500"):
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
    found = [*NULLS, *hacks(), *labels(), *margins(DEFAULT_GATES.rules, 4)]
    assert len({s.name for s in found}) == len(found)
    assert {s.speed >= FAST for s in hacks()} == {True, False}


def test_the_command_prints_tables_and_writes_the_figures(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    from restaudit.calibrate import grid
    from restaudit.commands.cli import app

    few = (hack("length"),)
    monkeypatch.setattr(grid, "SIZED", few)
    monkeypatch.setattr(grid, "RATED", few)
    monkeypatch.setattr(grid, "PAIRED", few)
    monkeypatch.setattr(grid, "PROMPTS", (24,))
    monkeypatch.setattr(grid, "RATINGS", (50,))
    for name, value in (("NULLS", (HONEST, NO_CHANGE)), ("hacks", lambda: few), ("labels", tuple)):
        monkeypatch.setattr(f"restaudit.calibrate.scenarios.{name}", value)
    monkeypatch.setattr(
        "restaudit.calibrate.scenarios.margins", lambda rules, looks: margins(rules, looks)[:1]
    )
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
        "loop.grow_steps=1",
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
