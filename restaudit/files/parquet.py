"""Parquet files that people give, checked before anything in them is believed, and read in pieces.

A few kilobytes of Parquet can stand for a billion rows, or for one long text a million times: what
a file says of itself is held against its size on the disk, and so is every page's own header, which
is what the library goes by.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from restaudit.errors import BadInput
from restaudit.files.given import BYTES_A_ROW, COLUMNS, LONGEST, RATIO, ROWS, UNPACKED, opened

if TYPE_CHECKING:
    import pandas as pd
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
# The number of the encoding in which a text is what differs from the one before.
DELTA_BYTE_ARRAY = 7
# Entries of a dictionary page that are looked at one by one.
MOST_ENTRIES = 300_000
# Rows that become arrays of numbers and texts, and no Python values.
FRAME_ROWS = 5_000_000
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
    return BadInput(f"{path}: not a readable Parquet table ({first})")


@dataclass(frozen=True)
class Checked:
    """A Parquet file whose footer and pages are plausible. `large` are the paths of columns that
    could hold much more text than the file has bytes; `step` is how many rows may be read at once.
    """

    file: pq.ParquetFile
    large: tuple[str, ...]
    step: int

    def batches(self, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """The rows, some at a time; large columns as a dictionary each and indices into it."""
        # Row group by row group: the library cannot join dictionaries that are within lists.
        for k in range(self.file.num_row_groups):
            yield from self.file.iter_batches(self.step, row_groups=[k], columns=columns)


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

    with opened(path) if file is None else nullcontext(file) as file:
        try:
            size = file.seek(0, 2)
            _check_ends(path, file, size)
            parquet = _file(file)
            _check_footer(path, parquet, size, max(rows, size // bytes_a_row))
            sums = _check_pages(path, file, parquet, size, columns)
            large = {
                name: of for name, of in sums.items() if of.texts > max(UNPACKED, RATIO * size)
            }
            coded = [name for name, of in large.items() if of.one == 0]
            if coded:
                parquet = _file(file, read_dictionary=coded)
            yield Checked(parquet, tuple(large), _step(path, parquet, large))
        except (*ERRORS, pa.ArrowException) as e:
            raise unreadable(path, e) from None


def _step(path: Path, parquet: pq.ParquetFile, large: Mapping[str, _Sums]) -> int:
    """How many rows may be read at once, where each text can be as long as a page."""
    step = BATCH
    for name, of in large.items():
        if of.one:
            step = min(step, max(1, PAGE // of.one))
            columns = (parquet.schema.column(k) for k in range(len(parquet.schema)))
            if any(c.path == name and c.max_repetition_level for c in columns):
                raise BadInput(
                    f"{path}: column '{name}': texts in lists, written so that they may unpack to "
                    "any size (DELTA_BYTE_ARRAY, or of one length); write it in another way"
                )
    return step


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
        return parquet.file.metadata.num_rows, [*map(str, parquet.file.schema_arrow.names)]


def check(path: Path, columns: Sequence[str] | None = None, file: IO[bytes] | None = None) -> None:
    """Raise BadInput where a reader that makes every text of every row would need more memory than
    the file's size makes plausible, or where it cannot be read at all; a `file` is at its start
    afterwards. Arrays take less memory a row than Python's values: FRAME_ROWS are allowed.
    """
    with checked(path, columns, file, FRAME_ROWS, 1) as parquet:
        # The others are small, by what their pages say.
        names = parquet.file.schema_arrow.names
        large = [n for n in names if any(f"{c}.".startswith(f"{n}.") for c in parquet.large)]
        seen, most = 0, max(UNPACKED, PAGES * _size(path, file))
        for batch in parquet.batches(large) if large else ():
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                seen += _weight(path, str(name), column)
                _within(path, str(name), seen, most)
    if file is not None:
        file.seek(0)


def read_frame(path: Path, file: IO[bytes], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """An open Parquet file as pandas reads it, checked before. Raises BadInput as `check` does."""
    import pandas as pd
    import pyarrow as pa

    check(path, columns, file)
    try:
        return pd.read_parquet(file, columns=list(columns) if columns else None)
    except (*ERRORS, pa.ArrowException) as e:
        raise unreadable(path, e) from None


def _batches(
    path: Path, columns: Sequence[str] | None, held: _Held | None = None
) -> Iterator[tuple[list[str], list[list[Any]]]]:
    seen, most = 0, max(MOST_SEEN, SEEN * path.stat().st_size)
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
        raise BadInput(f"{path}: not a readable Parquet table (it does not end like one)")
    footer = int.from_bytes(end[:4], "little")
    if footer > min(FOOTER, size):
        raise BadInput(
            f"{path}: not a readable Parquet table (it says that its footer has {footer:,} bytes; "
            f"at most {FOOTER:,} are read)"
        )


def _check_footer(path: Path, parquet: pq.ParquetFile, size: int, most: int) -> None:
    said = parquet.metadata
    if said.num_rows > most:
        raise BadInput(
            f"{path}: says that it holds {said.num_rows:,} rows in {size:,} bytes; at most {most:,} "
            f"are read of a file of this size; divide it into several files if that is what you mean"
        )
    if said.num_columns > COLUMNS:
        raise BadInput(f"{path}: has {said.num_columns:,} columns; at most {COLUMNS:,} are read")
    names = [str(name) for name in parquet.schema_arrow.names]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadInput(f"{path}: column '{min(twice)}' occurs twice")


def _check_pages(
    path: Path, file: IO[bytes], parquet: pq.ParquetFile, size: int, columns: Sequence[str] | None
) -> dict[str, _Sums]:
    """What the pages of each column say of themselves.

    Raises BadInput where it is out of proportion. The footer's own sums are not asked: nothing
    checks them.
    """
    most_bytes, most_values = max(UNPACKED, PAGES * size), max(VALUES, VALUES_A_BYTE * size)
    said = parquet.metadata
    sums: dict[str, _Sums] = {}
    for k in range(said.num_row_groups):
        group = said.row_group(k)
        for j in range(said.num_columns):
            chunk = group.column(j)
            name = chunk.path_in_schema
            if columns is not None and not any(f"{name}.".startswith(f"{c}.") for c in columns):
                continue
            of_column = sums.setdefault(name, _Sums())
            longest, fixed = 0, 0
            if chunk.physical_type == "FIXED_LEN_BYTE_ARRAY":
                fixed = max(0, parquet.schema.column(j).length)
            for page in _pages(file, chunk, size):
                if page.entries is not None and chunk.physical_type == "BYTE_ARRAY":
                    longest = max(longest, _longest_entry(file, page, chunk.compression))
                of_column.add(page, longest, fixed)
                if page.unpacked > PAGE or of_column.beyond(most_bytes, most_values):
                    raise BadInput(
                        f"{path}: column '{name}': unpacks to more than this file of {size:,} "
                        f"bytes may hold ({PAGE:,} bytes a page, {most_bytes:,} bytes and "
                        f"{most_values:,} values a column); divide it into several files if that "
                        "is what you mean"
                    )
    return sums


@dataclass
class _Page:
    """A page's own header: unpacked and packed bytes and where they are, how many values it has and
    how they are written; how many entries, where it is a dictionary.
    """

    unpacked: int
    packed: int
    start: int
    values: int
    encoding: int
    entries: int | None


@dataclass
class _Sums:
    """A column's pages: bytes unpacked, values, at most how many bytes of texts; and the bytes of
    one text, where it may be as long as that and cannot be read as a dictionary.
    """

    unpacked: int = 0
    values: int = 0
    texts: int = 0
    one: int = 0

    def add(self, page: _Page, longest: int, fixed: int) -> None:
        """Count a page, whose dictionary's longest entry is `longest`, or whose values are of a
        `fixed` length.
        """
        if page.encoding == DELTA_BYTE_ARRAY:
            fixed = max(fixed, page.unpacked)
        self.one = max(self.one, fixed)
        longest = max(longest, fixed)
        self.unpacked += page.unpacked
        self.values += page.values
        self.texts += page.unpacked + page.values * longest

    def beyond(self, most_bytes: int, most_values: int) -> bool:
        """Whether it is more than that."""
        return self.unpacked > most_bytes or self.values > most_values


def _pages(file: IO[bytes], chunk: Any, size: int) -> Iterator[_Page]:
    """The pages of a column chunk, by the pages' own headers."""
    start = chunk.data_page_offset
    if chunk.dictionary_page_offset is not None:
        start = min(start, chunk.dictionary_page_offset)
    end = min(size, start + chunk.total_compressed_size)
    while 0 <= start < end:
        header, length = _Thrift(file, start).struct()
        unpacked, packed = _whole(header, 2), _whole(header, 3)
        # A data page's header of the first version, or of the second.
        data, encoding = (header[5], 2) if 5 in header else (header.get(8), 4)
        dictionary = header.get(7)
        start += length
        yield _Page(
            unpacked,
            packed,
            start,
            _whole(data, 1) if data else 0,
            _whole(data, encoding) if data else 0,
            _whole(dictionary, 1) if dictionary else None,
        )
        start += packed


def _whole(fields: Any, number: int) -> int:
    value = fields.get(number, 0) if isinstance(fields, dict) else None
    if not isinstance(value, int) or value < 0:
        raise ValueError("a page header is broken")
    return value


def _longest_entry(file: IO[bytes], page: _Page, packing: str) -> int:
    """Bytes of the longest text in a dictionary page, or more where it cannot be told quickly."""
    import pyarrow as pa

    if page.entries is None or page.entries > MOST_ENTRIES or page.unpacked > UNPACKED:
        return page.unpacked
    file.seek(page.start)
    data = file.read(page.packed)
    longest = at = 0
    try:
        if packing != "UNCOMPRESSED":
            data = pa.Codec(packing.lower()).decompress(data, page.unpacked, asbytes=True)
        for _ in range(page.entries):
            (length,) = struct.unpack_from("<I", data, at)
            longest, at = max(longest, length), at + 4 + length
    except (*ERRORS, struct.error, pa.ArrowException):
        return page.unpacked
    return longest


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
