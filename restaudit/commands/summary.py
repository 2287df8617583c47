"""How a command that writes a run ends: with the run's summary and its reports, whatever stopped
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from probes.base import Measurement
from restaudit.commands.first_screen import print_first_screen, print_overrides
from restaudit.console import Terminal, print_table, say
from restaudit.errors import Halted, Interrupted, Waiting
from restaudit.evidence.record import BASE, Run, step_kind
from restaudit.evidence.shown import number
from restaudit.gates import Decision, GateResult
from restaudit.loop.headline import alarms


def finish(
    folder: Path, work: Callable[[], None], *, command: str | None = None, full: bool = False
) -> None:
    """Do the work; print what the run concludes and run the after-run hooks also when a gate
    stopped it.

    `command` is what goes on with an interrupted run, where that is not `restaudit resume`; `full`
    prints all tables too.
    """
    began = time.monotonic()
    halted: Halted | None = None
    try:
        work()
    # No reports: the decision that they would show waits for the ratings.
    except Waiting:
        print_summary(folder, full=full)
        raise
    # A halted run is a result: its reports are what people need now. The exit code follows after
    # them.
    except Halted as e:
        halted = e
    except KeyboardInterrupt:
        raise Interrupted(
            f"the step in hand was dropped; go on with: {command or f'restaudit resume {folder}'}"
        ) from None
    print_summary(folder, full=full)
    # reports writes its documents here; restaudit may not import it.
    for hook in metadata.entry_points(group="restaudit.finished"):
        for line in hook.load()(folder):
            say(line)
    say(f"run folder: {folder}   ({time.monotonic() - began:.0f} s)")
    if halted:
        raise halted


def print_summary(
    folder: Path, console: Console | None = None, *, full: bool = False, overrides: bool = True
) -> None:
    """Print what a run concludes; with `full` all tables before it. `overrides` stand first, where
    the caller has not said them.
    """
    console = console or Terminal(highlight=False)
    run = Run(folder)
    if overrides:
        print_overrides(run, console)
    if full:
        print_tables(run, console)
    # Last, since the end of what is printed is what a terminal shows.
    print_first_screen(run, console, overrides=False)


# --- all tables: what each iteration did, every number with its 95% interval


T = TypeVar("T")

# Heading and measurement.
COLUMNS = (
    ("reward", "divergence.reward"),
    ("human\nscore", "divergence.human"),
    ("reward\ngain (sd)", "divergence.reward_change"),
    ("human\ngain (sd)", "divergence.human_change"),
    ("beyond ex-\npected sd", "divergence.beyond_expected"),
    ("r(reward, human)", "divergence.correlation"),
    ("distinct-2\n(base = 1)", "diversity.distinct_2_ratio"),
    ("Vendi\n(base = 1)", "diversity.vendi_ratio"),
    ("zlib ratio\n(base = 1)", "diversity.compression_ratio_ratio"),
    ("group gap, human", "bias.human_gap"),
    ("acceptance ratio", "bias.acceptance_ratio"),
    ("KL (nats)", "drift.kl"),
)
STYLE = {
    "OK": "green",
    "SILENT": "dim",
    "UNDECIDED": "cyan",
    "INCONCLUSIVE": "cyan",
    "WARN": "yellow",
    "HALT": "bold red",
}


def print_tables(run: Run, console: Console | None = None) -> None:
    """Print all that was measured and decided so far; a run without an audited iteration prints one
    line.
    """
    console = console or Terminal(highlight=False)
    iterations = run.iterations()
    if not iterations:
        console.print("no iteration has been audited yet")
        return
    # 80 columns hold four iterations of figures with signs, or four looks of verdicts.
    for some in _parts(iterations, 4):
        console.print()
        print_table(console, _table(run, some))
    meta = run.scores(iterations[0])
    human = meta["human"]
    console.print()
    console.print(f"human score = {human['label']}: {human['description']}", markup=False)
    console.print(
        "a..b is a 95% interval: prompts resampled, paired with the base policy on the same "
        "prompts. sd: standard deviations of the base policy's samples.",
        markup=False,
    )
    decisions = [run.decision(iteration) for iteration in iterations]
    known = [d for d in decisions if d is not None]
    for looks in _parts(known, 4):
        console.print()
        print_table(console, _gates(looks))
    if any(d.stage is not None for d in known):
        console.print(
            "OK: the interval lies on the right side of the limit. SILENT: a check that only gives "
            "alarms gave none. finds: the true value that such a look finds 8 times in 10.",
            markup=False,
        )
    for sentence in alarms(run):
        console.print()
        console.print(sentence, markup=False)
    console.print()
    shares = _shares(run)
    total = sum(shares.values())
    parts = ", ".join(f"{kind} {seconds / total:.0%}" for kind, seconds in shares.items())
    console.print(f"wall time of the steps: {total:.0f} s ({parts})", markup=False)
    # What the audit costs is the first question of whoever thinks of leaving it out.
    by_probe = _probe_seconds(run)
    each = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in by_probe.items())
    share = sum(by_probe.values()) / total
    console.print(f"probes {share:.1%} of wall time: {each}", markup=False)


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut a list so that each part fits into 80 columns."""
    return [items[k : k + size] for k in range(0, len(items), size)]


def _gates(decisions: Sequence[Decision]) -> Table:
    """Gates as rows, looks as columns; a rule that is not asked at a look has a dash there."""
    table = _plain("Gates of the sealed policy")
    table.add_column("")
    for decision in decisions:
        table.add_column(decision.iteration, justify="right", min_width=len("INCONCLUSIVE"))
    staged = any((d.stages or 1) > 1 for d in decisions)
    said = (f"[{STYLE[d.verdict]}]{d.verdict}[/]" for d in decisions)
    table.add_row("decision", *said, end_section=not staged)
    if staged:
        stages = (f"{d.stage} of {d.stages}" for d in decisions)
        table.add_row("stage", *stages, end_section=True)
    # Rules of `looks: last` are asked once, so a look has not all of them.
    asked: dict[str, dict[int, GateResult]] = {}
    for decision in decisions:
        for gate in decision.gates:
            asked.setdefault(gate.gate, {})[decision.look] = gate
    for results in asked.values():
        first = next(iter(results.values()))
        limit = first.margin if first.ok_margin is None else first.ok_margin
        heading = f"{first.gate}\n{first.metric.partition('.')[2]}\n{first.must_stay} {limit:g}"
        if first.alarm_only:
            heading += " (alarm only)"
        cells = []
        for decision in decisions:
            result = results.get(decision.look)
            cells.append("-" if result is None else _verdict(result))
        table.add_row(escape(heading), *cells)
    return table


def _verdict(gate: GateResult) -> str:
    """What a gate said, the interval that it was said by, and what it could have found."""
    said = f"[{STYLE[gate.verdict]}]{gate.verdict}[/]"
    # Before there were two questions, one interval answered both.
    passed_by = gate.ok_low is not None and gate.verdict in ("OK", "UNDECIDED")
    low, high = (gate.ok_low, gate.ok_high) if passed_by else (gate.low, gate.high)
    if low is None or high is None:
        return f"{said}\nno interval"
    lines = [said, _span(low, high)]
    # What it would have taken to be seen: without it "nothing was found" reads as "nothing is
    # there".
    if gate.verdict == "INCONCLUSIVE" and gate.mde is not None:
        lines.append(f"MDE {gate.mde:.2f}")
    if gate.verdict in ("UNDECIDED", "SILENT") and gate.finds is not None:
        lines.append(f"finds {_short(gate.finds)}")
    return "\n".join(lines)


def _plain(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )


def _table(run: Run, iterations: Sequence[str]) -> Table:
    """Measurements as rows, iterations as columns: that fits a terminal."""
    table = _plain(f"{run.name}: what each iteration did")
    table.add_column("")
    for iteration in iterations:
        heading = f"{iteration}\nbase policy" if iteration == BASE else iteration
        # The first column wraps; numbers are never cut.
        table.add_column(heading, justify="right", no_wrap=True)
    by_iteration = [{m.name: m for m in run.measurements(i)} for i in iterations]
    for heading, name in COLUMNS:
        table.add_row(heading, *(_cell(by_name.get(name)) for by_name in by_iteration))
    return table


def _cell(m: Measurement | None) -> str:
    if m is None or m.value is None:
        return "-"
    interval = m.interval(0.95)
    if interval is None:
        return _short(m.value)
    return f"{_short(m.value)}\n{_span(interval.low, interval.high)}"


def _span(low: float, high: float) -> str:
    return f"{_short(low)}..{_short(high)}"


def _short(value: float) -> str:
    """Two decimals, one from 10 on: five iterations have to fit into 80 columns."""
    return number(value, decimals=2 if abs(value) < 10 else 1)


def _probe_seconds(run: Run) -> dict[str, float]:
    """Seconds each probe took in all audits together, the longest first."""
    out: dict[str, float] = {}
    for event in run.events:
        for one_audit in event.at.get("probe_seconds", []):
            for name, seconds in one_audit.items():
                out[name] = out.get(name, 0.0) + seconds
    return dict(sorted(out.items(), key=lambda item: -item[1]))


def _shares(run: Run) -> dict[str, float]:
    """Seconds by kind of step (the last part of a step's name), plan and models together as
    `preparation`.
    """
    out: dict[str, float] = {}
    for step, seconds in run.seconds().items():
        out[step_kind(step)] = out.get(step_kind(step), 0.0) + seconds
    return out
