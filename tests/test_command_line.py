"""Every command: options given twice, bad values, any terminal, and errors that nobody foresaw."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from restaudit.commands import cli
from restaudit.commands.ending import ended
from restaudit.commands.program import Command, keyed, listed
from restaudit.errors import BadInput, Exit
from tests.reports.make_run import make_run

COMMAND = "from restaudit.commands.cli import main; main()"


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its name, as typer's own registry has them."""
    cli._register_plugins()
    waiting = [((), typer.main.get_command(cli.app))]
    while waiting:
        name, command = waiting.pop()
        if hasattr(command, "commands"):
            waiting += [((*name, part), inner) for part, inner in command.commands.items()]
        else:
            yield name, command


COMMANDS = sorted(commands())
OPTIONS = [
    (name, command, option)
    for name, command in COMMANDS
    for option in command.params
    if option.param_type_name == "option"
]


def kind_of(option: Any) -> Any:
    return getattr(option.type_descriptor, "annotation", option.type_descriptor)


def given(command: Any, option: Any, value: str) -> list[str]:
    """Words that give the option, after arguments for what the command needs."""
    needed = ["x" for p in command.params if p.param_type_name == "argument" and p.required]
    return [*needed, option.opts[0], *([] if option.is_flag else [value])]


def parsed(name: tuple[str, ...], command: Any, words: list[str]) -> None:
    command.make_context(" ".join(name), words)


# --- options


def test_every_command_is_of_the_one_class() -> None:
    assert len(COMMANDS) > 30
    assert {type(command) for _, command in COMMANDS} == {Command}


@pytest.mark.parametrize(("name", "command", "option"), OPTIONS)
def test_an_option_given_twice_adds_up_or_is_refused(
    name: tuple[str, ...], command: Any, option: Any
) -> None:
    is_number = kind_of(option) in (int, float, list[float])
    value = str(option.min or 1) if is_number else "a"
    choices = getattr(kind_of(option), "__members__", None)
    if choices:
        value = next(iter(choices.values())).value
    once = given(command, option, value)
    twice = [*once, *once[once.index(option.opts[0]) :]]
    others = [p.opts[0] for p in command.params if p.required and p.param_type_name == "option"]
    for other in others:
        if other != option.opts[0]:
            once, twice = [*once, other, "x"], [*twice, other, "x"]
    parsed(name, command, once)
    if option.multiple or (option.is_flag and not option.secondary_opts):
        parsed(name, command, twice)
    else:
        with pytest.raises(BadInput, match="given 2 times; give it once"):
            parsed(name, command, twice)


def test_a_switch_and_its_opposite_are_refused() -> None:
    for name, words in (("verify", ["--render", "--no-render"]), ("compare", ["--search"] * 2)):
        command = dict(COMMANDS)[(name,)]
        with pytest.raises(BadInput, match="given 2 times"):
            parsed((name,), command, ["x", *words])


def test_every_number_of_an_option_has_a_range() -> None:
    for name, _, option in OPTIONS:
        if kind_of(option) in (int, float, list[int], list[float]):
            assert option.min is not None, (name, option.opts)
            assert option.max is not None, (name, option.opts)


BAD = (
    "",
    "nan",
    "inf",
    "-1e400",
    "9" * 5000,
    "-9" * 30,
    "[x",
    "{a: 1, a: 2}",
    "\udcff",
    "a=",
    "=b",
)


@pytest.mark.parametrize(("name", "command", "option"), OPTIONS)
def test_a_bad_number_is_no_traceback(name: tuple[str, ...], command: Any, option: Any) -> None:
    if kind_of(option) not in (int, float, list[float]):
        return
    for value in BAD:
        try:
            parsed(name, command, given(command, option, value))
        except (BadInput, typer.BadParameter):
            continue
        pytest.fail(f"{name} {option.opts[0]} {value} was taken")


# Options whose text is read further, each with words that reach it.
READ_FURTHER = (
    ("run", "reviews", "--set"),
    ("calibrate", "reviews", "--set"),
    ("reward", "train", "reviews", "--set"),
    ("compare", "--recipe", "reviews", "--set"),
    ("compare", "--recipe", "reviews", "--arm"),
    ("compare", "--recipe", "reviews", "--methods"),
    ("compare", "RUN", "RUN", "--format"),
    ("watch", "RUN", "--set"),
    ("watch", "RUN", "--column"),
    ("watch", "RUN", "--steps"),
    ("probe", "FILE", "--column"),
    ("probe", "FILE", "--only"),
    ("probe", "FILE", "--reward"),
    ("reward", "validate", "RUN", "--data", "FILE", "--option"),
    ("reward", "validate", "RUN", "--data", "FILE", "--column"),
    ("report", "RUN", "--format"),
    ("export", "RUN", "--format"),
    ("compliance", "RUN", "--framework"),
    ("compliance", "RUN", "--format"),
    ("rate", "export", "RUN", "--scale"),
    ("rate", "export", "RUN", "--iterations"),
    ("resume", "RUN", "--code"),
    ("init", "--recipe"),
    ("why", "RUN"),
)
HOSTILE = ("name=[x", f"seed={'9' * 5000}", "a.b.c", "=", "name={a: 1, a: 2}", "\x1b[31m", "²" * 9)


def call(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["restaudit", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out = capsys.readouterr()
    return int(end.value.code or 0), out.out, out.err


@pytest.mark.parametrize("words", READ_FURTHER, ids=" ".join)
def test_text_that_is_read_further_is_one_sentence(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    # Halted, so that nothing would go on with it; `resume` would draw its charts for every text.
    monkeypatch.setattr("reports.commands.draw", lambda run, places: None)
    run = make_run(tmp_path / "run", "halted")
    (tmp_path / "file.jsonl").write_text('{"text": "a"}\n' * 3)
    monkeypatch.chdir(tmp_path)
    places = {"RUN": str(run), "FILE": "file.jsonl"}
    for value in HOSTILE:
        code, _, err = call([places.get(w, w) for w in words] + [value], monkeypatch, capsys)
        assert code in (Exit.BAD_INPUT, Exit.HALTED), (value[:40], err[:400])
        assert "Traceback" not in err
        assert "\x1b[31m" not in err
    assert not (tmp_path / "runs").exists()


def test_set_takes_each_key_once_and_no_key_beside_its_section(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for keys in (("seed=1", "seed=2"), ("loop={}", "loop.grow_steps=1"), ("a.b=1", "a=1")):
        words = ["run", "reviews", *(w for key in keys for w in ("--set", key))]
        code, _, err = call(words, monkeypatch, capsys)
        assert code == Exit.BAD_INPUT
        assert "only one could count" in err


def test_lists_may_be_given_again_or_with_commas() -> None:
    assert listed(["a, b", "c,a", ""]) == ("a", "b", "c")
    assert keyed("--column", ["a=b=c"], "") == {"a": "b=c"}
    for pairs in (["a"], ["=b"], ["a="], ["a=b", "a=c"]):
        with pytest.raises(BadInput, match=r"--column (a|=b)"):
            keyed("--column", pairs, "NAME=COLUMN")


def test_formats_and_frameworks_add_up_and_a_file_for_several_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run = str(make_run(tmp_path / "run"))
    code, out, _ = call(["report", run, "--format", "md", "--format", "json"], monkeypatch, capsys)
    assert code == 0
    assert [Path(line).suffix for line in out.split()] == [".md", ".json"]
    two = ["--framework", "iso-42001", "--framework", "ca-ab-2013", "--format", "md"]
    code, out, _ = call(["compliance", run, *two], monkeypatch, capsys)
    assert code == 0
    assert out.count(".md") == 2
    kept = tmp_path / "kept.md"
    for words in (
        ["compliance", run, *two, "--out", str(kept)],
        ["report", run, "--format", "md,json", "--out", str(kept)],
        ["export", run, "--out", str(tmp_path / "kept.json")],
    ):
        code, _, err = call(words, monkeypatch, capsys)
        assert code == Exit.BAD_INPUT
        assert "names a file" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


# --- the net under everything


def test_what_nobody_foresaw_is_one_sentence_and_a_trace_for_this_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("RESTAUDIT_CACHE", str(tmp_path))

    def endless(n: int = 0) -> int:
        return endless(n + 1)

    def nothing() -> None:
        raise KeyError("loop\x1b[31m\n")

    def memory() -> None:
        raise MemoryError

    for program in (nothing, endless, memory):
        assert ended(program, ["status", "x"]) == Exit.BUG
        err = capsys.readouterr().err
        assert err.startswith("restaudit status: ")
        assert err.count("\n") == 1
        assert "\x1b" not in err
    traces = sorted((tmp_path / "errors").iterdir())
    assert traces[0].stat().st_mode & 0o077 == 0
    assert "MemoryError" in traces[-1].read_text(encoding="utf-8")
    assert "bug of restaudit" not in err


def test_a_trace_that_no_cache_takes_goes_to_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESTAUDIT_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ended(lambda: 1 / 0, ["verify"]) == Exit.BUG
    (trace,) = tmp_path.glob("restaudit-*/errors/*.txt")
    assert str(trace) in capsys.readouterr().err
    assert "ZeroDivisionError" in trace.read_text(encoding="utf-8")


def test_a_machine_that_says_no_is_no_bug(capsys: Any) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device", "/data/x")

    assert ended(full, []) == Exit.BAD_INPUT
    assert "restaudit: /data/x: cannot be read or written: No space left" in capsys.readouterr().err


def test_the_exit_codes_are_in_the_help(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    _, out, _ = call(["--help"], monkeypatch, capsys)
    words = " ".join(out.split())
    for code in Exit:
        assert re.search(rf"\b{int(code)} \w", words[words.index("Exit codes") :])


# --- real processes: pipes, full disks, terminals

LONG = (
    ("status", "RUN"),
    ("verify", "RUN"),
    ("compliance", "RUN", "--format", "md"),
    ("declare", "RUN"),
    ("init",),
    ("reward", "dossier", "RUN"),
    ("--help",),
)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("shown") / "läuft-τ", name="shown")


def process(words: tuple[str, ...], run: Path, **more: Any) -> subprocess.CompletedProcess[bytes]:
    given = [sys.executable, "-c", COMMAND, *(str(run) if w == "RUN" else w for w in words)]
    environment = {**os.environ, **more.pop("env", {})}
    return subprocess.run(given, env=environment, check=False, stderr=subprocess.PIPE, **more)


# Imports what the commands import, then makes a process for each request: it gets the output that
# is sent with the request, runs the command, and ends as Python ends, with its last flush.
FORKS = """
import json, os, socket, sys
import pandas, rich.table, restaudit.commands.summary, restaudit.commands.cli as cli
import restaudit.evidence.verify.check, reports.frameworks.build, reports.reward.document
cli._register_plugins()
asked = socket.socket(fileno=0)
while True:
    request, given, _, _ = socket.recv_fds(asked, 65536, 2)
    if not request:
        os._exit(0)
    if not (child := os.fork()):
        break
    for descriptor in given:
        os.close(descriptor)
    asked.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os.dup2(given[0], 1)
os.dup2(given[1], 2)
sys.argv = ["restaudit", *json.loads(request)]
cli.main()
"""


@pytest.fixture(scope="module")
def forked() -> Iterator[Callable[[tuple[str, ...], Path, int], tuple[int, bytes]]]:
    """`forked(words, run, output)`: the exit code and standard error of the command in a process of
    its own, whose standard output is that descriptor. The imports, 1 s, are done once for all.
    """
    ours, theirs = socket.socketpair()
    # A pipe, since Python asks its output at the start whether it can be wound back.
    pipe = {"stdin": theirs, "stdout": subprocess.PIPE}
    environment = {**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}
    with ours, subprocess.Popen([sys.executable, "-c", FORKS], env=environment, **pipe) as driver:
        theirs.close()

        def fork(words: tuple[str, ...], run: Path, output: int) -> tuple[int, bytes]:
            with tempfile.TemporaryFile() as errors:
                request = json.dumps([str(run) if w == "RUN" else w for w in words]).encode()
                socket.send_fds(ours, [request], [output, errors.fileno()])
                answer = ours.recv(16)
                assert answer, "the driver ended"
                errors.seek(0)
                return int(answer), errors.read()

        yield fork
        ours.shutdown(socket.SHUT_RDWR)
        assert driver.wait(60) == 0


@pytest.mark.parametrize("words", LONG, ids=" ".join)
def test_a_reader_that_goes_away_is_no_error(
    words: tuple[str, ...], shown: Path, forked: Any
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert forked(words, shown, writing) == (Exit.CLOSED, b"")
    finally:
        os.close(writing)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", LONG, ids=" ".join)
def test_a_full_disk_under_the_output_is_one_sentence(
    words: tuple[str, ...], shown: Path, forked: Any
) -> None:
    with Path("/dev/full").open("wb") as full:
        code, said = forked(words, shown, full.fileno())
    assert code == Exit.BAD_INPUT
    assert said == b"restaudit: the output: cannot be written: No space left on device\n"


NARROW = {"PYTHONIOENCODING": "latin-1", "LC_ALL": "C", "COLUMNS": "40"}


@pytest.mark.parametrize("words", LONG, ids=" ".join)
def test_an_old_narrow_terminal_loses_no_text(
    words: tuple[str, ...], shown: Path, forked: Any, tmp_path: Path
) -> None:
    narrow = process(words, shown, stdout=subprocess.PIPE, env=NARROW)
    with (tmp_path / "wide").open("wb") as wide:
        assert forked(words, shown, wide.fileno()) == (0, b"")
    assert narrow.returncode == 0, narrow.stderr.decode()
    assert narrow.stderr == b""
    if words == ("--help",):
        return  # typer's own, whose columns are cut where they are narrow
    # Every number and word is still there, whatever lines they were broken into.
    for word in re.findall(r"[A-Za-z0-9.]{2,}", (tmp_path / "wide").read_text("utf-8")):
        squeezed = re.sub(rb"\s", b"", narrow.stdout)
        assert word.encode() in squeezed, word


def test_an_output_of_another_kind_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    assert ended(lambda: stream.write("τ"), []) == 0
    assert stream.getvalue() == "τ"
