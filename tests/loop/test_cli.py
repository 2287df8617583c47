"""The commands: exit codes, one clear message for bad input, and help that starts without heavy
imports.
"""

import subprocess
import sys

import pytest
import yaml

from restaudit.commands import cli
from restaudit.evidence.record import Run
from tests.loop.conftest import tiny_raw
from tests.loop.raters import PEOPLE, rate


@pytest.fixture
def run_cli(monkeypatch, capsys):
    """Call the command line as a shell would; returns (exit code, standard output, standard
    error).
    """

    def call(*words: object):
        monkeypatch.setattr(sys, "argv", ["restaudit", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as e:
            code = int(e.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture
def config_file(tiny_policy, job_folder):
    def write(**loop):
        path = job_folder / "my.yaml"
        path.write_text(yaml.safe_dump(tiny_raw(tiny_policy, **loop)), encoding="utf-8")
        return path

    return write


SMALL = {"grow_steps": 1, "improve_steps": 1}


@pytest.mark.parametrize(
    "command", ["init", "run", "demo", "resume", "override", "status", "verify", "ui", "chart"]
)
def test_every_command_has_help(run_cli, command):
    code, out, _ = run_cli(command, "--help")
    assert code == 0
    assert f"restaudit {command}" in out


def test_init_prints_a_recipe_that_run_would_read(run_cli):
    code, out, _ = run_cli("init", "--recipe", "harmless")
    assert code == 0
    assert yaml.safe_load(out)["name"] == "harmless"
    assert "reviews" in run_cli("init", "--list")[1].split()


def test_run_status_verify_and_resume_of_a_finished_run(run_cli, config_file, job_folder):
    folder = job_folder / "runs" / "x"
    code, out, err = run_cli("run", config_file(**SMALL), "--out", folder, "--quiet")
    assert (code, err) == (0, "")
    assert "g01/i01" in out
    assert "a program stands in for them" in out
    assert f"restaudit verify {folder}" in out
    code, out, _ = run_cli("status", folder)
    assert code == 0
    assert "done, 10 of 10 steps" in out
    code, out, _ = run_cli("verify", folder)
    assert code == 0
    assert "UNANCHORED" in out
    code, out, _ = run_cli("resume", folder)
    assert code == 0
    assert "nothing to resume" in out


def test_verify_exits_5_and_names_the_file_of_a_flipped_byte(run_cli, config_file, job_folder):
    folder = job_folder / "runs" / "x"
    run_cli("run", config_file(**SMALL), "--out", folder, "--quiet")
    path = folder / "g01" / "i01" / "audit.parquet"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    code, _, err = run_cli("verify", folder)
    assert code == 5
    assert "g01/i01/audit.parquet" in err


def test_a_halted_run_exits_4_with_its_summary_and_so_does_resume(run_cli, config_file, job_folder):
    folder = job_folder / "runs" / "x"
    code, out, err = run_cli(
        "run", config_file(), "--out", folder, "--quiet", "--set", "gates.rules.0.margin=50"
    )
    assert code == 4
    assert "HALT" in out
    assert "halted after g01/i01 by the sealed policy (gate: harm)" in err
    assert run_cli("resume", folder)[0] == 4
    assert Run(folder).state == "halted"
    code, _, err = run_cli("override", folder, "--by", "Ada", "--reason", "no")
    assert code == 2
    assert "--reason: expected 10 to 2000 characters" in err
    code, out, _ = run_cli(
        "override", folder, "--by", "Ada", "--reason", "the margin was a typing error"
    )
    assert code == 0
    assert f"restaudit resume {folder}" in out
    for command in ("status", "verify"):
        code, out, _ = run_cli(command, folder)
        assert code == 0
        assert out.startswith("OVERRIDE at g01/i01")
    assert run_cli("resume", folder)[0] == 4  # the next look halts again


def test_a_run_that_waits_for_people_exits_3_until_they_have_rated(
    run_cli, tiny_policy, job_folder
):
    path = job_folder / "people.yaml"
    path.write_text(
        yaml.safe_dump(tiny_raw(tiny_policy, **SMALL) | {"human": PEOPLE}), encoding="utf-8"
    )
    folder = job_folder / "runs" / "x"
    code, out, err = run_cli("run", path, "--out", folder, "--quiet")
    assert code == 3
    assert "g00/i00" in out
    assert "0 are in, 44 are missing" in err
    code, out, _ = run_cli("status", folder)
    assert code == 0
    assert "waiting, 10 of 12 steps" in out
    assert f"take them back: restaudit rate import {folder}" in out
    assert run_cli("resume", folder)[0] == 3
    rate(folder, "g01-i01")
    assert (
        f"all ratings are in; go on with: restaudit resume {folder}" in run_cli("status", folder)[1]
    )
    code, out, _ = run_cli("resume", folder)
    assert code == 0
    assert "people's ratings" in out
    assert run_cli("verify", folder)[0] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("loop.grow_stpes=2", "loop.grow_stpes: unknown key (did you mean 'grow_steps'?)"),
        ("loop.grow_steps=zero", "loop.grow_steps: Input should be a valid integer"),
        ("loop.grow_steps", "expected key.path=value"),
        ("data.prompts.7.source=x", "expected an index"),
        ("reward.callable=rewards_of_test:missing", "missing"),
        ("reward.callable=no_such_module:f", "no_such_module"),
        ("device=cuda", "torch sees no CUDA device"),
        ("policy.model=nowhere", "nowhere: no such file or folder"),
        ("loop.improve_steps=5", "one rising value per Improve step"),
    ],
)
def test_bad_input_exits_2_with_one_clear_message_and_leaves_no_run(
    run_cli, config_file, job_folder, change, message
):
    code, _, err = run_cli("run", config_file(), "--out", job_folder / "x", "--set", change)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (job_folder / "x" / "g00").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "revews"), "did you mean 'reviews'?"),
        (("run", "missing.yaml"), "no such file"),
        (("status", "nowhere"), "not a run folder"),
        (("verify", "nowhere"), "nowhere"),
        (("resume", "nowhere"), "not a run folder"),
        (("bogus",), "bogus"),
        (("run",), "NAME|FILE"),
    ],
)
def test_wrong_words_exit_2(run_cli, job_folder, words, message):
    code, _, err = run_cli(*words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_a_yaml_error_names_its_line(run_cli, job_folder):
    (job_folder / "bad.yaml").write_text("name: x\npolicy: [1, 2\n", encoding="utf-8")
    code, _, err = run_cli("run", job_folder / "bad.yaml")
    assert code == 2
    assert "bad.yaml, line" in err


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    heavy = "torch transformers numpy pandas scipy pydantic streamlit"
    code = (
        f"import sys, restaudit.commands.cli; print(*[m for m in '{heavy}'.split() if m in "
        "sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
