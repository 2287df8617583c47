"""Another user's run folder: what can be read is read, what cannot be written is one sentence."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

from restaudit.evidence.record import list_runs
from tests.reports.make_run import make_run

# Runs commands one after the other in one process, and prints what each ended with.
DRIVER = """
import contextlib, io, json, sys
from restaudit.commands.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["restaudit", *command]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as e:
            code = e.code or 0
        except BaseException as e:
            code = repr(e)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), file=sys.__stdout__)
"""
# What lets root read and write everybody's files: CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER.
RIGHTS_OF_ROOT = (1, 2, 3)
PR_CAPBSET_DROP = 24
SOMEBODY = 65534


def without_rights_of_root() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for right in RIGHTS_OF_ROOT:
        libc.prctl(PR_CAPBSET_DROP, right, 0, 0, 0)


def somebody_elses(folder: Path, mode: int) -> None:
    """Give a folder and all in it to somebody else; folders get this mode, files its read bits."""
    for path in (folder, *folder.rglob("*")):
        if os.getuid() == 0:
            os.chown(path, SOMEBODY, SOMEBODY)
        path.chmod(mode if path.is_dir() else mode & 0o444)


def tried(commands: list[list[str]], cwd: Path) -> dict[str, tuple[int | str, str, str]]:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(commands)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=without_rights_of_root if os.getuid() == 0 else None,
        capture_output=True,
        text=True,
        check=True,
    )
    answers = map(json.loads, done.stdout.splitlines())
    return {" ".join(c): tuple(a) for c, a in zip(commands, answers, strict=True)}


def is_one_sentence(answer: tuple[int | str, str, str]) -> bool:
    code, _, err = answer
    return code == 2 and err.startswith("restaudit: ") and len(err.strip().splitlines()) == 1


def test_a_run_that_may_be_read_and_not_written(tmp_path):
    run = make_run(tmp_path / "theirs" / "run")
    halted = make_run(tmp_path / "theirs" / "halted", "halted")
    somebody_elses(tmp_path / "theirs", 0o555)
    (tmp_path / "out").mkdir()
    read = [
        ["status", "theirs/run"],
        ["verify", "theirs/run"],
        ["anchor", "theirs/run", "--out", "out/anchor.json"],
        ["report", "theirs/run", "--format", "html", "--out", "out/report"],
        ["export", "theirs/run", "--format", "croissant", "--out", "out/exports"],
        ["bundle", "theirs/run", "--out", "out/run.zip"],
    ]
    write = [
        ["report", "theirs/run", "--format", "html"],
        ["chart", "theirs/run"],
        ["export", "theirs/run", "--format", "croissant"],
        ["compliance", "theirs/run", "--framework", "nist-ai-600-1"],
        ["resume", "theirs/halted"],
        ["override", "theirs/halted", "--by", "Ann Example", "--reason", "It may go on now."],
    ]
    answers = tried(read + write, tmp_path)
    for command in read:
        code, _, err = answers[" ".join(command)]
        assert code == 0, (command, err)
    for command in write:
        answer = answers[" ".join(command)]
        # A halted run is not gone on with, whoever may write it.
        assert is_one_sentence(answer) or (command[0] == "resume" and answer[0] == 4), answer
    assert sorted(p.name for p in run.iterdir()) == sorted(
        p.name for p in make_run(tmp_path / "mine").iterdir()
    )
    assert halted.is_dir()


def test_a_run_that_may_not_be_read(tmp_path):
    commands = []
    for hidden in ("", "ledger.jsonl", "plan.json", "g01/i01/measurements.json"):
        name = hidden.replace("/", "-") or "all"
        run = make_run(tmp_path / name / "run")
        somebody_elses(tmp_path / name, 0o555)
        (run / hidden).chmod(0)
        commands += [
            ["status", f"{name}/run"],
            ["verify", f"{name}/run"],
            ["report", f"{name}/run", "--format", "md", "--out", f"out-{name}"],
            ["export", f"{name}/run", "--format", "croissant", "--out", f"out-{name}"],
            ["bundle", f"{name}/run", "--out", f"{name}.zip"],
            ["resume", f"{name}/run"],
        ]
    for command, (code, _, err) in tried(commands, tmp_path).items():
        # Which files a command needs is its own matter; how it says that one is missing is not.
        assert code in (0, 2, 5), (command, code, err)
        is_usage = "not readable" in err  # typer's own words, in a box
        assert is_usage or len(err.strip().splitlines()) == (code != 0), (command, err)
    assert [r.path.name for r in list_runs(tmp_path / "all")] == ["run"]
