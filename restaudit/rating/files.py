"""The folder human/ of a run: plain files only, replaced whole, one importer at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from restaudit.errors import BadInput

FOLDER = "human"
LOCK = ".lock"
PATIENCE = 60.0


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
    try:
        return plain(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such file") from None
    except OSError as e:
        raise BadInput(f"{path}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise BadInput(f"{path}: not UTF-8 at byte {e.start}; save it as UTF-8 and try again") from None


def write_text(path: Path, text: str) -> None:
    """Write the whole file or nothing: temporary name, fsync, rename."""
    plain(path)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
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
        raise BadInput(f"{path}: a text holds {e.object[e.start]!r}, which is no character") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add one line and fsync; a last line that a crash cut off is taken away. Call it with the folder locked."""
    plain(path)
    try:
        with path.open("a+b") as f:
            f.seek(0)
            whole = f.read().rfind(b"\n") + 1
            f.truncate(whole)
            f.write(line.encode("utf-8") + b"\n")
            f.flush()
            os.fsync(f.fileno())
    except OSError as e:
        raise BadInput(f"{path}: cannot be written: {e.strerror}") from None


@contextmanager
def locked(folder: Path, *, patience: float = PATIENCE) -> Iterator[None]:
    """Nobody else reads and writes the ratings meanwhile. Raises BadInput after `patience` seconds of waiting."""
    from filelock import FileLock, Timeout

    path = plain(folder / LOCK)
    try:
        lock = FileLock(path, timeout=patience)
        lock.acquire()
    except Timeout:
        raise BadInput(f"{folder}: another import has held {path.name} for {patience:.0f} s; try again later") from None
    except OSError as e:
        raise BadInput(f"{path}: cannot be written: {e.strerror}") from None
    try:
        yield
    finally:
        lock.release()
