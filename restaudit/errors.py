"""Errors a user can act on; each carries the exit code the command line ends with."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every `restaudit` command."""

    DONE = 0
    BAD_INPUT = 2
    WAITING = 3
    HALTED = 4
    VERIFICATION_FAILED = 5
    # An error that nobody foresaw: a bug of restaudit (EX_SOFTWARE of sysexits.h).
    BUG = 70
    INTERRUPTED = 130
    # Whoever read the output went away, as `head` does: what a shell says of SIGPIPE.
    CLOSED = 141


class RestauditError(Exception):
    """A clear stop: the message says what is wrong, where, what was expected and what to do."""

    exit_code: Exit = Exit.BAD_INPUT


class BadInput(RestauditError):
    """Something the user gave (config, file, row, path) cannot be used."""


class Waiting(RestauditError):
    """The run needs people's ratings before it can go on; nothing is lost, and resume takes it up
    again.
    """

    exit_code = Exit.WAITING


class Halted(RestauditError):
    """A gate of the sealed policy stopped the run."""

    exit_code = Exit.HALTED


class VerificationFailed(RestauditError):
    """A run folder does not match its own ledger."""

    exit_code = Exit.VERIFICATION_FAILED


class Interrupted(RestauditError):
    """The user asked to stop; the run is at a step boundary and can be resumed."""

    exit_code = Exit.INTERRUPTED
