"""What the system and other people do to a run in the middle of a step: signals, a second writer,
somebody else's folder. Nothing is lost, and the run that goes on ends with the digests of another.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.errors import BadInput, Exit
from restaudit.evidence.bundle.pack import Wish, pack
from restaudit.evidence.override import override
from restaudit.evidence.record import Run
from restaudit.evidence.verify import verify
from restaudit.loop.running import resume, start
from tests.loop.conftest import make_job_folder, tiny_raw

# The command line, but a step stands still until a file appears, so that what happens meanwhile
# happens in the middle of it.
DRIVER = """
import sys, time
from pathlib import Path
from restaudit.evidence import steps
real, halting = steps.Writer.step, sys.argv[1]

def waiting(self, name, folder, make, **more):
    def made(out):
        content = make(out)
        if name == halting:
            Path("inside").touch()
            while not Path("go").exists():
                time.sleep(0.02)
        return content
    return real(self, name, folder, made, **more)

steps.Writer.step = waiting
from restaudit.commands.cli import main
sys.argv = ["restaudit", *sys.argv[2:]]
main()
"""
SECONDS = 120
RESUME = ("resume", "run", "--quiet")


@pytest.fixture(scope="module")
def undisturbed(tiny_policy, tmp_path_factory):
    """The job folder with its recipe, and a run that nobody disturbed."""
    patch = pytest.MonkeyPatch()
    folder = make_job_folder(tmp_path_factory.mktemp("undisturbed"), patch)
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(raw))
    start(parse(raw), folder / "whole", Reporter(quiet=True))
    yield folder
    patch.undo()


@pytest.fixture
def job(undisturbed, tmp_path, monkeypatch):
    """A copy of the job folder to disturb a run in."""
    for name in ("prompts.jsonl", "rewards_of_test.py", "tiny.yaml"):
        shutil.copy(undisturbed / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("rewards_of_test", None)
    return tmp_path


@pytest.fixture
def stopped_inside(job):
    """Start `run` in a process of its own and wait until it is inside a step; it is killed in the
    end.
    """
    processes = []

    def begin(step: str, *arguments: str) -> subprocess.Popen:
        arguments = arguments or ("run", "tiny.yaml", "--out", "run", "--quiet")
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, step, *arguments],
            cwd=job,
            env=os.environ | {"PYTHONPATH": f"{job}{os.pathsep}{Path(__file__).parents[2]}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        until = time.monotonic() + SECONDS
        while not (job / "inside").exists():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < until
            time.sleep(0.02)
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_run_that_is_disturbed_in_every_step_ends_like_one_that_was_not(
    stopped_inside, job, undisturbed, silent
):
    process = stopped_inside("g01/grow")
    process.send_signal(signal.SIGTERM)
    stopped_and_said_how_to_go_on(process, job, dropped="g01/grow")

    process = stopped_inside("g01/score", *RESUME)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None  # the first Ctrl-C waits for the end of the step
    process.send_signal(signal.SIGINT)
    stopped_and_said_how_to_go_on(process, job, dropped="g01/score")

    process = stopped_inside("g01/i01/improve", *RESUME)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    assert Run(job / "run").state == "running"
    nobody_else_writes(job, silent)
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    (job / "go").touch()
    stopped_and_said_how_to_go_on(process, job, done="g01/i01/improve")

    resume(job / "run", silent)
    assert Run(job / "run").digest == Run(undisturbed / "whole").digest
    assert verify(job / "run").finished


def stopped_and_said_how_to_go_on(process, job, *, dropped=None, done=None) -> None:
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == Exit.INTERRUPTED, said
    assert "restaudit resume run" in said
    assert "Traceback" not in said
    record = Run(job / "run")
    assert record.state == "stopped"
    assert dropped not in record.done
    assert done is None or done in record.done
    assert not list((job / "run").glob(".tmp-*"))
    (job / "inside").unlink()


def nobody_else_writes(job, silent) -> None:
    """Whoever wants to write meanwhile is told in a sentence that somebody does; readers read."""
    before = (job / "run" / "ledger.jsonl").read_bytes()
    with pytest.raises(BadInput, match="another process is writing this run"):
        resume(job / "run", silent)
    with pytest.raises(BadInput, match="is running, so there is nothing to override"):
        override(job / "run", by="Ann", reason="it may go on")
    with pytest.raises(BadInput, match="a run is already there"):
        start(parse(yaml.safe_load((job / "tiny.yaml").read_text())), job / "run", silent)
    with pytest.raises(BadInput, match="is being written"):
        pack(job / "run", job / "run.zip", Wish())
    assert (job / "run" / "ledger.jsonl").read_bytes() == before
    assert not verify(job / "run").finished
