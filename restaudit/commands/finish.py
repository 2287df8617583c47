"""How a command that writes a run ends: with the run's summary and its reports, whatever stopped
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import typer

from restaudit.errors import Halted, Interrupted, Waiting


def finish(folder: Path, work: Callable[[], None], *, again: str | None = None) -> None:
    """Do the work; print the summary and run the after-run hooks also when a gate stopped it.

    `again` is the command that goes on with an interrupted run, where that is not `restaudit
    resume`.
    """
    from restaudit.loop.summary import print_summary

    began = time.monotonic()
    halted: Halted | None = None
    try:
        work()
    except Waiting:
        print_summary(folder)
        raise
    except Halted as e:
        halted = e
    except KeyboardInterrupt:
        raise Interrupted(
            f"the step in hand was dropped; go on with: {again or f'restaudit resume {folder}'}"
        ) from None
    print_summary(folder)
    for hook in metadata.entry_points(group="restaudit.finished"):
        for line in hook.load()(folder):
            typer.echo(line)
    typer.echo(
        f"run folder: {folder}   ({time.monotonic() - began:.0f} s; check it: restaudit verify "
        f"{folder})"
    )
    if halted:
        raise halted
