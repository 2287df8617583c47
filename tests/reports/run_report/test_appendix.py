"""The report's appendix: nothing that was measured goes unseen, whatever probes there are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from probes import catalogue
from probes.base import Interval, Measurement, Metric
from reports.document.model import Table
from reports.record.series import OTHER
from reports.run_report.build import run_report
from restaudit.evidence.record import BASE, Run
from tests.reports.make_run import State, make_run, resealed

LAST = "g02/i02"
NEW = Measurement(
    "echo.share",
    0.42,
    unit="share of texts",
    n=96,
    n_prompts=24,
    method="counting",
    version="1",
    intervals=(Interval(0.95, 0.31, 0.53),),
    baseline=0.4,
)


def appendix(run: Path) -> list[Table]:
    section = run_report(Run(run)).sections[-1]
    assert section.key == "measured"
    return [block for block in section.blocks if isinstance(block, Table)]


def cells(tables: list[Table]) -> list[tuple[str, ...]]:
    return [row.cells for table in tables for row in table.rows]


def names(tables: list[Table]) -> set[str]:
    return {name for _, name, *_ in cells(tables) for name in name.split(", ")}


def measured(run: Path, *measurements: Measurement) -> Path:
    """A run whose last look measured more than it did."""
    path = run / LAST / "measurements.json"
    recorded = json.loads(path.read_text())
    recorded["measurements"] += [m.to_json() for m in measurements]
    path.write_text(json.dumps(recorded))
    return resealed(run)


@pytest.mark.parametrize("state", ["healthy", "halted", "base_only", "nulls"])
def test_every_measurement_of_the_last_look_and_the_base_policy_appears_by_name(
    tmp_path: Path, state: State
) -> None:
    run = make_run(tmp_path / "run", state)
    opened = Run(run)
    recorded = {
        m.name for look in {BASE, opened.iterations()[-1]} for m in opened.measurements(look)
    }
    tables = appendix(run)
    assert names(tables) == recorded
    assert all(row.sources for table in tables for row in table.rows)


def test_a_value_stands_with_interval_baseline_unit_counts_and_the_base_policys_own_look(
    tmp_path: Path,
) -> None:
    tables = appendix(make_run(tmp_path / "run"))
    assert tables[0].columns == (
        "what",
        "name",
        "G2·I2",
        "baseline",
        "base policy's own look",
        "unit",
        "n",
    )
    (reward,) = [row for row in cells(tables) if row[1] == "divergence.reward"]
    assert reward[0] == "reward"
    assert all("[" in value for value in (reward[2], reward[4]))
    assert reward[-1].endswith(")")


def test_what_has_no_interval_and_what_was_not_measured_say_why(tmp_path: Path) -> None:
    known = {"n": 1, "n_prompts": 1, "unit": "share", "method": "counting", "version": "1"}
    run = measured(
        make_run(tmp_path / "run"),
        Measurement(
            "echo.one", 0.5, reason="no interval: 1 prompt, at least 2 are needed", **known
        ),
        Measurement("echo.two", None, reason="no prompt was asked twice", **known),
        Measurement("echo.three", None, reason="no prompt was asked twice", **known),
    )
    values, missing = appendix(run)[-2:]
    assert values.note == "No interval: 1 prompt, at least 2 are needed: echo.one."
    assert missing.caption == f"{OTHER}: not measured"
    assert [row.cells for row in missing.rows] == [
        ("echo.two; echo.three", "echo.two, echo.three", "no prompt was asked twice")
    ]


def test_what_only_the_base_policy_has_says_why_the_last_look_lacks_it(tmp_path: Path) -> None:
    why = "benchmarks are asked at the ends only"
    lost = replace(NEW, name="divergence.reward", value=None, intervals=(), reason=why)
    run = make_run(tmp_path / "run")
    path = run / LAST / "measurements.json"
    recorded = json.loads(path.read_text())
    kept = [m for m in recorded["measurements"] if m["name"] != lost.name]
    path.write_text(json.dumps({**recorded, "measurements": kept}))
    values = appendix(measured(run, lost))[0]
    assert f"Not measured at G2·I2: {why}: divergence.reward." in values.note
    (row,) = [r.cells for r in values.rows if r.cells[1] == lost.name]
    assert row[2] == "–"
    assert "[" in row[4]


def test_a_new_probe_appears_under_its_own_title_with_no_other_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = measured(make_run(tmp_path / "run"), NEW)
    unknown = appendix(run)[-1]
    assert (unknown.caption, unknown.rows[0].cells[0]) == (OTHER, "echo.share")

    metric = Metric("echo.share", "texts that repeat their prompt", "share of texts", "echo")
    probe = replace(catalogue.PROBES[0], name="echo", title="Echoes", measures=(metric,))
    monkeypatch.setattr(catalogue, "PROBES", (*catalogue.PROBES, probe))
    monkeypatch.setattr(catalogue, "SECTIONS", {**catalogue.SECTIONS, "echo": "Echoes"})
    catalogue.metric_of.cache_clear()
    try:
        known = appendix(run)[-1]
    finally:
        catalogue.metric_of.cache_clear()
    assert known.caption == "Echoes"
    (row,) = known.rows
    assert row.cells == (
        "texts that repeat their prompt",
        "echo.share",
        "0.42 [0.31, 0.53]",
        "0.4",
        "–",
        "share of texts",
        "96 (24)",
    )
