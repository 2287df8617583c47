"""Files that people give, whatever is in them: opened without waiting, unpacked up to stated
limits, read piece by piece.

The user named the file, so a link is followed; what it leads to must be a plain file. Limits
concern one line, one cell, and what has to be held in memory at once. A file without packing may be
as large as the disk; a packed one may hold what its size on the disk makes plausible, and who has a
larger one unpacks it first. docs/data-formats.md has the table of limits.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from restaudit.errors import BadInput
from restaudit.files.plain import AT_ONCE, kind_of
from restaudit.files.strict import SPACE, KeyTwice, NotStrict, parse_row

# Characters of one line, one row of CSV or JSON, one cell; bytes of one cell in Parquet.
LONGEST = 16 << 20
# Bytes of a file that is held whole, once it is unpacked, and about how many values of JSON: each
# takes up to 90 bytes of memory, and can be written in three.
WHOLE, MOST_VALUES = 64 << 20, 4_000_000
# Bytes that any packed file may hold, and for each of its bytes on the disk beyond that. Text packs
# about 4 to 1, one that repeats its prompts 20 to 1, a bomb 1000 to 1.
UNPACKED, RATIO = 64 << 20, 20
# Rows that any packed file may hold, and the bytes on the disk for each row beyond that: a row
# costs memory even where it is empty.
ROWS, BYTES_A_ROW = 250_000, 8
# Columns of a table.
COLUMNS = 10_000
BLOCK = 1 << 20

_GZIP, _GZIP_MEMBER = b"\x1f\x8b", 31  # how a gzip file begins, and zlib's number for one
_OTHER_PACKING = {
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
}


def opened(path: Path) -> io.BufferedReader:
    """Open a plain file, or one that a link leads to, for reading; close it, or use it in a `with`.

    Raises BadInput where there is none, or it is a folder, pipe, socket or device.
    """
    try:
        # Asked before it is opened as well: opening a device alone can do something.
        _must_be_plain(path, path.stat())
        handle = os.open(path, AT_ONCE)
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such file") from None
    except (OSError, ValueError) as e:
        raise BadInput(f"{path}: cannot be read ({getattr(e, 'strerror', None) or e})") from None
    try:
        _must_be_plain(path, os.fstat(handle))
    except BaseException:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def _must_be_plain(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise BadInput(
            f"{path}: is {kind_of(found)}; expected a file (write what it gives into one)"
        )


def size_of(path: Path) -> int:
    """Bytes of a plain file on the disk. Raises BadInput as `opened` does."""
    with opened(path) as file:
        return os.fstat(file.fileno()).st_size


@contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The content of a plain file, gunzipped where it is gzipped (told by its first bytes).

    Raises BadInput, also later in reading, where it is broken or packed in another way, or where it
    unpacks to more than max(UNPACKED, RATIO times its size on the disk) bytes.
    """
    with opened(path) as file:
        try:
            start = file.peek(8)[:8]
        except OSError as e:
            raise BadInput(f"{path}: cannot be read ({e.strerror})") from None
        for sign, packing in _OTHER_PACKING.items():
            if start.startswith(sign):
                raise BadInput(
                    f"{path}: is packed with {packing}; expected plain text, or gzip: unpack it "
                    "first"
                )
        with io.BufferedReader(_Content(path, file, start[:2] == _GZIP), BLOCK) as content:
            yield content


class _Content(io.RawIOBase):
    """The bytes in a file as they come, each error as a BadInput, up to what its size allows."""

    def __init__(self, path: Path, file: IO[bytes], is_gzip: bool) -> None:
        self.path, self.file = path, file
        self.member = zlib.decompressobj(_GZIP_MEMBER) if is_gzip else None
        self.packed = b""
        self.size = os.fstat(file.fileno()).st_size
        self.most, self.count = max(UNPACKED, RATIO * self.size), 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        try:
            data = self._read(len(into)) if self.member is None else self._unpacked(len(into))
        except (OSError, zlib.error) as e:
            raise BadInput(f"{self.path}: cannot be read ({e})") from None
        into[: len(data)] = data
        self.count += len(data)
        if self.member is not None and self.count > self.most:
            raise BadInput(
                f"{self.path}: {self.size:,} bytes that unpack to more than {self.most:,}, which "
                "no usual data does; if it is what you mean, unpack it first (gunzip)"
            )
        return len(data)

    def _read(self, most: int) -> bytes:
        data = self.file.read(most)
        if data is None:  # some files of the system, which cannot be read without waiting
            raise OSError("it gives nothing")
        return data

    def _unpacked(self, most: int) -> bytes:
        # gzip.GzipFile reads a member's name byte by byte: hours for a hostile one.
        while True:
            assert self.member is not None
            if self.member.eof:
                self._next_member()
            if not self.packed:
                self.packed = self._read(BLOCK)
                if not self.packed and not self.member.eof:
                    raise OSError("the gzip file ends too early")
            if not self.packed:
                return b""
            data = self.member.decompress(self.packed, most)
            self.packed = self.member.unconsumed_tail
            if self.member.eof:
                self.packed = self.member.unused_data
            if data:
                return data

    def _next_member(self) -> None:
        """Take up the next member, or stay at the end; zeros may fill the file up."""
        while not (rest := self.packed.lstrip(b"\0")):
            self.packed = self._read(BLOCK)
            if not self.packed:
                return
        self.packed, self.member = rest, zlib.decompressobj(_GZIP_MEMBER)


def lines(path: Path, *, newline: str = "\n") -> Iterator[tuple[int, str]]:
    """The lines of a text file with their numbers, from 1 on, each with its line end.

    `newline` is "\\n" where only that ends a line, "" where "\\r" and "\\r\\n" do too. A byte-order
    mark is left out; bytes that are not UTF-8 become lone surrogates, which a rule about rows has
    to find. Raises BadInput as `unpacked` does, and for a line of more than LONGEST characters.
    """
    with unpacked(path) as content:
        text = _text(content, newline)
        number = 0
        while line := text.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise too_long(f"{path}: line {number}")
            yield number, line.removeprefix("\ufeff") if number == 1 else line


def _text(content: IO[bytes], newline: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(content, "utf-8", "surrogateescape", newline=newline)


def too_long(where: str, hint: str = "") -> BadInput:
    """The error for a line, row or cell of more than LONGEST characters."""
    return BadInput(
        f"{where}: longer than {LONGEST:,} characters, the most that is read of one; "
        f"{hint or 'shorten it, or leave it out'}"
    )


def whole(path: Path, most: int = WHOLE) -> bytes:
    """All bytes of a file that has to be held at once, gunzipped where it is gzipped.

    Raises BadInput as `unpacked` does, and where it holds more than `most` bytes.
    """
    with unpacked(path) as content:
        data = content.read(most + 1)
    if len(data) > most:
        raise BadInput(
            f"{path}: holds more than {most:,} bytes, the most that is read of such a file; "
            "divide it into several"
        )
    return data


def whole_text(path: Path, most: int = WHOLE) -> str:
    """All of a UTF-8 file, without a byte-order mark and with its own line ends.

    Raises what `whole` raises, and BadInput where it is not UTF-8.
    """
    data = whole(path, most)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise BadInput(
            f"{path}: not UTF-8 at byte {e.start}; save it as UTF-8 and try again"
        ) from None


def most_rows(path: Path) -> int:
    """How many rows may be read of a file of text: all, or of a packed one max(ROWS, its bytes on
    the disk / BYTES_A_ROW).
    """
    with opened(path) as file:
        size, is_gzip = os.fstat(file.fileno()).st_size, file.read(2) == _GZIP
    return max(ROWS, size // BYTES_A_ROW) if is_gzip else sys.maxsize


def csv_rows(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of delimited text that are not empty, each with the line that it begins in.

    Raises BadInput as `lines` does, for what is no CSV (a quotation mark that is lost would
    swallow the rows that follow), for a row of more than LONGEST characters or COLUMNS columns.
    """
    csv.field_size_limit(LONGEST)
    source = OfOneRow(f"{path}: ", lines(path, newline=""))
    reader = csv.reader(source, delimiter=separator, strict=True)
    start = 1
    try:
        for fields in reader:
            if len(fields) > COLUMNS:
                raise BadInput(
                    f"{path}: line {start}: {len(fields):,} columns; at most {COLUMNS:,} are read"
                )
            if fields:
                yield start, fields
            start, source.length = reader.line_num + 1, 0
    except csv.Error as e:
        raise BadInput(f"{path}: line {reader.line_num}: not valid CSV ({e})") from None


class OfOneRow:
    """Numbered lines for a CSV reader, which takes as many as a row goes on for; `length` is set to
    0 where a row ends. `file` stands before the place in a message.
    """

    def __init__(self, file: str, lines: Iterator[tuple[int, str]]) -> None:
        self.file, self.lines, self.length = file, lines, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, line = next(self.lines)
        self.length += len(line)
        if self.length > LONGEST:
            hint = "perhaps a quotation mark is not closed"
            raise too_long(f"{self.file}the row that goes on in line {number}", hint)
        return line


def json_row(where: str, text: str, *, halves: bool = True) -> Any:
    """The value of a line, or of a document that is held whole.

    Raises BadInput, with its place, as `strict.parse_row` does, and where something follows it.
    """
    try:
        value, end = parse_row(text, halves=halves)
        if text[end:].strip(" \t\r\n"):
            raise NotStrict(f"not valid JSON (more follows after character {end})")
    except NotStrict as e:
        raise BadInput(f"{where}: {e}") from None
    except json.JSONDecodeError as e:
        raise BadInput(f"{where}: not valid JSON ({e})") from None
    return value


def json_cell(path: Path | str, where: str, text: str) -> Any:
    """The value of a cell that may be JSON; the text itself where it is none, as a text may begin
    with a bracket too.

    Raises BadInput with its place where a key comes twice in one object.
    """
    try:
        value, end = parse_row(text)
    except KeyTwice as e:
        raise BadInput(f"{path}: {where}: {e}") from None
    except ValueError:
        return text
    return text if text[end:].strip(" \t\r\n") else value


def json_list(path: Path) -> Iterator[tuple[str, Any]]:
    """The items of a JSON list with their places ("row 1"), one at a time.

    Raises BadInput as `unpacked` and `json_row` do, where the file holds anything but one list, and
    for an item of more than LONGEST characters.
    """
    with unpacked(path) as content:
        window = _Window(path, _text(content, "\n"))
        if window.sign() != "[":
            got = {"{": "dict", '"': "str", "": "nothing"}.get(window.sign(), "something else")
            raise BadInput(
                f"{path}: expected a JSON list of objects, got {got} at the top (one object a line "
                "is .jsonl)"
            )
        window.at += 1
        number = 0
        if window.sign() != "]":
            while number == 0 or window.sign() == ",":
                window.at += number > 0
                number += 1
                yield f"row {number}", window.value(f"row {number}")
        if window.sign() != "]":
            raise BadInput(f'{path}: row {number}: not valid JSON (expected "," or "]" after it)')
        window.at += 1
        if window.sign():
            raise BadInput(f"{path}: not valid JSON (more follows after the list)")


class _Window:
    """The part of a JSON text that is being looked at, from `at` on."""

    def __init__(self, path: Path, source: io.TextIOWrapper) -> None:
        self.path, self.source = path, source
        self.text, self.at, self.ended = "", 0, False
        self.more()
        self.text = self.text.removeprefix("\ufeff")

    def more(self) -> None:
        """Look further, at least twice as far as before."""
        rest = self.text[self.at :]
        further = self.source.read(max(BLOCK, len(rest)))
        self.text, self.at, self.ended = rest + further, 0, not further

    def sign(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            self.at = SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self.more()

    def value(self, where: str) -> Any:
        """The next value, which `at` then stands behind."""
        while True:
            try:
                value, end = parse_row(self.text, self.at)
            except NotStrict as e:
                raise BadInput(f"{self.path}: {where}: {e}") from None
            except json.JSONDecodeError as e:
                # Not all of it may be in the window yet.
                if self.ended:
                    raise BadInput(f"{self.path}: {where}: not valid JSON ({e.msg})") from None
            else:
                if end - self.at > LONGEST:
                    raise too_long(f"{self.path}: {where}")
                # A number at the window's end may go on.
                if end < len(self.text) or self.ended:
                    self.at = end
                    return value
            if len(self.text) - self.at > LONGEST:
                raise too_long(f"{self.path}: {where}")
            self.more()
