"""Parquet files that people give, checked before anything in them is believed, and read in pieces.

A few kilobytes of Parquet can stand for a billion rows, or for one long text a million times: what
a file says of itself is held against its size on the disk (parquet_claims).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from restaudit.errors import BadInput
from restaudit.files import parquet_claims
from restaudit.files.given import BYTES_A_ROW, LONGEST, RATIO, ROWS, UNPACKED, opened, size_of
from restaudit.files.parquet_claims import FOOTER, PAGES, Claims

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

# Columns and row groups that the library may read from a footer.
ITEMS = 200_000
# Bytes of all texts as often as they stand in rows, for each byte on the disk. A text that comes
# again is in memory once, so that these may be many; distinct texts may be RATIO times the file.
SEEN, MOST_SEEN = 1000, 1 << 30
# Rows that become arrays of numbers and texts, and no Python values.
FRAME_ROWS = 5_000_000
# What pyarrow, and what it calls, raises on a file that is not what it says.
ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    MemoryError,
    RecursionError,
)


def unreadable(path: Path, error: BaseException) -> BadInput:
    """The error for a file that the library cannot read, with the first line of what it says."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    return BadInput(f"{path}: not a readable Parquet table ({first})")


@dataclass(frozen=True)
class Checked:
    """A Parquet file that is plausible, and what it says of itself."""

    file: pq.ParquetFile
    claims: Claims

    def batches(self, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """The rows, some at a time; large columns as a dictionary each and indices into it."""
        # Row group by row group: the library cannot join dictionaries that are within lists.
        for k in range(self.claims.groups):
            yield from self.file.iter_batches(self.claims.step, row_groups=[k], columns=columns)


@contextmanager
def checked(
    path: Path,
    columns: Sequence[str] | None = None,
    file: IO[bytes] | None = None,
    rows: int = ROWS,
    bytes_a_row: int = BYTES_A_ROW,
) -> Iterator[Checked]:
    """A Parquet file, checked in these columns, or all; `file` is the same, where it is open. It may
    hold `rows` rows, or one for each `bytes_a_row` bytes.

    Raises BadInput, also for what is raised in reading within the `with`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with opened(path) if file is None else nullcontext(file) as file:
        try:
            claims = parquet_claims.check(path, file, columns, rows, bytes_a_row)
            file.seek(0)
            parquet = pq.ParquetFile(
                file,
                pre_buffer=False,
                read_dictionary=claims.coded,
                thrift_string_size_limit=FOOTER,
                thrift_container_size_limit=ITEMS,
            )
            yield Checked(parquet, claims)
        except (*ERRORS, struct.error, pa.ArrowException) as e:
            raise unreadable(path, e) from None


def rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[list[dict[str, Any]]]:
    """The rows as Python values, some thousands at a time: a dictionary a row, by column.

    Raises BadInput as `checked` does, for a cell of more than LONGEST bytes, and for a text that is
    not UTF-8, with its row.
    """
    for names, lists in _batches(path, columns):
        yield [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]


def columns_of(path: Path, columns: Sequence[str]) -> dict[str, list[Any]]:
    """These columns as lists of Python values, whole in memory; equal texts are one object.

    Raises BadInput as `rows` does, and where distinct texts are more than max(UNPACKED, RATIO times
    the file's size) bytes.
    """
    stored: dict[str, list[Any]] = {name: [] for name in columns}
    held = _Held(path)
    for names, lists in _batches(path, columns, held):
        for name, values in zip(names, lists, strict=True):
            stored[name] += values
    return stored


def names_of(path: Path) -> tuple[int, list[str]]:
    """How many rows there are, and the names of the columns. Raises BadInput as `checked` does."""
    with checked(path, ()) as parquet:
        return parquet.claims.rows, parquet.claims.names


def check(path: Path, columns: Sequence[str] | None = None, file: IO[bytes] | None = None) -> None:
    """Raise BadInput where a reader that makes every text of every row would need more memory than
    the file's size makes plausible, or where it cannot be read at all; a `file` is at its start
    afterwards. Arrays take less memory a row than Python's values: FRAME_ROWS are allowed.
    """
    with checked(path, columns, file, FRAME_ROWS, 1) as parquet:
        # The others are small, by what their pages say.
        said = parquet.claims
        large = [n for n in said.names if any(f"{c}.".startswith(f"{n}.") for c in said.large)]
        seen, most = 0, max(UNPACKED, PAGES * _size(path, file))
        for batch in parquet.batches(large) if large else ():
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                seen += _weight(path, str(name), column)
                _within(path, str(name), seen, most)
    if file is not None:
        file.seek(0)


def check_claims(path: Path, file: IO[bytes]) -> None:
    """Raise BadInput where what an open Parquet file says of itself is more than its size makes
    plausible; it is at its start afterwards. For readers that take a few rows at a time: unlike
    `check`, no row is read.
    """
    with checked(path, None, file, FRAME_ROWS, 1):
        file.seek(0)


def read_frame(path: Path, file: IO[bytes], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """An open Parquet file as pandas reads it, checked before. Raises BadInput as `check` does."""
    import pandas as pd
    import pyarrow as pa

    check(path, columns, file)
    try:
        frame = pd.read_parquet(file, columns=list(columns) if columns else None)
        for name, kind in frame.dtypes.items():
            # What is no UTF-8 would be found later, by whoever looks at the text.
            if isinstance(kind, pd.StringDtype):
                pa.array(frame[name]).validate(full=True)
        return frame
    except (*ERRORS, pa.ArrowException) as e:
        raise unreadable(path, e) from None


def _batches(
    path: Path, columns: Sequence[str] | None, held: _Held | None = None
) -> Iterator[tuple[list[str], list[list[Any]]]]:
    seen, most = 0, max(MOST_SEEN, SEEN * size_of(path))
    with checked(path, columns) as parquet:
        first = 1
        for batch in parquet.batches(columns):
            of_batch = held or _Held(path)
            names, lists = [], []
            for name, column in zip(map(str, batch.schema.names), batch.columns, strict=True):
                # Asked for "a", the library gives a column called "a.b" too.
                if columns is None or name in columns:
                    weight = _weight(path, name, column)
                    seen += weight
                    _within(path, name, seen, most)
                    names.append(name)
                    lists.append(_listed(path, name, column, first, weight, of_batch))
            yield names, lists
            first += batch.num_rows


def _size(path: Path, file: IO[bytes] | None) -> int:
    return size_of(path) if file is None else os.fstat(file.fileno()).st_size


def _within(path: Path, name: str, count: int, most: int) -> None:
    if count > most:
        raise BadInput(
            f"{path}: column '{name}': texts of more than {most:,} bytes, far more than the "
            "file's size makes plausible; divide it into several files if that is what you mean"
        )


class _Held:
    """Keeps every text once, and counts the memory of those that are kept."""

    def __init__(self, path: Path) -> None:
        self.path, self.known, self.count = path, dict[str | bytes, str | bytes](), 0
        self.most = max(UNPACKED, RATIO * size_of(path))

    def keep(self, value: Any, name: str) -> Any:
        """The same value, of the texts that are kept."""
        if isinstance(value, str | bytes):
            known = self.known.get(value)
            if known is None:
                self.known[value] = known = value
                self.count += len(value)
                _within(self.path, name, self.count, self.most)
            return known
        if isinstance(value, list):
            return [self.keep(item, name) for item in value]
        if isinstance(value, tuple):
            return tuple(self.keep(item, name) for item in value)
        if isinstance(value, dict):
            return {key: self.keep(item, name) for key, item in value.items()}
        return value


def _weight(path: Path, name: str, column: pa.Array) -> int:
    """Bytes of the texts in a column, each as often as it stands there, before they are made.

    Raises BadInput where one is too long.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    weight = 0
    for array in _leaves(column):
        times: Any = 1
        texts = array
        if _coded(array):
            # Only what these rows use of the dictionary.
            used, times = pc.value_counts(array.indices.drop_null()).flatten()
            texts = array.dictionary.take(used)
        sizes = pc.binary_length(texts).cast(pa.int64())
        if (longest := pc.max(sizes).as_py()) is not None and longest > LONGEST:
            raise BadInput(
                f"{path}: column '{name}': a text of {longest:,} bytes; at most {LONGEST:,} are "
                "read of one"
            )
        weight += pc.sum(pc.multiply(sizes, times)).as_py() or 0
    return weight


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    """The arrays of texts or bytes in a column, within its lists and structs too."""
    import pyarrow.types as kinds

    kind = array.type
    if _coded(array) or _is_text(kind):
        yield array
    elif kinds.is_struct(kind):
        for k in range(kind.num_fields):
            yield from _leaves(array.field(k))
    elif kinds.is_map(kind):
        yield from _leaves(array.keys)
        yield from _leaves(array.items)
    elif hasattr(array, "flatten"):
        yield from _leaves(array.flatten())


def _coded(array: pa.Array) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_dictionary(array.type) and _is_text(array.type.value_type))


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    tests = (kinds.is_string, kinds.is_large_string, kinds.is_binary, kinds.is_large_binary)
    return any(test(kind) for test in (*tests, kinds.is_fixed_size_binary))


def _listed(
    path: Path, name: str, column: pa.Array, first: int, weight: int, held: _Held
) -> list[Any]:
    """A column as Python values; `first` is the number of its first row."""
    try:
        if _coded(column):
            return _decoded(column, held, name)
        # As many rows at a time as make UNPACKED bytes of texts, before equal ones become one.
        step = max(1, len(column) * UNPACKED // max(weight, UNPACKED))
        values: list[Any] = []
        for start in range(0, len(column), step):
            some = column.slice(start, step).to_pylist()
            values += [held.keep(value, name) for value in some]
        return values
    except UnicodeDecodeError:
        raise BadInput(
            f"{path}: row {_undecoded(column, first)}: column '{name}': not UTF-8; expected UTF-8 "
            "text"
        ) from None


def _decoded(column: pa.Array, held: _Held, name: str) -> list[Any]:
    import pyarrow.compute as pc

    # Only what these rows use of the dictionary, and each text once.
    used = pc.unique(column.indices.drop_null())
    texts = [held.keep(text, name) for text in column.dictionary.take(used).to_pylist()]
    by_index = {None: None, **dict(zip(used.to_pylist(), texts, strict=True))}
    return [by_index[k] for k in column.indices.to_pylist()]


def _undecoded(column: pa.Array, first: int) -> int:
    for row, value in enumerate(column, start=first):
        try:
            value.as_py()
        except UnicodeDecodeError:
            return row
    return first
