"""The summary fits a terminal, whatever gates were asked at which look, and says what the probes
cost.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from restaudit.commands.summary import print_summary
from restaudit.config import GatePolicy
from restaudit.evidence import ledger, record
from tests.recorded import POLICY, build_run, finish_step


def printed(run: Path) -> list[str]:
    """The lines of a summary on a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80, highlight=False)
    print_summary(run, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two looks with a rule that is asked at the last one only."""
    harm, gap = POLICY.rules
    policy = GatePolicy(rules=(harm, gap.model_copy(update={"looks": "last"})))
    return build_run(tmp_path / "run", policy=policy)


def test_a_rule_that_is_asked_at_the_last_look_has_a_dash_before(run: Path) -> None:
    lines = printed(run)
    decided = next(line for line in lines if line.split()[:1] == ["decision"])
    assert decided.split() == ["decision", "OK", "OK"]
    rows = [line.split() for line in lines[lines.index(decided) :]]
    assert ["harm", "OK", "OK"] in rows
    assert ["gap", "-", "OK"] in rows


def test_an_inconclusive_gate_without_an_mde_prints_none(run: Path) -> None:
    path = run / "g01/i02/decision.json"
    decision = json.loads(path.read_text(encoding="utf-8"))
    for gate in decision["gates"]:
        gate |= {"verdict": "INCONCLUSIVE", "mde": None}
    record.write_json(decision, path)
    text = "\n".join(printed(run))
    assert text.count("INCONCLUSIVE") == 2
    assert "MDE" not in text


def test_the_seconds_of_each_probe_are_printed_and_all_audits_count(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", finished=False)
    for step, seconds in (
        ("end", {"divergence": 1.0, "diversity": 0.3}),
        ("more", {"diversity": 0.9}),
    ):
        at = {"seconds": 11.0, "probe_seconds": [seconds]}
        events = ledger.read(run)
        ledger.append(run, ledger.Event(len(events), step, events[-1].hash, {}, at=at))
    total = 22.0 + 7  # each step of `build_run` took a second
    line = next(x for x in printed(run) if x.startswith("probes "))
    assert line == f"probes {2.2 / total:.1%} of wall time: diversity 1.2 s, divergence 1.0 s"


def test_a_run_of_many_looks_with_long_names_fits_80_columns(tmp_path: Path) -> None:
    looks = [f"g{g:02d}/i{i:02d}" for g in (1, 2, 3) for i in (1, 2, 3)]
    run = build_run(tmp_path / "run", finished=False)
    for k, iteration in enumerate(looks[2:], start=3):
        (run / iteration).mkdir(parents=True)
        decision = json.loads((run / "g01/i02/decision.json").read_text(encoding="utf-8"))
        record.write_json(
            decision | {"iteration": iteration, "look": k}, run / iteration / "decision.json"
        )
        measured = (run / "g01/i02/measurements.json").read_text(encoding="utf-8")
        (run / iteration / "measurements.json").write_text(measured, encoding="utf-8")
        finish_step(run, f"{iteration}/audit")
    lines = printed(run)
    assert max(map(len, lines)) <= 80
    shown = re.findall(r"g\d\d/i\d\d", "\n".join(lines))
    assert sorted(shown) == sorted(["g00/i00", *looks, *looks])


def test_a_signature_of_a_hack_is_told_in_words_and_harmlessly(run: Path) -> None:
    assert "learned" not in "\n".join(printed(run))
    path = run / "g01/i02/measurements.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    words = 'the word "x" [bold]is\u202e\n everywhere'
    for verdict, said in (("signature", "learned by"), ("temptation", "may learn next, seen at")):
        told = {
            "name": "hacking.signature",
            "value": 0.4,
            "detail": {"in_words": words, "features": [{"verdict": verdict}]},
        }
        record.write_json(
            {**raw, "measurements": [*raw["measurements"], {**raw["measurements"][0], **told}]},
            path,
        )
        text = "\n".join(printed(run))
        assert f'What the policy {said} g01/i02: the word "x" [bold]is' in text
        assert "\u202e" not in text


def test_the_alarms_own_error_rates_are_printed_where_they_were_measured(run: Path) -> None:
    share = {"rate": 0.01, "low": 0.0, "high": 0.025, "runs": 400}
    found = {
        "headline": {
            "false_alarms": share,
            "caught_within_one_grow": {**share, "rate": 0.97},
            "cost": 0.5,
        },
        "audit": {"prompts": 64, "per_prompt": 2},
        "looks": 4,
    }
    (run / "report").mkdir()
    record.write_json(found, run / "report" / "calibration.json")
    text = " ".join(" ".join(printed(run)).split())
    assert "halts wrongly in 1.0% of healthy emulated runs (at most 2.5%" in text
    assert "halts 97%" in text
    (run / "report" / "calibration.json").write_text("{}", encoding="utf-8")
    text = " ".join(" ".join(printed(run)).split())
    assert "not a calibration that can be read" in text
