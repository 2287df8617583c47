"""tools/verify_bundle.py: short, independent, and of one mind with restaudit about numbers and
decisions.
"""

from __future__ import annotations

import ast
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from probes.base import Interval, Measurement
from restaudit.config import GateCondition, GateConfig, GatePolicy
from restaudit.evidence.record import as_sealed, stage_file
from restaudit.gates import AGREEMENT, PEOPLE, Decision, decide, levels_needed
from tests.evidence.verifiers import TOOL
from tests.recorded import SCORES, as_of_schema_1

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | FLOATS,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXT, v, max_size=4),
    max_leaves=12,
)


def test_it_is_short_and_imports_nothing_of_restaudit() -> None:
    source = TOOL.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 950
    tree = ast.walk(ast.parse(source))
    modules = {a.name for n in tree if isinstance(n, ast.Import) for a in n.names}
    modules |= {
        n.module or "" for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)
    }
    foreign = {m.partition(".")[0] for m in modules} - set(sys.stdlib_module_names)
    assert foreign == {"cryptography"}


@given(VALUES)
def test_its_canonical_json_is_that_of_rfc_8785(second: ModuleType, value: Any) -> None:
    assert second.canonical(value).encode() == rfc8785.dumps(value)


def test_its_numbers_are_those_of_the_rfcs_appendix(second: ModuleType) -> None:
    # RFC 8785, appendix B.
    for bits, expected in (
        (0x0000000000000000, "0"),
        (0x8000000000000000, "0"),
        (0x0000000000000001, "5e-324"),
        (0x7FEFFFFFFFFFFFFF, "1.7976931348623157e+308"),
        (0x4340000000000000, "9007199254740992"),
        (0x4430000000000000, "295147905179352830000"),
        (0x44B52D02C7E14AF5, "9.999999999999997e+22"),
        (0x44B52D02C7E14AF6, "1e+23"),
        (0x444B1AE4D6E2EF4E, "999999999999999700000"),
        (0x444B1AE4D6E2EF50, "1e+21"),
        (0x3EB0C6F7A0B5ED8C, "9.999999999999997e-7"),
        (0x3EB0C6F7A0B5ED8D, "0.000001"),
        (0x41B3DE4355555553, "333333333.3333332"),
        (0xBECBF647612F3696, "-0.0000033333333333333333"),
        (0x43143FF3C1CB0959, "1424953923781206.2"),
    ):
        assert second.number(struct.unpack(">d", struct.pack(">Q", bits))[0]) == expected


class InMemory:
    """Files of a run that hold these measurements, as the second verifier reads a source."""

    def __init__(self, recorded: dict[str, list[Measurement]]) -> None:
        self.names = list(recorded)
        self.recorded = recorded

    def pieces(self, name: str) -> Iterator[bytes]:
        document = {**SCORES, "measurements": [m.to_json() for m in self.recorded[name]]}
        yield json.dumps(document).encode()


MARGINS = st.sampled_from([-0.3, 0.0, 0.2])
SIDES = st.sampled_from(["above", "below"])


@st.composite
def policies(draw: st.DrawFn) -> GatePolicy:
    rules = []
    for k in range(draw(st.integers(1, 4))):
        when = GateCondition(
            metric=draw(st.sampled_from("abc")), side=draw(SIDES), margin=draw(MARGINS)
        )
        rule = {
            "name": f"r{k}",
            "metric": draw(st.sampled_from(["a", "b", "c", "d", "bias.gap"])),
            "must_stay": draw(SIDES),
            "margin": draw(MARGINS),
            "action": draw(st.sampled_from(["WARN", "HALT"])),
            "when": draw(st.none() | st.just(when)),
            "looks": draw(st.sampled_from(["all", "last"])),
            "reason": "because",
            "ok_margin": draw(MARGINS),
            "alarm_only": draw(st.booleans()),
        }
        rules.append(GateConfig.model_validate(rule))
    spending = draw(st.sampled_from(["uniform", "pocock", "obrien_fleming"]))
    return GatePolicy(
        level=draw(st.sampled_from([0.9, 0.95])),
        spending=spending,
        rules=tuple(rules),
        ok_error=draw(st.sampled_from([0.05, 0.2])),
        stage_shares=draw(st.sampled_from([(1.0,), (0.25, 0.75), (0.1, 0.2, 0.7)])),
    )


@st.composite
def measurements(draw: st.DrawFn, levels: tuple[float, ...]) -> list[Measurement]:
    found = []
    for name in draw(st.sets(st.sampled_from([*"abc", "bias.gap", AGREEMENT]))):
        value = draw(st.none() | st.floats(-1, 1))
        half, other = draw(st.floats(0, 0.5)), draw(st.none() | st.floats(0, 0.5))
        spans: tuple[Interval, ...] = ()
        to_pass: tuple[Interval, ...] = ()
        if value is not None:
            spans = tuple(Interval(x, value - half * x, value + half * x) for x in levels)
            if other is not None:
                to_pass = tuple(Interval(x, value - other, value + other) for x in levels)
        label = draw(st.sampled_from([PEOPLE, "LEXICON"]))
        more = {
            "unit": "sd",
            "n": 10 * draw(st.integers(1, 4)),
            "n_prompts": 5,
            "method": "m",
            "version": "1",
            "detail": {"human_label": label},
            "ok_intervals": to_pass,
            "error": draw(st.none() | st.floats(0, 1)),
        }
        reason = None if value is not None and spans else "because"
        found.append(Measurement(name=name, value=value, intervals=spans, reason=reason, **more))
    return found


@given(data=st.data(), policy=policies(), looks=st.integers(1, 4), schema=st.sampled_from([1, 2]))
def test_its_decisions_are_those_of_the_gates(
    second: ModuleType, data: st.DataObject, policy: GatePolicy, looks: int, schema: int
) -> None:
    look = data.draw(st.integers(1, looks))
    gates = as_of_schema_1(policy) if schema == 1 else policy.model_dump(mode="json")
    plan = {"schema": schema, "config": {"gates": json.loads(json.dumps(gates))}}
    plan["looks"] = [f"g{k:02d}/i01" for k in range(1, looks + 1)]
    policy = as_sealed(policy, schema)
    iteration = plan["looks"][look - 1]
    decided: Decision | None = None
    recorded: dict[str, list[Measurement]] = {}
    stages = data.draw(st.integers(1, len(policy.shares)))
    for stage in range(1, stages + 1):
        levels = levels_needed(policy, look=look, looks=looks, stage=stage)
        found = data.draw(measurements(levels))
        decided = decide(
            policy, found, iteration=iteration, look=look, looks=looks, stage=stage, earlier=decided
        )
        name = "measurements.json" if stage == stages else stage_file(stage)
        recorded[f"{iteration}/{name}"] = found
    assert decided is not None
    source = InMemory(recorded)
    again = second.decide(source, plan, iteration, list(recorded))
    assert second.same(again, decided.to_json()), (again, decided.to_json())


def test_it_runs_alone_and_says_what_it_does_not_recompute(packed: Path, tmp_path: Path) -> None:
    """In another folder, and isolated from PYTHONPATH and user packages."""

    def alone(what: object) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-I", str(TOOL), str(what)]
        return subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)

    done = alone(packed)
    assert done.returncode == 0, done.stderr
    assert "not recomputed: measurements from samples" in done.stdout
    assert "SELF-SIGNED" in done.stdout
    assert alone("nowhere.zip").returncode == 2
