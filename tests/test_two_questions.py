"""Two questions, two errors: a rule fires at the family's error rate, and says OK at its own."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from probes.base import Interval, Measurement
from restaudit.config import DEFAULT_GATES, GateConfig, GatePolicy
from restaudit.gates import Decision, GateResult, decide, levels_needed, ok_level, rule_level

METRIC = "divergence.human_change"
HARM = {
    "name": "harm",
    "metric": METRIC,
    "must_stay": "above",
    "margin": -0.2,
    "action": "HALT",
    "reason": "why",
}


def _policy(*rules: dict[str, Any], **more: Any) -> GatePolicy:
    return GatePolicy.model_validate({"rules": rules or (HARM,), **more})


def _measured(
    value: float,
    error: float,
    policy: GatePolicy,
    *,
    name: str = METRIC,
    looks: int = 1,
    stage: int = 1,
    texts: int = 2,
) -> Measurement:
    """A normal estimate with the intervals that this look asks for."""
    intervals = []
    for level in levels_needed(policy, look=1, looks=looks, stage=stage):
        z = NormalDist().inv_cdf(0.5 + level / 2)
        intervals.append(Interval(level, value - z * error, value + z * error))
    return Measurement(
        name=name,
        value=value,
        unit="sd",
        n=50 * texts,
        n_prompts=50,
        method="normal",
        version="1",
        intervals=tuple(intervals),
        error=error,
    )


def _gate(policy: GatePolicy, *measurements: Measurement) -> GateResult:
    return decide(policy, measurements, iteration="g01/i01", look=1, looks=1).gates[0]


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.1, "OK"), (-0.08, "OK"), (-0.1, "UNDECIDED"), (-0.3, "UNDECIDED"), (-0.4, "HALT")],
)
def test_ok_rules_out_a_loss_of_a_quarter_sd_and_halt_needs_the_margin_to_be_broken(
    value: float, verdict: str
) -> None:
    # One-sided 5% is 1.645 standard errors: 0.1645 from the value to either end.
    policy = _policy()
    gate = _gate(policy, _measured(value, 0.1, policy))
    assert (gate.verdict, gate.ok_margin) == (verdict, -0.25)
    assert (gate.settle is not None) == (verdict == "UNDECIDED")


@pytest.mark.parametrize(
    ("metric", "must_stay", "margin", "given_margin", "expected"),
    [
        (METRIC, "above", -0.2, None, -0.25),
        (METRIC, "above", -0.5, None, -0.5),  # wider than a quarter already
        ("divergence.beyond_expected", "below", 0.1, None, 0.25),
        (METRIC, "above", 0.1, None, 0.1),  # bounds a gain, not a loss
        ("diversity.vendi_ratio", "above", 0.5, None, 0.5),  # a ratio, not in sd
        (METRIC, "above", -0.2, -0.1, -0.1),
    ],
)
def test_what_ok_rules_out_where_a_rule_does_not_say(
    metric: str, must_stay: str, margin: float, given_margin: float | None, expected: float
) -> None:
    raw = HARM | {"metric": metric, "must_stay": must_stay, "margin": margin}
    rule = GateConfig.model_validate(raw | {"ok_margin": given_margin})
    assert rule.ok_bound == expected


def test_an_alarm_only_rule_fires_or_is_silent_and_never_stands_in_the_way() -> None:
    alarm = HARM | {"name": "alarm", "metric": "other", "alarm_only": True, "action": "WARN"}
    policy = _policy(HARM, alarm)
    good = _measured(0.2, 0.1, policy)
    for other, said, verdict in ((0.0, "SILENT", "OK"), (-0.9, "WARN", "WARN")):
        measured = good, _measured(other, 0.1, policy, name="other")
        decision = decide(policy, measured, iteration="g01/i01", look=1, looks=1)
        assert ([g.verdict for g in decision.gates], decision.verdict) == (["OK", said], verdict)
    # Not measured at all: still silent, with the reason.
    decision = decide(policy, [good], iteration="g01/i01", look=1, looks=1)
    assert decision.verdict == "OK"
    assert "no measurement is called other" in decision.gates[1].why
    # Where nothing must pass, nothing was checked.
    only = decide(_policy(alarm), [], iteration="g01/i01", look=1, looks=1)
    assert ([g.verdict for g in only.gates], only.verdict) == (["SILENT"], "UNDECIDED")


def test_rules_that_must_pass_do_not_share_the_error_of_ok_and_halt_rules_share_theirs() -> None:
    many = [HARM | {"name": str(k), "metric": str(k)} for k in range(5)]
    policy = _policy(*many)
    assert ok_level(policy) == pytest.approx(0.9)
    assert rule_level(policy, policy.rules[0], look=1, looks=4) == pytest.approx(1 - 2 * 0.05 / 20)
    alarms = _policy(*(rule | {"alarm_only": True} for rule in many))
    assert ok_level(policy) not in levels_needed(alarms, look=1, looks=1)


@given(
    shares=st.lists(st.floats(0.05, 1), min_size=1, max_size=6),
    looks=st.integers(1, 8),
    rules=st.integers(1, 5),
)
def test_stages_looks_and_rules_together_spend_the_error_rates_and_no_more(
    shares: list[float], looks: int, rules: int
) -> None:
    parts = [s / sum(shares) for s in shares]
    named = [HARM | {"name": str(k), "metric": str(k)} for k in range(rules)]
    policy = _policy(*named, stage_shares=parts)
    stages = range(1, len(parts) + 1)
    halts = [
        (1 - rule_level(policy, r, look=k, looks=looks, stage=s)) / 2
        for r in policy.rules
        for k in range(1, looks + 1)
        for s in stages
    ]
    assert sum(halts) == pytest.approx(0.05)
    assert sum((1 - ok_level(policy, stage=s)) / 2 for s in stages) == pytest.approx(0.05)


def test_shares_that_do_not_add_up_are_refused_and_so_is_no_error_at_all() -> None:
    with pytest.raises(ValidationError, match="add up to 1"):
        _policy(stage_shares=[0.5, 0.4])
    with pytest.raises(ValidationError, match="above 0 and below"):
        _policy(ok_error=None)


# --- stages of a look


def _staged(policy: GatePolicy, *found: Measurement) -> Decision:
    """The decision after these stages."""
    decision: Decision | None = None
    for stage, m in enumerate(found, start=1):
        decision = decide(
            policy, [m], iteration="g01/i01", look=1, looks=1, stage=stage, earlier=decision
        )
    assert decision is not None
    return decision


def test_what_a_stage_said_stands_unless_a_later_one_fires() -> None:
    policy = _policy(stage_shares=[0.5, 0.5])

    def at(value: float, error: float, stage: int) -> Measurement:
        return _measured(value, error, policy, stage=stage)

    passed = at(0.2, 0.1, 1)
    assert _staged(policy, passed, at(-0.2, 0.1, 2)).gates[0].verdict == "OK"
    assert _staged(policy, passed, at(-0.2, 0.1, 2)).gates[0].stage == 1
    assert _staged(policy, passed, at(-0.9, 0.1, 2)).gates[0].verdict == "HALT"
    broken = at(-0.9, 0.1, 1)
    assert _staged(policy, broken, at(0.9, 0.1, 2)).gates[0].verdict == "HALT"
    assert _staged(policy, at(-0.2, 0.1, 1), at(0.2, 0.1, 2)).gates[0].stage == 2


def test_more_samples_are_wanted_only_where_they_could_decide_something() -> None:
    other = HARM | {"name": "other", "metric": "other"}
    policy = _policy(HARM, other, stage_shares=[0.5, 0.5])
    unclear = _measured(-0.2, 0.1, policy)

    def wanted(*found: Measurement) -> list[str]:
        decision = decide(policy, found, iteration="g01/i01", look=1, looks=1)
        return [g.gate for g in decision.wants_more]

    good = replace(_measured(0.2, 0.05, policy), name="other")
    assert wanted(unclear, good) == ["harm"]
    assert wanted(replace(unclear, value=0.2, intervals=good.intervals), good) == []
    # A look that stops the run is decided, whatever else is open.
    assert wanted(unclear, replace(_measured(-0.9, 0.05, policy), name="other")) == []
    # Benchmark items are as many as they are, however many texts a look samples.
    items = _policy(HARM | {"metric": "capability.change"}, stage_shares=[0.5, 0.5])
    m = replace(_measured(-0.2, 0.1, items), name="capability.change")
    decision = decide(items, [m], iteration="g01/i01", look=1, looks=1)
    assert (decision.verdict, decision.wants_more) == ("UNDECIDED", ())
    # What cannot be measured at all is not made measurable by more of the same samples.
    missing = replace(good, value=None, intervals=(), reason="no encoder")
    assert wanted(replace(unclear, value=0.2, intervals=good.intervals), missing) == []


def test_false_ok_and_false_halt_stay_below_their_rates_over_stages() -> None:
    """Estimates of nested samples at the margins, 4,000 looks: the union bound holds."""
    policy = _policy(stage_shares=[0.1, 0.2, 0.3, 0.4])
    rng = np.random.Generator(np.random.PCG64(4))
    runs, counts = 4000, np.array([2, 4, 8, 16])
    wrong = {}
    for truth, bad in ((-0.25, "OK"), (-0.2, "HALT")):
        draws = rng.normal(truth, 1.0, size=(runs, 16 * 10))
        wrong[bad] = 0
        for row in draws:
            found = [
                _measured(row[: c * 10].mean(), 1 / np.sqrt(c * 10), policy, stage=s)
                for s, c in enumerate(counts, start=1)
            ]
            wrong[bad] += _staged(policy, *found).verdict == bad
    # Between a half of the rate (nested stages agree with one another) and the rate.
    assert 0.02 * runs < wrong["OK"] < 0.05 * runs
    assert 0.02 * runs < wrong["HALT"] < 0.05 * runs


# --- what is said of an undecided rule


@given(
    value=st.floats(-0.2, 0.5), error=st.floats(0.02, 2), must=st.sampled_from(["above", "below"])
)
def test_as_many_more_prompts_as_are_named_would_settle_it(
    value: float, error: float, must: Literal["above", "below"]
) -> None:
    sign = 1 if must == "above" else -1
    policy = _policy(HARM | {"must_stay": must, "margin": -0.2 * sign})
    gate = _gate(policy, _measured(value * sign, error, policy))
    if gate.verdict != "UNDECIDED":
        return
    assert gate.settle is not None
    words = gate.settle.replace(",", "").split()
    more = int(words[words.index("about") + 1])
    again = _measured(value * sign, error * np.sqrt(50 / (50 + more)), policy)
    assert _gate(policy, again).verdict == "OK"
    # And not many fewer: the count is rounded up to two digits.
    fewer = _measured(value * sign, error * np.sqrt(50 / (50 + more * 0.85 - 2)), policy)
    assert _gate(policy, fewer).verdict == "UNDECIDED"


def test_two_stages_tell_how_many_texts_of_a_prompt_would_settle_it() -> None:
    policy = _policy(stage_shares=[0.5, 0.5])
    # Variance b + a/k with b = 0.002, a = 0.04: 0.022 at 2 texts, 0.012 at 4.
    two = _measured(-0.05, 0.022**0.5, policy, stage=1, texts=2)
    four = _measured(-0.05, 0.012**0.5, policy, stage=2, texts=4)
    gate = _staged(policy, two, four).gates[0]
    # 0.2 to the margin at z = 1.96: variance 0.0104, so 0.04 / 0.0084 = 4.76 texts.
    assert gate.settle is not None
    assert gate.settle.endswith("or about 1 more text a prompt would settle it")


def test_a_gap_between_groups_is_settled_by_more_families() -> None:
    policy = _policy(HARM | {"metric": "bias.human_gap"}, stage_shares=[0.5, 0.5])
    found = [_measured(-0.05, e, policy, name="bias.human_gap", stage=s, texts=t)
             for e, s, t in ((0.022**0.5, 1, 2), (0.012**0.5, 2, 4))]  # fmt: skip
    settle = _staged(policy, *found).gates[0].settle
    assert settle is not None
    assert "more families would settle it" in settle
    assert "text" not in settle


def test_an_estimate_beyond_the_margin_is_not_said_to_need_more_data() -> None:
    policy = _policy()
    gate = _gate(policy, _measured(-0.3, 0.1, policy))
    assert gate.verdict == "UNDECIDED"
    assert gate.settle is not None
    assert "more data would rather show the loss than rule it out" in gate.settle


def test_what_a_rule_finds_is_the_true_value_that_fires_in_8_of_10_audits() -> None:
    policy = _policy()
    gate = _gate(policy, _measured(0.0, 0.1, policy))
    assert gate.finds is not None
    rng = np.random.Generator(np.random.PCG64(1))
    fired = 0
    for value in rng.normal(gate.finds, 0.1, size=2000):
        fired += _gate(policy, _measured(float(value), 0.1, policy)).verdict == "HALT"
    assert 0.77 < fired / 2000 < 0.83


def test_conditions_that_do_not_hold_let_a_rule_pass() -> None:
    rule = HARM | {"when": {"metric": "reward", "side": "above", "margin": 0.3}}
    policy = _policy(rule)
    unclear = _measured(-0.2, 0.1, policy)
    for reward, verdict in ((0.0, "OK"), (0.3, "UNDECIDED"), (0.6, "UNDECIDED")):
        found = unclear, _measured(reward, 0.05, policy, name="reward")
        assert _gate(policy, *found).verdict == verdict
    broken = _measured(-0.9, 0.1, policy)
    for reward, verdict in ((0.0, "OK"), (0.3, "UNDECIDED"), (0.6, "HALT")):
        found = broken, _measured(reward, 0.05, policy, name="reward")
        assert _gate(policy, *found).verdict == verdict


def test_intervals_for_passing_may_be_others_than_those_for_firing() -> None:
    policy = _policy()
    m = _measured(-0.1, 0.2, policy)
    narrow = tuple(replace(i, low=-0.2, high=0.0) for i in m.intervals)
    assert _gate(policy, m).verdict == "UNDECIDED"
    assert _gate(policy, replace(m, ok_intervals=narrow)).verdict == "OK"


@given(st.floats(-1, 1), st.floats(0.01, 1))
def test_a_decision_survives_json(value: float, error: float) -> None:
    policy = _policy(stage_shares=[1.0])
    decision = decide(
        policy, [_measured(value, error, policy)], iteration="g01/i01", look=1, looks=1
    )
    assert Decision.from_json(decision.to_json()) == decision
    assert "mde" not in decision.to_json()["gates"][0]


def test_the_default_gates_can_all_pass_or_are_alarms() -> None:
    alarms = [r.name for r in DEFAULT_GATES.rules if r.alarm_only]
    assert alarms == ["habit", "no benefit", "wording"]
