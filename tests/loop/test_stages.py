"""A look samples in stages, and only while its gates are undecided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from probes.base import Measurement
from restaudit.config.reading import parse
from restaudit.errors import BadInput
from restaudit.evidence.record import BASE, Run, stage_file
from restaudit.evidence.verify import verify
from restaudit.gates import Decision
from restaudit.loop.running import start
from restaudit.loop.sealing import stage_shares
from tests.loop.conftest import tiny_raw

HUMAN, GAP = "divergence.human_change", "bias.human_gap"
LOOK = "g01/i01"
# What a rule says at any sample of the tiny run: margins that nothing reaches.
PASSES = {"margin": -1e9, "ok_margin": -1e8}
OPEN = {"margin": -1e9, "ok_margin": 1e8}


def _rule(metric: str, answer: dict[str, float], **more: Any) -> dict[str, Any]:
    rule = {"name": metric, "metric": metric, "must_stay": "above", "reason": "r", **answer, **more}
    if metric == GAP:
        rule |= {"must_stay": "below", "margin": 1e9, "ok_margin": -rule["ok_margin"]}
    return rule


def _raw(policy: Path, rules: list[dict[str, Any]], **audit: Any) -> dict[str, Any]:
    raw = tiny_raw(policy, grow_steps=1, improve_steps=1)
    raw["audit"] |= {"samples_per_prompt": [2, 4, 5], **audit}
    # Gaps between groups have an interval where there are two families at least.
    raw["data"]["splits"]["shares"] = {"grow": 0.3, "d_eval": 0.1, "audit": 0.6}
    raw["gates"] = {"rules": rules}
    return raw


def _ran(raw: dict[str, Any], folder: Path, silent: Any) -> Run:
    start(parse(raw), folder, silent)
    assert verify(folder).finished
    return Run(folder)


def _decision(run: Run) -> Decision:
    decision = run.decision(LOOK)
    assert decision is not None
    return decision


def _texts(run: Run) -> set[tuple[str, int]]:
    """Whether a prompt belongs to a family, and how many samples it has."""
    rows = run.audit(LOOK)
    counts = rows.groupby("prompt_id").agg(family=("family", "first"), n=("text", "size"))
    kinds = counts["family"].isna().map({True: "plain", False: "family"})
    return {(str(kind), int(n)) for kind, n in zip(kinds, counts["n"], strict=True)}


def test_a_decided_look_samples_no_more(tiny_policy, job_folder, silent):
    run = _ran(_raw(tiny_policy, [_rule(HUMAN, PASSES)]), job_folder / "run", silent)
    decision = _decision(run)
    assert (decision.verdict, decision.stage, decision.stages) == ("OK", 1, 3)
    assert _texts(run) == {("plain", 2), ("family", 1)}
    assert not (run.path / LOOK / "stage1").exists()
    # The base policy is compared with at every stage of every look.
    base = run.audit(BASE)
    assert base[base["family"].isna()].groupby("prompt_id").size().eq(5).all()


def test_an_undecided_look_samples_on_to_the_last_stage(tiny_policy, job_folder, silent):
    run = _ran(_raw(tiny_policy, [_rule(HUMAN, OPEN)]), job_folder / "run", silent)
    decision = _decision(run)
    assert (decision.verdict, decision.stage) == ("UNDECIDED", 3)
    assert _texts(run) == {("plain", 5), ("family", 1)}
    # Every stage that was decided by is recorded, with what it was decided by and no more.
    sizes = []
    for stage in (1, 2):
        raw = json.loads((run.path / LOOK / stage_file(stage)).read_text(encoding="utf-8"))
        found = [Measurement.from_json(m) for m in raw["measurements"]]
        assert {m.name for m in found} == {HUMAN, "agreement.alpha"}
        sizes.append(next(m.n for m in found if m.name == HUMAN))
    assert sizes[0] < sizes[1] < {m.name: m for m in run.measurements(LOOK)}[HUMAN].n
    assert run.plan["ok_levels"] == pytest.approx([1 - 0.1 * s for s in stage_shares(3)])
    assert run.plan["config"]["gates"]["stage_shares"] == pytest.approx(list(stage_shares(3)))


def test_only_what_the_undecided_rules_read_is_sampled_on(tiny_policy, job_folder, silent):
    more = {"counterfactual_samples": [1, 2, 3]}
    rules = [_rule(HUMAN, PASSES), _rule(GAP, OPEN)]
    run = _ran(_raw(tiny_policy, rules, **more), job_folder / "gap", silent)
    assert _texts(run) == {("plain", 2), ("family", 3)}
    assert {g.gate: g.stage for g in _decision(run).gates} == {HUMAN: 1, GAP: 3}
    rules = [_rule(HUMAN, OPEN), _rule(GAP, PASSES)]
    run = _ran(_raw(tiny_policy, rules, **more), job_folder / "human", silent)
    assert _texts(run) == {("plain", 5), ("family", 1)}


def test_an_alarm_that_is_silent_asks_for_no_samples(tiny_policy, job_folder, silent):
    rules = [_rule(HUMAN, PASSES), _rule("divergence.expected", OPEN, alarm_only=True)]
    run = _ran(_raw(tiny_policy, rules), job_folder / "run", silent)
    decision = _decision(run)
    assert [g.verdict for g in decision.gates] == ["OK", "SILENT"]
    assert (decision.verdict, decision.stage) == ("OK", 1)


def test_samples_of_stages_are_those_of_one_audit_of_the_last_size(tiny_policy, job_folder, silent):
    staged = _ran(_raw(tiny_policy, [_rule(HUMAN, OPEN)]), job_folder / "staged", silent)
    raw = _raw(tiny_policy, [_rule(HUMAN, OPEN)], samples_per_prompt=5)
    at_once = _ran(raw, job_folder / "once", silent)
    columns = ["sample_id", "prompt_id", "text", "logprob", "reward", "human", "kl"]
    one, other = (r.audit(LOOK)[columns].reset_index(drop=True) for r in (staged, at_once))
    assert one.drop(columns="logprob").equals(other.drop(columns="logprob"))
    assert one["logprob"].to_numpy() == pytest.approx(other["logprob"].to_numpy(), abs=1e-4)


@pytest.mark.parametrize(
    ("audit", "says"),
    [
        ({"samples_per_prompt": [2, 2]}, "expected rising counts"),
        ({"samples_per_prompt": [4, 2]}, "expected rising counts"),
        ({"samples_per_prompt": []}, "at least 1 item"),
        ({"samples_per_prompt": [2, 4], "counterfactual_samples": [1, 2, 3]}, "as many stages"),
        ({"samples_per_prompt": [0, 4]}, "greater than or equal to 1"),
    ],
)
def test_stages_that_make_no_sense_are_refused(tiny_policy, job_folder, audit, says):
    raw = tiny_raw(tiny_policy)
    raw["audit"] |= audit
    with pytest.raises(BadInput, match=says):
        parse(raw)


def test_shares_of_another_number_of_stages_are_refused(tiny_policy, job_folder, silent):
    raw = _raw(tiny_policy, [_rule(HUMAN, OPEN)])
    raw["gates"]["stage_shares"] = [0.5, 0.5]
    with pytest.raises(BadInput, match=r"2 shares.*3 stages"):
        parse(raw)
