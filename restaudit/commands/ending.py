"""How the program ends, whatever happens: with an exit code, and with one sentence where something
went wrong. The trace of an error that nobody foresaw goes into a file.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from restaudit.commands.program import PipeBroken
from restaudit.errors import Exit, RestauditError

TRACKER = "the project's issue tracker"
# What the machine says no to, whatever program asks: no fault of ours.
OF_THE_MACHINE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENAMETOOLONG,
        errno.EFBIG,
    }
)


def ended(program: Callable[[], object], arguments: Sequence[str]) -> int:
    """Run the program and return its exit code (errors.Exit); what went wrong is said on standard
    error.

    `arguments` are the command line's, whose command is named where something unforeseen happens.
    """
    _any_terminal()
    output = _output()
    try:
        try:
            program()
        finally:
            # Here, where a full disk can still be told, and not when the interpreter ends.
            sys.stdout.flush()
    except SystemExit as e:
        # Typer and rich have an end of their own here; rich puts another file in the output's place.
        if e.code == 1 and (_nobody_reads() or _output() != output):
            _let_go()
            return int(Exit.CLOSED)
        # As sys.exit has it: nothing is success.
        return e.code if isinstance(e.code, int) else int(e.code is not None)
    except RestauditError as e:
        _say(f"restaudit: {e}")
        return int(e.exit_code)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)
    except Exception as e:  # noqa: BLE001  # the net under everything
        error = e.error if isinstance(e, PipeBroken) else e
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            _let_go()
            return int(Exit.CLOSED)
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
            return _machine(error)
        return _unforeseen(error, arguments)
    return int(Exit.DONE)


def _any_terminal() -> None:
    """What a terminal's encoding has no sign for is shown as its number: it ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _output() -> tuple[int, int] | None:
    """Which file the output goes to; None where it is none."""
    with suppress(OSError, ValueError, AttributeError):
        found = os.fstat(sys.__stdout__.fileno())  # type: ignore[union-attr]
        return found.st_dev, found.st_ino
    return None


def _nobody_reads() -> bool:
    """Whether the reader of our output has gone away, as `head` does."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    with suppress(OSError, ValueError):
        poll.register(sys.__stdout__.fileno(), 0)  # type: ignore[union-attr]
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return True


def _let_go() -> None:
    """Send what is still to be written nowhere: the interpreter would try, and fail, again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.__stdout__.fileno())  # type: ignore[union-attr]
    os.close(nowhere)


def _machine(error: OSError) -> int:
    if error.filename:
        _say(f"restaudit: {error.filename}: cannot be read or written: {error.strerror}")
    else:
        _let_go()
        _say(f"restaudit: the output: cannot be written: {error.strerror}")
    return int(Exit.BAD_INPUT)


def _unforeseen(error: Exception, arguments: Sequence[str]) -> int:
    command = next((a for a in arguments if not a.startswith("-")), "")
    name = f"restaudit {command}".strip()
    trace = _kept(error, name)
    where = f"; the details are in {trace}" if trace else "; the details could not be kept"
    if isinstance(error, MemoryError):
        _say(f"{name}: this machine's memory was not enough for it{where}")
        return int(Exit.BUG)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, RecursionError):
        what = "something is nested deeper than can be followed"
    _say(
        f"{name}: stopped by an error that nobody foresaw ({_cut(what)}). This is a bug of "
        f"restaudit: please report it to {TRACKER}{where} (read them before you send them: they "
        "name files)"
    )
    return int(Exit.BUG)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]}…"


def _kept(error: Exception, name: str) -> Path | None:
    """Write the trace where only this user can read it; None where no place takes it."""
    from restaudit import __version__
    from restaudit.files.cache import cache_folder
    from restaudit.files.plain import write

    # Frames in the middle of an endless recursion say nothing new.
    lines = traceback.format_exception(error, limit=None if len(_frames(error)) < 200 else -100)
    text = f"restaudit {__version__}, Python {sys.version}, {name}\n\n{''.join(lines)}"
    file = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (cache_folder, lambda: Path(tempfile.mkdtemp(prefix="restaudit-"))):
        # A cache that cannot be written is why there is a second place.
        with suppress(OSError, RestauditError):
            return write(
                folder(), f"errors/{file}", text.encode("utf-8", "backslashreplace"), mode=0o600
            )
    return None


def _frames(error: Exception) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(error.__traceback__))


def _say(message: str) -> None:
    # A name in the message may come from a stranger's folder, with signs that act on a terminal.
    from restaudit.files.signs import printable

    # Nothing is left to say it with where standard error is gone too.
    with suppress(OSError, ValueError):
        sys.stderr.write("\n".join(printable(line) for line in message.split("\n")) + "\n")
        sys.stderr.flush()
