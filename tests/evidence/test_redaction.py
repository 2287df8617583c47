"""Whatever kind of column a text is in, it is not in the replacement; numbers and labels are."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.viewer.samples.rows import batches
from restaudit.errors import BadInput
from restaudit.evidence.bundle.redact import LABELS, redact, salt_of
from restaudit.files.parquet import check_claims

SECRET = "the raters saw Zanzibar"


def written(path: Path, columns: dict[str, pa.Array]) -> Path:
    table = pa.table(columns, metadata={"note": SECRET})
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([SECRET, None], pa.string()),
        ([SECRET, None], pa.large_string()),
        ([SECRET.encode(), None], pa.binary()),
        ([[SECRET, SECRET], None], pa.list_(pa.string())),
        ([{"a": SECRET}, None], pa.struct([("a", pa.string())])),
        ([[("a", SECRET)], None], pa.map_(pa.string(), pa.string())),
        ([[7, 8, 9], None], pa.list_(pa.int32())),
        ([[0.25, 0.5], None], pa.list_(pa.float64())),
    ],
)
@pytest.mark.parametrize("name", ["text", "anything"])
def test_no_kind_of_column_keeps_its_words(
    tmp_path: Path, values: list[Any], kind: pa.DataType, name: str
) -> None:
    path = written(tmp_path / "a.parquet", {name: pa.array(values, kind), "n": pa.array([1, 2])})
    assert (
        redact(path.parent, path.name, tmp_path / "b.parquet")
        == f"columns replaced by salted SHA-256: {name}"
    )
    again = pq.read_table(tmp_path / "b.parquet")
    first, second = again.column(name).to_pylist()
    assert len(bytes.fromhex(first)) == 32
    assert second is None
    assert again.column("n").to_pylist() == [1, 2]
    assert "Zanzibar" not in str(again.to_pylist()) + str(again.schema.metadata)
    assert b"Zanzibar" not in (tmp_path / "b.parquet").read_bytes()


def test_a_dictionary_of_words_is_no_label(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"text": pa.array([SECRET, "x"]).dictionary_encode()})
    assert redact(path.parent, path.name, tmp_path / "b.parquet") is not None
    assert b"Zanzibar" not in (tmp_path / "b.parquet").read_bytes()


def test_numbers_times_and_labels_stay_and_such_a_table_is_left_as_it_is(tmp_path: Path) -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    columns = {name: pa.array(["a"]) for name in sorted(LABELS)}
    columns |= {
        "x": pa.array([1.5]),
        "ok": pa.array([True]),
        "at": pa.array([when]),
        "none": pa.nulls(1),
    }
    path = written(tmp_path / "a.parquet", columns)
    assert redact(path.parent, path.name, tmp_path / "b.parquet") is None
    assert not (tmp_path / "b.parquet").exists()


def test_a_label_that_holds_more_than_a_word_is_no_label(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"group": pa.array([[SECRET]], pa.list_(pa.string()))})
    assert (
        redact(path.parent, path.name, tmp_path / "b.parquet")
        == "columns replaced by salted SHA-256: group"
    )


@given(texts=st.lists(st.none() | st.text(max_size=6), min_size=1, max_size=6))
def test_each_cell_can_be_opened_with_its_salt_and_looks_like_no_other(
    tmp_path: Path, texts: list[str | None]
) -> None:
    whole = [t if t is None else t.encode("utf-8", "ignore").decode() for t in texts]
    path = written(tmp_path / "a.parquet", {"text": pa.array(whole, pa.string())})
    redact(path.parent, path.name, tmp_path / "b.parquet")
    cells = pq.read_table(tmp_path / "b.parquet").column("text").to_pylist()
    for row, (text, cell) in enumerate(zip(whole, cells, strict=True)):
        salt = salt_of(path, "text", row)
        assert cell == (None if text is None else hashlib.sha256(salt + text.encode()).hexdigest())
    there = [c for c in cells if c is not None]
    assert len(set(there)) == len(there)


def test_rows_are_counted_over_the_whole_table_not_over_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"t{k}" for k in range(5000)]}), path, row_group_size=700)
    redact(path.parent, path.name, tmp_path / "b.parquet")
    cell = pq.read_table(tmp_path / "b.parquet").column("text").to_pylist()[4999]
    assert cell == hashlib.sha256(salt_of(path, "text", 4999) + b"t4999").hexdigest()


def test_the_salt_is_not_the_digest_that_the_ledger_publishes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"text": pa.array([SECRET])})
    published = hashlib.sha256(path.read_bytes()).digest()
    assert published not in (salt_of(path, "text", 0), salt_of(path, "text", 1))
    assert salt_of(path, "text", 0) != salt_of(path, "other", 0)


def test_a_table_that_says_more_than_its_size_makes_plausible_is_read_by_no_reader(
    tmp_path: Path,
) -> None:
    path = written(tmp_path / "grow.parquet", {"text": pa.array([""] * 6_000_000)})
    said = "says that it holds 6,000,000 rows"
    with pytest.raises(BadInput, match=said):
        redact(tmp_path, path.name, tmp_path / "out.parquet")
    with pytest.raises(BadInput, match=said):
        next(batches((tmp_path, path.name), ["text"]))
    with path.open("rb") as file, pytest.raises(BadInput, match=said):
        check_claims(path, file)
