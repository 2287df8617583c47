"""Where a check stops, `verify` says in which stage; the command line and the app repeat that, and
guess nothing.
"""

from __future__ import annotations

import ast
import dataclasses
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reports.viewer.documents import checking
from reports.viewer.documents.checking import Outcome, check_bundle, check_run
from restaudit.commands.cli import app
from restaudit.errors import Exit, VerificationFailed
from restaudit.evidence import ledger, record
from restaudit.evidence.bundle.manifest import FILE as MANIFEST
from restaudit.evidence.bundle.pack import Wish, pack
from restaudit.evidence.record import Run
from restaudit.evidence.seal.anchor import anchor_of
from restaudit.evidence.verify import Stage, check, verify
from tests.evidence.runs import edit_json, rechain, signed_run
from tests.recorded import LOOKS


def _unpacked(folder: Path) -> Path:
    """The bundle of a good run, in a folder."""
    run = folder / "run"
    packed = pack(signed_run(folder / "original", None), folder / "b.zip", Wish())
    with zipfile.ZipFile(packed.path) as archive:
        archive.extractall(run)
    return run


def _chain(folder: Path) -> Path:
    run = signed_run(folder / "run", None)
    lines = (run / ledger.FILE).read_bytes().splitlines(keepends=True)
    (run / ledger.FILE).write_bytes(b"".join(lines[:3] + lines[4:]))
    return run


def _torn(folder: Path) -> Path:
    run = signed_run(folder / "run", None)
    with (run / ledger.FILE).open("ab") as f:
        f.write(b'{"half an event')
    return run


def _list(folder: Path) -> Path:
    run = _unpacked(folder)
    (run / MANIFEST).write_text("{")
    return run


def _changed(folder: Path) -> Path:
    run = signed_run(folder / "run", None)
    (run / "g01/grow.parquet").write_bytes(b"x")
    return run


def _added(folder: Path) -> Path:
    run = signed_run(folder / "run", None)
    (run / "extra.txt").write_text("x")
    return run


def _plan(folder: Path) -> Path:
    run = signed_run(folder / "run", None)
    edit_json(run / "plan.json", lambda plan: plan | {"schema": 99})
    rechain(run)
    return run


def _signatures(folder: Path) -> Path:
    run = signed_run(folder / "run", None)
    (run / "signatures").mkdir()
    (run / "signatures/other.txt").write_text("x")
    return run


def _order(folder: Path) -> Path:
    run = signed_run(folder / "run", None)
    left_out = f"{LOOKS[0]}/improve"
    for name in next(e for e in ledger.read(run) if e.step == left_out).outputs:
        (run / name).unlink()
    rechain(run, lambda event: None if event.step == left_out else event)
    return run


def _decisions(folder: Path) -> Path:
    run = signed_run(folder / "run", None)
    edit_json(run / LOOKS[0] / "decision.json", lambda decision: decision | {"verdict": "WARN"})
    rechain(run)
    return run


def _stops(folder: Path) -> Path:
    """A HALT after which the run ended as if nothing had been: the end's event is not a halt's."""
    run = signed_run(folder / "run", None, halted=True)
    rechain(
        run,
        lambda event: (
            dataclasses.replace(event, step="end", content={})
            if event.step.endswith("/halt")
            else event
        ),
    )
    return run


def _contents(folder: Path) -> Path:
    run = _unpacked(folder)
    (run / "extra.txt").write_text("x")
    return run


def _report(folder: Path) -> Path:
    run = signed_run(folder / "run", None)
    (run / "report").mkdir()
    (run / "report/a.md").write_text("changed")
    manifest = {
        "schema": 1,
        "files": {"a.md": {"sha256": "0" * 64, "bytes": 7}},
        "head": Run(run).events[-1].hash,
    }
    record.write_json(manifest, run / "report/manifest.json")
    return run


DAMAGE: dict[str, tuple[Stage, Callable[[Path], Path]]] = {
    "an event was cut out": (Stage.CHAIN, _chain),
    "half a line after the end": (Stage.CHAIN, _torn),
    "a manifest that cannot be read": (Stage.LIST, _list),
    "a changed file": (Stage.FILES, _changed),
    "an added file": (Stage.FILES, _added),
    "a plan of a later version": (Stage.PLAN, _plan),
    "a stray file among the signatures": (Stage.SIGNATURES, _signatures),
    "a step that was left out": (Stage.ORDER, _order),
    "an edited decision": (Stage.DECISIONS, _decisions),
    "a halt that was not obeyed": (Stage.DECISIONS, _stops),
    "an added file in a bundle": (Stage.CONTENTS, _contents),
    "a changed report": (Stage.REPORT, _report),
}


def _wrong(outcome: Outcome) -> list[str]:
    return [line.title for line in outcome.lines if line.mark == "wrong"]


def _command(*arguments: Any) -> str:
    result = CliRunner().invoke(app, ["verify", *map(str, arguments)])
    assert isinstance(result.exception, VerificationFailed)
    assert result.exception.exit_code is Exit.VERIFICATION_FAILED
    return result.stderr


@pytest.mark.parametrize("case", DAMAGE)
def test_the_stage_that_failed_is_named_by_the_check_the_command_and_the_app(
    tmp_path: Path, case: str
) -> None:
    stage, damaged = DAMAGE[case]
    run = damaged(tmp_path)
    told: list[Stage] = []
    with pytest.raises(VerificationFailed):
        verify(run, tell=told.append)
    assert told[-1] is stage
    assert _command(run) == f"the check stopped at: {stage.title}\n"
    done = check_run(run, lambda _: None, lambda *_: None)
    assert _wrong(done) == [stage.title]
    titles = [line.title for line in done.lines]
    later = done.lines[titles.index(stage.title) + 1 :]
    assert {line.mark for line in later} <= {"unreached"}


def test_an_archive_that_is_none_and_an_anchor_of_another_run_are_named_too(tmp_path: Path) -> None:
    bad = tmp_path / "b.zip"
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("../out.txt", "x")
    assert _command(bad) == f"the check stopped at: {Stage.ARCHIVE.title}\n"
    done = check_bundle(io.BytesIO(bad.read_bytes()), lambda _: None, lambda *_: None)
    assert _wrong(done) == [Stage.ARCHIVE.title]

    run, other = signed_run(tmp_path / "run", None), signed_run(tmp_path / "other", None)
    anchor = anchor_of(Run(other).events, Run(other).plan)
    anchor = dataclasses.replace(anchor, head="0" * 64)
    told: list[Stage] = []
    with pytest.raises(VerificationFailed):
        verify(run, anchor=anchor, tell=told.append)
    assert told[-1] is Stage.ANCHOR
    (tmp_path / "anchor.json").write_bytes(anchor.to_bytes())
    said = _command(run, "--anchor", tmp_path / "anchor.json")
    assert said == f"the check stopped at: {Stage.ANCHOR.title}\n"
    done = check_run(run, lambda _: None, lambda *_: None, anchor=anchor)
    assert _wrong(done) == [Stage.ANCHOR.title]


def test_there_is_a_damage_for_every_stage() -> None:
    assert {stage for stage, _ in DAMAGE.values()} | {Stage.ARCHIVE, Stage.ANCHOR} == set(Stage)


def test_a_good_run_goes_through_every_stage_once_and_in_order(tmp_path: Path) -> None:
    told: list[Stage] = []
    verify(_unpacked(tmp_path), tell=told.append)
    assert told == [stage for stage in Stage if stage is not Stage.ARCHIVE]


def test_an_untouched_run_says_nothing_about_bundles_in_the_app(tmp_path: Path) -> None:
    done = check_run(signed_run(tmp_path / "run", None), lambda _: None, lambda *_: None)
    assert done.wrong is None, done.wrong
    of_bundles = {Stage.ARCHIVE.title, Stage.LIST.title, Stage.CONTENTS.title}
    assert not of_bundles & {line.title for line in done.lines}


# --- the source


def _calls(node: ast.AST) -> set[str]:
    return {
        ast.unparse(call.func).rpartition(".")[2]
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
    }


def test_every_check_runs_inside_a_stage() -> None:
    """Outside of the `with within(...)` blocks nothing is called that could find something wrong."""
    tree = ast.parse(Path(check.__file__).read_text())
    functions = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
    inside: set[str] = set()
    outside: set[str] = set()
    for name in ("verify_record", "check_report", "recorded_bytes"):
        for statement in functions[name].body:
            if isinstance(statement, ast.With):
                assert ast.unparse(statement.items[0].context_expr).startswith("within(Stage.")
                inside |= _calls(statement)
            else:
                outside |= _calls(statement)
    # What only puts together what was found.
    assert outside <= {"Path", "_Record", "_report", "tuple", "values", "replace", "bool", "sum"}
    for name in inside & functions.keys():
        inside |= _calls(functions[name])
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    checks = {n for n in imported if n.startswith(("check_", "load_", "sealed_"))}
    assert checks <= inside


def test_the_app_reads_no_traceback_and_no_function_names() -> None:
    source = Path(checking.__file__).read_text()
    assert "traceback" not in source
    assert "__traceback__" not in source
