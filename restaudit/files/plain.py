"""Read and write below a folder that a stranger may have prepared: plain files only, through no
link, without waiting.

`root` is the folder that the user named; where that is a link, the user meant what it leads to.
Everything below it must be a plain file or a folder. Each part of a name is opened relative to the
folder before it (openat(2) with O_NOFOLLOW), so nothing can be exchanged between a check and its
use.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, FileIO
from pathlib import Path, PurePosixPath
from typing import IO

from restaudit.errors import BadInput, RestauditError

# What begins so is work in hand, or was left behind by a killed process; no reader looks at it.
TEMPORARY = ".tmp-"
# In bytes: the largest file that is read whole into memory. Measurements take 0.2 MB, the largest
# report a few; what is larger is read in pieces.
LARGEST = 64 << 20
# Folders in one another. Those of a run are 4 deep; without an end, a walk would have none either.
DEEPEST = 32
# A folder that holds one of these is a run, a study or a reward model, and may be a stranger's.
MARKS = ("plan.json", "ledger.jsonl", "study.json", "reward.json")
# In seconds: how long a lock is left alone before it is tried again.
WAIT = 0.05

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a named pipe waits for somebody who writes into it: forever.
AT_ONCE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_READ = AT_ONCE | os.O_NOFOLLOW
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class NotPlain(BadInput):
    """Something below the root is neither a plain file nor a folder, or is larger than is read.

    `name` says which, relative to the root; `why` says what is wrong with it.
    """

    def __init__(self, root: Path, name: str, why: str) -> None:
        super().__init__(f"{root / name}: {why}")
        self.name, self.why = name, why


# --- reading


def opened(root: Path, name: str, most: int | None = None) -> BufferedReader:
    """Open one plain file below `root` for reading; close it, or use it in a `with`.

    Raises FileNotFoundError where it is missing, NotPlain where it or a folder on the way is a
    link, a pipe, a device or a socket, it holds more than `most` bytes, or `name` leaves the root.
    """
    file = os.fdopen(_handle(root, name, _READ), "rb")
    if most is not None and os.fstat(file.fileno()).st_size > most:
        file.close()
        raise _too_large(root, name, most)
    return file


def read(root: Path, name: str, most: int = LARGEST) -> bytes:
    """The bytes of one plain file below `root`.

    Raises what `opened` raises, and NotPlain where it holds more than `most` bytes.
    """
    with opened(root, name, most) as f:
        # It may have grown since.
        data = f.read(most + 1)
    if len(data) > most:
        raise _too_large(root, name, most)
    return data


def read_text(root: Path, name: str, most: int = LARGEST) -> str:
    """The UTF-8 text of one plain file below `root`; raises what `read` raises, and BadInput where
    it is no UTF-8.
    """
    try:
        return read(root, name, most).decode("utf-8")
    except UnicodeDecodeError as e:
        raise BadInput(f"{root / name}: not UTF-8 text (byte {e.start})") from None


def is_file(root: Path, name: str) -> bool:
    """Whether there is a plain file of this name; False where there is nothing.

    Raises NotPlain where something else lies there, or on the way.
    """
    try:
        opened(root, name).close()
    # The second is the root itself, where that is a file.
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def is_folder(root: Path, name: str) -> bool:
    """Whether there is a folder of this name; False where there is nothing.

    Raises NotPlain where something else lies there, or on the way.
    """
    try:
        os.close(_folder(root, _parts(root, name)))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def names(root: Path, below: str = "", *, temporary: bool = False) -> list[str]:
    """Every plain file below `root`/`below`, relative to `root`, sorted; none where there is no
    such folder.

    Work in hand (`.tmp-...`) is left out, or with `temporary` named, and never looked into. Raises
    NotPlain for a link, pipe, device or socket, and for folders more than DEEPEST deep.
    """
    return sorted(_walk(root, _parts(root, below) if below else [], temporary))


def _walk(root: Path, parts: list[str], temporary: bool) -> Iterator[str]:
    waiting = [parts]
    while waiting:
        parts = waiting.pop()
        if len(parts) > DEEPEST:
            raise NotPlain(root, "/".join(parts), f"lies more than {DEEPEST} folders deep")
        try:
            folder = _folder(root, parts)
        except FileNotFoundError:
            continue
        try:
            for name, found in _inside(folder):
                path = "/".join([*parts, name])
                if name.startswith(TEMPORARY) and not stat.S_ISLNK(found.st_mode):
                    if temporary:
                        yield path
                elif stat.S_ISDIR(found.st_mode):
                    waiting.append([*parts, name])
                else:
                    _must_be_plain(found, root, path)
                    yield path
        finally:
            os.close(folder)


def _inside(folder: int) -> Iterator[tuple[str, os.stat_result]]:
    """What lies in an open folder, by its name, and what it is."""
    with os.scandir(folder) as entries:
        for entry in entries:
            # A run that is being written takes its unfinished files away again.
            with suppress(FileNotFoundError):
                yield entry.name, entry.stat(follow_symlinks=False)


# --- writing


def write(root: Path, name: str, data: bytes, *, mode: int = 0o666) -> Path:
    """Write one file below `root`, whole or not at all, and sync it; folders on the way are made.

    A plain file of this name is replaced. Raises NotPlain where anything else lies there or on the
    way, and nothing is written then.
    """
    with created(root, name, mode=mode) as f:
        f.write(data)
    return root / name


@contextmanager
def created(root: Path, name: str, *, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """`write`, for what is written piece by piece: the file is there once the `with` ends, and not
    at all where it fails.
    """
    parts = _parts(root, name)
    root.mkdir(parents=True, exist_ok=True)
    folder = _folder(root, parts[:-1], make=True)
    try:
        _may_be_replaced(folder, parts[-1], root, name)
        # A name that nobody can guess, and never one that is there: what a stranger put in its
        # place beforehand would be written into otherwise.
        unfinished = f"{TEMPORARY}{secrets.token_hex(8)}"
        handle = os.open(unfinished, _NEW, mode, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb") as f:
                yield f
                f.flush()
                os.fsync(f.fileno())
            os.rename(unfinished, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(unfinished, dir_fd=folder)
            raise
        os.fsync(folder)
    except OSError as e:
        raise _told(e, root, name) from None
    finally:
        os.close(folder)


def write_out(path: Path, data: bytes, *, run: Path | None = None) -> Path:
    """Write a file that the user named, as `write` does.

    Where the name lies in `run`, or in any folder that holds one of MARKS, no link on the way from
    there is followed; elsewhere the folder is the user's own, and only the file itself must be no
    link.
    """
    root, name = rooted(path, run)
    return write(root, name, data)


def rooted(path: Path, run: Path | None = None) -> tuple[Path, str]:
    """What to write a named file below: the outermost run, study or reward model that it lies in,
    or else its own folder.
    """
    # Not resolve(): that would follow the very links that are looked for.
    whole, given = Path(os.path.abspath(path)), run and Path(os.path.abspath(run))  # noqa: PTH100
    for folder in reversed(whole.parents):
        if folder == given or any(os.path.lexists(folder / mark) for mark in MARKS):
            name = whole.relative_to(folder)
            # As the user wrote it, for messages.
            above = len(name.parts) - 1
            is_as_given = ".." not in path.parts and above < len(path.parents)
            return (path.parents[above] if is_as_given else folder), name.as_posix()
    return path.parent, path.name


def make_parent(path: Path) -> Path:
    """Make the folder that a named file or folder goes into, through no link that `write_out` would
    not follow, and return it.
    """
    root, name = rooted(path)
    root.mkdir(parents=True, exist_ok=True)
    below = PurePosixPath(name).parent
    return make_folder(root, below.as_posix()) if below.parts else root


def place(made: Path, root: Path, name: str) -> Path:
    """Move a finished plain file to its name below `root`, whole or not at all.

    `made` lies in a folder of ours (`stage`) on the same file system, and is on the disk already.
    Raises what `write` raises.
    """
    parts = _parts(root, name)
    folder = _folder(root, parts[:-1], make=True)
    try:
        _must_be_plain(made.lstat(), made.parent, made.name)
        _may_be_replaced(folder, parts[-1], root, name)
        os.rename(made, parts[-1], dst_dir_fd=folder)
        os.fsync(folder)
    except OSError as e:
        raise _told(e, root, name) from None
    finally:
        os.close(folder)
    return root / name


def copy(source: IO[bytes], root: Path, name: str) -> None:
    """Write what an opened file holds to a name below `root`, as `write` does."""
    with created(root, name) as target:
        shutil.copyfileobj(source, target, 1 << 20)


def become(made: Path, folder: Path) -> None:
    """Give a folder of ours (`stage`) its name, which the user gave: it is new, or an empty folder.

    Raises OSError where something is there.
    """
    # The name itself, where it is a link, and not what it leads to.
    with suppress(FileNotFoundError):
        folder.rmdir()
    made.rename(folder)


@contextmanager
def stage(root: Path, hint: str = "") -> Iterator[Path]:
    """A new empty folder below `root` under a name that nobody can guess; it is gone afterwards.

    For what a library writes by path; `place` then moves each file.
    """
    folder = root / f"{TEMPORARY}{hint}{secrets.token_hex(8)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_folder(root: Path, name: str, *, mode: int = 0o777) -> Path:
    """Make a folder below `root`, and those on the way; one that is there stays as it is.

    Raises NotPlain where a link, or no folder, lies on the way.
    """
    os.close(_folder(root, _parts(root, name), make=True, mode=mode))
    return root / name


def appended(root: Path, name: str, *, mode: int = 0o666) -> FileIO:
    """Open one plain file below `root` for reading and writing in place, new where it is missing.

    Its position is the start, and nothing is buffered: see `add`. Raises NotPlain also where the
    file has a second name (a hard link): what is written into it would change there too.
    """
    file = FileIO(_handle(root, name, _APPEND, mode), "r+b")
    if os.fstat(file.fileno()).st_nlink > 1:
        file.close()
        raise NotPlain(root, name, "has a second name elsewhere (a hard link)")
    return file


def add(file: FileIO, data: bytes) -> None:
    """Write all of this where an `appended` file stands, and sync it."""
    rest = memoryview(data)
    # A write may take a part only, and says the reason the next time.
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


class Busy(RestauditError):
    """Somebody else holds a lock."""


@contextmanager
def locked(root: Path, name: str, *, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock that is a file of this name below `root`, which is made where it is missing.

    Raises Busy where somebody else holds it for more than `patience` seconds, and what `appended`
    raises.
    """
    until = time.monotonic() + patience
    while True:
        with appended(root, name) as f:
            if not _taken(f.fileno()):
                if time.monotonic() >= until:
                    raise Busy(f"{root / name}: is held by another process")
            # Without a name it is nobody's lock: whoever held it removed it.
            elif os.fstat(f.fileno()).st_nlink:
                yield  # the lock goes with the handle, also where the process is killed
                return
        time.sleep(WAIT)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove_temporary(root: Path) -> None:
    """Remove what killed processes left unfinished in `root`: `.tmp-...`, links themselves and
    never what they lead to.
    """
    for left_over in sorted(root.glob(f"{TEMPORARY}*")):
        if left_over.is_dir() and not left_over.is_symlink():
            shutil.rmtree(left_over)
        else:
            left_over.unlink(missing_ok=True)


# --- the way from the root


def _parts(root: Path, name: str) -> list[str]:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
        raise NotPlain(root, name.replace("\0", "?"), "is not a name below this folder")
    return list(path.parts)


def _folder(root: Path, parts: list[str], *, make: bool = False, mode: int = 0o777) -> int:
    """A handle of the folder that the parts lead to from the root; the caller closes it."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for k, part in enumerate(parts):
        name = "/".join(parts[: k + 1])
        try:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, mode, dir_fd=folder)
            inner = os.open(part, _FOLDER, dir_fd=folder)
        except OSError as e:
            raise _told(e, root, name) from None
        finally:
            os.close(folder)
        folder = inner
    return folder


def _handle(root: Path, name: str, flags: int, new: int | None = None) -> int:
    """A handle of one plain file below the root, made with the mode `new` where it is missing and
    one is given; the caller closes it.
    """
    parts = _parts(root, name)
    folder = _folder(root, parts[:-1])
    try:
        try:
            # Asked before it is opened as well: opening a device alone can do something.
            _must_be_plain(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False), root, name)
            handle = os.open(parts[-1], flags, dir_fd=folder)
        except FileNotFoundError:
            if new is None:
                raise
            handle = os.open(parts[-1], flags | os.O_CREAT | os.O_EXCL, new, dir_fd=folder)
            # The new name must outlive a power cut too.
            os.fsync(folder)
    except OSError as e:
        raise _told(e, root, name) from None
    finally:
        os.close(folder)
    try:
        _must_be_plain(os.fstat(handle), root, name)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _told(error: OSError, root: Path, name: str) -> OSError | NotPlain:
    """The same error, or NotPlain where it says that a link, or no folder, was in the way."""
    if error.errno is None:
        return error
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
        found = None
        with suppress(OSError):
            found = (root / name).lstat()
        if found is not None and stat.S_ISLNK(found.st_mode):
            return NotPlain(root, name, "is a symbolic link; only plain files and folders are used")
        return NotPlain(root, name, "is not a folder")
    return type(error)(error.errno, error.strerror, str(root / name))


def _too_large(root: Path, name: str, most: int) -> NotPlain:
    return NotPlain(root, name, f"is larger than {most:,} bytes, the most that is read")


def _must_be_plain(found: os.stat_result, root: Path, name: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise NotPlain(root, name, f"is {kind_of(found)}; only plain files and folders are used")


def _may_be_replaced(folder: int, part: str, root: Path, name: str) -> None:
    try:
        found = os.stat(part, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    _must_be_plain(found, root, name)


def kind_of(found: os.stat_result) -> str:
    """What something that is no plain file is, in words."""
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((words for test, words in kinds if test(found.st_mode)), "no plain file")
