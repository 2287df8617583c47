"""Runs whose digests fit and whose content does not: every command ends with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fuzz_records import fuzz_records
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from tests.recorded import build_run

QUICK = ("list", "status", "rate status", "why", "report")


def test_mutated_runs_are_read_or_refused_with_a_sentence() -> None:
    tried, held, failures = fuzz_records(18, 25, QUICK)
    assert not failures
    assert tried == held == 25 * len(QUICK)


def read_all(run: Path) -> None:
    record = Run(run)
    record.measurements("g01/i01")
    record.scores("g01/i01")
    record.decision("g01/i01")


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("g01/i01/measurements.json", "measurements.0.intervals", [5]),
        ("g01/i01/measurements.json", "measurements.0.value", "0.4"),
        ("g01/i01/measurements.json", "measurements.0.n", True),
        ("g01/i01/measurements.json", "measurements", {"a": 1}),
        ("g01/i01/measurements.json", "human.label", 3),
        ("g01/i01/decision.json", "verdict", "MAYBE"),
        ("g01/i01/decision.json", "gates.0.margin", None),
        ("plan.json", "steps", [5]),
        ("plan.json", "config", []),
        ("plan.json", "config.gates.rules", [{}]),
    ],
)
def test_the_sentence_names_file_and_field(
    tmp_path: Path, name: str, field: str, value: Any
) -> None:
    run = build_run(tmp_path / "run")
    document = json.loads((run / name).read_text())
    node, parts = document, field.split(".")
    for part in parts[:-1]:
        node = node[int(part) if isinstance(node, list) else part]
    node[parts[-1]] = value
    (run / name).write_text(json.dumps(document))
    with pytest.raises(BadInput) as refused:
        read_all(run)
    assert str(run / name) in str(refused.value)
    assert field in str(refused.value)
