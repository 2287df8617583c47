"""`kill -9` in every kind of step, then resume: the digests of a run that nobody killed."""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from restaudit.config.reading import parse
from restaudit.errors import Waiting
from restaudit.evidence.record import Run
from restaudit.evidence.verify import verify
from restaudit.loop.running import resume, start
from tests.loop.conftest import tiny_raw
from tests.loop.raters import PEOPLE, rate

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


ASKED_KILLS = (("g01/i01/samples", "inside"), ("g01/i01/wait", "placed"))
RATED_KILLS = (("g01/i01/audit", "placed"),)
# After the ratings of each set.
STAGE_KILLS = {
    "g01-i01": (("g01/i01/stage2/wait", "inside"), ("g01/i01/stage2/wait", "placed")),
    "g01-i01-stage2": (("g01/i01/stage3/wait", "placed"),),
    "g01-i01-stage3": (("g01/i01/audit", "inside"), ("g01/i01/audit", "torn")),
}


@pytest.fixture(scope="module")
def kill():
    """`kill(folder, run, kills)`: start or resume the run once for each kill, in a process of its
    own that dies there.

    One driver makes the processes of both tests: its imports take 5 s.
    """
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("kill_driver.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as driver:

        def kill(folder: Path, run: Path, kills) -> None:
            asked = {"folder": str(folder), "run": str(run), "kills": list(map(":".join, kills))}
            driver.stdin.write(json.dumps(asked) + "\n")
            driver.stdin.flush()
            answer = driver.stdout.readline()
            assert answer, "the driver ended"
            wrong = json.loads(answer)
            assert not wrong, wrong

        yield kill


def same(whole: Path, killed: Path) -> None:
    """Both runs are done and have the same steps, files and digest."""
    a, b = Run(whole), Run(killed)
    assert [e.step for e in b.events] == [e.step for e in a.events]
    for one, other in zip(a.events, b.events, strict=True):
        assert one.outputs == other.outputs, one.step
    assert b.digest == a.digest
    assert verify(killed).finished


def test_a_run_killed_in_every_kind_of_step_ends_with_the_digests_of_one_that_was_not(
    tiny_policy, job_folder, silent, kill
):
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)
    start(parse(raw), job_folder / "whole", silent)
    (job_folder / "config.json").write_text(json.dumps(raw))
    kill(job_folder, job_folder / "killed", KILLS)
    resume(job_folder / "killed", silent)
    same(job_folder / "whole", job_folder / "killed")


def test_a_run_that_people_rate_loses_nothing_when_it_is_killed_while_it_asks_or_takes(
    tiny_policy, job_folder, silent, kill
):
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1) | {"human": PEOPLE}
    whole, killed = job_folder / "whole", job_folder / "killed"
    with pytest.raises(Waiting):
        start(parse(raw), whole, silent)
    (job_folder / "config.json").write_text(json.dumps(raw))
    kill(job_folder, killed, ASKED_KILLS)
    with pytest.raises(Waiting):
        resume(killed, silent)
    for run in (whole, killed):
        rate(run, "g01-i01")
    kill(job_folder, killed, RATED_KILLS)
    for run in (whole, killed):
        resume(run, silent)
    same(whole, killed)


def test_a_run_that_people_rate_in_stages_loses_nothing_when_it_is_killed_between_them(
    tiny_policy, job_folder, silent, kill
):
    people = {**PEOPLE, "samples": [10, 14, 18], "anchors": 1}
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1) | {"human": people}
    raw["audit"]["samples_per_prompt"] = 3
    # A rule that no rating decides, whether the raters agree or not.
    raw["gates"]["rules"][0] |= {"margin": -1e9, "ok_margin": 1e8}
    raw["gates"]["min_alpha"] = 0.0
    whole, killed = job_folder / "whole", job_folder / "killed"
    for run in (whole, killed):
        with pytest.raises(Waiting):
            start(parse(raw), run, silent)
    for name, kills in STAGE_KILLS.items():
        for run in (whole, killed):
            rate(run, name)
        kill(job_folder, killed, kills)
        for run in (whole, killed):
            with nullcontext() if name.endswith("stage3") else pytest.raises(Waiting):
                resume(run, silent)
    same(whole, killed)
