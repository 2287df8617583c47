"""What explains a run explains one that was trained otherwise than by ReST: documents, exports,
bundle, every page.
"""

import os
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from reports.viewer.pages import PAGES
from restaudit.commands.cli import _register_plugins, app
from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.loop.running import start
from tests.loop.conftest import make_job_folder, tiny_raw
from tests.trainers.test_callback import audit_raw, make_trainer
from tests.trainers.test_online import online_raw

ROOT = Path(__file__).parents[2]
KINDS = ("grpo", "dpo", "outside")


@pytest.fixture(scope="module")
def runs(tiny_policy, tmp_path_factory):
    """One run of each kind, made once."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("trained-otherwise")
    make_job_folder(folder, patch)
    found = folder / "runs"
    quiet = Reporter(quiet=True)
    start(parse(online_raw(tiny_policy, "grpo")), found / "grpo", quiet)
    dpo = tiny_raw(
        tiny_policy, method="dpo", improve_steps=1, samples_per_prompt=4, dpo={"batch": 4}
    )
    start(parse(dpo), found / "dpo", quiet)
    from restaudit.trainers import AuditCallback

    callback = AuditCallback(audit_raw(tiny_policy), found / "outside", looks=2)
    make_trainer("sft", tiny_policy, folder / "out", [callback]).train()
    yield found
    patch.undo()


@pytest.mark.parametrize("kind", KINDS)
def test_documents_exports_and_the_bundle_are_made_and_verify(kind, runs, tmp_path):
    run = tmp_path / kind
    shutil.copytree(runs / kind, run)
    _register_plugins()
    # Drawing a PDF and a DOCX does not depend on who trained: once is enough.
    formats = "html,md,json,pdf,docx" if kind == "grpo" else "html,md,json"
    for command in (
        ["status", run],
        ["report", run, "--format", formats],
        ["compliance", run],
        ["export", run],
        ["verify", run],
        ["bundle", run, "--out", tmp_path / "a.zip"],
        ["verify", tmp_path / "a.zip"],
    ):
        done = CliRunner().invoke(app, [str(c) for c in command])
        assert done.exit_code == 0, (command, done.output, done.exception)
    text = (run / "report" / "report.md").read_text(encoding="utf-8")
    if kind != "dpo":
        assert "step 2" in text or "step 5" in text
    said = {
        "grpo": "grpo: 10 optimiser steps",
        "dpo": "dpo: 2 Grow × 1 Improve",
        "outside": "by a trainer outside",
    }
    assert said[kind] in text


@pytest.mark.parametrize("file", [p.file for p in PAGES])
def test_every_page_shows_them(file, runs, monkeypatch):
    monkeypatch.setenv("RESTAUDIT_RUNS", str(runs))
    for kind in KINDS:
        at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=120)
        at = at.switch_page(f"app_pages/{file}")
        at.query_params["run"] = kind
        at.run()
        assert not at.exception, (kind, at.exception)
        assert not any("cannot be shown" in str(e.value) for e in at.error), (
            kind,
            [e.value for e in at.error],
        )
    assert os.environ["RESTAUDIT_RUNS"] == str(runs)
