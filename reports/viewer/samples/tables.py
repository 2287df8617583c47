"""Sample tables read in batches: only the columns asked for, and never the texts of more than a
batch at once.

`pyarrow.dataset` was tried first: it decodes a whole row group of texts before it gives the first
row, and the record writes up to a million rows a row group. `ParquetFile.iter_batches` gives them
as it decodes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import streamlit as st

from reports.record.files import Records
from restaudit.errors import BadInput
from restaudit.evidence.record import Run

ROWS, BUFFER = 8192, 1 << 18
CHECKED = 256
TEXTS = frozenset({"sample_id", "prompt_id", "group", "text", "origin", "prompt"})


def recorded(run: Run, name: str) -> Path:
    """A table of the run folder, whose bytes are as the ledger has them.

    They are hashed once for as long as the file's size and time of change stay the same. Raises
    VerificationFailed or BadInput.
    """
    path = run.path / name
    source = Records(run).source(name)
    if path.is_symlink() or not path.is_file():
        raise BadInput(f"{path}: missing from the run folder")
    now = path.stat()
    _hashed(str(run.path), name, source.sha256, now.st_size, now.st_mtime_ns)
    return path


@st.cache_data(max_entries=CHECKED, show_spinner=False)
def _hashed(folder: str, name: str, sha256: str, size: int, changed: int) -> str:
    Records(Run(folder)).checked(name)
    return f"{sha256} {size} {changed}"


def batches(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of a table with the number of their first row.

    Raises BadInput for a table that is none.
    """
    try:
        # A row group may hold a million texts: read as they are decoded, and not all of them first.
        with pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
            missing = [c for c in columns if c not in file.schema_arrow.names]
            if missing:
                raise BadInput(f"{path}: lacks the column(s) {', '.join(missing)}")
            _check_types(path, file.schema_arrow, columns)
            first = 0
            for batch in file.iter_batches(ROWS, columns=list(columns)):
                yield first, batch
                first += batch.num_rows
    except (pa.ArrowException, OSError) as e:
        raise BadInput(f"{path}: not a readable Parquet table ({e})") from None


def _check_types(path: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    for name in TEXTS.intersection(columns):
        found = schema.field(name).type
        if not (
            pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_null(found)
        ):
            raise BadInput(f"{path}: the column {name} holds something else than text")


def columns_of(path: Path) -> list[str]:
    """The names of a table's columns."""
    try:
        return [str(n) for n in pq.read_schema(path).names]
    except (pa.ArrowException, OSError) as e:
        raise BadInput(f"{path}: not a readable Parquet table ({e})") from None


def rows_at(path: Path, positions: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some rows in the order of `positions`; reading ends with the last one of them."""
    wanted = np.unique(np.asarray(positions, dtype=np.int64))
    found: dict[int, dict[str, Any]] = {}
    for first, batch in batches(path, columns):
        here = wanted[(wanted >= first) & (wanted < first + batch.num_rows)]
        if len(here):
            rows = batch.take(pa.array(here - first)).to_pylist()
            found.update(zip((int(k) for k in here), rows, strict=True))
        if not len(wanted) or first + batch.num_rows > wanted[-1]:
            break
    return [found[int(k)] for k in positions]


def numbers(batch: pa.RecordBatch, column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A column as numbers, NaN where there is none."""
    values = batch.column(column).to_numpy(zero_copy_only=False)
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(f"the column {column} holds something else than numbers") from None
