"""The folder human/ of a run: plain files only, replaced whole or grown by whole lines, one writer
at a time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from restaudit.errors import BadInput

FOLDER = "human"
LOCK = ".lock"
PATIENCE = 60.0
# What a crash left of a last line is kept in the file of this name beside it.
TORN = ".torn"
BLOCK = 1 << 16


def desk(run: Path) -> Path:
    """The folder human/ of a run, made where it is missing. Raises BadInput on a link."""
    folder = human(run)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as e:
        raise BadInput(f"{folder}: cannot be written: {e.strerror}") from None
    return folder


def human(run: Path) -> Path:
    """Where the folder human/ of a run is or would be. Raises BadInput on a link."""
    return plain(Path(run) / FOLDER)


def plain(path: Path) -> Path:
    """The same path; raises BadInput where it is a symbolic link, which could lead anywhere."""
    if path.is_symlink():
        raise BadInput(f"{path}: is a symbolic link; give the file itself")
    return path


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark and with its own line ends."""
    return decoded(path, read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """What a file holds. Raises BadInput where it cannot be read."""
    try:
        return plain(path).read_bytes()
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such file") from None
    except OSError as e:
        raise BadInput(f"{path}: cannot be read: {e.strerror}") from None


def decoded(path: Path, data: bytes) -> str:
    """Bytes of a UTF-8 file as text, without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise BadInput(
            f"{path}: not UTF-8 at byte {e.start}; save it as UTF-8 and try again"
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write the whole file or nothing: temporary name, fsync, rename."""
    plain(path)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
        with open(handle, "wb") as f:  # noqa: PTH123 (an open descriptor)
            f.write(text.encode("utf-8"))
            f.flush()
            os.fsync(f.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        temporary = None
    except OSError as e:
        raise BadInput(f"{path}: cannot be written: {e.strerror}") from None
    except UnicodeEncodeError as e:
        raise BadInput(
            f"{path}: a text holds {e.object[e.start]!r}, which is no character"
        ) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add one JSON line and fsync it; nothing before it is written again.

    Call it with the folder locked.

    What a crash left of a last line is first kept aside in PATH.torn. Raises BadInput, with the
    file as it was, where the line cannot be written.
    """
    plain(path)
    try:
        data = line.encode("utf-8") + b"\n"
        is_new = not path.exists()
        with path.open("a+b", buffering=0) as f:
            size = f.seek(0, os.SEEK_END)
            tail = _tail(f, size)
            if tail and not is_whole(tail):
                _keep_aside(path, tail)
                size -= len(tail)
                f.truncate(size)
            elif tail:
                data = b"\n" + data
            try:
                _write(f, data)
            except OSError:
                with suppress(OSError):
                    f.truncate(size)
                raise
        if is_new:
            _sync_folder(path.parent)
    except OSError as e:
        raise BadInput(f"{path}: cannot be written: {e.strerror}") from None
    except UnicodeEncodeError as e:
        raise BadInput(
            f"{path}: a text holds {e.object[e.start]!r}, which is no character"
        ) from None


def without_torn(data: bytes) -> tuple[bytes, bytes]:
    """The whole lines of a file of JSON lines, and what a crash left of a last one (empty where
    nothing is torn).

    A last line that lacks only its end is whole: no beginning of a JSON object is a JSON object.
    """
    at = data.rfind(b"\n") + 1
    tail = data[at:]
    return (data, b"") if not tail or is_whole(tail) else (data[:at], tail)


def is_whole(line: bytes) -> bool:
    """Whether a line is a JSON object."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def keep_torn(path: Path) -> None:
    """Keep what a crash left of a last line aside, before the file is replaced.

    Call it with the folder locked.
    """
    if not plain(path).exists():
        return
    try:
        with path.open("rb") as f:
            tail = _tail(f, f.seek(0, os.SEEK_END))
        if tail and not is_whole(tail):
            _keep_aside(path, tail)
    except OSError as e:
        raise BadInput(f"{path}: cannot be read or kept aside: {e.strerror}") from None


def torn_file(path: Path) -> Path:
    """Where torn lines of a file are kept."""
    return path.with_name(path.name + TORN)


def _tail(f: BinaryIO, size: int) -> bytes:
    """What follows the last line end; looked for from the end, a block at a time."""
    at, tail = size, b""
    while at and b"\n" not in tail:
        step = min(BLOCK, at)
        at -= step
        f.seek(at)
        tail = f.read(step) + tail
    return tail[tail.rfind(b"\n") + 1 :]


def _keep_aside(path: Path, tail: bytes) -> None:
    aside = plain(torn_file(path))
    with aside.open("ab", buffering=0) as f:
        _write(f, tail + b"\n")


def _write(f: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[f.write(rest) :]
    os.fsync(f.fileno())


def _sync_folder(folder: Path) -> None:
    """A new file's name must outlive a power cut too; where a folder cannot be opened, its system
    does that itself.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked(folder: Path, *, patience: float = PATIENCE) -> Iterator[None]:
    """Nobody else reads and writes the ratings meanwhile.

    Raises BadInput after `patience` seconds of waiting.
    """
    from filelock import FileLock, Timeout

    path = plain(folder / LOCK)
    try:
        lock = FileLock(path, timeout=patience)
        lock.acquire()
    except Timeout:
        raise BadInput(
            f"{folder}: another import has held {path.name} for {patience:.0f} s; try again later"
        ) from None
    except OSError as e:
        raise BadInput(f"{path}: cannot be written: {e.strerror}") from None
    try:
        yield
    finally:
        lock.release()
