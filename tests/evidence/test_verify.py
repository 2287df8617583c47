"""Tampering: whatever is changed in a recorded run, `verify` names it; whatever a crash leaves, it
does not accuse.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restaudit.errors import BadInput, Exit, VerificationFailed
from restaudit.evidence import ledger, record
from restaudit.evidence.verify import recorded_bytes, verify
from tests.recorded import SCORES, build_run, finish_step, measured


def _files(run: Path) -> list[str]:
    return [name for e in ledger.read(run) for name in (*e.outputs, *e.context)]


def _rerecord(run: Path, edit: Callable[[str, Path], None]) -> None:
    """What an operator with full access does: change a file before its step is recorded, and
    rebuild the chain.
    """
    events = ledger.read(run)
    (run / ledger.FILE).unlink()
    for event in events:
        for name in event.outputs:
            edit(name, run / name)
        finish_step(run, event.step, tuple(event.outputs), tuple(event.context))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_run(tmp_path_factory.mktemp("pristine") / "run")


def test_an_untouched_run_passes_and_says_what_was_checked(recorded_run: Path) -> None:
    seen: list[int] = []
    report = verify(recorded_run, seen.append)
    assert (report.files, report.events, report.decisions) == (len(_files(recorded_run)), 8, 2)
    assert report.bytes == sum(seen) == recorded_bytes(recorded_run)
    assert report.finished
    assert (report.unrecorded, report.torn_bytes) == ((), 0)
    assert report.digest == record.Run(recorded_run).digest
    assert report.head == ledger.read(recorded_run)[-1].hash


@given(st.data())
def test_a_flipped_byte_in_any_file_is_found_and_the_file_named(
    pristine: Path, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([*_files(pristine), ledger.FILE]))
    path = pristine / name
    original = path.read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    path.write_bytes(
        original[:at] + bytes([original[at] ^ data.draw(st.integers(1, 255))]) + original[at + 1 :]
    )
    try:
        with pytest.raises(VerificationFailed) as caught:
            verify(pristine)
    finally:
        path.write_bytes(original)
    assert str(caught.value).startswith(f"{name}: ")
    assert caught.value.exit_code is Exit.VERIFICATION_FAILED


def test_every_file_is_missed_when_it_is_gone(recorded_run: Path) -> None:
    for name in _files(recorded_run):
        kept = (recorded_run / name).read_bytes()
        (recorded_run / name).unlink()
        with pytest.raises(VerificationFailed, match=f"^{name}: missing; step '.+' recorded it"):
            verify(recorded_run)
        (recorded_run / name).write_bytes(kept)
    verify(recorded_run)


def test_a_truncated_file_is_named_with_both_sizes(recorded_run: Path) -> None:
    path = recorded_run / "g01/grow.parquet"
    size = path.stat().st_size
    os.truncate(path, size - 1)
    message = f"g01/grow.parquet: changed .* expected {size:,} bytes, got {size - 1:,} bytes"
    with pytest.raises(VerificationFailed, match=message):
        verify(recorded_run)


def test_a_changed_file_is_named_with_both_digests(recorded_run: Path) -> None:
    path = recorded_run / "g01/i01/audit.parquet"
    expected = ledger.digest_file(path).sha256
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    got = ledger.digest_file(path).sha256
    with pytest.raises(VerificationFailed, match=f"expected sha256 {expected}, got {got}"):
        verify(recorded_run)


def test_of_two_bad_files_the_first_in_the_ledger_is_named(recorded_run: Path) -> None:
    (recorded_run / "g01/i02/kept.parquet").unlink()
    (recorded_run / "plan.json").write_bytes(b"{}")
    with pytest.raises(VerificationFailed, match=r"^plan\.json: "):
        verify(recorded_run)


@pytest.mark.parametrize(
    "name", ["extra.txt", "g01/notes.md", "g01/i01/adapter/weights.safetensors"]
)
def test_a_file_added_to_a_finished_run_is_refused_and_to_an_unfinished_one_listed(
    make_recorded_run: Callable[..., Path], name: str
) -> None:
    for finished in (True, False):
        run = make_recorded_run(f"run_{finished}", finished=finished)
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("x", encoding="utf-8")
        if finished:
            with pytest.raises(
                VerificationFailed, match=f"^{name}: no event of this finished run records it"
            ):
                verify(run)
        else:
            report = verify(run)
            assert (report.finished, report.unrecorded) == (False, (name,))


def test_what_is_written_beside_the_record_is_not_part_of_it(recorded_run: Path) -> None:
    for name in (
        "writer.json",
        ".lock",
        ".tmp-g02/half",
        "g01/.tmp-x",
        "report/a.svg",
        "human/tasks.jsonl",
    ):
        (recorded_run / name).parent.mkdir(exist_ok=True)
        (recorded_run / name).write_text("x", encoding="utf-8")
    assert verify(recorded_run).unrecorded == ()


def test_only_the_top_report_folder_is_beside_the_record(recorded_run: Path) -> None:
    (recorded_run / "g01/report").mkdir()
    (recorded_run / "g01/report/x").write_text("x", encoding="utf-8")
    with pytest.raises(VerificationFailed, match=r"^g01/report/x: "):
        verify(recorded_run)


def test_a_recorded_file_that_became_a_link_is_refused_even_to_the_same_bytes(
    recorded_run: Path,
) -> None:
    path = recorded_run / "g01/grow.parquet"
    shutil.move(path, recorded_run.parent / "elsewhere.parquet")
    path.symlink_to(recorded_run.parent / "elsewhere.parquet")
    with pytest.raises(VerificationFailed, match=r"^g01/grow\.parquet: is a symbolic link"):
        verify(recorded_run)


def test_a_folder_that_became_a_link_is_refused(recorded_run: Path) -> None:
    shutil.move(recorded_run / "g01", recorded_run.parent / "g01")
    (recorded_run / "g01").symlink_to(recorded_run.parent / "g01")
    with pytest.raises(VerificationFailed, match=r"^g01: is a symbolic link"):
        verify(recorded_run)


@pytest.mark.parametrize("finished", [True, False])
def test_an_added_link_is_refused(make_recorded_run: Callable[..., Path], finished: bool) -> None:
    run = make_recorded_run("linked", finished=finished)
    (run / "g01/link").symlink_to(run)
    with pytest.raises(VerificationFailed, match=r"^g01/link: is a symbolic link"):
        verify(run)


def test_a_ledger_that_is_a_link_is_refused(recorded_run: Path) -> None:
    shutil.move(recorded_run / ledger.FILE, recorded_run.parent / "l")
    (recorded_run / ledger.FILE).symlink_to(recorded_run.parent / "l")
    with pytest.raises(VerificationFailed, match=r"^ledger\.jsonl: is a symbolic link"):
        verify(recorded_run)


def test_a_device_or_folder_in_a_files_place_is_refused_without_reading_it(
    recorded_run: Path,
) -> None:
    path = recorded_run / "g01/grow.parquet"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(VerificationFailed, match="is a named pipe"):
        verify(recorded_run)
    path.unlink()
    path.mkdir()
    with pytest.raises(VerificationFailed, match="is a folder"):
        verify(recorded_run)


@pytest.mark.parametrize(
    "name", ["../out", "/etc/hostname", "a/../plan.json", "", ".", "a//b", "./a", "a\\b", "C:/x"]
)
def test_a_recorded_path_that_leaves_the_folder_is_refused(
    make_recorded_run: Callable[..., Path], name: str
) -> None:
    run = make_recorded_run("escape", finished=False)
    events = ledger.read(run)
    digest = ledger.FileDigest("a" * 64, 1)
    ledger.append(run, ledger.Event(len(events), "g02/grow", events[-1].hash, {name: digest}))
    with pytest.raises(VerificationFailed, match="records it, but the name"):
        verify(run)


def test_a_file_recorded_twice_is_refused(make_recorded_run: Callable[..., Path]) -> None:
    run = make_recorded_run("twice", finished=False)
    finish_step(run, "g02/grow", ("g01/grow.parquet",))
    with pytest.raises(
        VerificationFailed, match=r"grow\.parquet: recorded twice, by step 'g01/grow' and again"
    ):
        verify(run)


def test_an_edited_measurement_is_named(recorded_run: Path) -> None:
    path = recorded_run / "g01/i02/measurements.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0.4", "0.9", 1), encoding="utf-8")
    with pytest.raises(VerificationFailed, match=r"^g01/i02/measurements\.json: changed"):
        verify(recorded_run)


def test_an_edited_decision_with_its_digest_edited_too_breaks_the_chain(recorded_run: Path) -> None:
    path = recorded_run / "g01/i02/decision.json"
    before = ledger.digest_file(path)
    path.write_text(path.read_text(encoding="utf-8").replace('"OK"', '"NO"'), encoding="utf-8")
    chain = recorded_run / ledger.FILE
    chain.write_text(
        chain.read_text().replace(before.sha256, ledger.digest_file(path).sha256), encoding="utf-8"
    )
    with pytest.raises(
        VerificationFailed, match=r"^ledger\.jsonl: line 7: the event 'g01/i02/audit' was changed"
    ):
        verify(recorded_run)


@pytest.mark.parametrize(
    ("key", "value"),
    [("verdict", "WARN"), ("look", 7), ("looks", 9), ("iteration", "g01/i02"), ("gates", [])],
)
def test_a_decision_recorded_against_its_measurements_is_found_though_the_chain_is_whole(
    recorded_run: Path, key: str, value: Any
) -> None:
    def edit(name: str, path: Path) -> None:
        if name == "g01/i01/decision.json":
            record.write_json({**json.loads(path.read_text(encoding="utf-8")), key: value}, path)

    _rerecord(recorded_run, edit)
    with pytest.raises(VerificationFailed, match=r"^g01/i01/decision\.json: "):
        verify(recorded_run)


def test_measurements_edited_before_the_chain_was_rebuilt_no_longer_carry_their_decision(
    recorded_run: Path,
) -> None:
    def edit(name: str, path: Path) -> None:
        if name == "g01/i02/measurements.json":
            worse = [measured(value=-0.9), measured("divergence.gap", 0.3)]
            record.write_json({**SCORES, "measurements": [m.to_json() for m in worse]}, path)

    _rerecord(recorded_run, edit)
    message = (
        r"^g01/i02/decision\.json: the decision does not follow from g01/i02/measurements\.json"
    )
    with pytest.raises(VerificationFailed, match=message):
        verify(recorded_run)


@pytest.mark.parametrize(
    "content", ["[]", '{"measurements": [1]}', '{"measurements": [{"name": "x"}]}', "{"]
)
def test_measurements_nobody_can_read_are_named(recorded_run: Path, content: str) -> None:
    def edit(name: str, path: Path) -> None:
        if name == "g01/i01/measurements.json":
            path.write_text(content, encoding="utf-8")

    _rerecord(recorded_run, edit)
    with pytest.raises(VerificationFailed, match=r"^g01/i01/measurements\.json: "):
        verify(recorded_run)


def test_a_gate_policy_loosened_in_the_plan_is_found(recorded_run: Path) -> None:
    path = recorded_run / "plan.json"
    text = path.read_text(encoding="utf-8").replace('"margin": -0.2', '"margin": -9.2')
    path.write_text(text, encoding="utf-8")
    with pytest.raises(VerificationFailed, match=r"^plan\.json: changed"):
        verify(recorded_run)
    _rerecord(recorded_run, lambda name, path: None)
    with pytest.raises(VerificationFailed, match="does not follow from"):
        verify(recorded_run)


def test_rounding_between_machines_is_not_an_accusation(recorded_run: Path) -> None:
    def edit(name: str, path: Path) -> None:
        if name == "g01/i01/decision.json":
            decision = json.loads(path.read_text(encoding="utf-8"))
            decision["gates"][0]["ok_low"] *= 1 + 1e-14
            record.write_json(decision, path)

    _rerecord(recorded_run, edit)
    verify(recorded_run)


def test_a_ledger_that_does_not_begin_with_the_plan_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    record.write_json({"schema": 1}, run / "plan.json")
    finish_step(run, "g01/grow", ("plan.json",))
    with pytest.raises(VerificationFailed, match=r"expected the step 'plan' sealing plan\.json"):
        verify(run)


def test_lost_last_events_leave_their_files_without_an_event(recorded_run: Path) -> None:
    """Removing the end is the one cut a chain cannot see by itself; the files of the cut events
    give it away.
    """
    path = recorded_run / ledger.FILE
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    report = verify(recorded_run)
    assert not report.finished
    assert "g01/i02/decision.json" in report.unrecorded


def test_a_line_torn_by_a_crash_is_counted_not_accused(
    make_recorded_run: Callable[..., Path],
) -> None:
    run = make_recorded_run("torn", finished=False)
    whole = (run / ledger.FILE).read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for cut in (1, 2, last // 2, last - 1):
        (run / ledger.FILE).write_bytes(whole[:-cut])
        report = verify(run)
        assert report.torn_bytes == last - cut
        assert len(report.unrecorded) == 3


def test_bytes_after_the_end_of_a_finished_run_are_refused(recorded_run: Path) -> None:
    with (recorded_run / ledger.FILE).open("ab") as f:
        f.write(b'{"at":')
    with pytest.raises(VerificationFailed, match=r"^ledger\.jsonl: 6 bytes follow the last event"):
        verify(recorded_run)


def test_a_folder_that_is_no_run_is_bad_input_and_an_empty_ledger_a_failure(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(BadInput, match="run folder"):
            verify(folder)
    (tmp_path / ledger.FILE).write_bytes(b"")
    with pytest.raises(VerificationFailed, match="holds no complete event"):
        verify(tmp_path)


def test_a_halted_run_is_finished(make_recorded_run: Callable[..., Path]) -> None:
    run = make_recorded_run("halted", halted=True)
    assert verify(run).finished
    (run / "more").write_text("x", encoding="utf-8")
    with pytest.raises(VerificationFailed, match=r"^more: "):
        verify(run)


def test_a_run_that_went_on_after_halt_is_found(make_recorded_run: Callable[..., Path]) -> None:
    run = make_recorded_run("went_on", halted=True, finished=False)
    assert verify(run).decisions == 2
    finish_step(run, "end")
    message = (
        r"^g01/i02/decision\.json: the sealed policy said HALT, but step 'end' was done afterwards"
    )
    with pytest.raises(VerificationFailed, match=message):
        verify(run)


@pytest.mark.parametrize(
    "steps", [["g01/grow"], ["plan", "g00/i00/audit", "end"], ["plan", "plan"]]
)
def test_a_ledger_that_does_not_follow_the_plan_is_found(tmp_path: Path, steps: list[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    plan = {
        "schema": 1,
        "config": {"name": "x"},
        "looks": [],
        "steps": ["plan", "g00/i00/audit", "g01/grow", "end"],
    }
    record.write_json(plan, run / "plan.json")
    for number, step in enumerate(steps):
        finish_step(run, step, ("plan.json",) if number == 0 else ())
    with pytest.raises(
        VerificationFailed, match=r"the sealed plan has 'g|expected the step 'plan'"
    ):
        verify(run)


@pytest.mark.parametrize(
    "plan", ["[]", "{}", '{"config": {}, "steps": 3, "looks": []}', '{"config": {"gates": 7}}', "{"]
)
def test_a_plan_nobody_can_read_is_named(tmp_path: Path, plan: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "plan.json").write_text(plan, encoding="utf-8")
    finish_step(run, "plan", ("plan.json",))
    with pytest.raises(VerificationFailed, match=r"^plan\.json: not"):
        verify(run)


def _unplanned(run: Path, step: str) -> None:
    folder = run / "g09/i01"
    folder.mkdir(parents=True)
    for name in ("measurements.json", "decision.json"):
        shutil.copy(run / "g01/i01" / name, folder / name)
    finish_step(run, step, ("g09/i01/measurements.json", "g09/i01/decision.json"))


def test_a_step_nobody_planned_is_found(make_recorded_run: Callable[..., Path]) -> None:
    run = make_recorded_run("unplanned", finished=False)
    _unplanned(run, "g09/i01/audit")
    with pytest.raises(
        VerificationFailed, match=r"step 'g09/i01/audit' stands where the sealed plan has 'end'"
    ):
        verify(run)


def test_an_audit_without_a_look_in_the_plan_is_found(
    make_recorded_run: Callable[..., Path],
) -> None:
    run = make_recorded_run("no_look", finished=False)

    def plan_the_step(name: str, path: Path) -> None:
        if name == "plan.json":
            plan = json.loads(path.read_text(encoding="utf-8"))
            record.write_json(
                {**plan, "steps": [*plan["steps"][:-1], "g09/i01/audit", "end"]}, path
            )

    _rerecord(run, plan_the_step)
    _unplanned(run, "g09/i01/audit")
    with pytest.raises(VerificationFailed, match="expected a look at every iteration"):
        verify(run)


def test_a_look_without_its_decision_is_found(recorded_run: Path) -> None:
    """Whoever dislikes a decision leaves it out of the rebuilt chain, and the file out of the
    folder.
    """
    events = ledger.read(recorded_run)
    (recorded_run / ledger.FILE).unlink()
    for event in events:
        kept = tuple(name for name in event.outputs if name != "g01/i01/decision.json")
        finish_step(recorded_run, event.step, kept, tuple(event.context))
    (recorded_run / "g01/i01/decision.json").unlink()
    with pytest.raises(
        VerificationFailed, match="'g01/i01/audit' records no decision, which the sealed plan wants"
    ):
        verify(recorded_run)


def test_a_decision_that_another_step_recorded_is_found(
    make_recorded_run: Callable[..., Path],
) -> None:
    run = make_recorded_run("elsewhere")
    events = ledger.read(run)
    (run / ledger.FILE).unlink()
    files = ("g01/i01/decision.json", "g01/i01/measurements.json")
    for event in events:
        outputs = [name for name in event.outputs if name not in files]
        outputs += files if event.step == "g01/i01/improve" else ()
        finish_step(run, event.step, tuple(outputs), tuple(event.context))
    message = (
        r"^g01/i01/decision\.json: recorded by step 'g01/i01/improve'; expected "
        r"g01/i01/audit to decide"
    )
    with pytest.raises(VerificationFailed, match=message):
        verify(run)


def test_what_cannot_be_read_is_named(recorded_run: Path) -> None:
    path = recorded_run / "g01/grow.parquet"
    shutil.move(recorded_run / "g01", recorded_run / "g01_")
    (recorded_run / "g01").write_text("a file where a folder was", encoding="utf-8")
    with pytest.raises(
        VerificationFailed, match=f"^{path.relative_to(recorded_run)}: g01 is not a folder"
    ):
        verify(recorded_run)
