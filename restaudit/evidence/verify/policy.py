"""The sealed plan against what was done: steps in order, decisions that follow from measurements,
halts obeyed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probes.base import Measurement
from restaudit.errors import VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.override import wrong_content
from restaudit.evidence.record import stage_file
from restaudit.evidence.verify import shapes
from restaudit.evidence.verify.files import read_shaped
from restaudit.evidence.verify.shapes import HaltContent, OverrideContent, Plan, must_fit
from restaudit.gates import Decision, decide

PLAN = "plan.json"
STOPS = ("/halt", "/override")


def check_order(events: Sequence[ledger.Event], plan: Plan) -> None:
    """The ledger holds the planned steps in the planned order, none left out before a later one,
    and nothing else.

    Halts and overrides, which nobody plans, are `check_stops`'s.
    """
    planned = plan.steps
    done = [e.step for e in events if not e.step.endswith(STOPS)]
    for expected, step in zip(planned, done, strict=False):
        if step != expected:
            raise VerificationFailed(
                f"{ledger.FILE}: step '{step}' stands where the sealed plan has '{expected}'"
            )
    if len(done) > len(planned):
        raise VerificationFailed(
            f"{ledger.FILE}: step '{done[len(planned)]}' was done after the plan's last step"
        )


def check_stops(events: Sequence[ledger.Event], halting: Mapping[str, Decision]) -> None:
    """HALT was obeyed: after such a decision comes its halt, and after that nothing, or a person's
    override.
    """
    for number, event in enumerate(events[1:], start=1):
        where = f"{ledger.FILE}: line {number + 1}"
        before = events[number - 1].step
        iteration, _, part = event.step.rpartition("/")
        audited = before.removesuffix("/audit")
        gates: list[str] = []
        if iteration in halting:
            gates = [g.gate for g in halting[iteration].gates if g.verdict == "HALT"]
        if part == "halt":
            if before != f"{iteration}/audit" or not gates or event.content.get("gates") != gates:
                raise VerificationFailed(
                    f"{where}: '{event.step}' follows no decision in which its gates said HALT"
                )
            must_fit(event.content, HaltContent, where)
            if event.content["iteration"] != iteration:
                raise VerificationFailed(f"{where}: '{event.step}' speaks of another iteration")
        elif part == "override":
            if before != f"{iteration}/halt":
                raise VerificationFailed(
                    f"{where}: '{event.step}' overrides no halt; '{before}' stands before it"
                )
            problem = wrong_content(event.content, iteration, gates)
            if problem is not None:
                raise VerificationFailed(
                    f"{where}: '{event.step}' is no override anybody stands behind: {problem}"
                )
            must_fit(event.content, OverrideContent, where)
        elif before.endswith("/audit") and audited in halting:
            raise VerificationFailed(
                f"{audited}/decision.json: the sealed policy said HALT, but step '{event.step}' "
                f"was done afterwards ({where})"
            )
        elif before.endswith("/halt"):
            raise VerificationFailed(
                f"{where}: '{event.step}' was done after '{before}', which nobody overrode"
            )


def check_decisions(run: Path, events: Sequence[ledger.Event], plan: Plan) -> dict[str, Decision]:
    """Recompute every recorded decision from the recorded measurements and the sealed policy, by
    iteration.
    """
    decisions: dict[str, Decision] = {}
    for event in events:
        iteration = event.step.removesuffix("/audit")
        for name in (*event.outputs, *event.context):
            if name.endswith("/measurements.json"):
                read_shaped(run, name, shapes.Measurements)
        for name in event.outputs:
            if name.endswith("/decision.json"):
                decisions[iteration] = _check_decision(run, name, event, plan)
        audited = event.step.endswith("/audit")
        # A look without a decision would be a look at which nothing could stop the run.
        if audited and iteration in plan.looks and iteration not in decisions:
            raise VerificationFailed(
                f"{ledger.FILE}: '{event.step}' records no decision, which the sealed plan wants"
            )
    return decisions


def _check_decision(run: Path, name: str, event: ledger.Event, plan: Plan) -> Decision:
    iteration = name.removesuffix("/decision.json")
    if event.step != f"{iteration}/audit":
        raise VerificationFailed(
            f"{name}: recorded by step '{event.step}'; expected {iteration}/audit to decide"
        )
    source = f"{iteration}/measurements.json"
    if source not in event.outputs:
        raise VerificationFailed(
            f"{name}: step '{event.step}' records no {source}, which the decision must follow from"
        )
    if iteration not in plan.looks:
        raise VerificationFailed(
            f"{name}: the sealed plan has no look at {iteration} (looks: {', '.join(plan.looks)})"
        )
    recomputed = _decided(run, iteration, plan, _stages(event, iteration, plan))
    # What a plan of its kind does not know is not in it: an absent key is no null.
    written = read_shaped(run, name, shapes.DecisionShape).model_dump(exclude_unset=True)
    where = _difference(written, recomputed.to_json())
    if where is not None:
        raise VerificationFailed(
            f"{name}: the decision does not follow from {source} and the sealed policy ({where})"
        )
    # Resuming a run reads here whether it may go on, so this must be the same decision.
    halting = [g.gate for g in recomputed.gates if g.verdict == "HALT"]
    for key, decided in (("verdict", recomputed.verdict), ("halting", halting)):
        if event.content.get(key, decided) != decided:
            raise VerificationFailed(
                f"{ledger.FILE}: '{event.step}' says {key} {event.content[key]!r}, but {name} "
                f"{decided!r}"
            )
    return recomputed


def _stages(event: ledger.Event, iteration: str, plan: Plan) -> list[str]:
    """What the gates read at each stage of this look, the last one last."""
    earlier = []
    for name in sorted(event.outputs):
        if name.endswith("/measurements.json") and name != f"{iteration}/measurements.json":
            earlier.append(name)
    planned = [f"{iteration}/{stage_file(k)}" for k in range(1, len(plan.gates.shares))]
    if earlier != planned[: len(earlier)]:
        raise VerificationFailed(
            f"{ledger.FILE}: '{event.step}' records {earlier[-1]}, which is no stage that the "
            "sealed plan has here"
        )
    return [*earlier, f"{iteration}/measurements.json"]


def _decided(run: Path, iteration: str, plan: Plan, sources: Sequence[str]) -> Decision:
    """The decision that follows from the measurements of these stages under the sealed policy."""
    decision: Decision | None = None
    for stage, source in enumerate(sources, start=1):
        found = read_shaped(run, source, shapes.Measurements)
        measurements = [m.model_dump(exclude_unset=True) for m in found.measurements]
        try:
            decision = decide(
                plan.gates,
                [Measurement.from_json(m) for m in measurements],
                iteration=iteration,
                look=plan.looks.index(iteration) + 1,
                looks=len(plan.looks),
                stage=stage,
                earlier=decision,
            )
        except (ValueError, ArithmeticError) as e:
            raise VerificationFailed(
                f"{source}: not measurements a decision can follow from ({e})"
            ) from None
    assert decision is not None
    return decision


def sealed_plan(run: Path) -> Plan:
    """The plan, where it has what the other checks read, and is of this version."""
    return read_shaped(run, PLAN, Plan)


def _difference(written: Any, recomputed: Any, where: str = "") -> str | None:
    """The first place where two JSON values differ; None where they are the same."""
    if isinstance(written, Mapping) and isinstance(recomputed, Mapping):
        for key in sorted({*written, *recomputed}):
            if key not in written:
                return f"{where}{key}: missing"
            if key not in recomputed:
                return f"{where}{key}: unexpected"
            difference = _difference(written[key], recomputed[key], f"{where}{key}.")
            if difference is not None:
                return difference
        return None
    if _lists(written, recomputed):
        for place, (left, right) in enumerate(zip(written, recomputed, strict=True)):
            difference = _difference(left, right, f"{where}{place}.")
            if difference is not None:
                return difference
        return None
    if _is_number(written) and _is_number(recomputed):
        # The same sums end in other last digits on another machine; that is nobody's fault.
        same = math.isclose(written, recomputed, rel_tol=1e-9, abs_tol=1e-12)
    else:
        same = written == recomputed
    if same:
        return None
    return f"{where.removesuffix('.')}: recorded {written!r}, recomputed {recomputed!r}"


def _lists(written: Any, recomputed: Any) -> bool:
    """Whether both are lists, of one length."""
    if not isinstance(written, list | tuple) or not isinstance(recomputed, list | tuple):
        return False
    return len(written) == len(recomputed)


def _is_number(value: Any) -> bool:
    # True and False are numbers to Python.
    return isinstance(value, int | float) and not isinstance(value, bool)
