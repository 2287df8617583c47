"""The sealed plan against what was done: steps in order, decisions that follow from measurements,
halts obeyed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from probes.base import Measurement
from restaudit.config import GatePolicy
from restaudit.errors import VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.override import wrong_content
from restaudit.evidence.record import SCHEMA
from restaudit.evidence.verify.files import read_json
from restaudit.gates import Decision, decide

PLAN = "plan.json"
STOPS = ("/halt", "/override")


def check_order(events: Sequence[ledger.Event], plan: Mapping[str, Any]) -> None:
    """The ledger holds the planned steps in the planned order, none left out before a later one,
    and nothing else.

    Halts and overrides, which nobody plans, are `check_stops`'s.
    """
    planned = plan["steps"]
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
        elif before.endswith("/audit") and audited in halting:
            raise VerificationFailed(
                f"{audited}/decision.json: the sealed policy said HALT, but step '{event.step}' "
                f"was done afterwards ({where})"
            )
        elif before.endswith("/halt"):
            raise VerificationFailed(
                f"{where}: '{event.step}' was done after '{before}', which nobody overrode"
            )


def check_decisions(
    run: Path, events: Sequence[ledger.Event], plan: Mapping[str, Any]
) -> dict[str, Decision]:
    """Recompute every recorded decision from the recorded measurements and the sealed policy, by
    iteration.
    """
    policy = GatePolicy.model_validate(plan["config"].get("gates", {}))
    looks = list(plan["looks"])
    decisions: dict[str, Decision] = {}
    for event in events:
        iteration = event.step.removesuffix("/audit")
        for name in event.outputs:
            if name.endswith("/decision.json"):
                decisions[iteration] = _check_decision(run, name, event, policy, looks)
        audited = event.step.endswith("/audit")
        # A look without a decision would be a look at which nothing could stop the run.
        if audited and iteration in looks and iteration not in decisions:
            raise VerificationFailed(
                f"{ledger.FILE}: '{event.step}' records no decision, which the sealed plan wants"
            )
    return decisions


def _check_decision(
    run: Path, name: str, event: ledger.Event, policy: GatePolicy, looks: Sequence[str]
) -> Decision:
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
    if iteration not in looks:
        raise VerificationFailed(
            f"{name}: the sealed plan has no look at {iteration} (looks: {', '.join(looks)})"
        )
    look = looks.index(iteration) + 1
    try:
        measurements = [_measurement(m) for m in read_json(run, source)["measurements"]]
        recomputed = decide(policy, measurements, iteration=iteration, look=look, looks=len(looks))
    except (KeyError, AttributeError, TypeError, ValueError, ArithmeticError) as e:
        raise VerificationFailed(
            f"{source}: not measurements a decision can follow from ({e})"
        ) from None
    where = _difference(read_json(run, name), recomputed.to_json())
    if where is not None:
        raise VerificationFailed(
            f"{name}: the decision does not follow from {source} and the sealed policy ({where})"
        )
    return recomputed


def _measurement(raw: Mapping[str, Any]) -> Measurement:
    """A measurement whose numbers are numbers and whose details are a mapping.

    Raises TypeError or ValueError.
    """
    m = Measurement.from_json(raw)
    numbers: list[Any] = [m.n_prompts]
    for interval in m.intervals:
        numbers += [interval.level, interval.low, interval.high]
    if m.value is not None:
        numbers.append(m.value)
    if not all(_is_number(x) for x in numbers):
        raise TypeError(f"{m.name}: holds something else where a number belongs")
    if not isinstance(m.name, str) or not isinstance(m.detail, Mapping):
        raise TypeError(f"{m.name}: expected a name and a mapping of details")
    return m


def _is_number(value: Any) -> bool:
    # True and False are numbers to Python, and NaN compares as neither above nor below a margin: a
    # gate that reads one would decide something that nobody measured.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def sealed_plan(run: Path) -> Mapping[str, Any]:
    """The plan, where it has what the other checks read, and is of this version."""
    plan = read_json(run, PLAN)
    schema = plan.get("schema", SCHEMA) if isinstance(plan, Mapping) else SCHEMA
    if schema != SCHEMA:
        raise VerificationFailed(
            f"{PLAN}: schema {schema!r}; this version of restaudit verifies {SCHEMA}"
        )
    try:
        GatePolicy.model_validate(plan["config"].get("gates", {}))
        readable = all(isinstance(x, str) for x in (*plan["steps"], *plan["looks"]))
    except (KeyError, AttributeError, TypeError, ValidationError) as e:
        raise VerificationFailed(
            f"{PLAN}: not a plan: expected config.gates, steps and looks ({e})"
        ) from None
    if not readable:
        raise VerificationFailed(
            f"{PLAN}: not a plan: expected steps and looks to be lists of names"
        )
    if "schema" not in plan:
        raise VerificationFailed(
            f"{PLAN}: names no schema; this version of restaudit verifies {SCHEMA}"
        )
    return dict(plan)


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
    if isinstance(written, float | int) and isinstance(recomputed, float | int):
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
