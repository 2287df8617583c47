"""Opening a bundle from somebody you do not know: into a temporary folder that is always removed,
or not at all.

A name is used only after it was found plain, and never more bytes are read of an entry than the
manifest states. Weights, which no check reads but for their digest, are hashed where they lie and
not written.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from restaudit.errors import BadInput, RestauditError, VerificationFailed
from restaudit.evidence.bundle import manifest as bundle
from restaudit.evidence.bundle.manifest import Manifest, collision, wrong_name
from restaudit.evidence.bundle.redact import is_weights
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.ledger import LARGEST as LARGEST_LEDGER
from restaudit.evidence.ledger import FileDigest
from restaudit.evidence.verify.files import Progress

CHUNK = 1 << 20
ENTRIES = 100_000
DIRECTORY = 64 << 20
# How many times larger than the archive its contents may be in all. Those of a real run are 1 to 8
# times as large.
RATIO = 100
SMALL = 1 << 20
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1
LOCAL_HEADER = 30
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    NotImplementedError,
    ValueError,
    RuntimeError,
)

END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")


@dataclass(frozen=True)
class Opened:
    """A folder to check, and the digests of files that were read in the archive and are not in the
    folder.
    """

    folder: Path
    hashed: Mapping[str, FileDigest] = field(default_factory=dict)


@contextmanager
def opened(path: Path, *, most: int, progress: Progress | None = None) -> Iterator[Opened]:
    """A run folder as it is, or a bundle unpacked into a temporary folder that is gone afterwards.

    `most` is how many bytes a bundle may unpack to; `progress` is called with the bytes just
    unpacked. Raises BadInput where `path` is neither, VerificationFailed, naming the entry, where
    the bundle is not what its manifest says or would do more than put plain files into one folder.
    """
    if path.is_dir():
        yield Opened(path)
        return
    if not path.is_file():
        raise BadInput(f"{path}: no such run folder or bundle")
    with tempfile.TemporaryDirectory(prefix="restaudit-") as folder:
        try:
            hashed = unpack(path, Path(folder), most=most, progress=progress or (lambda _: None))
        except DAMAGED as e:
            raise VerificationFailed(
                f"{path.name}: not a readable zip archive ({type(e).__name__}: {e})"
            ) from None
        yield Opened(Path(folder), hashed)


def unpack(path: Path, folder: Path, *, most: int, progress: Progress) -> dict[str, FileDigest]:
    """Put the files of a bundle into an empty folder, all but weights, whose digests it returns.

    The errors are those of `opened`, and those of zipfile.
    """
    hashed: dict[str, FileDigest] = {}
    _check_directory(path)
    with zipfile.ZipFile(path) as archive:
        entries = _entries(archive, path.stat().st_size)
        if bundle.FILE not in entries:
            raise VerificationFailed(
                f"{path.name}: not a bundle of a run ({bundle.FILE} is not in it)"
            )
        limit = entries[bundle.FILE].file_size
        if limit > bundle.LARGEST:
            raise VerificationFailed(
                f"{bundle.FILE}: states {limit:,} bytes; no manifest is that large"
            )
        (folder / bundle.FILE).write_bytes(_read(archive, entries[bundle.FILE], limit))
        manifest = bundle.parse((folder / bundle.FILE).read_bytes())
        _check_sizes(path, entries, manifest, folder, most)
        for name, digest in manifest.files.items():
            target = None if _stays_packed(name) else folder / name
            if target is None:
                hashed[name] = digest
            _extract(archive, entries[name], target, digest, progress)
        if bundle.SIGNATURE in entries:
            (folder / bundle.SIGNATURE).write_bytes(
                _read(archive, entries[bundle.SIGNATURE], bundle.LARGEST)
            )
    return hashed


def _check_directory(path: Path) -> None:
    """Refuse an archive whose table of contents would fill the memory, or that carries anything
    around its entries.
    """
    size = path.stat().st_size
    with path.open("rb") as f:
        f.seek(max(0, size - END.size))
        tail = f.read()
        if len(tail) < END.size or tail[:4] != b"PK\x05\x06":
            raise BadInput(
                f"{path}: not a bundle (no zip archive, one that was cut short, or one with a "
                "comment)"
            )
        _, _, _, _, count, length, _, _ = END.unpack(tail)
        # These values say: the real ones are in the 64-bit end record before this one.
        if count == 0xFFFF or length == 0xFFFFFFFF:
            f.seek(max(0, size - END.size - LOCATOR.size))
            mark, _, at, _ = LOCATOR.unpack(f.read(LOCATOR.size))
            f.seek(min(at, size))
            end64 = f.read(END64.size)
            if mark != b"PK\x06\x07" or len(end64) < END64.size:
                raise VerificationFailed(
                    f"{path.name}: not a readable zip archive (its end is damaged)"
                )
            count, length = END64.unpack(end64)[7:9]
    if count > ENTRIES or length > DIRECTORY:
        raise VerificationFailed(
            f"{path.name}: a table of contents of {count:,} entries and {length:,} bytes is not "
            "read"
        )


def _entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The entries by name, each checked by what the archive says of it."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        # As it stands in the archive: zipfile cuts its own `filename` at a NUL byte.
        name = entry.orig_filename
        if (problem := wrong_name(name)) is not None:
            raise VerificationFailed(f"{name!a}: the name {problem}")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if stat.S_ISLNK(kind):
            raise VerificationFailed(f"{name}: is a symbolic link; a bundle holds only plain files")
        if kind not in (0, stat.S_IFREG):
            raise VerificationFailed(f"{name}: is not a plain file")
        if entry.flag_bits & ENCRYPTED:
            raise VerificationFailed(
                f"{name}: is encrypted; a bundle holds nothing that its reader cannot read"
            )
        if entry.compress_type not in READABLE:
            raise VerificationFailed(
                f"{name}: compressed by method {entry.compress_type}; expected stored or deflated"
            )
        if name in entries:
            raise VerificationFailed(f"{name}: is in the bundle twice, so which one is meant?")
        entries[name] = entry
    if (pair := collision(entries)) is not None:
        raise VerificationFailed(f"{pair[1]}: is the same file as {pair[0]} on some machines")
    _check_overlap(entries, size)
    return entries


def _check_overlap(entries: Mapping[str, zipfile.ZipInfo], size: int) -> None:
    """Refuse entries that share bytes of the archive: so a small one unpacks to petabytes, each
    entry with an honest size (Fifield 2019, "A better zip bomb").
    """
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].header_offset):
        if entry.header_offset < end:
            raise VerificationFailed(
                f"{name}: shares bytes of the archive with another entry (a zip bomb)"
            )
        end = entry.header_offset + LOCAL_HEADER + len(name) + entry.compress_size
        if end > size:
            raise VerificationFailed(f"{name}: reaches beyond the end of the archive")


def _check_sizes(
    path: Path, entries: Mapping[str, zipfile.ZipInfo], manifest: Manifest, folder: Path, most: int
) -> None:
    """Manifest and archive name the same files with the same sizes, and those are not too much."""
    for name, digest in manifest.files.items():
        if name not in entries:
            raise VerificationFailed(f"{name}: {bundle.FILE} lists it, but it is not in the bundle")
        if entries[name].file_size != digest.bytes:
            raise VerificationFailed(
                f"{name}: {bundle.FILE} states {digest.bytes:,} bytes, the archive "
                f"{entries[name].file_size:,}"
            )
    extra = sorted(set(entries) - set(manifest.files) - {bundle.FILE, bundle.SIGNATURE})
    if extra:
        raise VerificationFailed(
            f"{extra[0]}: is in the bundle, but not in {bundle.FILE} ({len(extra)} such file(s))"
        )
    ledger = manifest.files.get(LEDGER)
    if ledger is not None and ledger.bytes > LARGEST_LEDGER:
        raise VerificationFailed(f"{LEDGER}: {ledger.bytes:,} bytes; no ledger is that large")
    total = sum(e.file_size for e in entries.values())
    packed = path.stat().st_size
    if total > max(RATIO * packed, SMALL):
        largest = max(entries.values(), key=lambda e: e.file_size / max(e.compress_size, 1))
        raise VerificationFailed(
            f"{largest.filename}: unpacks to {largest.file_size:,} bytes from "
            f"{largest.compress_size:,} (a zip bomb); all of {path.name} may be {RATIO} times as "
            f"large as the archive, and is {total / packed:.0f} times"
        )
    if total > most:
        raise VerificationFailed(
            f"{path.name}: unpacks to {total:,} bytes, more than the {most:,} allowed; to allow "
            "it: --max-size GIB"
        )
    free = shutil.disk_usage(folder).free
    written = sum(e.file_size for name, e in entries.items() if not _stays_packed(name))
    if written > free:
        raise RestauditError(
            f"{path.name}: unpacks to {written:,} bytes, and {tempfile.gettempdir()} has {free:,} "
            "free; name another place with TMPDIR"
        )


def _stays_packed(name: str) -> bool:
    """Whether a file is read in the archive only: recorded weights, of which nothing but the digest
    is checked.
    """
    return is_weights(name) and not name.startswith(("report/", "signatures/"))


def _extract(
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    target: Path | None,
    digest: FileDigest,
    progress: Progress,
) -> None:
    """Read an entry and compare it with the manifest; write it where a target is given."""
    sha = hashlib.sha256()
    size = 0
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
    with nullcontext() if target is None else target.open("xb") as out:
        for piece in _pieces(archive, entry, digest.bytes):
            sha.update(piece)
            size += len(piece)
            progress(len(piece))
            if out is not None:
                out.write(piece)
    if size != digest.bytes or sha.hexdigest() != digest.sha256:
        raise VerificationFailed(
            f"{entry.filename}: changed after {bundle.FILE} listed it: expected sha256 "
            f"{digest.sha256}, got {sha.hexdigest()}"
        )


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
    return b"".join(_pieces(archive, entry, limit))


def _pieces(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> Iterator[bytes]:
    """The entry's bytes, at most CHUNK at a time.

    Reading stops as soon as it holds more than `limit`.
    """
    got = 0
    try:
        with archive.open(entry) as source:
            while piece := _some(source):
                got += len(piece)
                if got > limit:
                    raise VerificationFailed(
                        f"{entry.filename}: unpacks to more than the {limit:,} bytes stated"
                    )
                yield piece
    except DAMAGED as e:
        raise VerificationFailed(
            f"{entry.filename}: damaged in the archive ({type(e).__name__}: {e})"
        ) from None


def _some(source: IO[bytes]) -> bytes:
    return source.read(CHUNK)
