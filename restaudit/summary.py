"""The summary a run ends with: one row an iteration, every number with its 95% interval."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from probes.base import Measurement
from restaudit.record import Run

# Heading, measurement, and whether the base policy's column shows it.
COLUMNS = (
    ("reward", "divergence.reward"),
    ("human score", "divergence.human"),
    ("reward gain (base sd)", "divergence.reward_change"),
    ("human gain (base sd)", "divergence.human_change"),
    ("gap (sd)", "divergence.gap"),
    ("r(reward, human)", "divergence.correlation"),
    ("distinct-2", "diversity.distinct_2"),
    ("Vendi", "diversity.vendi"),
    ("compression", "diversity.compression_ratio"),
    ("group gap, human", "bias.human_gap"),
    ("acceptance ratio", "bias.acceptance_ratio"),
    ("KL (nats)", "drift.kl"),
)
STYLE = {"OK": "green", "WARN": "yellow", "HALT": "bold red", "INCONCLUSIVE": "cyan"}


def print_summary(folder: Path, console: Console | None = None) -> None:
    """Print what was measured so far; a run without an audited iteration prints one line."""
    console = console or Console(highlight=False)
    run = Run(folder)
    iterations = run.iterations()
    if not iterations:
        console.print("no iteration has been audited yet")
        return
    console.print()
    console.print(_table(run, iterations))
    meta = run.scores(iterations[0])
    human = meta["human"]
    console.print(f"human score: {human['label']}: {human['description']}", markup=False)
    console.print(
        "Brackets are 95% intervals (prompts resampled, paired with the base policy on the same prompts).", markup=False
    )
    for iteration in iterations:
        decision = run.decision(iteration)
        if decision is None:
            continue
        console.print(f"{iteration}: [{STYLE[decision.verdict]}]{decision.verdict}[/]")
        for gate in decision.gates:
            console.print(f"    {gate.verdict:<13}{gate.gate:<14}{gate.metric} {gate.why}", markup=False)
    shares = _shares(run)
    console.print("wall time: " + ", ".join(f"{k} {v:.0f} s" for k, v in shares.items()), markup=False)


def _table(run: Run, iterations: list[str]) -> Table:
    """Measurements as rows, iterations as columns: that fits a terminal."""
    table = Table(title=f"{run.name}: what each iteration did", title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("")
    for k, iteration in enumerate(iterations):
        table.add_column(f"{iteration}\nbase policy" if k == 0 else iteration, justify="right")
    by_iteration = [{m.name: m for m in run.measurements(i)} for i in iterations]
    for heading, name in COLUMNS:
        table.add_row(heading, *(_cell(found.get(name)) for found in by_iteration))
    verdicts = [d.verdict if (d := run.decision(i)) else "" for i in iterations]
    table.add_row("decision", *(f"[{STYLE[v]}]{v}[/]" if v else "" for v in verdicts))
    return table


def _cell(m: Measurement | None) -> str:
    if m is None or m.value is None:
        return "-"
    interval = m.interval(0.95)
    if interval is None:
        return f"{m.value:.2f}"
    return f"{m.value:.2f}\n\\[{interval.low:.2f}, {interval.high:.2f}]"


def _shares(run: Run) -> dict[str, float]:
    """Seconds by kind of step (the last part of a step's name), plan and models together as `preparation`."""
    out: dict[str, float] = {}
    for step, seconds in run.seconds().items():
        kind = step.rsplit("/", 1)[-1] if step[0] == "g" else "preparation"
        out[kind] = out.get(kind, 0.0) + seconds
    return out
