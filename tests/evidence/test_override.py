"""Overriding a halt: only where one stands, with a name and a reason, and shown before everything
else.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from restaudit.commands.first_screen import print_overrides
from restaudit.commands.summary import print_summary
from restaudit.errors import BadInput
from restaudit.evidence import record
from restaudit.evidence.override import override, wrong_text
from restaudit.evidence.record import Run
from restaudit.evidence.steps import Writer
from restaudit.evidence.verify import verify
from restaudit.files.signs import printable
from tests.recorded import finish_step

BY, REASON = "Ada Moreau", "the raters were shown an older version of the texts"


@pytest.fixture
def halted(make_recorded_run: Callable[..., Path]) -> Path:
    return make_recorded_run("halted", halted=True)


def test_an_override_is_recorded_with_the_gates_it_overrides(halted: Path) -> None:
    before = Run(halted)
    assert (before.state, before.overrides()) == ("halted", [])
    done = override(halted, by=f" {BY} ", reason=REASON)
    after = Run(halted)
    assert [done] == after.overrides()
    assert (done.iteration, done.gates, done.by, done.reason) == ("g01/i02", ("harm",), BY, REASON)
    assert done.time == after.events[-1].at["time"]
    assert (after.state, after.halt) == ("stopped", None)
    assert after.digest != before.digest
    assert not verify(halted).finished


def test_one_halt_is_overridden_once(halted: Path) -> None:
    override(halted, by=BY, reason=REASON)
    with pytest.raises(BadInput, match=r"this run is stopped, so there is nothing to override"):
        override(halted, by=BY, reason=REASON)


def test_a_later_halt_stands_whatever_was_overridden_before(halted: Path) -> None:
    override(halted, by=BY, reason=REASON)
    finish_step(halted, "g02/i01/halt", content={"iteration": "g02/i01", "gates": ["collapse"]})
    run = Run(halted)
    assert run.state == "halted"
    assert run.halt == record.Halt("g02/i01", ("collapse",))
    override(halted, by=BY, reason=REASON)
    assert [o.iteration for o in Run(halted).overrides()] == ["g01/i02", "g02/i01"]


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_that_no_gate_stopped_has_nothing_to_override(
    make_recorded_run: Callable[..., Path], finished: bool
) -> None:
    run = make_recorded_run("healthy", finished=finished)
    with pytest.raises(BadInput, match=rf"this run is {'done' if finished else 'stopped'}"):
        override(run, by=BY, reason=REASON)
    assert Run(run).overrides() == []


@pytest.mark.parametrize(
    ("by", "reason", "message"),
    [
        ("", REASON, r"--by: expected 2 to 100 characters of text, got 0"),
        (" \t ", REASON, r"--by: expected 2 to 100"),
        ("A" * 101, REASON, r"--by: expected 2 to 100 characters of text, got 101"),
        (BY, "", r"--reason: expected 10 to 2000"),
        (BY, "because", r"--reason: expected 10 to 2000 characters of text, got 7"),
        (BY, "- - - - - - - -", r"--reason: expected 10 to 2000"),
        (BY, "two\nlines of reason", r"--reason: holds control characters or line breaks"),
        ("Ada\x1b[31m", REASON, r"--by: holds control characters"),
        (BY, "turned \u202earound reason", r"--reason: holds control characters"),
        (BY, "not utf-8 \udce9 reason", r"--reason: holds control characters"),
    ],
)
def test_a_name_or_reason_that_says_nothing_or_does_something_is_refused(
    halted: Path, by: str, reason: str, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        override(halted, by=by, reason=reason)
    assert Run(halted).state == "halted"


@pytest.mark.parametrize("name", ["Zoë", "李娜", "Ana Luíza D'Ávila", "می‌خواهم", "👩‍⚖️ Judge"])
def test_names_of_all_scripts_are_names(name: str) -> None:
    assert wrong_text("by", name) is None


@given(st.text())
def test_what_is_printable_stays_and_is_one_line(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert printable(shown) == shown
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown


def test_a_plan_changed_after_sealing_cannot_be_overridden_into(halted: Path) -> None:
    path = halted / "plan.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"margin": -0.2', '"margin": -9.2'),
        encoding="utf-8",
    )
    with pytest.raises(BadInput, match=r"plan\.json was changed after it was sealed"):
        override(halted, by=BY, reason=REASON)


def test_a_run_that_somebody_writes_is_not_overridden(halted: Path) -> None:
    with Writer(halted), pytest.raises(BadInput, match="another process is writing this run"):
        override(halted, by=BY, reason=REASON)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a run folder"):
        override(tmp_path / "nowhere", by=BY, reason=REASON)
    assert not (tmp_path / "nowhere").exists()


def test_who_went_on_and_why_is_printed_before_anything_is_read_and_only_as_text(
    halted: Path,
) -> None:
    override(
        halted,
        by="[bold]Ada[/bold]",
        reason="[link=https://x.example]see the minutes[/link] of the board",
    )
    (halted / "g00/i00/measurements.json").unlink()
    console = Console(file=io.StringIO(), width=80, highlight=False)
    with pytest.raises(BadInput, match=r"measurements\.json"):
        print_summary(halted, console)
    assert isinstance(console.file, io.StringIO)
    out = " ".join(console.file.getvalue().split())
    assert out.startswith("OVERRIDE at g01/i02 (2")
    assert (
        "gate harm said HALT, and [bold]Ada[/bold] let the run go on: [link=https://x.example]see "
        "the"
    ) in out


def test_a_hostile_ledger_shows_its_override_without_control_characters(halted: Path) -> None:
    said = {
        "iteration": "g01/i02",
        "gates": ["ha\x1b[2Jrm"],
        "by": "\x1b]0;owned\x07",
        "reason": {"a": [1]},
    }
    finish_step(halted, "g01/i02/override", content=said)
    file = io.StringIO()
    print_overrides(Run(halted), Console(file=file))
    assert not {c for c in file.getvalue() if ord(c) < 32} - {"\n"}
    assert json.dumps(Run(halted).overrides()[0].by) == '"\\ufffd]0;owned\\ufffd"'


def test_the_digest_of_a_run_tells_that_it_was_overridden_and_by_whom(halted: Path) -> None:
    runs = [halted, halted.with_name("two"), halted.with_name("three")]
    for run in runs[1:]:
        shutil.copytree(halted, run)
    assert len({Run(r).digest for r in runs}) == 1
    override(runs[1], by=BY, reason=REASON)
    override(runs[2], by="Jo Kamara", reason=REASON)
    assert len({Run(r).digest for r in runs}) == 3
