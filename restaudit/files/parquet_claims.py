"""What a Parquet file says of itself, in its footer and before each page, held against its size.

Read here and not by the library: some broken footers end its process where it is asked for a
column's facts, and the footer's own sums are checked by nobody. What the library goes by when it
takes memory are the pages' own headers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from restaudit.errors import BadInput
from restaudit.files.given import COLUMNS, RATIO, UNPACKED

MAGIC, ENCRYPTED = b"PAR1", b"PARE"
# Bytes of a footer, and values in it: a column of a row group takes about 40.
FOOTER, MOST_FACTS = 16 << 20, 3_000_000
# Numbers and texts in a column (a list counts each of its own): what any file may hold, and for
# each byte on the disk beyond that.
VALUES, VALUES_A_BYTE = 8_000_000, 8
# Bytes of one unpacked page (the usual writers begin a new one at 1 MB), and of texts that may be as
# long as a page and are read at a time.
PAGE, STEP = 64 << 20, 16 << 20
# Bytes of a column's unpacked pages for each byte on the disk. They are unpacked one by one.
PAGES = 100
# Bytes of a page's header: it may hold the least and the greatest text of the page.
SHORT_HEADER, HEADER = 64 << 10, 16 << 20
# Rows that are read at a time.
BATCH = 4096
# Entries of a dictionary page that are looked at one by one.
MOST_ENTRIES = 300_000
# Numbers by which the format names kinds of columns, an encoding (a text is what differs from the
# one before), and packings.
BYTE_ARRAY, FIXED, DELTA_BYTE_ARRAY, REPEATED, PLAIN = 6, 7, 7, 2, 0
CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}


@dataclass(frozen=True)
class Claims:
    """Rows, row groups and the names of the columns; `large` are the paths of columns that could
    hold much more text than the file has bytes, `coded` those of them that the library can read as
    a dictionary; `step` is how many rows may be read at once.
    """

    rows: int
    groups: int
    names: list[str]
    large: list[str]
    coded: list[str]
    step: int


def check(
    path: Path, file: IO[bytes], columns: Sequence[str] | None, rows: int, bytes_a_row: int
) -> Claims:
    """Read what an open file says of itself, and of the pages of these columns, or all.

    It may hold `rows` rows, or one for each `bytes_a_row` bytes. Raises BadInput where something is
    out of proportion, ValueError, IndexError or struct.error where it is broken.
    """
    size = file.seek(0, 2)
    said = _Thrift(_footer(path, file, size)).struct()
    leaves, names = _leaves(said[2])
    most, found = max(rows, size // bytes_a_row), _whole(said, 3)
    if found > most:
        raise BadInput(
            f"{path}: says that it holds {found:,} rows in {size:,} bytes; at most {most:,} are read "
            "of a file of this size; divide it into several files if that is what you mean"
        )
    if len(leaves) > COLUMNS:
        raise BadInput(f"{path}: has {len(leaves):,} columns; at most {COLUMNS:,} are read")
    if len(set(names)) < len(names):
        twice = min(name for name in names if names.count(name) > 1)
        raise BadInput(f"{path}: column '{twice[:80]}' occurs twice")
    groups = _list(said, 4)
    sums = _sums(
        path, file, size, groups, [leaf if _wanted(leaf, columns) else None for leaf in leaves]
    )
    large = {leaf: of for leaf, of in sums.items() if of.texts > max(UNPACKED, RATIO * size)}
    return Claims(
        found,
        len(groups),
        names,
        [leaf.path for leaf in large],
        [leaf.path for leaf, of in large.items() if of.one == 0],
        min((_step(path, leaf, of) for leaf, of in large.items()), default=BATCH),
    )


def _step(path: Path, leaf: _Leaf, of: _Sums) -> int:
    """How many rows may be read at once, where each text can be as long as a page."""
    if not of.one:
        return BATCH
    if leaf.repeated:
        raise BadInput(
            f"{path}: column '{leaf.path}': texts in lists, written so that they may unpack to any "
            "size (DELTA_BYTE_ARRAY, or of one length); write it in another way"
        )
    return max(1, min(BATCH, STEP // of.one))


def _footer(path: Path, file: IO[bytes], size: int) -> bytes:
    file.seek(max(0, size - 8))
    end = file.read(8)
    if end[4:] == ENCRYPTED:
        raise BadInput(f"{path}: is an encrypted Parquet file; write it without encryption")
    if size < 12 or end[4:] != MAGIC:
        raise BadInput(f"{path}: not a readable Parquet table (it does not end like one)")
    length = int.from_bytes(end[:4], "little")
    if length > min(FOOTER, size - 8):
        raise BadInput(
            f"{path}: not a readable Parquet table (it says that its footer has {length:,} bytes; "
            f"at most {FOOTER:,}, and those of the file, are read)"
        )
    file.seek(size - 8 - length)
    return file.read(length)


# --- columns


@dataclass(frozen=True)
class _Leaf:
    """A column of values: its path, its kind and length by the format's numbers, and whether it is
    in a list.
    """

    path: str
    kind: int
    length: int
    repeated: bool


def _leaves(schema: Any) -> tuple[list[_Leaf], list[str]]:
    """The columns of values in the order of the file, and the names of the table's own columns."""
    elements = iter(schema if isinstance(schema, list) else [])
    leaves: list[_Leaf] = []
    names: list[str] = []

    def below(count: int, parents: tuple[str, ...], repeated: bool) -> None:
        if len(parents) > 60:
            raise ValueError("nested too deep")
        for _ in range(count):
            element = next(elements, None)
            if not isinstance(element, dict) or not isinstance(element.get(4), bytes):
                raise ValueError("its columns are broken")
            name = element[4].decode("utf-8", "replace")
            inner, within = _whole(element, 5), repeated or element.get(3) == REPEATED
            if not parents:
                names.append(name)
            if inner:
                below(inner, (*parents, name), within)
            else:
                path = ".".join((*parents, name))
                leaves.append(_Leaf(path, _whole(element, 1), _whole(element, 2), within))

    root = next(elements, None)
    below(_whole(root, 5), (), False)
    return leaves, names


def _wanted(leaf: _Leaf, columns: Sequence[str] | None) -> bool:
    return columns is None or any(f"{leaf.path}.".startswith(f"{c}.") for c in columns)


# --- pages


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


def _sums(
    path: Path, file: IO[bytes], size: int, groups: list[Any], leaves: Sequence[_Leaf | None]
) -> dict[_Leaf, _Sums]:
    """What the pages of each wanted column say. Raises BadInput where it is out of proportion."""
    most_bytes, most_values = max(UNPACKED, PAGES * size), max(VALUES, VALUES_A_BYTE * size)
    sums: dict[_Leaf, _Sums] = {}
    for group in groups:
        # The usual writer says of an empty column that its pages begin at 0; nobody reads them.
        if _whole(group, 3) == 0:
            continue
        for leaf, chunk in zip(leaves, _list(group, 1), strict=True):
            if leaf is None:
                continue
            of = sums.setdefault(leaf, _Sums())
            longest = 0
            for page in _pages(file, chunk, size):
                if page.entries is not None and leaf.kind == BYTE_ARRAY:
                    longest = max(longest, _longest_entry(file, page))
                of.add(page, longest, leaf.length if leaf.kind == FIXED else 0)
                if page.unpacked > PAGE or of.unpacked > most_bytes or of.values > most_values:
                    raise BadInput(
                        f"{path}: column '{leaf.path}': unpacks to more than this file of {size:,} "
                        f"bytes may hold ({PAGE:,} bytes a page, {most_bytes:,} bytes and "
                        f"{most_values:,} values a column); divide it into several files if that "
                        "is what you mean"
                    )
    return sums


@dataclass
class _Page:
    """A page's own header: unpacked and packed bytes, where they are and how they are packed, how
    many values it has and how they are written; how many entries, where it is a dictionary.
    """

    unpacked: int
    packed: int
    start: int
    codec: int
    values: int
    encoding: int
    entries: int | None


def _pages(file: IO[bytes], chunk: Any, size: int) -> Iterator[_Page]:
    """The pages of a column in a row group, by the pages' own headers."""
    facts = chunk.get(3) if isinstance(chunk, dict) else None
    start, codec = _whole(facts, 9), _whole(facts, 4)
    if _whole(facts, 11):
        start = min(start, _whole(facts, 11))
    end = min(size, start + _whole(facts, 7))
    while start < end:
        header, length = _header(file, start)
        unpacked, packed = _whole(header, 2), _whole(header, 3)
        # A data page's header of the first version, or of the second.
        data, encoding = (header[5], 2) if 5 in header else (header.get(8), 4)
        dictionary = header.get(7)
        start += length
        yield _Page(
            unpacked,
            packed,
            start,
            codec,
            _whole(data, 1) if data else 0,
            _whole(data, encoding) if data else PLAIN,
            _whole(dictionary, 1) if dictionary else None,
        )
        start += packed


def _header(file: IO[bytes], start: int) -> tuple[dict[int, Any], int]:
    for most in (SHORT_HEADER, HEADER):
        file.seek(start)
        reader = _Thrift(file.read(most))
        try:
            return reader.struct(), reader.at
        except (IndexError, struct.error):
            if most == HEADER or len(reader.data) < most:
                raise
    raise ValueError("a page header is too long")


def _longest_entry(file: IO[bytes], page: _Page) -> int:
    """Bytes of the longest text in a dictionary page, or more where it cannot be told quickly."""
    import pyarrow as pa

    if page.entries is None or page.entries > MOST_ENTRIES or page.unpacked > UNPACKED:
        return page.unpacked
    file.seek(page.start)
    data = file.read(page.packed)
    longest = at = 0
    try:
        if page.codec:
            data = pa.Codec(CODECS[page.codec]).decompress(data, page.unpacked, asbytes=True)
        for _ in range(page.entries):
            (length,) = struct.unpack_from("<I", data, at)
            longest, at = max(longest, length), at + 4 + length
    except (OSError, ValueError, KeyError, struct.error, pa.ArrowException):
        return page.unpacked
    return longest


# --- Thrift's compact protocol, in which the footer and the page headers are written


def _whole(fields: Any, number: int) -> int:
    """A whole number from 0 on, 0 where it is not there. Raises ValueError where it is none."""
    value = fields.get(number, 0) if isinstance(fields, dict) else None
    if type(value) is not int or value < 0:
        raise ValueError("what it says of itself is broken")
    return value


def _list(fields: Any, number: int) -> list[Any]:
    value = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(value, list):
        raise ValueError("what it says of itself is broken")
    return value


class _Thrift:
    """Structs as field number to value: whole numbers, truth values, bytes, lists, structs; None
    for what is passed over. Raises IndexError where the bytes end too early.
    """

    DEEPEST = 16

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.left = data, 0, MOST_FACTS

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The struct that begins here, which is then behind."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._number()
            kind = head & 15
            # In a field, truth values have no bytes of their own.
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth + 1)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        self.left -= 1
        if depth > self.DEEPEST or self.left < 0:
            raise ValueError("what it says of itself is nested too deep, or too much")
        if kind in (4, 5, 6):
            return self._number()
        if kind == 8:
            return self._bytes(self._varint())
        if kind == 12:
            return self.struct(depth)
        if kind in (9, 10):
            return self._items(depth)
        if kind not in (1, 2, 3, 7):
            raise ValueError("what it says of itself is broken")
        self._bytes(8 if kind == 7 else 1)
        return None

    def _items(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        return [self._value(head & 15, depth + 1) for _ in range(count)]

    def _number(self) -> int:
        raw = self._varint()
        return (raw >> 1) ^ -(raw & 1)

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("what it says of itself is broken")

    def _byte(self) -> int:
        byte = self.data[self.at]
        self.at += 1
        return byte

    def _bytes(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise IndexError("it ends too early")
        data, self.at = self.data[self.at : end], end
        return data
