"""The command line: running, signing, packing and verifying runs, and what other parts and packages
register.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
import typer.main

from restaudit import __version__
from restaudit.commands.calibrate import calibrate
from restaudit.commands.compare import compare
from restaudit.commands.dev import dev
from restaudit.commands.ending import ended
from restaudit.commands.plan import plan
from restaudit.commands.probe import probe
from restaudit.commands.program import Code, Program
from restaudit.commands.rate import rate
from restaudit.commands.reward import reward
from restaudit.commands.seal import SigningKey, anchor, bundle, keys, sign
from restaudit.commands.verify import verify
from restaudit.commands.watch import watch
from restaudit.console import say

app = Program(
    name="restaudit",
    help=(
        "Run ReST on a language model, audit every iteration, and leave evidence a stranger can "
        "check."
    ),
    epilog=(
        "Exit codes: 0 done, 2 something given cannot be used, 3 waits for ratings, 4 halted by a "
        "gate, 5 verification failed, 70 a bug of restaudit, 130 interrupted, 141 nobody reads "
        "the output."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RunsDir = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one value, e.g. loop.grow_steps=3."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Lines only, no progress bars.")]
Full = Annotated[
    bool, typer.Option("--full", help="Print all tables too: every measurement, every check.")
]
Folder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]

# The smallest run that still passes through every step, for people who want to see one; its audit
# is too small to decide anything.
SMALL = (
    "loop.grow_steps=1",
    "loop.improve_steps=1",
    "loop.samples_per_prompt=4",
    "loop.sampling.max_tokens=16",
    "data.splits.sizes.grow=16",
    "data.splits.sizes.d_eval=8",
    "data.splits.sizes.audit=16",
    "data.splits.counterfactual_families.grow=2",
    "data.splits.counterfactual_families.audit=4",
    "audit.samples_per_prompt=2",
    "audit.base_samples_per_prompt=4",
    "audit.counterfactual_samples=1",
    "audit.kl_samples=8",
    "audit.reward_stress={texts: 24, budget: 0}",
)


def _version(show: bool) -> None:
    if show:
        say(f"restaudit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        # Eager: it is answered before typer asks for a command.
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


@app.command()
def init(
    recipe: Annotated[str, typer.Option(help="The recipe to write out.")] = "reviews",
    names: Annotated[bool, typer.Option("--list", help="List the recipes instead.")] = False,
) -> None:
    """Print a complete commented configuration: restaudit init > my.yaml."""
    from restaudit.config.reading import recipe_names, recipe_text

    say("\n".join(recipe_names()) if names else recipe_text(recipe).rstrip())


@app.command()
def run(
    config: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A recipe's name or a YAML file.")
    ],
    runs: RunsDir = Path("runs"),
    out: Annotated[
        Path | None, typer.Option(help="The run folder itself (default: RUNS/NAME-time).")
    ] = None,
    changes: Set = None,
    key: SigningKey = None,
    quiet: Quiet = False,
    full: Full = False,
) -> None:
    """Seal a plan and run audited ReST."""
    _run(config, runs, out, [changes or ()], key, quiet, full)


@app.command()
def demo(
    runs: RunsDir = Path("runs"),
    out: Annotated[
        Path | None, typer.Option(help="The run folder itself (default: RUNS/NAME-time).")
    ] = None,
    small: Annotated[
        bool,
        typer.Option(
            "--small", help="The smallest size: about a minute, too little data to decide."
        ),
    ] = False,
    changes: Set = None,
    key: SigningKey = None,
    quiet: Quiet = False,
    full: Full = False,
) -> None:
    """Run the default recipe, `reviews`: a real language model, a reward model from real ratings, a
    few minutes.
    """
    # The user's own changes after the sizes: of two layers the later one counts.
    _run("reviews", runs, out, [SMALL if small else (), changes or ()], key, quiet, full)


def _run(
    name: str,
    runs: Path,
    out: Path | None,
    layers: Sequence[Iterable[str]],
    key: Path | None,
    quiet: bool,
    full: bool,
) -> None:
    from restaudit.commands.summary import finish
    from restaudit.config.reading import load
    from restaudit.console import Reporter
    from restaudit.evidence.seal.signer import given_signer
    from restaudit.loop.running import start

    # A key that cannot be used is found out now, and not when the plan is to be signed.
    signer = given_signer(key)
    config = load(name, *layers)
    folder = out or runs / f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    reporter = Reporter(quiet=quiet)
    finish(folder, lambda: start(config, folder, reporter, signer), full=full)


@app.command()
def resume(
    folder: Folder,
    code: Code = None,
    key: SigningKey = None,
    quiet: Quiet = False,
    full: Full = False,
) -> None:
    """Go on with an interrupted, waiting or overridden run from the first step that is not done."""
    from restaudit.commands.summary import finish
    from restaudit.console import Reporter
    from restaudit.evidence.seal.signer import given_signer
    from restaudit.loop.running import resume as go_on

    signer = given_signer(key)

    reporter = Reporter(quiet=quiet)
    finish(folder, lambda: go_on(folder, reporter, signer, code or ()), full=full)


@app.command()
def override(
    folder: Folder,
    by: Annotated[
        str, typer.Option(help="Who takes this decision: a name that can be asked later.")
    ],
    reason: Annotated[
        str, typer.Option(help="Why the run shall go on although a gate stopped it.")
    ],
    key: SigningKey = None,
) -> None:
    """Let a halted run go on, on record: every report shows who did and why before anything
    else.
    """
    from restaudit.evidence.override import override as record_override
    from restaudit.evidence.record import Run
    from restaudit.evidence.seal.signer import given_signer
    from restaudit.loop.going_on import how_to_go_on

    done = record_override(folder, by=by, reason=reason, given=given_signer(key))
    say(
        f"{folder}: HALT of {', '.join(done.gates)} at {done.iteration} overridden by {done.by}: "
        f"{done.reason}"
    )
    say(how_to_go_on(Run(folder)))


@app.command()
def status(folder: Folder, full: Full = False) -> None:
    """Show what a run concludes and where it stands; `--full` prints all tables."""
    from restaudit.commands.first_screen import print_overrides
    from restaudit.commands.summary import print_summary
    from restaudit.evidence.record import Run
    from restaudit.loop.going_on import how_to_go_on

    record = Run(folder)
    summary = record.summary()
    # Before the state: that somebody overrode a gate is the first thing to know of a run.
    print_overrides(record)
    say(f"{folder}: {summary.state}, {summary.steps_done} of {summary.steps_planned} steps")
    say(f"digest (equal for two runs of one plan on one machine): {record.digest}")
    if summary.state == "waiting":
        from restaudit.people.waiting import what_is_missing

        say(what_is_missing(record) or f"all ratings are in; {how_to_go_on(record)}")
    if summary.state == "stopped":
        say(how_to_go_on(record))
    print_summary(folder, full=full, overrides=False)


app.command()(verify)
app.command()(sign)
app.command()(anchor)
app.command()(bundle)
app.add_typer(keys)
app.command()(watch)
app.command()(probe)
app.command()(plan)
app.command()(calibrate)
app.command()(compare)
app.add_typer(rate)
app.add_typer(reward)
app.add_typer(dev)


@cache
def _register_plugins() -> None:
    # Once a process: a second time would add every command again, and each call would take longer.
    # reports registers its commands here: restaudit may not import it (docs/decisions/0005).
    for point in metadata.entry_points(group="restaudit.commands"):
        try:
            register = point.load()
        # A broken package of somebody else must not take the whole command line away.
        except ImportError as e:
            say(
                f"restaudit: the commands of '{point.name}' ({point.value}) are missing: {e}",
                err=True,
            )
            continue
        register(app)


def main() -> None:
    """Entry point: whatever fails is one message on standard error and an exit code."""
    # A scheduler that wants its machine back: the step in hand is dropped, as by a second Ctrl-C.
    # Without this a study's run would go on by itself, and nobody would be told how to resume.
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(ended(_program, sys.argv[1:]))


def _program() -> None:
    _register_plugins()
    _command()()


@cache
def _command() -> Callable[[], None]:
    # Once a process, as above: Typer reads every signature again each time that it is called.
    return typer.main.get_command(app)


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    # Once: what cleans up behind the first must not be stopped by the next.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
