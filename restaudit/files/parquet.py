"""Parquet files that people give, checked before anything in them is believed, and read in pieces.

A few kilobytes of Parquet can stand for a billion rows, or for one long text a million times: what
a file says of itself is held against its size on the disk, and so is every page's own header, which
is what the library goes by.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from restaudit.errors import BadInput
from restaudit.files.given import BYTES_A_ROW, COLUMNS, LONGEST, RATIO, ROWS, UNPACKED, opened

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAGIC, ENCRYPTED = b"PAR1", b"PARE"
# Bytes of the footer; 10,000 row groups of 20 columns take 30 MB.
FOOTER = 64 << 20
# Columns and row groups that a footer may list.
ITEMS = 200_000
# Numbers and texts in a column (a list counts each of its own): what any file may hold, and for
# each byte on the disk beyond that.
VALUES, VALUES_A_BYTE = 8_000_000, 8
# Bytes of one unpacked page. The usual writers begin a new one at 1 MB.
PAGE = 128 << 20
# Bytes of a column's unpacked pages, and of all texts as often as they stand in rows, for each byte
# on the disk. Pages are unpacked one by one, and a text that comes again is in memory once, so that
# these may be many; distinct texts may be RATIO times the file.
PAGES, SEEN, MOST_SEEN = 100, 1000, 1 << 30
# Rows that are turned into Python values at a time.
BATCH = 4096
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
    return BadInput(f"{path}: not a readable Parquet file ({first})")


@contextmanager
def checked(
    path: Path, columns: Sequence[str] | None = None, file: IO[bytes] | None = None
) -> Iterator[pq.ParquetFile]:
    """A Parquet file whose footer and whose pages (of these columns, or all) are plausible; `file`
    is the same, where it is open already.

    Its texts are read as a dictionary each, so that a text in a million rows is in memory once.
    Raises BadInput, also for what is raised in reading from it within the `with`.
    """
    import pyarrow as pa

    with opened(path) if file is None else nullcontext(file) as file:
        try:
            size = file.seek(0, 2)
            _check_ends(path, file, size)
            parquet = _file(file)
            _check_footer(path, parquet, size)
            _check_pages(path, file, parquet, size, columns)
            yield _file(file, read_dictionary=_texts(parquet))
        except (*ERRORS, pa.ArrowException) as e:
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
        return parquet.metadata.num_rows, [str(name) for name in parquet.schema_arrow.names]


def check(path: Path, columns: Sequence[str] | None = None, file: IO[bytes] | None = None) -> None:
    """Raise BadInput where a reader that makes every text of every row would need more memory than
    the file's size makes plausible, or where it cannot be read at all; a `file` is at its start
    afterwards.
    """
    with checked(path, columns, file) as parquet:
        seen, most = 0, max(UNPACKED, PAGES * _size(path, file))
        for batch in _group_by_group(parquet, columns):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                seen += _weight(path, str(name), column)
                _within(path, str(name), seen, most)
    if file is not None:
        file.seek(0)


def _batches(
    path: Path, columns: Sequence[str] | None, held: _Held | None = None
) -> Iterator[tuple[list[str], list[list[Any]]]]:
    seen, most = 0, max(MOST_SEEN, SEEN * path.stat().st_size)
    with checked(path, columns) as parquet:
        first = 1
        for batch in _group_by_group(parquet, columns):
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


def _group_by_group(
    parquet: pq.ParquetFile, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    # The library cannot join the dictionaries of two row groups where they are within lists.
    for k in range(parquet.num_row_groups):
        yield from parquet.iter_batches(BATCH, row_groups=[k], columns=columns)


def _size(path: Path, file: IO[bytes] | None) -> int:
    return path.stat().st_size if file is None else os.fstat(file.fileno()).st_size


def _within(path: Path, name: str, count: int, most: int) -> None:
    if count > most:
        raise BadInput(
            f"{path}: column '{name}': texts of more than {most:,} bytes, far more than the "
            "file's size makes plausible; divide it into several files if that is what you mean"
        )


class _Held:
    """Keeps every text once, and counts the memory of those that are kept."""

    def __init__(self, path: Path) -> None:
        self.path, self.known, self.count = path, dict[str, str](), 0
        self.most = max(UNPACKED, RATIO * path.stat().st_size)

    def keep(self, value: Any, name: str) -> Any:
        """The same value, of the texts that are kept."""
        if isinstance(value, str):
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
        sizes = pc.binary_length(array.dictionary if _coded(array) else array)
        if (longest := pc.max(sizes).as_py()) is not None and longest > LONGEST:
            raise BadInput(
                f"{path}: column '{name}': a text of {longest:,} bytes; at most {LONGEST:,} are "
                "read of one"
            )
        if _coded(array):
            sizes = pc.take(sizes, array.indices)
        weight += pc.sum(sizes.cast(pa.int64())).as_py() or 0
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
    return any(test(kind) for test in tests)


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


# --- what a file says of itself, against its size


def _file(file: IO[bytes], **options: Any) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    file.seek(0)
    return pq.ParquetFile(
        file,
        pre_buffer=False,
        thrift_string_size_limit=FOOTER,
        thrift_container_size_limit=ITEMS,
        **options,
    )


def _check_ends(path: Path, file: IO[bytes], size: int) -> None:
    file.seek(max(0, size - 8))
    end = file.read(8)
    if end[4:] == ENCRYPTED:
        raise BadInput(f"{path}: is an encrypted Parquet file; write it without encryption")
    if size < 12 or end[4:] != MAGIC:
        raise BadInput(f"{path}: not a readable Parquet file (it does not end like one)")
    footer = int.from_bytes(end[:4], "little")
    if footer > min(FOOTER, size):
        raise BadInput(
            f"{path}: not a readable Parquet file (it says that its footer has {footer:,} bytes; "
            f"at most {FOOTER:,} are read)"
        )


def _check_footer(path: Path, parquet: pq.ParquetFile, size: int) -> None:
    said = parquet.metadata
    most = max(ROWS, size // BYTES_A_ROW)
    if said.num_rows > most:
        raise BadInput(
            f"{path}: says that it holds {said.num_rows:,} rows in {size:,} bytes; at most {most:,} "
            f"are read of a file of this size ({BYTES_A_ROW} bytes a row); divide it into several "
            "files if that is what you mean"
        )
    if said.num_columns > COLUMNS:
        raise BadInput(f"{path}: has {said.num_columns:,} columns; at most {COLUMNS:,} are read")
    names = [str(name) for name in parquet.schema_arrow.names]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadInput(f"{path}: column '{min(twice)}' occurs twice")


def _texts(parquet: pq.ParquetFile) -> list[str]:
    """The paths of the columns that hold texts, within lists and structs too."""
    schema = parquet.schema
    columns = [schema.column(k) for k in range(len(schema))]
    return [c.path for c in columns if c.physical_type == "BYTE_ARRAY"]


def _check_pages(
    path: Path, file: IO[bytes], parquet: pq.ParquetFile, size: int, columns: Sequence[str] | None
) -> None:
    """Raise BadInput where what the pages of a column unpack to is out of proportion.

    The footer's own sums are not asked: nothing checks them.
    """
    most_bytes, most_values = max(UNPACKED, PAGES * size), max(VALUES, VALUES_A_BYTE * size)
    said = parquet.metadata
    sums: dict[str, tuple[int, int]] = {}
    for k in range(said.num_row_groups):
        group = said.row_group(k)
        for j in range(said.num_columns):
            chunk = group.column(j)
            name = chunk.path_in_schema
            if columns is not None and not any(f"{name}.".startswith(f"{c}.") for c in columns):
                continue
            unpacked, values = sums.get(name, (0, 0))
            for page in _pages(file, chunk, size):
                unpacked, values = unpacked + page[0], values + page[1]
                if page[0] > PAGE or unpacked > most_bytes or values > most_values:
                    raise BadInput(
                        f"{path}: column '{name}': unpacks to more than this file of {size:,} "
                        f"bytes may hold ({PAGE:,} bytes a page, {most_bytes:,} bytes and "
                        f"{most_values:,} values a column); divide it into several files if that "
                        "is what you mean"
                    )
            sums[name] = unpacked, values


def _pages(file: IO[bytes], chunk: Any, size: int) -> Iterator[tuple[int, int]]:
    """(unpacked bytes, values) of every page of a column chunk, from the pages' own headers."""
    start = chunk.data_page_offset
    if chunk.dictionary_page_offset is not None:
        start = min(start, chunk.dictionary_page_offset)
    end = min(size, start + chunk.total_compressed_size)
    while 0 <= start < end:
        header, length = _Thrift(file, start).struct()
        unpacked, packed = header.get(2, 0), header.get(3, 0)
        if (
            not isinstance(unpacked, int)
            or not isinstance(packed, int)
            or min(unpacked, packed) < 0
        ):
            raise ValueError("a page header is broken")
        # The number of values is the first field of a data page's header, of either version.
        data = header.get(5) or header.get(8) or {}
        values = data.get(1, 0) if isinstance(data, dict) else 0
        yield unpacked, values if isinstance(values, int) else 0
        start += length + packed


class _Thrift:
    """Reads one struct of Thrift's compact protocol, in which Parquet writes its page headers."""

    DEEPEST, LARGEST = 16, 1 << 24

    def __init__(self, file: IO[bytes], start: int) -> None:
        file.seek(start)
        self.file, self.length = file, 0

    def struct(self) -> tuple[dict[int, Any], int]:
        """Field number to value (whole numbers and structs; None for the rest), and its length."""
        return self._struct(0), self.length

    def _struct(self, depth: int) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self._bytes(1)[0]:
            number = number + (head >> 4) if head >> 4 else self._number()
            fields[number] = self._value(head & 15, depth + 1)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > self.DEEPEST:
            raise ValueError("a page header is nested too deep")
        if kind in (1, 2):  # true and false, which have no bytes of their own in a field
            return None
        if kind in (4, 5, 6):
            return self._number()
        if kind == 12:
            return self._struct(depth)
        if kind == 8:
            self._bytes(self._varint())
        elif kind in (3, 7):
            self._bytes(1 if kind == 3 else 8)
        elif kind in (9, 10):
            self._skip_list(depth)
        else:
            raise ValueError("a page header is broken")
        return None

    def _skip_list(self, depth: int) -> None:
        head = self._bytes(1)[0]
        count = head >> 4 if head >> 4 < 15 else self._varint()
        for _ in range(count):
            if head & 15 in (1, 2):
                self._bytes(1)
            else:
                self._value(head & 15, depth + 1)

    def _number(self) -> int:
        raw = self._varint()
        return (raw >> 1) ^ -(raw & 1)

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._bytes(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a page header is broken")

    def _bytes(self, count: int) -> bytes:
        self.length += count
        if self.length > self.LARGEST:
            raise ValueError("a page header is too long")
        data = self.file.read(count)
        if len(data) < count:
            raise ValueError("a page header ends too early")
        return data
