"""Golden summaries of reward models of real judgements: figures with intervals, made by
benchmarks/reward_sets.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.reward_sets import GOLDEN, deviations

NAMES = sorted(p.stem for p in GOLDEN.glob("*.json"))


def golden(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_golden_summary_has_a_verdict_that_follows_from_its_figures(name: str) -> None:
    found = golden(name)
    figures = found["figures"]
    own = figures.get("pair_accuracy") or figures["pearson"]
    rules = [
        figures[k]["value"]
        for k in ("baseline.longer", "baseline.shorter", "baseline.bag_of_words")
    ]
    if max(rules) >= own["value"]:
        assert found["verdict"] == "DO NOT TRAIN AGAINST"
    if any(figures[f"less.{k}"]["low"] <= 0 for k in ("longer", "shorter", "bag_of_words")):
        assert found["verdict"] != "WITH CARE"


def test_a_value_outside_its_golden_interval_and_another_verdict_are_found() -> None:
    was = {
        "verdict": "WITH CARE",
        "figures": {"pearson": {"value": 0.8, "low": 0.78, "high": 0.82}, "x": {"value": None}},
    }
    assert deviations(was, was) == []
    now = {
        "verdict": "NOT ESTABLISHED",
        "figures": {"pearson": {"value": 0.7}, "x": {"value": 0.1}},
    }
    assert deviations(now, was) == [
        "verdict NOT ESTABLISHED, was WITH CARE",
        "pearson: 0.700 is outside 0.780 to 0.820",
        "x: 0.1, was None",
    ]
