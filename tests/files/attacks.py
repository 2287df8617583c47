"""Things planted in a run folder, at every place that a command reads or writes, and what the
command then does.

The places are not listed by hand: a first, clean call says which names below the run went through
`plain`, and tests/files/test_one_way.py holds that there is no other way.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from restaudit.files import plain

SECONDS = 60
SECRET = "the victim's own words 5f3a"
# More than any reader can take in SECONDS, and than any limit allows.
HUGE = 1 << 43


class TookTooLong(BaseException):
    """The command was still at it; no `except Exception` of ours may catch this."""


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str


def called(arguments: Sequence[str], seconds: int = SECONDS) -> Answer:
    """One command in this process, stopped after so many seconds."""
    from restaudit.commands.cli import main

    def stop(_signal: int, _frame: object) -> None:
        raise TookTooLong(f"restaudit {' '.join(arguments)}")

    out, err, code = io.StringIO(), io.StringIO(), 0
    before = {s: signal.getsignal(s) for s in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGALRM, stop)
    words, sys.argv = sys.argv, ["restaudit", *arguments]
    signal.alarm(seconds)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as e:
        code = int(e.code or 0)
    finally:
        signal.alarm(0)
        sys.argv = words
        for number, handler in before.items():
            signal.signal(number, handler)
    return Answer(code, out.getvalue(), err.getvalue())


def pays(texts: Sequence[str]) -> list[float]:
    """A reward for a run of these attacks."""
    return [len(set(text)) / 50 for text in texts]


# --- where


def touched(run: Path, command: Callable[[], Answer]) -> tuple[list[str], Answer]:
    """The names below `run` that a call reads, writes or looks for, with the folders on the way,
    and what is in each folder that it walks.
    """
    names: set[str] = set()
    parts_of, walk = plain._parts, plain.names

    def parts(root: Path, name: str) -> list[str]:
        _note(names, run, root / name)
        return parts_of(root, name)

    def walked(root: Path, below: str = "", **more: bool) -> list[str]:
        found = walk(root, below, **more)
        for name in found:
            _note(names, run, root / name)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "_parts", parts)
        patch.setattr(plain, "names", walked)
        answer = command()
    places = {name for name in names if not name.startswith(plain.TEMPORARY)}
    return sorted(places | {".tmp-left-over"}), answer


def _note(names: set[str], run: Path, path: Path) -> None:
    # Not resolve(): the names matter, as they were given.
    inside = Path(os.path.abspath(path))  # noqa: PTH100
    if inside.is_relative_to(run) and f"/{plain.TEMPORARY}" not in inside.as_posix():
        name = inside.relative_to(run)
        names.update(p.as_posix() for p in (name, *name.parents) if p.as_posix() != ".")


# --- what


def _link_to_file(place: Path, victim: Path) -> None:
    place.symlink_to(victim / "secret.json")


def _link_to_folder(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def _pipe(place: Path, _: Path) -> None:
    os.mkfifo(place)


def _device(place: Path, _: Path) -> None:
    place.symlink_to("/dev/zero")


def _huge(place: Path, _: Path) -> None:
    size = HUGE
    with place.open("wb") as f:
        while True:
            try:
                return os.truncate(f.fileno(), size) or None
            except OSError:  # this file system has a smaller limit
                size >>= 1


def _second_name(place: Path, victim: Path) -> None:
    os.link(victim / "secret.json", place)


PLANTS: dict[str, Callable[[Path, Path], None]] = {
    "a link to a file": _link_to_file,
    "a link to a folder": _link_to_folder,
    "a named pipe": _pipe,
    "a link to a device": _device,
    "a huge file": _huge,
    "a hard link": _second_name,
}


def planted(run: Path, name: str, what: str, victim: Path) -> None:
    """Put it in the place of whatever is there."""
    place = run / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    PLANTS[what](place, victim)


@contextlib.contextmanager
def scene(pristine: Path, words: Sequence[str] | None = None) -> Iterator[tuple[Path, Path]]:
    """A copy of a folder of runs, or of what a command's words name there, and a victim beside it,
    whose files nobody may change.
    """
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        here = Path(folder)
        if words is None:
            shutil.copytree(pristine, here / "runs", symlinks=True)
        else:
            (here / "runs").mkdir()
            for name in {Path(word).parts[1] for word in words if word.startswith("runs/")}:
                copy = shutil.copytree if (pristine / name).is_dir() else shutil.copy
                copy(pristine / name, here / "runs" / name)
        victim = here / "victim"
        victim.mkdir()
        (victim / "secret.json").write_text(f'{{"secret": "{SECRET}"}}\n')
        yield here / "runs", victim


def untouched(victim: Path) -> bool:
    """Whether the victim's folder is as it was."""
    names = sorted(p.name for p in victim.iterdir())
    return names == ["secret.json"] and SECRET in (victim / "secret.json").read_text()


def files_below(folder: Path) -> set[str]:
    """Every name below a folder; links are not followed."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}
