"""Files of data that are broken, hostile, or stand for more than memory holds: one sentence each,
with its place, in little memory and time.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import fuzz_data, fuzz_records
from restaudit.config import RowRules, TableSource
from restaudit.data import load_feedback
from restaudit.data.generations import read_generations
from restaudit.data.tables import read_rows
from restaudit.errors import BadInput, RestauditError
from restaudit.files import given, parquet

ROWS = [{"text": f"A text, number {k}.", "score": k / 2, "rater": "ann"} for k in range(20)]
SEED, COUNT = 18, 25
READERS = tuple(fuzz_data.readers())
# The others are made of gigabytes; `benchmarks` has them.
FAST = (
    "keys",
    "line.jsonl",
    "columns",
    "quote",
    "deep",
    "digits",
    "zip",
    "zero",
    "pipe",
    "billion",
)


@pytest.mark.parametrize("name", READERS)
def test_every_reader_ends_in_rows_or_a_sentence(name: str) -> None:
    failures = fuzz_data.tried(name, SEED, COUNT)
    assert not failures, failures[0]


def test_a_mutation_that_ends_in_a_traceback_is_a_failure(tmp_path: Path) -> None:
    def broken(path: Path) -> None:
        raise KeyError(path.name)

    path = tmp_path / "x.jsonl"
    assert "KeyError" in str(fuzz_data._ended(broken, path))


def test_a_reader_that_does_not_end_is_a_failure_whatever_it_catches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(path: Path) -> None:
        try:
            signal.pause()
        except OSError as e:
            raise BadInput(f"{path}: cannot be read") from e

    for fuzz in (fuzz_data, fuzz_records):
        monkeypatch.setattr(fuzz, "SECONDS", 0.01)
    assert "TookTooLong" in str(fuzz_data._ended(waits, tmp_path))
    assert "TookTooLong" in str(fuzz_records._ended(lambda: waits(tmp_path)))


@pytest.mark.parametrize("cut", range(1, 60, 4))
def test_a_cut_or_changed_gzip_file_is_named(cut: int, tmp_path: Path) -> None:
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode())
    changed = bytearray(whole)
    changed[-cut] ^= 0xFF
    for data in (whole[:-cut], bytes(changed)):
        path = tmp_path / "r.jsonl.gz"
        path.write_bytes(data)
        with pytest.raises(BadInput, match=r"r\.jsonl\.gz: .*(gzip|cannot be read|line \d+)"):
            list(read_rows(path))


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "a key twice": ("a.jsonl", b'{"a": 1}\n{"a": 1, "a": 2}\n', "line 2: the key 'a' comes twice"),
    "a key twice in a list": ("a.json", b'[{"a": 1}, {"a": 1, "a": 2}]', "row 2: the key 'a'"),
    "5,000 digits": ("a.jsonl", b'{"a": ' + b"9" * 5000 + b"}", "line 1: .* of 5,000 digits"),
    "deep": ("a.jsonl", b'{"a": ' + b"[" * 100_000, "line 1: nested more than 64 levels"),
    "deep in a list": ("a.json", b"[" * 100_000, "row 1: nested more than 64 levels"),
    "two values": ("a.jsonl", b'{"a": 1} {"a": 2}', "line 1: not valid JSON"),
    "a list that goes on": ("a.json", b'[{"a": 1}] []', "more follows after the list"),
    "no comma": ("a.json", b'[{"a": 1} {"a": 2}]', 'row 1: .*expected "," or'),
    "bzip2": ("a.jsonl", b"BZh91AY&SY", "packed with bzip2; .*unpack it first"),
    "zip": ("a.csv", b"PK\x03\x04....", "packed with zip"),
    "zstd": ("a.json", b"\x28\xb5\x2f\xfd...", "packed with zstd"),
    "columns": ("a.csv", b"a," * 20_000 + b"b\n", "line 1: 20,001 columns; at most 10,000"),
    "an encrypted file": ("a.parquet", b"PAR1" + bytes(20) + b"PARE", "is an encrypted Parquet"),
    "a long footer": ("a.parquet", b"PAR1" + bytes(20) + b"\xff" * 4 + b"PAR1", "its footer has"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said_with_its_place(case: str, tmp_path: Path) -> None:
    name, data, message = REFUSED[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=rf"a\..*{message}") as refused:
        list(read_rows(tmp_path / name))
    assert len(str(refused.value)) < 1000


def test_numbers_that_no_standard_json_has_are_read_and_refused_by_the_row_rules(
    tmp_path: Path,
) -> None:
    path = tmp_path / "r.jsonl"
    lines = [f'{{"text": "t{k}", "score": {s}}}' for k, s in enumerate(("NaN", "-Infinity", "2"))]
    path.write_text("\n".join(lines), encoding="utf-8")
    source = TableSource(source=str(path))
    with pytest.raises(BadInput, match="line 1: column 'score': not finite"):
        load_feedback(source, RowRules())
    found = load_feedback(source, RowRules(non_finite="count")).report
    assert (found.used, dict(found.dropped)) == (1, {"not finite": 2})


def test_half_a_character_in_a_raters_name_is_refused_like_one_in_a_text(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"text": "x", "score": 1, "rater": "\\ud800"}\n', encoding="ascii")
    with pytest.raises(BadInput, match="line 1: column 'rater': not UTF-8"):
        load_feedback(TableSource(source=str(path), options={"part": "0-100"}), RowRules())


@pytest.mark.parametrize("name", ["r.jsonl", "r.json", "r.csv", "r.parquet"])
def test_what_is_no_plain_file_is_refused_at_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(BadInput, match="is a named pipe; expected a file"):
        list(read_rows(path))
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(BadInput, match="is a device"):
        list(read_rows(path))
    path.unlink()
    path.mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        list(read_rows(path))
    path.rmdir()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
        with pytest.raises(BadInput, match="is a socket"):
            list(read_rows(path))
    path.unlink()
    with pytest.raises(BadInput, match="there is no such file"):
        list(read_rows(path))


def test_a_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n', encoding="utf-8")
    (tmp_path / "b.jsonl").symlink_to("a.jsonl")
    assert read_generations(tmp_path / "b.jsonl").table["text"].tolist() == ["x"]


def test_limits_let_real_data_through(tmp_path: Path) -> None:
    """A long line, many rows, many members, a list over several windows: as any reader has them."""
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"text": "x" * (given.LONGEST - 50)}) + "\n", encoding="utf-8")
    assert len(read_generations(long).table["text"][0]) == given.LONGEST - 50
    rows = [{"text": f"{k} é☃", "more": [k, {"a": None}]} for k in range(30_000)]
    (tmp_path / "list.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    assert [dict(r.values) for r in read_rows(tmp_path / "list.json")] == rows
    members = b"".join(gzip.compress(json.dumps(r).encode() + b"\n") for r in rows[:500])
    (tmp_path / "members.jsonl.gz").write_bytes(members + bytes(1000))
    assert [dict(r.values) for r in read_rows(tmp_path / "members.jsonl.gz")] == rows[:500]


def _types() -> dict[str, Any]:
    chat = [{"role": "user", "content": "Hi"}]
    return {
        "text": pa.array(["x", None, "é"] * 1000),
        "large": pa.array(["x", None, "é"] * 1000, pa.large_string()),
        "coded": pa.array(["x", None, "é"] * 1000).dictionary_encode(),
        "chat": pa.array([chat, None, []] * 1000),
        "map": pa.array([[("k", "v")], None, []] * 1000, pa.map_(pa.string(), pa.string())),
        "pair": pa.array([["a", "b"], None, ["c", None]] * 1000, pa.list_(pa.string(), 2)),
        "number": pa.array([1.5, None, float("nan")] * 1000),
        "bytes": pa.array([b"x", None, b"\xff"] * 1000),
    }


@pytest.mark.parametrize("column", _types())
@pytest.mark.parametrize(
    "options",
    [{}, {"use_dictionary": False}, {"row_group_size": 700}, {"data_page_version": "2.0"}],
    ids=str,
)
def test_parquet_is_read_as_its_library_reads_it(
    column: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({column: _types()[column], "k": range(3000)}), path, **options)
    expected = repr(pq.read_table(path).to_pylist())
    assert repr([r for some in parquet.rows(path) for r in some]) == expected
    # Also where the file could hold far more text than it has bytes, which is read another way.
    monkeypatch.setattr("restaudit.files.parquet_claims.UNPACKED", 0)
    monkeypatch.setattr("restaudit.files.parquet_claims.RATIO", 0)
    monkeypatch.setattr("restaudit.files.parquet_claims.PAGES", 10_000)
    assert repr([r for some in parquet.rows(path) for r in some]) == expected
    assert parquet.columns_of(path, ["k"])["k"] == list(range(3000))


@pytest.mark.parametrize(
    "bomb",
    [b for b in fuzz_data.BOMBS if b.name.startswith(FAST)],
    ids=lambda b: f"{b.way} {b.name}",
)
def test_a_bomb_is_refused_by_its_limit(bomb: fuzz_data.Bomb, tmp_path: Path) -> None:
    path = tmp_path / bomb.name
    bomb.make(path)
    with pytest.raises(RestauditError, match=bomb.says):
        fuzz_data.WAYS[bomb.way]()(path)


def test_memory_stays_under_a_gigabyte(tmp_path: Path) -> None:
    """10 GB of zeros in 10 MB, and a text of 8 MB in 200,000 rows of 2 KB of Parquet."""
    wanted = ("zeros.jsonl.gz", "texts.parquet")
    bombs = tuple(b for b in fuzz_data.BOMBS if b.name in wanted)
    for blast in fuzz_data.blasts(tmp_path, bombs):
        assert blast.held, blast


def test_an_empty_parquet_table_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": pa.array([], pa.string()), "k": pa.array([], "int64")}), path)
    assert [*parquet.rows(path)] == []
    assert parquet.names_of(path) == (0, ["text", "k"])
    with path.open("rb") as file:
        assert list(parquet.read_frame(path, file).columns) == ["text", "k"]
