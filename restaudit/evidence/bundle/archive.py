"""The zip container of a bundle, read byte by byte: entries from its first byte on without a gap,
then the table of contents, then the end, and nothing around, between or hidden in them.

A zip file says most things twice, and programs differ in which they believe. Here both must say the
same, and everything that `restaudit bundle` does not write is refused (docs/record.md).
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from restaudit.errors import VerificationFailed
from restaudit.evidence.bundle.manifest import wrong_name

CHUNK = 1 << 20
ENTRIES = 100_000
DIRECTORY = 64 << 20
STORED, DEFLATED = 0, 8
ENCRYPTED = 0x1
# Beyond it a reader would need something that was invented later.
ZIP64 = 45
FULL = 0xFFFFFFFF

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LARGE = struct.Struct("<2H2Q")  # in a header: the sizes of an entry of 2 GiB or more
END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")


@dataclass(frozen=True)
class Entry:
    """One file of an archive: where its bytes lie, how many, and how many they unpack to."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    header: int
    start: int


def entries(f: IO[bytes], size: int) -> dict[str, Entry]:
    """The entries of an archive of `size` bytes by name, in its order.

    Raises VerificationFailed, naming the entry where it is one's fault.
    """
    count, start, table = _table(f, size)
    found: dict[str, Entry] = {}
    at = 0
    for _ in range(count):
        entry, at = _listed(table, at)
        if entry.name in found:
            raise VerificationFailed(
                f"{entry.name}: is in the bundle twice, so which one is meant?"
            )
        found[entry.name] = entry
    if at != len(table):
        raise VerificationFailed("the archive's table of contents holds more than it counts")
    end = 0
    for entry in found.values():
        if entry.header < end:
            raise VerificationFailed(
                f"{entry.name}: shares bytes of the archive with another entry (a zip bomb)"
            )
        if entry.header > end:
            raise VerificationFailed(f"{entry.name}: bytes lie before it that are no entry's")
        found[entry.name] = entry = _located(f, entry)
        end = entry.start + entry.packed
        if end > start:
            raise VerificationFailed(f"{entry.name}: reaches beyond the end of the archive")
    if end != start:
        raise VerificationFailed("the archive: bytes lie before its table of contents")
    return found


def pieces(f: IO[bytes], entry: Entry, limit: int) -> Iterator[bytes]:
    """The bytes of an entry, at most CHUNK at a time.

    Raises VerificationFailed as soon as they are more than `limit`, and where they are not the ones
    that the archive counts and sums up.
    """
    got, crc = 0, 0
    for piece in _inflated(f, entry) if entry.method == DEFLATED else _stored(f, entry):
        got += len(piece)
        crc = zlib.crc32(piece, crc)
        if got > limit:
            raise VerificationFailed(
                f"{entry.name}: unpacks to more than the {limit:,} bytes stated"
            )
        yield piece
    if got != entry.size or crc != entry.crc:
        raise _damaged(entry, "it unpacks to other bytes than the archive sums up")


def _stored(f: IO[bytes], entry: Entry) -> Iterator[bytes]:
    f.seek(entry.start)
    left = entry.packed
    while left:
        piece = f.read(min(CHUNK, left))
        if not piece:
            raise _damaged(entry, "it was cut short")
        left -= len(piece)
        yield piece


def _inflated(f: IO[bytes], entry: Entry) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for packed in _stored(f, entry):
            if inflater.eof:
                break
            while packed and not inflater.eof:
                yield inflater.decompress(packed, CHUNK)
                packed = inflater.unconsumed_tail
        while not inflater.eof:
            if not (piece := inflater.decompress(b"", CHUNK)):
                raise _damaged(entry, "it was cut short")
            yield piece
    except zlib.error as e:
        raise _damaged(entry, str(e)) from None
    # What lies behind the end of the stream would be in the archive, and in no file of it.
    if inflater.unused_data or f.tell() != entry.start + entry.packed:
        raise _damaged(entry, "bytes are hidden behind it")


def _damaged(entry: Entry, why: str) -> VerificationFailed:
    return VerificationFailed(f"{entry.name}: damaged in the archive ({why})")


def _table(f: IO[bytes], size: int) -> tuple[int, int, bytes]:
    """How many entries the table of contents has, where it begins, and its bytes."""
    tail = _at(f, size - END.size, END.size)
    mark, disk, other, here, count, length, start, comment = END.unpack(tail)
    if mark != b"PK\x05\x06" or comment:
        raise VerificationFailed(
            "the archive does not close with its end: it was cut short, or bytes or a comment "
            "follow"
        )
    end = size - END.size
    stated = (disk, other, here, count, length, start)
    if size >= END.size + LOCATOR.size and _at(f, end - LOCATOR.size, 4) == b"PK\x06\x07":
        end -= LOCATOR.size + END64.size
        count, length, start = _large(f, end, stated)
    elif stated[:2] != (0, 0) or here != count:
        raise VerificationFailed("the archive says that it is only a part of one")
    if count > ENTRIES or length > DIRECTORY:
        raise VerificationFailed(
            f"the archive: a table of contents of {count:,} entries and {length:,} bytes is not read"
        )
    if start + length != end:
        raise VerificationFailed("the archive's table of contents is not where its end says")
    return count, start, _at(f, start, length)


def _large(f: IO[bytes], at: int, stated: tuple[int, ...]) -> tuple[int, int, int]:
    """Count, length and place of the table from the end of an archive of more than 2 GiB."""
    record = END64.unpack(_at(f, at, END64.size))
    locator = LOCATOR.unpack(_at(f, at + END64.size, LOCATOR.size))
    here, count, length, start = record[6:]
    brief = (0, 0, min(count, 0xFFFF), min(count, 0xFFFF), min(length, FULL), min(start, FULL))
    fits = record[:2] == (b"PK\x06\x06", END64.size - 12) and record[4:6] == (0, 0)
    if not fits or here != count or locator[1:] != (0, at, 1) or stated != brief:
        raise VerificationFailed("the archive's two ends say different things")
    return count, length, start


def _listed(table: bytes, at: int) -> tuple[Entry, int]:
    """The entry that the table of contents has at this place, and the place after it."""
    fields = CENTRAL.unpack(_part(table, at, CENTRAL.size))
    mark, _, needed, flags, method, _, _, crc, packed, size, *lengths = fields
    named, more, comment, disk, _, mode, header = lengths
    at += CENTRAL.size
    raw = _part(table, at, named)
    extra = _part(table, at + named, more)
    name = raw.decode("utf-8", "replace")
    if (problem := wrong_name(name)) is not None:
        raise VerificationFailed(f"{name!a}: the name {problem}")
    kind = stat.S_IFMT(mode >> 16)
    if stat.S_ISLNK(kind):
        raise VerificationFailed(f"{name}: is a symbolic link; a bundle holds only plain files")
    if kind not in (0, stat.S_IFREG):
        raise VerificationFailed(f"{name}: is not a plain file")
    if flags & ENCRYPTED:
        raise VerificationFailed(
            f"{name}: is encrypted; a bundle holds nothing that its reader cannot read"
        )
    if method not in (STORED, DEFLATED):
        raise VerificationFailed(
            f"{name}: compressed by method {method}; expected stored or deflated"
        )
    packed, size, header, fits = _sizes(extra, packed, size, header)
    if mark != b"PK\x01\x02" or flags or comment or disk or needed > ZIP64 or not fits:
        raise VerificationFailed(
            f"{name}: the archive says more of it than restaudit writes (a flag, a comment or an "
            "extra field); hand on the bundle as it was made, or its unpacked folder"
        )
    if method == STORED and packed != size:
        raise VerificationFailed(f"{name}: is stored, but in {packed:,} bytes for {size:,}")
    return Entry(name, method, crc, packed, size, header, 0), at + named + more


def _sizes(extra: bytes, packed: int, size: int, header: int) -> tuple[int, int, int, bool]:
    """The sizes and the place of an entry, taken from its extra field where they are too large, and
    whether that holds these and nothing else.
    """
    full = [value == FULL for value in (size, packed, header)]
    wanted = struct.Struct(f"<2H{sum(full)}Q")
    if not any(full):
        return packed, size, header, not extra
    if len(extra) != wanted.size or extra[:4] != struct.pack("<2H", 1, wanted.size - 4):
        return packed, size, header, False
    values = iter(wanted.unpack(extra)[2:])
    size, packed, header = (
        next(values) if is_full else value
        for is_full, value in zip(full, (size, packed, header), strict=True)
    )
    return packed, size, header, True


def _located(f: IO[bytes], entry: Entry) -> Entry:
    """The same entry with the place of its bytes; the header before them must say what the table of
    contents says.
    """
    fields = LOCAL.unpack(_at(f, entry.header, LOCAL.size))
    mark, needed, flags, method, _, _, crc, packed, size, named, more = fields
    name = _at(f, entry.header + LOCAL.size, named)
    extra = _at(f, entry.header + LOCAL.size + named, more)
    if extra and (size, packed) == (FULL, FULL):
        fits = extra == LARGE.pack(1, 16, entry.size, entry.packed)
        size, packed = entry.size, entry.packed
    else:
        fits = not extra
    same = (name, method, crc, packed, size) == (
        entry.name.encode(),
        entry.method,
        entry.crc,
        entry.packed,
        entry.size,
    )
    if mark != b"PK\x03\x04" or flags or needed > ZIP64 or not fits or not same:
        raise VerificationFailed(
            f"{entry.name}: the header before it says something else than the archive's table of "
            "contents"
        )
    start = entry.header + LOCAL.size + named + more
    return Entry(entry.name, entry.method, entry.crc, entry.packed, entry.size, entry.header, start)


def _at(f: IO[bytes], place: int, count: int) -> bytes:
    if place < 0:
        raise VerificationFailed("the archive was cut short")
    f.seek(place)
    return _part(f.read(count), 0, count)


def _part(data: bytes, place: int, count: int) -> bytes:
    part = data[place : place + count]
    if len(part) < count:
        raise VerificationFailed("the archive was cut short")
    return part
