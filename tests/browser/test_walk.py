"""A new user goes from the list of runs to a verified bundle, and every step is there
(tools/walk.py).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.reports.make_run import make_run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
STEPS = 8


@pytest.mark.usefixtures("browser")
def test_a_new_user_reads_rates_and_hands_over(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    before = sorted(p.relative_to(run) for p in run.rglob("*"))
    command = [sys.executable, str(ROOT / "tools/walk.py"), str(run), "--texts", "6"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert len(done.stdout.splitlines()) == STEPS
    assert sorted(p.relative_to(run) for p in run.rglob("*")) == before


def test_the_walk_fails_where_a_step_is_not_there(tmp_path: Path, browser: object) -> None:
    run = make_run(tmp_path / "run", "half")
    command = [
        sys.executable,
        str(ROOT / "tools/walk.py"),
        str(run),
        "--texts",
        "1",
        "--patience",
        "20",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "2. read the verdict: NOT DONE" in done.stderr
