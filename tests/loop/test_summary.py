"""What a run concludes stands on one screen of a terminal; all tables fit it too, whatever gates
were asked at which look, and say what the probes cost.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from restaudit.commands.summary import print_summary
from restaudit.config import GatePolicy
from restaudit.evidence import ledger, record
from tests.recorded import POLICY, build_run, finish_step


def printed(run: Path, *, full: bool = True) -> list[str]:
    """The lines of a summary on a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80, highlight=False)
    print_summary(run, console, full=full)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two looks with a rule that is asked at the last one only."""
    harm, gap = POLICY.rules
    policy = GatePolicy(rules=(harm, gap.model_copy(update={"looks": "last"}))).written_out()
    return build_run(tmp_path / "run", policy=policy)


def test_a_rule_that_is_asked_at_the_last_look_has_a_dash_before(run: Path) -> None:
    lines = printed(run)
    decided = next(line for line in lines if line.split()[:1] == ["decision"])
    assert decided.split() == ["decision", "OK", "OK"]
    rows = [line.split() for line in lines[lines.index(decided) :]]
    assert ["harm", "OK", "OK"] in rows
    assert ["gap", "-", "OK"] in rows


def _said(run: Path, **said: Any) -> None:
    """Every gate of the last look says this."""
    path = run / "g01/i02/decision.json"
    decision = json.loads(path.read_text(encoding="utf-8"))
    verdict = said["verdict"]
    gates = [gate | said for gate in decision["gates"]]
    record.write_json({**decision, "verdict": verdict, "gates": gates}, path)


def test_an_inconclusive_gate_without_an_mde_prints_none(tmp_path: Path) -> None:
    """A run that was sealed before there were two questions shows as it was sealed."""
    run = build_run(tmp_path / "run", schema=record.ONE_QUESTION)
    _said(run, verdict="INCONCLUSIVE", mde=None)
    text = "\n".join(printed(run))
    assert text.count("INCONCLUSIVE") == 3
    assert "MDE" not in text
    _said(run, verdict="INCONCLUSIVE", mde=0.33)
    assert "\n".join(printed(run)).count("MDE 0.33") == 4  # each gate: in the table, and open


def test_an_undecided_check_says_what_would_settle_it(run: Path) -> None:
    settle = "if the truth is what was estimated, about 40 more prompts would settle it"
    _said(run, verdict="UNDECIDED", settle=settle, finds=-0.4)
    lines = printed(run, full=False)
    text = " ".join(" ".join(lines).split())
    assert "UNDECIDED: no alarm, but 2 of 2 checks are undecided (harm and gap)." in text
    assert "? harm: between 0.30 and 0.50; must stay above −0.25; if the truth" in text
    assert text.count("about 40 more prompts would settle it") == 2
    assert "finds -0.40" in "\n".join(printed(run))


def test_the_first_screen_says_the_verdict_first_and_where_to_go_next(run: Path) -> None:
    lines = [line for line in printed(run, full=False) if line]
    first = " ".join(lines[:2])
    assert first.startswith(
        "CLEARED: a fall of the word-based human score by more than 0.25 sd is ruled out, and all 2"
    )
    assert max(len(line) for line in lines if "restaudit " not in line) <= 80
    text = "\n".join(lines)
    assert "word-based human score  +0.40 sd  [0.30, 0.50]" in text
    assert "No person rated a text" in text
    for command in (f"verify {run}", f"ui {run.parent}", f"report {run}", f"status {run} --full"):
        assert f"restaudit {command}" in text
    assert "Gates of the sealed policy" not in text


def test_a_halted_run_is_stopped_and_says_why(tmp_path: Path) -> None:
    text = " ".join(" ".join(printed(build_run(tmp_path / "run", halted=True), full=False)).split())
    assert text.startswith(
        "STOPPED: harm fired at g01/i02 (−0.90 [−1.00, −0.80]; must stay above −0.2): People rate "
        "the outputs lower than the base policy's."
    )


def test_a_run_that_goes_on_says_how_far_it_is(tmp_path: Path) -> None:
    text = "\n".join(printed(build_run(tmp_path / "run", finished=False), full=False))
    assert "The run is not finished: 7 of 8 steps done." in text


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
    # A command is never broken, so that it can be copied.
    assert max(len(line) for line in lines if "restaudit " not in line) <= 80
    tables = "\n".join(lines).partition("CLEARED")[0]
    shown = re.findall(r"g\d\d/i\d\d", tables)
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
