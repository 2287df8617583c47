"""The store of ratings: an answer is one line more, whatever is killed at whatever moment, and
whoever else writes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from restaudit.commands.cli import app
from restaudit.errors import BadInput
from restaudit.people.rating import TaskSet, store
from restaudit.people.rating.store import (
    RATINGS_FILE,
    TORN,
    add_rows,
    append_row,
    locked,
    read_rows,
    torn_note,
)

ROOT = Path(__file__).parents[2]


def row(k: int, rater: str = "ana") -> dict[str, Any]:
    return {
        "item_id": f"item-{k}",
        "rater_id": rater,
        "score": 1 + k % 7,
        "text": "Grüße\u2028“quoted”",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three ratings."""
    with locked(tmp_path):
        for k in range(3):
            append_row(tmp_path, row(k))
    return tmp_path


def test_an_answer_is_one_line_more_and_nothing_before_it_is_written_again(folder: Path) -> None:
    path = folder / RATINGS_FILE
    before, inode = path.read_bytes(), path.stat().st_ino
    append_row(folder, row(3))
    after = path.read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == 4
    assert path.stat().st_ino == inode
    assert read_rows(folder) == [row(k) for k in range(4)]


def test_wherever_the_last_line_is_cut_off_earlier_ratings_stay_and_the_next_one_is_kept(
    folder: Path,
) -> None:
    path = folder / RATINGS_FILE
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    begin = len(whole) - len(lines[-1])
    for cut in range(begin, len(whole) + 1):
        path.write_bytes(whole[:cut])
        complete = cut >= len(whole) - 1
        assert read_rows(folder) == [row(k) for k in range(3 if complete else 2)]
        assert (torn_note(folder) is not None) == (begin < cut and not complete)
        append_row(folder, row(9))
        assert read_rows(folder) == [*(row(k) for k in range(3 if complete else 2)), row(9)]
        aside = folder / f"{RATINGS_FILE}{TORN}"
        if complete or cut == begin:
            assert not aside.exists()
        else:
            assert aside.read_bytes() == whole[begin:cut] + b"\n"
            assert f"{cut - begin} bytes" in str(torn_note(folder))
            aside.unlink()


def test_a_torn_line_is_kept_aside_before_the_file_is_written_whole(folder: Path) -> None:
    with (folder / RATINGS_FILE).open("ab") as f:
        f.write(b'{"item_id": "x\x00\x00\xc3')
    rows = read_rows(folder)
    add_rows(folder, rows[:2], [])
    assert read_rows(folder) == [row(0), row(1)]
    assert (folder / f"{RATINGS_FILE}{TORN}").read_bytes() == b'{"item_id": "x\x00\x00\xc3\n'


def test_every_torn_line_is_kept(folder: Path) -> None:
    for tail in (b'{"a', b'{"bc'):
        with (folder / RATINGS_FILE).open("ab") as f:
            f.write(tail)
        append_row(folder, row(5))
    assert (folder / f"{RATINGS_FILE}{TORN}").read_bytes() == b'{"a\n{"bc\n'
    assert len(read_rows(folder)) == 5


def test_a_row_that_is_whole_and_no_rating_is_named(folder: Path) -> None:
    with (folder / RATINGS_FILE).open("ab") as f:
        f.write(b'{"score": 1}\n')
    with pytest.raises(BadInput, match="line 4: not a rating"):
        read_rows(folder)


def test_what_could_not_be_written_leaves_the_file_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / RATINGS_FILE).read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(BadInput, match="No space left on device"):
        append_row(folder, row(3))
    assert (folder / RATINGS_FILE).read_bytes() == before


class Killed(BaseException):
    """Stands for kill -9: nothing in between may catch it and tidy up."""


@pytest.mark.parametrize("torn", [b"", b'{"item_id": "cut sh'])
def test_killed_at_any_write_to_the_disk_no_rating_is_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch, torn: bytes
) -> None:
    path, real = folder / RATINGS_FILE, os.fsync
    whole = path.read_bytes() + torn
    for at in range(4):
        path.write_bytes(whole)
        left = at

        def fsync(descriptor: int) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            real(descriptor)

        monkeypatch.setattr(store.os, "fsync", fsync)
        try:
            append_row(folder, row(7))
            finished = True
        except Killed:
            finished = False
        monkeypatch.setattr(store.os, "fsync", real)
        found = read_rows(folder)
        assert found[:3] == [row(k) for k in range(3)]
        assert found[3:] in ([], [row(7)])
        assert found[3:] or not finished
        aside = folder / f"{RATINGS_FILE}{TORN}"
        assert not torn or torn in path.read_bytes() + (
            aside.read_bytes() if aside.exists() else b""
        )


RATES = """
import sys
from pathlib import Path
from restaudit.people.rating.store import locked
from restaudit.people.rating.store import append_row
folder, who = Path(sys.argv[1]), sys.argv[2]
for k in range(100_000):
    with locked(folder):
        append_row(folder, {"item_id": f"{who}-{k}", "rater_id": who, "score": 1 + k % 7, "padding": "x" * 3000})
    print(k, flush=True)
"""


def test_what_was_confirmed_before_kill_9_is_there_and_the_next_rater_goes_on(
    tmp_path: Path,
) -> None:
    for round_, confirmed in enumerate((1, 40, 5)):
        who = f"r{round_}"
        command = [sys.executable, "-c", RATES, str(tmp_path), who]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as rater:
            assert rater.stdout is not None
            for _ in range(confirmed):
                last = int(rater.stdout.readline())
            rater.send_signal(signal.SIGKILL)
            last = max([last, *(int(line) for line in rater.stdout if line.endswith(b"\n"))])
        mine = [r["item_id"] for r in read_rows(tmp_path) if r["rater_id"] == who]
        assert mine[: last + 1] == [f"{who}-{k}" for k in range(last + 1)]
        assert len(mine) <= last + 2
    with locked(tmp_path):
        append_row(tmp_path, row(0))
    assert read_rows(tmp_path)[-1] == row(0)


def _rates(folder: Path, who: str, count: int) -> None:
    for k in range(count):
        with locked(folder):
            append_row(folder, row(k, who))


def test_raters_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    both = [
        context.Process(target=_rates, args=(tmp_path, who, 60)) for who in ("ana", "ben", "cy")
    ]
    for p in both:
        p.start()
    for p in both:
        p.join()
    rows = read_rows(tmp_path)
    for who in ("ana", "ben", "cy"):
        assert [r for r in rows if r["rater_id"] == who] == [row(k, who) for k in range(60)]
    assert len(rows) == 180


def test_a_file_that_was_changed_in_place_is_read_again(folder: Path) -> None:
    assert len(read_rows(folder)) == 3
    path, at = folder / RATINGS_FILE, (folder / RATINGS_FILE).stat()
    path.write_bytes(path.read_bytes().replace(b'"score": 1', b'"score": 5', 1))
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert read_rows(folder)[0]["score"] == 5
    path.write_text(json.dumps(row(8)) + "\n", encoding="utf-8")
    assert read_rows(folder) == [row(8)]


def test_what_was_read_before_is_not_parsed_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_rows(folder)
    parsed: list[str] = []
    real = json.loads
    monkeypatch.setattr(
        store.json, "loads", lambda line, **k: parsed.append(line) or real(line, **k)
    )
    append_row(folder, row(3))
    assert len(read_rows(folder)) == 4
    assert len(parsed) == 1


def test_status_says_what_a_crash_left(run: Path, tasks: TaskSet) -> None:
    with (run / "human" / RATINGS_FILE).open("ab") as f:
        f.write(b'{"item_id": "ab')
    said = CliRunner().invoke(app, ["rate", "status", str(run)]).output
    assert (
        "ratings.jsonl ends in 15 bytes of a rating that a crash cut short; it does not count"
        in said
    )
    assert "Every rating before is whole" in said
