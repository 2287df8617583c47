"""Training in two processes: the first one samples and decides, and the other stops where it says
so.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from restaudit.evidence.record import Run

pytest.importorskip("trl", reason="the extra rlhf is not installed")
ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("two_processes.py")
LIMIT = 180


def test_two_processes_stop_after_the_same_step(tiny_policy, job_folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        str(SCRIPT),
        str(tiny_policy),
        str(job_folder),
        "50.0",
    ]
    done = subprocess.run(
        command, cwd=job_folder, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = [
        json.loads((job_folder / f"said-{rank}.json").read_text(encoding="utf-8"))
        for rank in (0, 1)
    ]
    assert [s["step"] for s in said] == [2, 2]
    assert [s["stopped"] for s in said] == [True, False]
    assert said[0]["processes"] == 2
    run = Run(job_folder / "run")
    assert (run.state, run.iterations()) == ("halted", ["g00/i00", "step-2"])
