"""A run that was watched from outside goes through everything that explains a run, whatever its
files lacked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from reports.viewer.pages import PAGES
from restaudit.commands.cli import _register_plugins as register_plugins
from restaudit.commands.cli import app
from tests.trainers.test_watch import go, rows, write

ROOT = Path(__file__).parents[2]
KINDS = ("whole", "ids only", "missed", "no scores", "last missed by far")


@pytest.fixture(params=KINDS)
def watched(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A done run of files of generations."""
    monkeypatch.chdir(tmp_path)
    for step in (0, 50, 100, 150):
        table = rows(step)
        if request.param == "ids only":
            table = [
                {**{k: v for k, v in r.items() if k != "prompt"}, "prompt_id": r["prompt"]}
                for r in table
            ]
        if request.param == "no scores":
            table = [{k: r[k] for k in ("prompt", "text")} for r in table]
        missing = {"missed": (50,), "last missed by far": (50, 100)}.get(request.param, ())
        if step not in missing:
            write(tmp_path / "gens" / f"step_{step}.jsonl", table)
    asked: dict[str, Any] = {"looks": (50, 100, 150), "skip_missing": True}
    if request.param == "no scores":
        # The default gates; a rule of one's own that could never decide is refused.
        asked["changes"] = ("audit.resamples=100",)
    return go(Path("gens"), tmp_path / "runs" / "run", **asked).path


def test_status_verify_report_exports_and_compliance_work_and_still_verify(watched: Path) -> None:
    register_plugins()
    for command in (
        ["status"],
        ["report", "--format", "html,md,json"],
        ["export"],
        ["compliance"],
        ["verify"],
    ):
        got = CliRunner().invoke(app, [command[0], str(watched), *command[1:]])
        assert got.exit_code == 0, (command, got.output, got.exception)
    report = (watched / "report" / "report.md").read_text(encoding="utf-8")
    assert "Watched from outside; the base policy is step" in report


def test_every_page_of_the_app_shows_it_without_an_exception(
    watched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTAUDIT_RUNS", str(watched.parent))
    at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60).run()
    assert not at.exception
    for page in PAGES:
        at = at.switch_page(f"app_pages/{page.file}")
        at.query_params["run"] = "run"
        at = at.run()
        assert not at.exception, (page.file, at.exception)
