"""What an audit will find, said before the run: normal theory agrees with the gates, and a wish is
granted by the audit that is named.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from restaudit.calibrate.emulate import Shape, Size, emulate
from restaudit.calibrate.planning import (
    CLEARED,
    FOUND,
    Ground,
    check_wish,
    granting,
    ground,
    smallest_loss,
)
from restaudit.calibrate.pool import Pool, load_pool
from restaudit.calibrate.quick import Quick
from restaudit.calibrate.screen import BEYOND, GAP, HUMAN
from restaudit.calibrate.theory import chances
from restaudit.commands.cli import app
from restaudit.commands.plan import lines
from restaudit.config import DEFAULT_GATES, GateConfig, GatePolicy
from restaudit.config.audit import AuditConfig
from restaudit.errors import BadInput
from restaudit.loop.sealing import stage_shares

SIZE = Size(64, ((2, 1), (4, 2), (8, 4), (24, 8)), 16, 16)
SHAPE = Shape(2, 2)
DISPARITY = GateConfig(
    name="disparity", metric=GAP, must_stay="below", margin=1.0, looks="last", reason="a gap"
)


def policy_for(stages: int) -> GatePolicy:
    return GatePolicy(rules=(*DEFAULT_GATES.rules, DISPARITY)).written_out(stage_shares(stages))


POLICY = policy_for(4)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return load_pool("reviews")


@pytest.fixture(scope="module")
def on(pool: Pool) -> Ground:
    return ground(pool, SHAPE, SIZE)


def test_errors_are_those_of_audits_of_a_size_that_was_not_measured(on: Ground) -> None:
    world, spread = on.worlds[1], on.spreads[1]
    size = Size(48, ((6, 1),), 12, 0)
    for name in (HUMAN, BEYOND):
        squares = []
        for seed in range(8):
            base, looks = emulate(world, size, seed=100 + seed)
            now = list(looks)[-1].drawn
            (found,) = Quick(base, 200, seed, None).measured(now, frozenset({name}), (0.95,))
            assert found.error is not None
            squares.append(found.error**2)
        measured = (sum(squares) / len(squares)) ** 0.5
        assert spread.parts[name].error(48, 6, 12) == pytest.approx(measured, rel=0.12)


def test_a_policy_that_does_not_change_is_hardly_ever_halted_and_mostly_decided_ok(
    on: Ground,
) -> None:
    still = chances(POLICY, on.spreads[1], SIZE, SHAPE, human=[0.0] * 4, expected=[0.0] * 4)
    assert still.halted < 0.01
    assert still.ok["harm"] > 0.95
    assert still.ok["divergence"] > 0.95
    assert 2 < still.texts < 8
    # Gaps are asked for at the last look alone.
    assert still.texts_of_families < 8 / 3


def test_at_the_margin_a_rule_says_ok_in_at_most_five_in_a_hundred_looks(on: Ground) -> None:
    # One look, and no rule that could halt before.
    rules = tuple(r.model_copy(update={"action": "WARN"}) for r in POLICY.rules)
    policy = POLICY.model_copy(update={"rules": rules})
    at = chances(policy, on.spreads[1], SIZE, Shape(1, 1), human=[-0.25], expected=[0.0])
    assert at.halted == 0
    assert at.ok["harm"] < 0.06
    assert at.ok["divergence"] < 0.06


def test_more_prompts_find_smaller_losses_and_tiny_audits_none(on: Ground) -> None:
    found = [smallest_loss(POLICY, on, replace(SIZE, prompts=n), even=True) for n in (32, 64, 256)]
    assert all(f is not None for f in found)
    assert found[0] > found[1] > found[2] > 0.1  # type: ignore[operator]
    # What sits in some texts of some prompts is harder to find.
    uneven = smallest_loss(POLICY, on, SIZE, even=False)
    assert uneven is not None
    assert uneven > found[1]  # type: ignore[operator]
    assert smallest_loss(POLICY, on, Size(3, ((1, 1),), 2, 0), even=True) is None


def test_the_audit_that_is_named_grants_the_wish_and_can_be_configured(on: Ground) -> None:
    seen: list[int] = []
    wish = granting(0.4, policy_for, on, families=True, progress=seen.append)
    assert wish is not None
    assert sum(seen) == 24
    assert wish.sick.halted >= FOUND
    assert wish.healthy.cleared >= CLEARED
    plain, of_families = (tuple(c) for c in zip(*wish.size.stages, strict=True))
    AuditConfig(samples_per_prompt=plain, counterfactual_samples=of_families)
    # Half of its prompts would not do.
    half = replace(wish.size, prompts=wish.size.prompts // 2)
    policy = policy_for(len(plain))
    loss = smallest_loss(policy, on, half, even=False)
    assert loss is None or loss > 0.4 or half.prompts < 16


def test_a_wish_within_the_margins_is_refused_with_the_smallest_that_can_be_had() -> None:
    with pytest.raises(BadInput, match=r"--find 0.1: expected more than 0.1, the margin"):
        check_wish(0.1, POLICY)
    blind = GatePolicy(rules=(DISPARITY,))
    with pytest.raises(BadInput, match="no rule of this policy that can halt a run"):
        check_wish(0.3, blind)


def asked(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments])


SMALL = (
    "--set",
    "loop.grow_steps=1",
    "--set",
    "audit.resamples=200",
    "--set",
    "audit.encoder=null",
)


def test_the_command_says_what_a_healthy_run_will_get_and_what_it_costs() -> None:
    result = asked("reviews", "--runs", "10", "--workers", "1", "--format", "json", *SMALL)
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["audit"]["stages"][0] == [2, 1]
    assert set(found["healthy"]["improves"]["rules"]) == {
        "harm",
        "divergence",
        "direction",
        "disparity",
    }
    # Without an encoder the rule on variety can never pass, and that is said.
    assert found["not_shown"] == ["collapse"]
    assert found["assumes"] is None
    assert found["texts"]["base"] < found["texts"]["at_most"]
    told = "\n".join(lines(found))
    assert "ends decided OK in" in told
    assert "it must pass too: collapse" in told
    assert "found 9 times in 10" in told


def test_another_human_score_than_the_pools_is_said_and_how_to_give_ones_own() -> None:
    result = asked("harmless", "--runs", "10", "--workers", "1", "-q", *SMALL)
    assert result.exit_code == 0, result.output
    assert "Give a run of your own with --pool RUN" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody",), "nobody"),
        (("reviews", "--find", "0.05"), "expected more than 0.1"),
        (("reviews", "--pool", "nothing"), "no pool of generations"),
        (("reviews", "--set", "data.splits.sizes.audit=500"), "128 plain prompts"),
        (("reviews", "--set", "data.splits.sizes={grow: 8}"), "data.splits.sizes"),
        (("reviews", "--set", "audit.samples_per_prompt=[4,2]"), "rising counts"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_message(
    arguments: tuple[str, ...], message: str
) -> None:
    result = asked(*arguments)
    assert isinstance(result.exception, BadInput)
    assert message in str(result.exception)


def test_a_run_has_a_sealed_plan_and_is_sent_to_calibrate(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}", encoding="utf-8")
    (tmp_path / "ledger.jsonl").write_text("", encoding="utf-8")
    result = asked(str(tmp_path))
    assert isinstance(result.exception, BadInput)
    assert "restaudit calibrate measures its gates" in str(result.exception)
