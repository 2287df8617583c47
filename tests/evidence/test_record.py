"""Reading a run folder: what is there, and a clear message for what is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence import ledger, record
from restaudit.evidence.record import Run, list_runs
from tests.recorded import grow_table


def test_a_run_tells_its_iterations_measurements_and_decisions(recorded_run: Path) -> None:
    run = Run(recorded_run)
    assert (run.name, run.run_id, run.state) == ("small", "r1", "done")
    assert run.iterations() == ["g00/i00", "g01/i01", "g01/i02"]
    assert run.decision("g00/i00") is None
    decision = run.decision("g01/i02")
    assert decision is not None
    assert (decision.verdict, decision.look, decision.looks) == ("OK", 2, 2)
    assert [m.name for m in run.measurements("g01/i01")] == [
        "divergence.human_change",
        "divergence.gap",
    ]
    assert list(run.grow("g01", ["sample_id", "reward"]).columns) == ["sample_id", "reward"]
    assert set(run.seconds().values()) == {1.0}
    assert run.environment["python"] == "3.11"


def test_opening_a_run_does_not_touch_the_sample_tables(recorded_run: Path) -> None:
    (recorded_run / "g01/grow.parquet").unlink()
    assert Run(recorded_run).summary().decisions == {"g01/i01": "OK", "g01/i02": "OK"}
    with pytest.raises(BadInput, match=r"grow\.parquet: missing from the run folder"):
        Run(recorded_run).grow("g01")


def test_a_folder_without_a_plan_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"not a run folder \(no plan\.json\)"):
        Run(tmp_path)


def test_a_newer_schema_is_refused_and_both_versions_are_named(recorded_run: Path) -> None:
    plan = json.loads((recorded_run / "plan.json").read_text(encoding="utf-8"))
    record.write_json({**plan, "schema": 99}, recorded_run / "plan.json")
    with pytest.raises(
        BadInput, match=r"newer version: schema 99; this version of restaudit reads 1 and 2; update"
    ):
        Run(recorded_run)


@pytest.mark.parametrize("plan", ["[" * 100_000, "[]", "{}", "3", '{"schema": "1"}', "\xff", ""])
def test_a_plan_that_is_none_is_listed_with_what_is_wrong(recorded_run: Path, plan: str) -> None:
    (recorded_run / "plan.json").write_text(plan, encoding="latin-1")
    (found,) = list_runs(recorded_run.parent)
    assert found.state == "broken"
    assert found.problem is not None
    assert "plan.json" in found.problem


def test_a_missing_column_is_named(recorded_run: Path) -> None:
    grow_table().drop(columns=["reward"]).to_parquet(recorded_run / "g01/grow.parquet", index=False)
    with pytest.raises(BadInput, match=r"grow\.parquet: lacks the column\(s\) reward"):
        Run(recorded_run).grow("g01")
    with pytest.raises(BadInput, match=r"grow\.parquet"):
        Run(recorded_run).grow("g01", ["sample_id", "reward"])


@pytest.mark.parametrize("content", [b"", b"PAR1 this is no table", b"{}"])
def test_a_file_that_is_no_parquet_is_named(recorded_run: Path, content: bytes) -> None:
    (recorded_run / "g01/i01/audit.parquet").write_bytes(content)
    with pytest.raises(BadInput, match=r"audit\.parquet: not a readable Parquet table"):
        Run(recorded_run).audit("g01/i01")


def test_an_unknown_iteration_names_those_there_are(recorded_run: Path) -> None:
    with pytest.raises(
        BadInput, match=r"no g07/i01 in this run; there are: g00/i00, g01/i01, g01/i02"
    ):
        Run(recorded_run).audit("g07/i01")


def test_a_broken_run_is_listed_with_its_problem_and_hides_no_other(
    make_recorded_run: Callable[..., Path],
) -> None:
    good = make_recorded_run("good")
    edited = make_recorded_run("edited")
    text = (edited / ledger.FILE).read_text(encoding="utf-8")
    (edited / ledger.FILE).write_text(
        text.replace('"seconds":1', '"seconds":2', 1), encoding="utf-8"
    )
    (make_recorded_run("no_json") / "plan.json").write_text("{", encoding="utf-8")
    (make_recorded_run("a_list") / "plan.json").write_text("[]", encoding="utf-8")
    (make_recorded_run("no_steps") / "plan.json").write_text(
        '{"schema": 1, "config": {}}', encoding="utf-8"
    )
    (make_recorded_run("bad_decision") / "g01/i01/decision.json").write_text(
        '{"verdict": 1}', encoding="utf-8"
    )
    (good.parent / "not a run").mkdir()
    (good.parent / "a file").write_text("x", encoding="utf-8")
    (good.parent / "a link").symlink_to(good)

    found = {s.path.name: s for s in list_runs(good.parent)}
    assert set(found) == {"good", "edited", "no_json", "a_list", "no_steps", "bad_decision"}
    assert found["good"].state == "done"
    assert found["good"].problem is None
    for name in set(found) - {"good"}:
        assert found[name].state == "broken", name
        assert found[name].problem, name
    assert "line 1" in str(found["edited"].problem)
    with pytest.raises(VerificationFailed):
        Run(edited)


def test_a_folder_of_runs_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nowhere") == []


def _writer(run: Path, pid: int, host: str) -> None:
    record.write_json({"pid": pid, "host": host}, run / "writer.json")


def _gone() -> int:
    """The process id of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_the_state_of_an_unfinished_run_depends_on_its_writer(
    make_recorded_run: Callable[..., Path],
) -> None:
    run = make_recorded_run("half", finished=False)
    assert Run(run).state == "stopped"
    _writer(run, os.getpid(), socket.gethostname())
    assert Run(run).state == "running"
    _writer(run, _gone(), socket.gethostname())
    assert Run(run).state == "stopped"
    _writer(run, 1, "some.other.host")
    assert Run(run).state == "running"


def test_the_same_rows_always_give_the_same_bytes_whatever_the_index(tmp_path: Path) -> None:
    table = grow_table()
    record.write_table(table, tmp_path / "a.parquet", record.GROW)
    shuffled = table.sample(frac=1, random_state=1).sort_values("sample_id").assign(more=1)
    record.write_table(shuffled, tmp_path / "b.parquet", record.GROW)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    pd.testing.assert_frame_equal(
        record.read_table(tmp_path, "b.parquet", record.GROW), table[list(record.GROW)]
    )


def test_json_that_holds_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.write_json({"value": float("nan")}, tmp_path / "x.json")
