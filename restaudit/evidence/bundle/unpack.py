"""Opening a bundle from somebody you do not know: into a temporary folder that is always removed,
or not at all.

A name is used only after it was found plain, and never more bytes are read of an entry than the
manifest states. Weights, which no check reads but for their digest, are hashed where they lie and
not written.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from restaudit.errors import BadInput, RestauditError, VerificationFailed
from restaudit.evidence.bundle import archive
from restaudit.evidence.bundle import manifest as bundle
from restaudit.evidence.bundle.archive import Entry
from restaudit.evidence.bundle.manifest import Manifest, collision
from restaudit.evidence.bundle.redact import is_weights
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.ledger import LARGEST as LARGEST_LEDGER
from restaudit.evidence.ledger import FileDigest
from restaudit.evidence.seal.statements import LARGEST as LARGEST_SIGNATURE
from restaudit.evidence.verify.files import Progress
from restaudit.files import given, plain

# How many times larger than the archive its contents may be in all. Those of a real run are 1 to 8
# times as large.
RATIO = 100
SMALL = 1 << 20
# How a zip archive begins: with an entry, or with its end, where it holds none.
BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06")


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
    if not path.exists():
        raise BadInput(f"{path}: no such run folder or bundle")
    with given.opened(path) as f, tempfile.TemporaryDirectory(prefix="restaudit-") as folder:
        if f.read(4) not in BEGINNINGS:
            raise BadInput(f"{path}: neither a run folder nor a bundle (no zip archive)")
        try:
            hashed = unpack(
                path.name, f, Path(folder), most=most, progress=progress or (lambda _: None)
            )
        except OSError as e:
            raise BadInput(f"{path}: cannot be unpacked ({e.strerror or e})") from None
        yield Opened(Path(folder), hashed)


def unpack(
    name: str, f: IO[bytes], folder: Path, *, most: int, progress: Progress
) -> dict[str, FileDigest]:
    """Put the files of an open bundle into an empty folder, all but weights, whose digests it
    returns.

    `name` stands in messages. The errors are those of `opened`.
    """
    hashed: dict[str, FileDigest] = {}
    packed = f.seek(0, 2)
    try:
        entries = archive.entries(f, packed)
    except VerificationFailed as e:
        raise VerificationFailed(
            f"{name}: {e}" if str(e).startswith("the archive") else str(e)
        ) from None
    if (pair := collision(entries)) is not None:
        raise VerificationFailed(f"{pair[1]}: is the same file as {pair[0]} on some machines")
    if bundle.FILE not in entries:
        raise VerificationFailed(f"{name}: not a bundle of a run ({bundle.FILE} is not in it)")
    data = _read(f, entries[bundle.FILE], bundle.LARGEST)
    plain.write(folder, bundle.FILE, data)
    manifest = bundle.parse(data)
    _check_sizes(name, packed, entries, manifest)
    _check_room(name, entries, folder, most)
    for file, digest in manifest.files.items():
        if _stays_packed(file):
            hashed[file] = digest
        _extract(f, entries[file], folder, digest, progress)
    if bundle.SIGNATURE in entries:
        plain.write(
            folder, bundle.SIGNATURE, _read(f, entries[bundle.SIGNATURE], LARGEST_SIGNATURE)
        )
    return hashed


def _check_sizes(path: str, packed: int, entries: Mapping[str, Entry], manifest: Manifest) -> None:
    """Manifest and archive name the same files with the same sizes, and those are not too much."""
    for name, digest in manifest.files.items():
        if name not in entries:
            raise VerificationFailed(f"{name}: {bundle.FILE} lists it, but it is not in the bundle")
        if entries[name].size != digest.bytes:
            raise VerificationFailed(
                f"{name}: {bundle.FILE} states {digest.bytes:,} bytes, the archive "
                f"{entries[name].size:,}"
            )
    extra = sorted(set(entries) - set(manifest.files) - {bundle.FILE, bundle.SIGNATURE})
    if extra:
        raise VerificationFailed(
            f"{extra[0]}: is in the bundle, but not in {bundle.FILE} ({len(extra)} such file(s))"
        )
    ledger = manifest.files.get(LEDGER)
    if ledger is not None and ledger.bytes > LARGEST_LEDGER:
        raise VerificationFailed(f"{LEDGER}: {ledger.bytes:,} bytes; no ledger is that large")
    total = sum(e.size for e in entries.values())
    if total > max(RATIO * packed, SMALL):
        largest = max(entries.values(), key=lambda e: e.size / max(e.packed, 1))
        raise VerificationFailed(
            f"{largest.name}: unpacks to {largest.size:,} bytes from {largest.packed:,} (a zip "
            f"bomb); all of {path} may be {RATIO} times as large as the archive, and is "
            f"{total / packed:.0f} times"
        )


def _check_room(path: str, entries: Mapping[str, Entry], folder: Path, most: int) -> None:
    total = sum(e.size for e in entries.values())
    if total > most:
        raise VerificationFailed(
            f"{path}: unpacks to {total:,} bytes, more than the {most:,} allowed; to allow it: "
            "--max-size GIB"
        )
    free = shutil.disk_usage(folder).free
    written = sum(e.size for name, e in entries.items() if not _stays_packed(name))
    if written > free:
        raise RestauditError(
            f"{path}: unpacks to {written:,} bytes, and {tempfile.gettempdir()} has {free:,} free; "
            "name another place with TMPDIR"
        )


def _stays_packed(name: str) -> bool:
    """Whether a file is read in the archive only: recorded weights, of which nothing but the digest
    is checked.
    """
    return is_weights(name) and not name.startswith(("report/", "signatures/"))


def _extract(
    f: IO[bytes], entry: Entry, folder: Path, digest: FileDigest, progress: Progress
) -> None:
    """Read an entry and compare it with the manifest; write it, unless it stays packed."""
    sha = hashlib.sha256()
    size = 0
    with ExitStack() as stack:
        out = None
        if not _stays_packed(entry.name):
            out = stack.enter_context(plain.created(folder, entry.name))
        for piece in archive.pieces(f, entry, digest.bytes):
            sha.update(piece)
            size += len(piece)
            progress(len(piece))
            if out is not None:
                out.write(piece)
    if size != digest.bytes or sha.hexdigest() != digest.sha256:
        raise VerificationFailed(
            f"{entry.name}: changed after {bundle.FILE} listed it: expected sha256 "
            f"{digest.sha256}, got {sha.hexdigest()}"
        )


def _read(f: IO[bytes], entry: Entry, limit: int) -> bytes:
    if entry.size > limit:
        raise VerificationFailed(
            f"{entry.name}: states {entry.size:,} bytes; no such file is larger than {limit:,}"
        )
    return b"".join(archive.pieces(f, entry, limit))
