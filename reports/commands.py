"""The commands that explain a run (`restaudit ui`, `restaudit chart`), and what happens after a run
ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from reports.exports.commands import export
from reports.frameworks.commands import compliance, declare
from reports.report_commands import report, why
from reports.reward import commands as reward_model
from reports.viewer import hosts
from restaudit.console import say
from restaudit.errors import BadInput, RestauditError

VIEWER = Path(__file__).parent / "viewer" / "launch.py"
REPORT = Path("report")
CHART = "reward_human"
NO_MATPLOTLIB = "chart: not drawn, matplotlib is not installed: pip install 'restaudit[charts]'"


def register(app: typer.Typer) -> None:
    """Add the commands of this floor to the command line; called through the entry point
    `restaudit.commands`.
    """
    app.command()(ui)
    app.command()(chart)
    app.command()(report)
    app.command()(why)
    app.command()(declare)
    app.command()(compliance)
    app.command()(export)
    # What explains a reward model joins the group of what makes and measures one.
    for group in app.registered_groups:
        if group.typer_instance is not None and group.typer_instance.info.name == "reward":
            group.typer_instance.command()(reward_model.declare)
            group.typer_instance.command()(reward_model.dossier)


def after_run(run_path: Path) -> list[str]:
    """Draw the chart of a run that ended, as SVG and PNG under its report folder; returns the lines
    to print.

    A run is never failed for its picture: where matplotlib is missing or a measurement cannot be
    read, the line says so and names the command that draws it later.
    """
    later = f"restaudit chart {run_path}"
    if not _installed("matplotlib"):
        return [f"{NO_MATPLOTLIB}, then {later}"]
    folder = run_path / REPORT
    try:
        pictures = [folder / f"{CHART}{suffix}" for suffix in (".svg", ".png")]
        draw(run_path, pictures)
    except RestauditError as e:
        return [f"chart: not drawn: {e}; try again with: {later}"]
    return [f"chart: {pictures[0]}", f"report it: restaudit report {run_path}"]


def after_calibration(figures: Path, run: Path | None = None) -> list[str]:
    """Draw the chart of a calibration beside its figures, as SVG and PNG; returns the lines to
    print. `run` is the run folder that they may lie in.
    """
    if not _installed("matplotlib"):
        return [NO_MATPLOTLIB]
    from reports.charts.calibration import calibration_chart
    from restaudit.evidence.record import read_json
    from restaudit.files import plain

    calibration = read_json(*plain.rooted(figures, run))
    pictures = [figures.with_suffix(suffix) for suffix in (".svg", ".png")]
    for out in pictures:
        calibration_chart(calibration, out, run)
    return [f"chart: {pictures[0]}"]


def draw(run_path: Path, places: Sequence[Path]) -> None:
    """Draw the chart of a run folder at each place. Raises BadInput where matplotlib is not
    installed, and what `reports.rendering.write_charts` raises.
    """
    if not _installed("matplotlib"):
        raise BadInput(
            "a chart needs matplotlib, which is not installed: pip install 'restaudit[charts]'"
        )
    from reports.rendering import write_charts
    from restaudit.evidence.record import Run

    try:
        write_charts(Run(run_path), places)
    except (KeyError, TypeError, ValueError) as e:
        raise BadInput(
            f"{run_path}: a recorded measurement or decision is not what this version expects "
            f"({type(e).__name__}: {e}); `restaudit verify {run_path}` says whether a file was "
            "changed"
        ) from None


def viewer_command(port: int) -> list[str]:
    """How Streamlit is started: on this machine's own address, guarded against other sites'
    requests, sending nothing.

    Raises BadInput where Streamlit is not installed.
    """
    if not (_installed("streamlit") and _installed("altair")):
        raise BadInput(
            "the app needs streamlit, which is not installed: pip install 'restaudit[app]'"
        )
    options = {
        "server.address": "127.0.0.1",
        "server.port": port,
        "server.enableCORS": "true",
        "server.enableXsrfProtection": "true",
        "server.showEmailPrompt": "false",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
    }
    given = (f"--{name}={value}" for name, value in options.items())
    return [sys.executable, "-m", "streamlit", "run", str(VIEWER), *given]


def ui(
    runs: Annotated[
        Path, typer.Argument(metavar="RUNS_DIR", help="The folder that holds the runs.")
    ] = Path("runs"),
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="The port, on this machine only.")
    ] = 8501,
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:PORT]",
            help="A further name that the app is opened under, behind a proxy or a tunnel; "
            "may be given several times. Others are refused.",
        ),
    ] = None,
) -> None:
    """Open the app on a folder of runs (127.0.0.1 only; nothing is sent anywhere)."""
    command = viewer_command(port)
    if runs.exists() and not runs.is_dir():
        raise BadInput(f"{runs}: not a folder; give the folder that holds the runs")
    further = host or hosts.given_names()
    # Refused here, and not by the first page.
    hosts.names("127.0.0.1", port, further)
    # Arrow's own allocator keeps what a large table took once; the system's gives it back.
    environment = {
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        **os.environ,
        "RESTAUDIT_RUNS": str(runs.resolve()),
        hosts.HOSTS: " ".join(further),
    }
    if os.name == "posix":
        # Streamlit takes this process over, so that whoever stops `restaudit ui` stops the server.
        os.execve(command[0], command, environment)
    try:
        code = subprocess.call(command, env=environment)
    except KeyboardInterrupt:
        return
    if code:
        raise BadInput(
            f"the app ended with code {code}; Streamlit's own message is above (port taken? use "
            "--port)"
        )


def chart(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[
        Path | None, typer.Option(help="A .svg or .png file (default: in the run's report folder).")
    ] = None,
) -> None:
    """Draw reward against human score over the iterations of a run."""
    place = out or run / REPORT / f"{CHART}.svg"
    draw(run, [place])
    say(place)


def _installed(package: str) -> bool:
    return find_spec(package) is not None
