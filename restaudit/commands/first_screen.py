"""The first screen of a run in a terminal: what it concludes, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from restaudit.console import Terminal
from restaudit.evidence.conclusion import Conclusion, conclude, learned
from restaudit.evidence.record import Run
from restaudit.evidence.shown import count
from restaudit.loop.headline import refitted

COLOURS = {"CLEARED": "green", "UNDECIDED": "cyan", "WARNED": "yellow", "STOPPED": "bold red"}
# What does not fit one screen is in the tables.
MOST_FOUND = 8


def print_first_screen(run: Run, console: Console | None = None, *, overrides: bool = True) -> None:
    """Print the conclusion of a run; `overrides` first, where the caller has not said them."""
    console = console or Terminal(highlight=False)
    told = conclude(run)
    if overrides:
        print_overrides(run, console)
    console.print()
    console.print(Text.assemble((f"{told.word}: ", COLOURS[told.word]), told.reason))
    if told.unfinished:
        console.print(told.unfinished, markup=False)
    if told.changes:
        console.print()
        _changes(told, run.path, console)
    _listed("What a reviewer should know", "!", _warnings(run, told), console)
    _listed("Open", "?", _open(told), console)
    console.print()
    for line in _next(run, told):
        console.print(line, markup=False, soft_wrap=True)


def print_overrides(run: Run, console: Console | None = None) -> None:
    """Print who let this run go on after HALT, and why; nothing where nobody did."""
    console = console or Terminal(highlight=False)
    for o in run.overrides():
        console.print(
            f"OVERRIDE at {o.iteration} ({o.time}): gate {', '.join(o.gates)} said HALT,",
            style="bold red",
            markup=False,
        )
        console.print(f"  and {o.by} let the run go on: {o.reason}", markup=False)


def _changes(told: Conclusion, folder: Path, console: Console) -> None:
    wide = max(len(c.what) for c in told.changes)
    longest = max(len(c.text.partition(" [")[0]) for c in told.changes)
    for c in told.changes:
        value, _, span = c.text.partition(" [")
        console.print(f"  {c.what:<{wide}}  {value:>{longest}}  [{span}", markup=False)
    # What the figures are, where the first of them stands.
    stage = f"; {told.stage}" if told.stage else ""
    console.print(
        f"  at {told.look or 'the last look'}, change since the base policy, 95% interval{stage}",
        markup=False,
    )
    best = told.best
    if best is None:
        return
    console.print(f"  best human score: {best.iteration} ({best.text}), not the last", markup=False)
    if best.exported:
        console.print(
            f"    restaudit export {folder} --format peft --iteration {best.iteration}",
            markup=False,
            soft_wrap=True,
        )


def _warnings(run: Run, told: Conclusion) -> list[str]:
    found = [f.text for f in told.found if not f.good]
    lines = found[:MOST_FOUND]
    if len(found) > MOST_FOUND:
        lines.append(f"and {len(found) - MOST_FOUND} more, in the tables")
    good = [f.text for f in told.found if f.good]
    lines += [f"for the better: {text}" for text in good[:MOST_FOUND]]
    if told.found:
        # Single intervals, so that some exclude it by chance: a reader must know of how many.
        by_chance = told.looked_at / 20
        lines[-1] += (
            f"\n(of {told.looked_at} such 95% intervals, about {by_chance:.0f} show a difference by "
            "chance alone)"
        )
    habits = learned(run, run.iterations()[-1]) if run.iterations() else None
    if habits:
        lines.insert(0, habits)
    lines += refitted(run)
    if told.judge:
        lines.append(told.judge)
    return lines


def _open(told: Conclusion) -> list[str]:
    return [f"{o.gate}: {o.text}{f'; {o.settle}' if o.settle else ''}" for o in told.open]


def _listed(title: str, sign: str, lines: Sequence[str], console: Console) -> None:
    if not lines:
        return
    console.print()
    console.print(title, style="bold", markup=False)
    for line in lines:
        first, _, rest = line.partition("\n")
        for text, mark in ((first, sign), (rest, " ")):
            if text:
                # The sign hangs, so that the next one is found at a glance.
                wrapped = Text(text).wrap(console, max(console.width - 4, 20))
                for k, part in enumerate(wrapped):
                    start = f"  {mark} " if k == 0 else "    "
                    console.print(Text(f"{start}{part.plain.rstrip()}"))


def _next(run: Run, told: Conclusion) -> Iterator[str]:
    folder = run.path
    head = run.events[-1].hash[:12] if run.events else "none"
    yield f"record: {count(len(run.events), 'event')}, head {head}; check it: restaudit verify {folder}"
    yield f"next:   restaudit ui {folder.parent}"
    yield f"        restaudit report {folder}"
    if told.judge:
        yield f"        restaudit rate export {folder}   (people rate its texts, blinded)"
    yield f"tables: restaudit status {folder} --full"
