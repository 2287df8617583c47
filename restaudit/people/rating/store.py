"""The folder human/ of a run, and the accepted ratings in it: ratings.jsonl, one unblinded rating a
line.

Plain files only, replaced whole or grown by whole lines, one writer at a time. An answer given in
the app is one line more; an import, and a rating that is taken back, replace the file whole. Both
happen under the folder's lock. A last line that a crash cut short is no rating: nobody was told
that it was saved. It is kept aside in ratings.jsonl.torn, and earlier ratings are as they were.
Choices between two texts lie the same way in a file of their own (pairs/), so that nobody takes one
for a score.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from restaudit.errors import BadInput
from restaudit.files import plain
from restaudit.files.strict import parse_json

if TYPE_CHECKING:
    import pandas as pd


RATINGS_FILE, CHOICES_FILE = "ratings.jsonl", "choices.jsonl"
FOLDER = "human"
LOCK = ".lock"
# Seconds that an import waits for another one.
PATIENCE = 60.0
# What a crash left of a last line is kept in the file of this name beside it.
TORN = ".torn"
# Bytes that are read at a time in looking for the last line.
BLOCK = 1 << 16
# The columns of `load_ratings`.
COLUMNS = {
    "item_id": "str",
    "iteration": "str",
    "prompt_id": "str",
    "sample_id": "str",
    "rater": "str",
    "dimension": "str",
    "score": "float64",
    "submitted_at": "object",
    "inclusion_prob": "float64",
    "check": "bool",
    "anchor": "bool",
    "repeats": "object",
    "tasks": "str",
    "response_sha256": "str",
    "scale_min": "float64",
    "scale_max": "float64",
    "order": "int64",
    "source": "str",
}


# What was read before, by path: the app reads the same rows again after every answer, and only the
# lines that were added since are parsed.
_READ: dict[str, tuple[bytes, list[dict[str, Any]]]] = {}
MOST_READ = 4


def read_rows(folder: Path, file: str = RATINGS_FILE) -> list[dict[str, Any]]:
    """Every accepted rating as it is stored; rows are not to be changed.

    Raises BadInput naming a line that is none.
    """
    path = folder / file
    if not plain.is_file(folder, file):
        return []
    data, _ = without_torn(read_bytes(path))
    before, rows = _READ.pop(str(path), (b"", []))
    # Bytes and not the file's time: two answers may come within one tick of the clock.
    if not data.startswith(before):
        before, rows = b"", []
    rows = [*rows, *_parsed(path, data[len(before) :], first=before.count(b"\n") + 1)]
    _READ[str(path)] = data, rows
    for forgotten in list(_READ)[:-MOST_READ]:
        _READ.pop(forgotten, None)
    return list(rows)


def _parsed(path: Path, data: bytes, first: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    # Not splitlines: a text may hold U+2028, which JSON leaves as it is.
    for number, line in enumerate(decoded(path, data).split("\n"), start=first):
        if not line:
            continue
        try:
            row = parse_json(line)
            score = whole(float(row["score"]))
            checked = {"item_id": str(row["item_id"]), "rater_id": str(row["rater_id"])}
            rows.append({**row, **checked, "score": score})
        except (ValueError, KeyError, TypeError, OverflowError) as e:
            raise BadInput(
                f"{path}: line {number}: not a rating ({type(e).__name__}: {e})"
            ) from None
    return rows


def append_row(folder: Path, row: dict[str, Any], file: str = RATINGS_FILE) -> None:
    """Add one rating as a line more, on disk when this returns; call it with the folder locked."""
    append_line(folder / file, _line(row))


def add_rows(
    folder: Path,
    old: Sequence[dict[str, Any]],
    new: Sequence[dict[str, Any]],
    file: str = RATINGS_FILE,
) -> None:
    """Write the old and the new ratings in place of what is there: all or nothing.

    Call it with the folder locked.
    """
    keep_torn(folder / file)
    write_text(folder / file, "".join(f"{_line(r)}\n" for r in (*old, *new)))


def torn_note(folder: Path, file: str = RATINGS_FILE) -> str | None:
    """What crashes left of ratings, and where it is; None where there is nothing."""
    path = folder / file
    aside = torn_file(path)
    torn = b""
    if plain.is_file(folder, file):
        torn = without_torn(read_bytes(path))[1]
    kept: list[bytes] = []
    if plain.is_file(folder, aside.name):
        kept = [line for line in read_bytes(aside).split(b"\n") if line]
    notes = []
    if torn:
        notes.append(
            f"{file} ends in {len(torn)} bytes of a rating that a crash cut short; it does not "
            "count"
        )
    if kept:
        size = sum(map(len, kept))
        notes.append(
            f"{size} bytes that crashes left of {len(kept)} rating(s) are kept in {aside.name}; "
            "they do not count"
        )
    if not notes:
        return None
    return f"{'; '.join(notes)}. Every rating before is whole."


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False)


def load_ratings(run: Path) -> pd.DataFrame:
    """Every accepted rating of a run, a row each, in the order of import; an empty table where
    there are none.

    Columns: item_id, iteration, prompt_id, sample_id, rater, dimension, score, submitted_at (ISO
    8601 UTC or None), inclusion_prob (NaN for checks), check (a repeat: never a score of the
    sample), anchor (the base policy's sample, rated again later), repeats (the item a check
    repeats, or None), tasks (name of the set), response_sha256, scale_min, scale_max, order (place
    in which it was shown, from 0), source (format of the file).
    """
    import pandas as pd

    rows = []
    for row in read_rows(human_folder(run)):
        role = row.get("role")
        own = {"rater": row["rater_id"], "check": role == "check", "anchor": role == "anchor"}
        rows.append({column: row.get(column) for column in COLUMNS} | own)
    try:
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    except (ValueError, TypeError) as e:
        path = human_folder(run) / RATINGS_FILE
        raise BadInput(
            f"{path}: a rating lacks a field or holds another kind of value ({e})"
        ) from None


# --- the folder and its files


def made_human_folder(run: Path) -> Path:
    """The folder human/ of a run, made where it is missing. Raises BadInput on a link."""
    try:
        return plain.make_folder(Path(run), FOLDER)
    except OSError as e:
        raise BadInput(f"{Path(run) / FOLDER}: cannot be written: {e.strerror}") from None


def human_folder(run: Path) -> Path:
    """Where the folder human/ of a run is or would be. Raises BadInput on a link."""
    plain.is_folder(Path(run), FOLDER)
    return Path(run) / FOLDER


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark and with its own line ends."""
    return decoded(path, read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """What a file holds. Raises BadInput where it cannot be read, or is a link."""
    try:
        return plain.read(path.parent, path.name)
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
    """Write the whole file or nothing."""
    try:
        plain.write_out(path, text.encode("utf-8"))
    except OSError as e:
        raise BadInput(f"{path}: cannot be written: {e.strerror}") from None
    except UnicodeEncodeError as e:
        raise BadInput(
            f"{path}: a text holds {e.object[e.start]!r}, which is no character"
        ) from None


def append_line(path: Path, line: str) -> None:
    """Add one JSON line and fsync it; nothing before it is written again.

    Call it with the folder locked.

    What a crash left of a last line is first kept aside in PATH.torn. Raises BadInput, with the
    file as it was, where the line cannot be written.
    """
    try:
        data = line.encode("utf-8") + b"\n"
        with plain.appended(path.parent, path.name) as f:
            size = f.seek(0, os.SEEK_END)
            tail = _tail(f, size)
            # A line behind half a line would be lost with it.
            if tail and not is_whole(tail):
                _keep_aside(path, tail)
                size -= len(tail)
                f.truncate(size)
            elif tail:
                data = b"\n" + data
            f.seek(size)
            try:
                plain.add(f, data)
            except OSError:
                # The disk is full, for instance: half a line would be taken for a crash's.
                with suppress(OSError):
                    f.truncate(size)
                raise
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
    if not tail or is_whole(tail):
        return data, b""
    return data[:at], tail


def is_whole(line: bytes) -> bool:
    """Whether a line is a JSON object."""
    try:
        return isinstance(parse_json(line), dict)
    except ValueError:
        return False


def keep_torn(path: Path) -> None:
    """Keep what a crash left of a last line aside, before the file is replaced.

    Call it with the folder locked.
    """
    if not plain.is_file(path.parent, path.name):
        return
    try:
        with plain.opened(path.parent, path.name) as f:
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
    with plain.appended(path.parent, torn_file(path).name) as f:
        f.seek(0, os.SEEK_END)
        plain.add(f, tail + b"\n")


@contextmanager
def locked(folder: Path, *, patience: float = PATIENCE) -> Iterator[None]:
    """Nobody else reads and writes the ratings meanwhile.

    Raises BadInput after `patience` seconds of waiting.
    """
    with ExitStack() as held:
        try:
            held.enter_context(plain.locked(folder, LOCK, patience=patience))
        except plain.Busy:
            raise BadInput(
                f"{folder}: another import has held {LOCK} for {patience:.0f} s; try again later"
            ) from None
        except OSError as e:
            raise BadInput(f"{folder / LOCK}: cannot be written: {e.strerror}") from None
        yield


def whole(score: float) -> float | int:
    """A whole number as an int, which files show as 4 and not as 4.0."""
    return int(score) if score == int(score) else score
