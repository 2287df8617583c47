"""The files of a run folder: which ones the ledger names, whether they are as recorded, and what
else lies there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.bundle.manifest import collision, wrong_name
from restaudit.evidence.record import CHECKPOINTS, LARGEST_BESIDE, WRITER
from restaudit.evidence.seal.statements import FOLDER as SIGNATURES
from restaudit.evidence.verify.shapes import Shape, shaped
from restaudit.files import plain
from restaudit.files.plain import TEMPORARY

CHUNK = 1 << 20
# The largest JSON file that is read whole, in bytes; parsed, it can take twenty times that.
# Measurements take 0.2 MB.
LARGEST_JSON = 8 << 20

LOCK = ".lock"
REPORT = "report/"
# What lies beside the record of a run, written by no step: rendered documents, what people exchange
# while the run waits, signatures, and until the run ends the checkpoints of a trainer. Of a bundle
# only the first two.
OF_BUNDLES = (REPORT, f"{SIGNATURES}/")
BESIDE = (*OF_BUNDLES, "human/", f"{CHECKPOINTS}/")
# The names of what people and trainers wrote there are theirs; nobody is told that they are checked.
ANY_NAME = ("human/", f"{CHECKPOINTS}/")
# Which files of a step may differ between two runs of one plan, so that they are in `context`: what
# the machine was, what a training took, when people rated.
CONTEXT = ("compute.json", "rated_at.parquet")
CONTEXT_OF_PLAN = "environment.json"

Recorded = tuple[str, str, ledger.FileDigest]
Progress = Callable[[int], None]
S = TypeVar("S", bound=Shape)


def listed(run: Path) -> list[str]:
    """Every file of the folder, work in hand (`.tmp-...`) included.

    Raises VerificationFailed for a link, a pipe or whatever else is no plain file.
    """
    try:
        return plain.names(run, temporary=True)
    except plain.NotPlain as e:
        raise VerificationFailed(f"{e.name}: {e.why}") from None


def is_temporary(name: str) -> bool:
    """Whether a file is work in hand, or was left behind by a killed process."""
    return name.rpartition("/")[2].startswith(TEMPORARY)


def must_be_portable(names: Iterable[str]) -> None:
    """Raise VerificationFailed where two machines, or two readers, could see other names; those
    that people and trainers chose beside the record are left out.
    """
    names = sorted(n for n in names if not n.startswith(ANY_NAME))
    for name in names:
        if (problem := wrong_name(name)) is not None:
            raise VerificationFailed(f"{name!a}: the name {problem}")
    if (pair := collision(names)) is not None:
        raise VerificationFailed(f"{pair[1]}: is the same file as {pair[0]} on some machines")


def recorded_files(events: Sequence[ledger.Event]) -> Iterator[Recorded]:
    """Every file the ledger names, in its order: (name, step, digest).

    A file belongs to exactly one step.
    """
    owner: dict[str, str] = {}
    for event in events:
        for name, digest in (*event.outputs.items(), *event.context.items()):
            if (problem := wrong_name(name)) is not None:
                raise VerificationFailed(
                    f"{name!a}: step '{event.step}' records it, but the name {problem}"
                )
            if name.startswith(BESIDE) or name in (ledger.FILE, WRITER, LOCK):
                raise VerificationFailed(
                    f"{name}: step '{event.step}' records it, but that place is beside the record"
                )
            if name in owner:
                raise VerificationFailed(
                    f"{name}: recorded twice, by step '{owner[name]}' and again by '{event.step}'; "
                    "a finished step's file is never rewritten"
                )
            owner[name] = event.step
            yield name, event.step, digest


def check_context(events: Sequence[ledger.Event]) -> None:
    """Raise VerificationFailed where a file is not compared between two runs and should be, or the
    other way round.
    """
    for event in events:
        for name in (*event.outputs, *event.context):
            differs = name.rpartition("/")[2] in CONTEXT
            if event.step == "plan":
                differs = name == CONTEXT_OF_PLAN
            if differs != (name in event.context):
                place = "context" if differs else "outputs"
                raise VerificationFailed(
                    f"{name}: step '{event.step}' records it in another place than in {place}"
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
    check_digest(run, name, expected.sha256, size=expected.bytes, progress=progress, by=by)
    return expected.bytes


def check_digest(
    run: Path,
    name: str,
    sha256: str,
    *,
    by: str,
    size: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Raise VerificationFailed where this file is not a plain one of this digest, and of so many
    bytes where they are known; else of at most LARGEST_BESIDE, as hashing a terabyte takes an hour.
    """
    most = LARGEST_BESIDE if size is None else None
    try:
        with plain.opened(run, name, most) as f:
            found = os.fstat(f.fileno()).st_size
            if size is not None and found != size:
                raise VerificationFailed(
                    f"{name}: changed after {by}: expected {size:,} bytes, got {found:,} bytes"
                )
            got = sha256_of(f, progress)
    except FileNotFoundError:
        stated = f" ({size:,} bytes)" if size is not None else ""
        raise VerificationFailed(f"{name}: missing; {by}{stated}") from None
    except plain.NotPlain as e:
        raise VerificationFailed(f"{name}: {_said(e, name)}; {by}") from None
    except OSError as e:
        raise BadInput(f"{run / name}: cannot be read ({e.strerror}); {by}") from None
    if got != sha256:
        raise VerificationFailed(f"{name}: changed after {by}: expected sha256 {sha256}, got {got}")


def sha256_of(f: BufferedReader, progress: Progress | None = None) -> str:
    """SHA-256 of an open file in hex, read once in constant memory."""
    sha = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK))
    while size := f.readinto(buffer):
        sha.update(buffer[:size])
        if progress is not None:
            progress(size)
    return sha.hexdigest()


def torn_tail(run: Path) -> int:
    """Bytes after the ledger's last complete line: the beginning of an event that a crash cut
    short; anything else there is refused.
    """
    tail = ledger.torn(run)
    if not tail:
        return 0
    start = b'{"at":{'
    text = tail.decode("utf-8", "replace")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        end = len(text)
    # A write that was cut short is a prefix of a line: something else, or a whole event followed by
    # something, is an edit.
    if end < len(text) or tail[: len(start)] != start[: len(tail)]:
        raise VerificationFailed(
            f"{ledger.FILE}: the end of the last line was changed after it was written"
        )
    return len(tail)


def read(run: Path, name: str, most: int = LARGEST_JSON) -> bytes:
    """One file of the run, whole.

    Raises VerificationFailed where it is missing, not a plain one, or larger than `most` bytes.
    """
    try:
        return plain.read(run, name, most)
    except FileNotFoundError:
        raise VerificationFailed(f"{name}: missing") from None
    except plain.NotPlain as e:
        raise VerificationFailed(f"{name}: {_said(e, name)}") from None


def _said(error: plain.NotPlain, name: str) -> str:
    """Why a file cannot be read; what is wrong may be a folder on the way to it."""
    return error.why if error.name == name else f"{error.name} {error.why}"


def read_shaped(run: Path, name: str, shape: type[S]) -> S:
    """A JSON document of the run.

    Raises VerificationFailed where it is none of this shape, or larger than LARGEST_JSON.
    """
    return shaped(read(run, name), shape, name)
