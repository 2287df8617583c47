"""What holds for every export: the same bytes, any state of a run, hostile text, nothing claimed,
nothing made up.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from reports.exports.commands import export
from reports.exports.encoding import clean, csv_cell
from reports.exports.export import MANIFEST, chosen, exports, write_exports
from reports.exports.facts import RunFacts
from restaudit.errors import BadInput, VerificationFailed
from restaudit.files.signs import REORDERING
from tests.reports.exports.conftest import HOSTILE, facts_of, forged
from tests.reports.make_run import State, make_run

ROOT = Path(__file__).resolve().parents[3]
NAMES = tuple(exports())
FILES = {p.stem for p in (ROOT / "reports/exports/formats").glob("*.py")} - {"__init__"}
TEXT = (".json", ".md", ".csv")
SCRIPT = """
import sys
from pathlib import Path
from reports.exports.export import chosen, write_exports
write_exports(Path(sys.argv[1]), chosen("all"), Path(sys.argv[2]))
"""


def written(run: Path, out: Path, names: str = "all") -> dict[str, bytes]:
    write_exports(run, chosen(names), out)
    return {
        p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()
    }


def texts(files: dict[str, bytes]) -> dict[str, str]:
    return {n: b.decode() for n, b in files.items() if n.endswith(TEXT)}


def test_every_file_of_the_folder_is_an_export_that_says_what_it_is() -> None:
    assert {e.build.__module__.rpartition(".")[2] for e in exports().values()} == FILES
    assert list(NAMES) == sorted(NAMES)
    for e in exports().values():
        assert e.title
        assert e.spec
        assert sys.modules[e.build.__module__].__doc__


def test_the_page_describes_every_format() -> None:
    page = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
    for e in exports().values():
        assert f"`{e.name}`" in page


def test_another_process_with_another_hash_seed_writes_the_same_bytes(
    tiny_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "other"
    # This process has a seed of its own already, drawn anew for every session.
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_run), str(out)], check=True, env=environment
    )
    files = sorted(p for p in out.rglob("*") if p.is_file())
    there = {p.relative_to(out).as_posix(): p.read_bytes() for p in files}
    assert there == written(tiny_run, tmp_path / "here")
    assert len(there) > 15


def test_the_place_of_the_run_and_of_the_exports_does_not_show(
    tiny_run: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(tiny_run, tmp_path / "elsewhere")
    assert written(tiny_run, tmp_path / "a") == written(moved, tmp_path / "b" / "c")


@pytest.mark.parametrize("state", [s for s in get_args(State) if s != "broken"])
def test_every_format_is_written_in_every_state(tmp_path: Path, state: State) -> None:
    files = written(make_run(tmp_path / "run", state), tmp_path / "out")
    for name, text in texts(files).items():
        if name.endswith(".json"):
            json.loads(text)


@pytest.mark.parametrize("steps", [1, 3, 5, 6, 7, 8])
def test_every_format_is_written_of_a_half_done_run(
    tiny_run: Path, tmp_path: Path, steps: int
) -> None:
    files = written(forged(tiny_run, tmp_path / "run", steps=steps), tmp_path / "out")
    assert {
        json.loads(files[MANIFEST])["files"][n]["format"] for n in files if n != MANIFEST
    } >= set(NAMES) - {"intoto"}
    assert json.loads(files[MANIFEST])["state"] == "unfinished"


def test_hostile_text_is_shown_harmlessly(
    hostile_run: Path, overridden_run: Path, rated_run: Path, tmp_path: Path
) -> None:
    for k, run in enumerate((hostile_run, overridden_run, rated_run)):
        for name, text in texts(written(run, tmp_path / str(k))).items():
            assert name.endswith(".csv") or "<script" not in text, name
            assert not set(text) & REORDERING, name
            odd = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
            assert odd <= {"\n", "\r"}, name
            if name.endswith(".json"):
                json.loads(text)


def test_no_cell_of_a_csv_file_is_a_formula(overridden_run: Path, tmp_path: Path) -> None:
    files = written(overridden_run, tmp_path / "out", "tables")
    for name in ("measurements.csv", "decisions.csv"):
        for row in csv.reader(io.StringIO(files[name].decode(), newline="")):
            for cell in row:
                assert cell[:1] not in tuple("=+@\t\r") or cell == "", cell
                assert not cell.startswith("-") or re.fullmatch(r"-\d.*", cell)
    assert "'=cmd" in files["decisions.csv"].decode()


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-x", "@x", " =1", "＝1", "'quoted", "\t=1", "\r\n=1", "plain", ""]
)
def test_one_leading_apostrophe_less_is_the_cleaned_text_again(text: str) -> None:
    cell = csv_cell(text)
    assert cell.lstrip()[:1] not in tuple("=+-@＝") or cell == ""
    assert (cell[1:] if cell.startswith("'") else cell) == clean(text)


def test_nothing_is_claimed_that_a_record_cannot_show(tiny_run: Path, tmp_path: Path) -> None:
    claims = re.compile(r"(?i)\b(compliant|compliance|unbiased|safe|guaranteed?s?|trustworthy)\b")
    for name, text in texts(written(tiny_run, tmp_path / "out")).items():
        assert not claims.search(text), (name, claims.search(text))


def test_what_only_people_know_is_missing_in_every_document(tiny_run: Path, tmp_path: Path) -> None:
    for name, text in texts(written(tiny_run, tmp_path / "out")).items():
        if not name.startswith("intoto/") and not name.endswith(".csv") and name != MANIFEST:
            assert "MISSING" in text, name


def test_the_human_score_is_labelled_in_every_document(tiny_run: Path, tmp_path: Path) -> None:
    for name, text in texts(written(tiny_run, tmp_path / "out")).items():
        if not name.startswith("intoto/") and name not in (MANIFEST, "decisions.csv"):
            assert "SIMULATED" in text, name


def test_the_manifest_names_every_file_with_its_digest_and_the_head(
    tiny_run: Path, tmp_path: Path
) -> None:
    files = written(tiny_run, tmp_path / "out")
    manifest = json.loads(files.pop(MANIFEST))
    assert set(manifest["files"]) == set(files)
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == hashlib.sha256(files[name]).hexdigest()
        assert entry["bytes"] == len(files[name])
        assert entry["spec"] == exports()[entry["format"]].spec
    assert manifest["ledger_head"] == facts_of(tiny_run).head


def test_exports_of_one_record_add_up_and_a_changed_or_foreign_file_is_dropped(
    tiny_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    written(tiny_run, out, "prov")
    written(tiny_run, out, "spdx")
    both = json.loads(written(tiny_run, out, "cyclonedx")[MANIFEST])["files"]
    assert {e["format"] for e in both.values()} == {"cyclonedx", "prov", "spdx"}
    (out / "run.prov.json").write_text("{}")
    assert "run.prov.json" not in json.loads(written(tiny_run, out, "spdx")[MANIFEST])["files"]
    later = forged(tiny_run, tmp_path / "run", steps=8)
    assert {
        e["format"] for e in json.loads(written(later, out, "hf")[MANIFEST])["files"].values()
    } == {"hf"}


def test_an_export_leaves_a_run_that_verifies(tiny_run: Path, tmp_path: Path) -> None:
    from restaudit.commands.cli import app

    run = shutil.copytree(tiny_run, tmp_path / "run")
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    write_exports(run, chosen("all"), run / "report" / "exports")
    assert all(p.read_bytes() == b for p, b in before.items())
    result = CliRunner().invoke(app, ["verify", str(run)])
    assert result.exit_code == 0, result.output


def command() -> typer.Typer:
    app = typer.Typer()
    app.command()(export)
    return app


def test_the_command_writes_into_the_report_folder_and_prints_the_paths(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    result = CliRunner().invoke(command(), [str(run), "--format", "prov,datasheet"])
    assert result.exit_code == 0, result.exception
    out = run / "report" / "exports"
    names = ("datasheet.json", "datasheet.md", "run.prov.json", MANIFEST)
    assert result.output.split() == [str(out / n) for n in names]


@pytest.mark.parametrize(
    ("formats", "says"), [("prov,nonsense", "'nonsense'"), ("", "names no format")]
)
def test_an_unknown_format_is_refused_with_the_list_of_all(
    tmp_path: Path, formats: str, says: str
) -> None:
    result = CliRunner().invoke(command(), [str(make_run(tmp_path / "run")), "--format", formats])
    assert isinstance(result.exception, BadInput)
    assert says in str(result.exception)
    assert ", ".join(NAMES) in str(result.exception)
    assert not (tmp_path / "run" / "report").exists()


@pytest.mark.parametrize(
    "file", ["plan.json", "g01/i01/measurements.json", "g01/grow.parquet", "g01/i01/decision.json"]
)
def test_a_changed_file_stops_the_export_and_is_named(
    tiny_run: Path, tmp_path: Path, file: str
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    with (run / file).open("ab") as f:
        f.write(b" ")
    with pytest.raises(
        VerificationFailed, match=re.escape(f"{file}: changed after it was recorded")
    ):
        write_exports(run, chosen("all"), tmp_path / "out")


def test_a_record_that_this_version_does_not_know_is_bad_input_and_not_a_crash(
    tiny_run: Path, tmp_path: Path
) -> None:
    def change(plan: dict[str, Any]) -> None:
        plan["config"]["loop"]["thresholds"] = {"kind": "nonsense"}

    run = forged(tiny_run, tmp_path / "run", change)
    with pytest.raises(BadInput, match=r"plan\.json: config: loop\.thresholds: .*nonsense"):
        write_exports(run, chosen("all"), tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))  # no part of an export that could not be made


@pytest.mark.parametrize("step", ["g01-i01/improve", "../x", "g01/i01/<b>", ""])
def test_a_step_of_another_program_is_refused_by_its_line(
    tiny_run: Path, tmp_path: Path, step: str
) -> None:
    run = forged(tiny_run, tmp_path / "run", steps=3, then=[(step, {})])
    with pytest.raises(BadInput, match=re.escape(f"line 4: no step is called {step!r}")):
        write_exports(run, chosen("all"), tmp_path / "out")


def test_a_broken_chain_stops_the_export(tmp_path: Path) -> None:
    with pytest.raises(VerificationFailed, match=r"ledger\.jsonl"):
        write_exports(make_run(tmp_path / "run", "broken"), chosen("all"), tmp_path / "out")


def test_a_run_without_a_finished_step_has_nothing_to_export(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "ledger.jsonl").write_bytes(b"")
    with pytest.raises(BadInput, match="nothing recorded"):
        write_exports(run, chosen("all"), tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="cannot be written"):
        write_exports(tiny_run, chosen("prov"), tmp_path / "file" / "out")


def test_a_model_and_a_licence_of_hostile_text_reach_every_format_cleaned(
    hostile_run: Path,
) -> None:
    facts: RunFacts = facts_of(hostile_run)
    assert facts.base is not None
    assert facts.base.spec == HOSTILE
    assert "\u202e" not in clean(HOSTILE)


def test_samples_can_be_read_with_pandas(tiny_run: Path, tmp_path: Path) -> None:
    written(tiny_run, tmp_path / "out", "tables")
    assert len(pd.read_parquet(tmp_path / "out" / "samples.parquet")) > 0
