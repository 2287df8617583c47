"""A step is there whole or not at all, one process writes, and a full disk or a read-only folder
loses nothing.
"""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from restaudit.errors import BadInput, Interrupted, RestauditError
from restaudit.evidence import ledger
from restaudit.evidence.steps import Writer, seed_of


def two_files(out: Path):
    (out / "sub").mkdir()
    (out / "a.txt").write_text("a")
    (out / "sub" / "b.txt").write_text("b")
    return {"n": 2}


def test_a_step_places_its_files_and_records_them_last(tmp_path):
    with Writer(tmp_path) as w:
        assert w.step("g01/grow", "g01", two_files) == {"n": 2}
    (event,) = ledger.read(tmp_path)
    assert set(event.outputs) == {"g01/a.txt", "g01/sub/b.txt"}
    assert ledger.digest_file(tmp_path / "g01/sub/b.txt") == event.outputs["g01/sub/b.txt"]
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_finished_step_is_not_done_again(tmp_path):
    with Writer(tmp_path) as w:
        w.step("a", "", two_files)
    with Writer(tmp_path) as w:
        assert w.step("a", "", lambda _: pytest.fail("done twice")) == {"n": 2}


def test_a_failing_step_leaves_the_run_as_it_was(tmp_path):
    def broken(out: Path):
        (out / "half.txt").write_text("half")
        raise BadInput("a bad row")

    with Writer(tmp_path) as w:
        w.step("a", "", two_files)
        with pytest.raises(BadInput, match="a bad row"):
            w.step("b", "b", broken)
    assert [e.step for e in ledger.read(tmp_path)] == ["a"]
    assert not (tmp_path / "b").exists()
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_writer_that_recorded_nothing_leaves_no_folder_of_its_own_behind(tmp_path):
    with pytest.raises(BadInput, match="refused"), Writer(tmp_path / "new") as w:
        w.step("plan", "", lambda _: (_ for _ in ()).throw(BadInput("refused")))
    assert not (tmp_path / "new").exists()
    with Writer(tmp_path):
        pass
    assert tmp_path.is_dir()


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path):
    with (
        Writer(tmp_path),
        pytest.raises(BadInput, match=rf"another process is writing.*{os.getpid()}"),
        Writer(tmp_path),
    ):
        pass


def test_the_lock_is_free_again_after_a_kill(tmp_path):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom restaudit.evidence.steps import "
        "Writer\n"
        f"w = Writer(Path({str(tmp_path)!r})).__enter__()\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    with Writer(tmp_path) as w:
        w.step("a", "", two_files)


def test_a_full_disk_is_a_clear_stop_with_the_command_to_go_on(tmp_path):
    def full(out: Path):
        raise OSError(errno.ENOSPC, "No space left on device", str(out))

    with Writer(tmp_path) as w:
        w.step("a", "", two_files)
        with pytest.raises(
            RestauditError, match=r"step b could not be written \(No space left.*restaudit resume"
        ):
            w.step("b", "", full)
        w.step("b", "", lambda _: {})
    assert [e.step for e in ledger.read(tmp_path)] == ["a", "b"]


def test_a_disk_that_fills_while_the_ledger_is_written_leaves_the_step_undone(
    tmp_path, monkeypatch
):
    with Writer(tmp_path) as w:
        w.step("a", "", two_files)
        monkeypatch.setattr(
            os,
            "fsync",
            lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")),
        )
        with pytest.raises(RestauditError, match="everything before it is safe"):
            w.step("b", "", lambda _: {})
        monkeypatch.undo()
        assert not w.has("b")


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BadInput, match="cannot be written"), Writer(tmp_path / "file" / "run"):
        pass


def test_ctrl_c_stops_before_the_next_step_and_prints_the_resume_command(tmp_path):
    said: list[str] = []
    with Writer(tmp_path, announce=said.append) as w:

        def pressed(_: Path):
            os.kill(os.getpid(), signal.SIGINT)
            return {}

        w.step("a", "", pressed)
        with pytest.raises(
            Interrupted, match=r"stopped before step b; go on with: restaudit resume"
        ):
            w.step("b", "", lambda _: {})
    assert [e.step for e in ledger.read(tmp_path)] == ["a"]
    assert "end of this step" in said[0]


def test_left_overs_of_a_kill_are_cleared(tmp_path):
    (tmp_path / ".tmp-b").mkdir()
    (tmp_path / ".tmp-b" / "x").write_text("half")
    with Writer(tmp_path):
        assert not (tmp_path / ".tmp-b").exists()


def test_a_torn_ledger_line_is_replaced_by_the_next_event(tmp_path):
    with Writer(tmp_path) as w:
        w.step("a", "", two_files)
    with (tmp_path / ledger.FILE).open("ab") as f:
        f.write(b'{"seq":1,"step":"b"')
    with Writer(tmp_path) as w:
        w.step("b", "", lambda _: {})
    assert [e.step for e in ledger.read(tmp_path)] == ["a", "b"]


def test_clocks_and_hosts_do_not_enter_the_comparison_digest(tmp_path):
    def once(folder):
        with Writer(folder) as w:
            w.step("a", "", two_files)
            w.step(
                "env",
                "",
                lambda out: (out / "environment.json").write_text(folder.name) and {},
                context=("environment.json",),
            )
        return ledger.comparison_digest(ledger.read(folder))

    assert once(tmp_path / "one") == once(tmp_path / "two")


def test_notes_go_beside_the_clock_of_the_step_in_hand(tmp_path):
    with Writer(tmp_path) as w:
        w.step("a", "", lambda _: w.note("notices", "halved") or {})
        w.step("b", "", lambda _: {})
    first, second = ledger.read(tmp_path)
    assert first.at["notices"] == ["halved"]
    assert "notices" not in second.at
    assert json.dumps(first.content) == "{}"


def test_step_seeds_depend_on_run_seed_and_name_only():
    assert seed_of(1, "g01/grow") == seed_of(1, "g01/grow")
    assert len({seed_of(1, "g01/grow"), seed_of(2, "g01/grow"), seed_of(1, "g02/grow")}) == 3
    assert 0 <= seed_of(0, "x") < 2**31
