"""The gate policy as plans of schema 1 hold it, one interval for both questions: a truth table, and
what may never be called OK. What plans say now is in test_two_questions.py.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from probes.base import Interval, Measurement
from restaudit.config import GatePolicy
from restaudit.evidence.record import ONE_QUESTION, as_sealed
from restaudit.gates import SEVERITY, Decision, decide, levels_needed, rule_level

METRIC = "divergence.human_change"
NEW = ("SILENT", "UNDECIDED")


def _policy(
    must_stay: str = "above", margin: float = -0.2, action: str = "HALT", **more: Any
) -> GatePolicy:
    rule = {
        "name": "harm",
        "metric": METRIC,
        "must_stay": must_stay,
        "margin": margin,
        "action": action,
        "reason": "why",
    }
    return _old({"rules": [rule], **more})


def _old(raw: dict[str, Any]) -> GatePolicy:
    """A policy as it was sealed before there were two questions."""
    return as_sealed(GatePolicy.model_validate(raw), ONE_QUESTION)


def _measured(low: float, high: float, *levels: float, name: str = METRIC) -> Measurement:
    return Measurement(
        name=name,
        value=(low + high) / 2,
        unit="sd",
        n=40,
        n_prompts=20,
        method="bootstrap",
        version="1",
        intervals=tuple(Interval(level, low, high) for level in levels or (0.9, 0.95)),
    )


def _missing() -> Measurement:
    return Measurement(
        name=METRIC,
        value=None,
        unit="sd",
        n=0,
        n_prompts=0,
        method="bootstrap",
        version="1",
        reason="no rated word",
    )


def _one(policy: GatePolicy, *measurements: Measurement, looks: int = 1) -> Decision:
    return decide(policy, measurements, iteration="g01/i01", look=1, looks=looks)


@pytest.mark.parametrize(
    ("must_stay", "low", "high", "action", "verdict"),
    [
        ("above", -0.1, 0.3, "HALT", "OK"),
        ("above", -0.9, -0.3, "HALT", "HALT"),
        ("above", -0.9, -0.3, "WARN", "WARN"),
        ("above", -0.4, 0.3, "HALT", "INCONCLUSIVE"),
        ("above", -0.2, 0.3, "HALT", "INCONCLUSIVE"),  # touching the margin is not staying above it
        ("above", -0.9, -0.2, "HALT", "INCONCLUSIVE"),
        ("below", -0.9, -0.3, "HALT", "OK"),
        ("below", -0.1, 0.3, "HALT", "HALT"),
        ("below", -0.1, 0.3, "WARN", "WARN"),
        ("below", -0.4, 0.3, "HALT", "INCONCLUSIVE"),
    ],
)
def test_the_verdict_follows_from_where_the_whole_interval_lies(
    must_stay: str, low: float, high: float, action: str, verdict: str
) -> None:
    decision = _one(_policy(must_stay, action=action), _measured(low, high))
    assert decision.verdict == decision.gates[0].verdict == verdict
    if verdict in {"WARN", "HALT"}:
        assert "why" in decision.gates[0].why


def test_a_missing_metric_is_inconclusive_and_named() -> None:
    gate = _one(_policy(), _measured(5, 6, name="something.else")).gates[0]
    assert (gate.verdict, gate.value, gate.mde, gate.n_prompts) == ("INCONCLUSIVE", None, None, 0)
    assert METRIC in gate.why


def test_a_null_measurement_is_inconclusive_with_its_own_reason() -> None:
    gate = _one(_policy(), _missing()).gates[0]
    assert (gate.verdict, gate.value, gate.low, gate.why) == (
        "INCONCLUSIVE",
        None,
        None,
        "no rated word",
    )


def test_a_value_whose_interval_is_for_another_level_is_inconclusive() -> None:
    gate = _one(_policy(), _measured(0.1, 0.2, 0.8)).gates[0]
    assert gate.verdict == "INCONCLUSIVE"
    assert "0.9" in gate.why


def test_a_policy_without_rules_has_checked_nothing() -> None:
    assert _one(_old({}), _measured(0, 1)).verdict == "INCONCLUSIVE"


def test_the_worst_gate_decides_and_inconclusive_is_worse_than_ok() -> None:
    assert [v for v in SEVERITY if v not in NEW] == ["OK", "INCONCLUSIVE", "WARN", "HALT"]
    rules = [
        {"name": n, "metric": n, "must_stay": "above", "margin": 0, "action": a, "reason": "r"}
        for n, a in (("a", "WARN"), ("b", "HALT"), ("c", "HALT"))
    ]
    policy = _old({"rules": rules})
    ok, unclear, bad = (1.0, 2.0), (-1.0, 1.0), (-2.0, -1.0)

    def verdict(*spans: tuple[float, float]) -> str:
        return _one(
            policy, *(_measured(*s, name=n) for s, n in zip(spans, "abc", strict=True))
        ).verdict

    assert verdict(ok, ok, ok) == "OK"
    assert verdict(ok, ok, unclear) == "INCONCLUSIVE"
    assert verdict(bad, ok, unclear) == "WARN"
    assert verdict(bad, unclear, bad) == "HALT"


@pytest.mark.parametrize(("looks", "level"), [(1, 0.9), (2, 0.95), (5, 0.98)])
def test_the_error_rate_is_shared_between_the_planned_looks(looks: int, level: float) -> None:
    policy = _policy()
    assert rule_level(policy, policy.rules[0], look=1, looks=looks) == pytest.approx(level)
    assert levels_needed(policy, look=1, looks=looks) == (
        rule_level(policy, policy.rules[0], look=1, looks=looks),
    )
    at_level = _measured(0.1, 0.2, level)
    assert _one(_policy(), at_level, looks=looks).verdict == "OK"


@given(
    halts=st.integers(1, 4),
    warns=st.integers(0, 3),
    looks=st.integers(1, 12),
    spending=st.sampled_from(["uniform", "pocock", "obrien_fleming"]),
    level=st.floats(0.6, 0.99),
)
def test_all_rules_of_one_action_and_all_looks_together_spend_the_error_rate_of_the_policy(
    halts: int, warns: int, looks: int, spending: str, level: float
) -> None:
    kinds = ["HALT"] * halts + ["WARN"] * warns
    rules = [
        {
            "name": str(k),
            "metric": str(k),
            "must_stay": "above",
            "margin": 0,
            "action": a,
            "reason": "r",
        }
        for k, a in enumerate(kinds)
    ]
    policy = _old({"rules": rules, "level": level, "spending": spending})
    for action in set(kinds):
        spent = [
            (1 - rule_level(policy, r, look=k, looks=looks)) / 2
            for r in policy.rules
            if r.action == action
            for k in range(1, looks + 1)
        ]
        assert min(spent) > 0 or spending == "obrien_fleming"
        assert sum(spent) == pytest.approx(1 - level)


def test_a_rule_for_the_last_look_is_not_asked_before_and_spends_all_there() -> None:
    rule = {
        "name": "late",
        "metric": METRIC,
        "must_stay": "above",
        "margin": 0,
        "reason": "r",
        "looks": "last",
    }
    policy = _old({"rules": [rule]})
    measured = _measured(1, 2)
    early = decide(policy, [measured], iteration="g01/i01", look=1, looks=3)
    late = decide(policy, [measured], iteration="g01/i03", look=3, looks=3)
    assert (early.gates, early.verdict) == ((), "INCONCLUSIVE")
    assert [g.verdict for g in late.gates] == ["OK"]


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        ((0.2, 0.9), "WARN"),
        ((-0.2, 0.9), "INCONCLUSIVE"),
        ((-0.9, -0.1), "OK"),
        (None, "INCONCLUSIVE"),
    ],
)
def test_a_conditional_rule_speaks_only_where_its_condition_is_established(
    condition: tuple[float, float] | None, verdict: str
) -> None:
    rule = {
        "name": "no benefit",
        "metric": METRIC,
        "must_stay": "above",
        "margin": 0.3,
        "reason": "r",
        "when": {"metric": "reward", "side": "above", "margin": 0.0},
    }
    policy = _old({"rules": [rule]})
    found = [_measured(-0.2, 0.1)] + ([_measured(*condition, name="reward")] if condition else [])
    assert _one(policy, *found).verdict == verdict
    assert _one(policy, _measured(0.4, 0.5), *found[1:]).verdict == "OK"


@pytest.mark.parametrize(
    ("alpha", "verdict"), [(0.8, "HALT"), (0.5, "INCONCLUSIVE"), (None, "INCONCLUSIVE")]
)
def test_raters_who_disagree_decide_nothing(alpha: float | None, verdict: str) -> None:
    people = replace(_measured(-0.9, -0.3), detail={"human_label": "PEOPLE"})
    agreement = (
        []
        if alpha is None
        else [replace(_measured(alpha - 0.1, alpha + 0.1, name="agreement.alpha"))]
    )
    gate = _one(_policy(), people, *agreement).gates[0]
    assert gate.verdict == verdict
    assert verdict == "HALT" or "raters" in gate.why
    lexicon = replace(people, detail={"human_label": "LEXICON (human word ratings, aggregated)"})
    assert _one(_policy(), lexicon, *agreement).verdict == "HALT"


def test_the_minimum_detectable_effect_has_80_percent_power() -> None:
    """A change as large as the MDE puts the interval wholly beyond the margin 8 times in 10 (normal
    approximation).
    """
    gate = _one(_policy(), _measured(-1.0, 1.0)).gates[0]
    se = 1.0 / NormalDist().inv_cdf(0.95)
    assert gate.mde is not None
    power = 1 - NormalDist(gate.mde, se).cdf(1.0)
    assert power == pytest.approx(0.8)
    assert f"{gate.mde:.2g}" in gate.why
    assert "20 prompts" in gate.why


BOUNDS = st.floats(-1e6, 1e6)


@given(
    BOUNDS, BOUNDS, BOUNDS, st.sampled_from(["above", "below"]), st.sampled_from(["WARN", "HALT"])
)
def test_a_gate_is_never_ok_while_its_interval_reaches_the_margin(
    a: float, b: float, margin: float, must_stay: Literal["above", "below"], action: str
) -> None:
    low, high = min(a, b), max(a, b)
    gate = _one(_policy(must_stay, margin, action), _measured(low, high)).gates[0]
    assert (gate.verdict == "INCONCLUSIVE") == (low <= margin <= high)
    good = low > margin if must_stay == "above" else high < margin
    assert (gate.verdict == "OK") == good


@given(BOUNDS, BOUNDS)
def test_a_decision_survives_json(a: float, b: float) -> None:
    decision = _one(_policy(), _measured(min(a, b), max(a, b)))
    assert Decision.from_json(decision.to_json()) == decision
    assert all(g.mde is None or math.isfinite(g.mde) for g in decision.gates)


def test_two_rules_cannot_share_a_name_and_a_rule_needs_a_reason() -> None:
    rule = {"name": "a", "metric": "m", "must_stay": "above", "margin": 0, "reason": "r"}
    with pytest.raises(ValidationError, match="gate names must differ"):
        GatePolicy.model_validate({"rules": [rule, rule]})
    with pytest.raises(ValidationError, match="reason"):
        GatePolicy.model_validate({"rules": [{**rule, "reason": ""}]})
