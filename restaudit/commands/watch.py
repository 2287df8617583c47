"""`restaudit watch`: a run folder, decisions and reports from the files that any trainer leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restaudit.commands.program import COLUMN, MOST, keyed
from restaudit.commands.seal import SigningKey
from restaudit.console import say
from restaudit.errors import Halted

PLANNED = "Which looks are planned"


def watch(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Holds a file or a checkpoint for each step.")
    ],
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="NAME|FILE",
            help="A recipe or YAML file: reward, human score, audit, gates.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder (default: runs/NAME).")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the configuration."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN", help="How the files call it: text=answer."),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|FOLDER", help="The policy that training began from (default: step 0)."
        ),
    ] = None,
    human_label: Annotated[
        str | None,
        typer.Option(help="What the files' column human is: PEOPLE, MODEL … (default: UNSTATED)."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="GLOB", help="Which names to look at; {step} stands for the step's number."
        ),
    ] = None,
    steps: Annotated[
        list[str] | None,
        typer.Option(
            metavar="50,100,…", help="The steps (default: all there).", rich_help_panel=PLANNED
        ),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(min=1, max=MOST, help="A look every N steps.", rich_help_panel=PLANNED),
    ] = None,
    until: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="The last step.", rich_help_panel=PLANNED)
    ] = None,
    skip_missing: Annotated[
        bool,
        typer.Option("--skip-missing", help="Record a look that never came as missed, and go on."),
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for what is not there yet.")
    ] = False,
    idle_timeout: Annotated[
        float | None,
        typer.Option(
            min=0, max=MOST, help="With --follow: give up when nothing changed for so many seconds."
        ),
    ] = None,
    on_halt: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND", help="Run on HALT, with the run folder as its last argument."
        ),
    ] = None,
    key: SigningKey = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Lines only, no progress bars.")
    ] = False,
) -> None:
    """Audit any training from outside, step by step: by its checkpoints or its generations.

    The base policy is compared with every step; the plan is sealed first. Exit code 4 where a gate
    says HALT. The same command again goes on where it stopped.
    """
    from restaudit.commands.summary import finish
    from restaudit.console import Reporter
    from restaudit.evidence.seal.signer import given_signer
    from restaudit.trainers.watch.folder import Watcher
    from restaudit.trainers.watch.settings import WatchSettings, looks_of
    from restaudit.trainers.watch.watching import watch as go

    settings = WatchSettings(
        folder=folder,
        config=config,
        changes=tuple(changes or ()),
        columns=keyed("--column", column, COLUMN),
        base=base,
        looks=looks_of(",".join(steps) if steps else None, every, until),
        follow=follow,
        idle_timeout=idle_timeout,
        pattern=pattern,
        human_label=human_label,
        skip_missing=skip_missing,
    )
    # A key that cannot be used is found out now, and not when the plan is to be signed.
    signer = given_signer(key)
    name = str(settings.raw()[0].get("name", "watch"))
    run = out or Path("runs") / name
    watcher = Watcher(settings, Reporter(quiet=quiet))
    try:
        finish(
            run,
            lambda: go(settings, run, watcher, signer),
            command="the same restaudit watch command",
        )
    # The run is written and its reports are made by now, so the command may read them.
    except Halted:
        if on_halt is not None:
            _tell(on_halt, run)
        raise


def _tell(command: str, run: Path) -> None:
    """Run the command, without a shell, and say how it ended."""
    import shlex
    import subprocess

    try:
        # No shell: the name of a run folder must not be able to run anything. Its failure is told
        # and not raised, since exit code 4 says what matters: a gate said HALT.
        code = subprocess.run([*shlex.split(command), str(run)], check=False).returncode
    except (OSError, ValueError) as e:
        say(f"--on-halt {command}: could not be run: {e}", err=True)
        return
    say(f"--on-halt {command}: exit code {code}", err=code != 0)
