"""The frames behind charts and tables say what the run folder says, and nothing it does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from probes import catalogue
from probes.base import Measurement
from reports.record import series
from reports.record.series import RUN_COLUMNS, run_table
from restaudit.config import Config
from restaudit.config.human import HUMAN_NAMES
from restaudit.errors import BadInput
from restaudit.evidence import ledger
from restaudit.evidence.record import BASE, Run, list_runs
from tests.reports.make_run import PROMPTS, SAMPLES, make_run

LEXICON = "LEXICON (human word ratings, aggregated)"


def _edit(path: Path, key: str, value: object) -> None:
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, key: value}))


def test_the_base_policy_starts_both_series_at_zero_without_an_interval(tmp_path: Path) -> None:
    table = series.reward_human_series(Run(make_run(tmp_path / "run")))
    base = table[table["iteration"] == BASE]
    assert list(base["value"]) == [0.0, 0.0]
    assert base["low"].isna().all()
    assert base["reason"].str.contains("by definition").all()


def test_a_series_carries_value_interval_and_counts_of_every_iteration(tmp_path: Path) -> None:
    table = series.reward_human_series(Run(make_run(tmp_path / "run")))
    assert tuple(table.columns) == series.SERIES
    last = table[(table["iteration"] == "g02/i02") & (table["label"] == LEXICON)].iloc[0]
    assert (last["value"], last["n"], last["n_prompts"]) == (0.71, PROMPTS * SAMPLES, PROMPTS)
    assert last["low"] < last["value"] < last["high"]


@pytest.mark.parametrize("recorded", ["LEXICON", LEXICON])
def test_the_human_score_is_always_named_in_full(tmp_path: Path, recorded: str) -> None:
    run = make_run(tmp_path / "run")
    _edit(
        run / BASE / "measurements.json",
        "human",
        {"label": recorded, "unit": "", "description": "words"},
    )
    assert series.human_score(Run(run)) == series.HumanJudge(LEXICON, "words")


def test_before_the_first_audit_the_configured_kind_names_the_human_score(tmp_path: Path) -> None:
    assert series.human_score(Run(make_run(tmp_path / "run", "half"))).name == LEXICON


def test_every_kind_of_human_score_that_a_configuration_takes_has_a_name() -> None:
    kinds = Config.model_json_schema()["properties"]["human"]["discriminator"]["mapping"]
    assert set(kinds) == set(HUMAN_NAMES)


def test_watched_scores_are_called_what_their_owner_calls_them_before_any_look(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", "half")
    plan = json.loads((run / "plan.json").read_text())
    plan["config"]["human"] = {"kind": "column", "label": "PEOPLE (our panel)"}
    (run / "plan.json").write_text(json.dumps(plan))
    assert series.human_score(Run(run)).name == "PEOPLE (our panel)"


def test_an_audit_that_records_no_human_score_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    _edit(run / BASE / "measurements.json", "human", None)
    with pytest.raises(BadInput, match=r"measurements\.json: .*human"):
        series.human_score(Run(run))


def test_what_was_not_measured_is_missing_with_its_reason_never_zero(tmp_path: Path) -> None:
    table = series.reward_human_series(Run(make_run(tmp_path / "run", "nulls")))
    human = table[table["label"] == "NONE"]
    assert human["value"].isna().all()
    assert series.why_missing(table, "NONE") == "no human score is configured (human.kind: none)"
    assert series.why_missing(table, series.REWARD) is None
    assert "not measured (no human score" in series.describe(table)


def test_diversity_has_no_base_point_where_the_base_policy_was_not_measured(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "base_only")
    path = run / BASE / "measurements.json"
    kept = [
        m for m in json.loads(path.read_text())["measurements"] if m["name"] != "diversity.vendi"
    ]
    _edit(path, "measurements", kept)
    table = series.diversity_series(Run(run)).set_index("label")
    assert np.isnan(table.loc["Vendi score", "value"])
    assert table.loc["Vendi score", "reason"] == "no measurement is called diversity.vendi"
    assert table.loc["distinct-2", "value"] == 1.0


def test_a_run_without_an_audit_has_empty_series(tmp_path: Path) -> None:
    run = Run(make_run(tmp_path / "run", "half"))
    for table in (
        series.reward_human_series(run),
        series.diversity_series(run),
        series.correlation_series(run),
    ):
        assert table.empty
        assert tuple(table.columns) == series.SERIES
    assert series.describe(series.reward_human_series(run)) == "No iteration was audited yet."


def test_a_ledger_cannot_point_the_reader_outside_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "half")
    events = ledger.read(run)
    ledger.append(run, ledger.Event(len(events), "../../elsewhere/audit", events[-1].hash, {}))
    with pytest.raises(BadInput, match="an iteration is called like g01/i02"):
        series.iterations(Run(run))


def test_the_gate_table_shows_why_training_was_stopped(tmp_path: Path) -> None:
    last = series.decisions(Run(make_run(tmp_path / "run", "halted")))[-1]
    table = series.gate_table(last).set_index("gate")
    assert last.verdict == "HALT"
    assert table.loc["harm", "verdict"] == "HALT"
    assert "became worse for people" in table.loc["harm", "why"]
    assert table.loc["harm", "must_stay"] == "above -0.2"


def test_every_measurement_is_in_exactly_one_group(tmp_path: Path) -> None:
    run = Run(make_run(tmp_path / "run"))
    groups = series.measurement_tables(run, "g01/i01")
    assert list(groups) == [title for title in catalogue.SECTIONS.values() if title in groups]
    assert series.OTHER not in groups
    names = [n for table in groups.values() for n in table["measurement"]]
    assert sorted(names) == sorted(m.name for m in run.measurements("g01/i01"))


def test_every_measurement_of_a_known_probe_stands_in_its_section_and_an_unknown_one_in_other() -> (
    None
):
    names = [m.name for probe in catalogue.PROBES for m in probe.measures]
    names = [f"{name}x" if name.endswith(".") else name for name in names]
    measurements = [
        Measurement(name, None, "", 0, 0, "none", "1", reason="not asked")
        for name in (*names, "gone.measurement")
    ]
    sections = series.by_section(measurements)
    assert list(sections) == [*catalogue.SECTIONS.values(), series.OTHER]
    assert [m.name for m in sections[series.OTHER]] == ["gone.measurement"]
    assert series.title_of("gone.measurement") == "gone.measurement"


def test_the_list_shows_every_folder_and_the_problem_of_a_broken_one(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "healthy")
    make_run(tmp_path / "b", "broken")
    table = run_table(list_runs(tmp_path), lambda v: f"<{v}>").set_index("folder")
    assert tuple(table.reset_index().columns) == RUN_COLUMNS
    assert table.loc["a", "decisions"].startswith("G1·I1 <OK>   G1·I2 <OK>")
    assert table.loc["a", "progress"] == 100
    assert "changed after it was written" in table.loc["b", "problem"]
    assert np.isnan(table.loc["b", "progress"])
