"""The files of a run folder: which ones the ledger names, whether they are as recorded, and what
else lies there.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from restaudit.errors import VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.record import CHECKPOINTS
from restaudit.evidence.seal.statements import FOLDER as SIGNATURES

CHUNK = 1 << 20
# The largest JSON file that is read whole, in bytes; parsed, it can take twenty times that.
# Measurements take 0.2 MB.
LARGEST_JSON = 16 << 20

# Written beside the record, not by a step: the ledger itself, the writer's lock, work in hand,
# rendered documents, and the tasks and ratings that people exchange while the run waits. Signatures
# are checked by signatures.py.
BESIDE_FILES = frozenset({ledger.FILE, "writer.json", ".lock"})
BESIDE_FOLDERS = frozenset({"report", "human", SIGNATURES, CHECKPOINTS})
TEMPORARY = ".tmp-"

Recorded = tuple[str, str, ledger.FileDigest]
Progress = Callable[[int], None]


def recorded_files(events: Sequence[ledger.Event]) -> Iterator[Recorded]:
    """Every file the ledger names, in its order: (name, step, digest).

    A file belongs to exactly one step.
    """
    owner: dict[str, str] = {}
    for event in events:
        for name, digest in (*event.outputs.items(), *event.context.items()):
            if not stays_inside(name):
                raise VerificationFailed(
                    f"{name!r}: step '{event.step}' records a path outside the run folder; "
                    "expected a relative path without '..'"
                )
            if name in owner:
                raise VerificationFailed(
                    f"{name}: recorded twice, by step '{owner[name]}' and again by '{event.step}'; "
                    "a finished step's file is never rewritten"
                )
            owner[name] = event.step
            yield name, event.step, digest


def stays_inside(name: str) -> bool:
    """Whether a recorded path is a plain relative one that cannot leave the folder."""
    path = PurePosixPath(name)
    plain = bool(name) and "\\" not in name and "\0" not in name and not PureWindowsPath(name).drive
    return (
        plain
        and not path.is_absolute()
        and ".." not in path.parts
        and path.as_posix() == name
        and name != "."
    )


def check_file(
    run: Path, recorded: Recorded, progress: Progress | None, *, by: str | None = None
) -> int:
    """Compare one file with what its step recorded, reading it once in constant memory; returns its
    size in bytes.

    `by` says in messages who recorded it, where that was not a step.
    """
    name, step, expected = recorded
    by = by or f"step '{step}' recorded it"
    path = run
    for part in PurePosixPath(name).parts:
        path = path / part
        if path.is_symlink():
            raise VerificationFailed(
                f"{name}: {part} is a symbolic link; a run folder holds only plain files"
            )
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise VerificationFailed(f"{name}: missing; {by} ({expected.bytes:,} bytes)") from None
    except OSError as e:
        raise VerificationFailed(f"{name}: cannot be read ({e.strerror}); {by}") from None
    if not stat.S_ISREG(found.st_mode):
        raise VerificationFailed(f"{name}: is not a plain file; {by} as one")
    if found.st_size != expected.bytes:
        raise VerificationFailed(
            f"{name}: changed after {by}: expected {expected.bytes:,} bytes, got "
            f"{found.st_size:,} bytes"
        )
    try:
        got = sha256_of(path, progress)
    except OSError as e:
        raise VerificationFailed(f"{name}: cannot be read ({e.strerror}); {by}") from None
    if got != expected.sha256:
        raise VerificationFailed(
            f"{name}: changed after {by}: expected sha256 {expected.sha256}, got {got}"
        )
    return expected.bytes


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file in hex, read once in constant memory."""
    sha = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as f:
        while size := f.readinto(buffer):
            sha.update(buffer[:size])
            if progress is not None:
                progress(size)
    return sha.hexdigest()


def unrecorded_files(run: Path, recorded: set[str]) -> Iterator[str]:
    """Files that no event names, sorted; a symbolic link anywhere in the record is refused."""
    for folder, folders, files in os.walk(run, followlinks=False):
        inside = Path(folder).relative_to(run)
        beside = BESIDE_FOLDERS if inside == Path() else frozenset()
        for part in sorted((*folders, *files)):
            if part in beside or part.startswith(TEMPORARY):
                continue
            if (Path(folder) / part).is_symlink():
                raise VerificationFailed(
                    f"{(inside / part).as_posix()}: is a symbolic link; a run folder holds only "
                    "plain files"
                )
        folders[:] = sorted(f for f in folders if f not in beside and not f.startswith(TEMPORARY))
        for part in sorted(files):
            name = (inside / part).as_posix()
            if name not in recorded and name not in BESIDE_FILES and not part.startswith(TEMPORARY):
                yield name


def torn_tail(run: Path) -> int:
    """Bytes after the ledger's last complete line: what a crash cut short; anything else there is
    refused.
    """
    tail = ledger.torn(run)
    text = tail.decode("utf-8", "replace")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return len(tail)
    # A write that was cut short is a prefix of a line: a whole event followed by something is an
    # edit.
    if end < len(text):
        raise VerificationFailed(
            f"{ledger.FILE}: the end of the last line was changed after it was written"
        )
    return len(tail)


def read_json(run: Path, name: str) -> Any:
    """A JSON file of the run.

    Raises VerificationFailed where it is none, or larger than LARGEST_JSON.
    """
    try:
        with (run / name).open("rb") as f:
            data = f.read(LARGEST_JSON + 1)
        if len(data) > LARGEST_JSON:
            raise VerificationFailed(
                f"{name}: more than {LARGEST_JSON:,} bytes of JSON, which is not read"
            )
        return json.loads(data)
    except (OSError, ValueError, RecursionError) as e:
        raise VerificationFailed(f"{name}: not readable JSON ({e})") from None
