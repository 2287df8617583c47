"""`kill -9` in every kind of step, then resume: the digests of a run that nobody killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from restaudit.configure import parse
from restaudit.plan import resume, start
from restaudit.record import Run
from restaudit.verify import verify
from tests.loop.conftest import tiny_raw

KILLS = (
    ("plan", "inside"),
    ("reward_model", "placed"),
    ("scale", "inside"),
    ("g00/i00/audit", "torn"),
    ("g01/grow", "inside"),
    ("g01/score", "placed"),
    ("g01/i01/improve", "inside"),
    ("g01/i01/audit", "placed"),
)


def test_a_run_killed_in_every_kind_of_step_ends_with_the_digests_of_one_that_was_not(tiny_policy, job_folder, silent):
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)
    start(parse(raw), job_folder / "whole", silent)
    (job_folder / "config.json").write_text(json.dumps(raw))
    run = job_folder / "killed"
    driver = Path(__file__).with_name("kill_driver.py")
    environment = os.environ | {"PYTHONPATH": str(job_folder)}
    for step, moment in KILLS:
        done = subprocess.run(
            [sys.executable, str(driver), str(job_folder / "config.json"), str(run), step, moment],
            cwd=job_folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
    resume(run, silent)
    whole, killed = Run(job_folder / "whole"), Run(run)
    assert [e.step for e in killed.events] == [e.step for e in whole.events]
    for a, b in zip(whole.events, killed.events, strict=True):
        assert a.outputs == b.outputs, a.step
    assert killed.digest == whole.digest
    assert verify(run).finished
