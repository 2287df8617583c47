"""What a person sees while a run goes on: bars with rate and time left in a terminal, plain lines
elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table

from restaudit.files.signs import printable

PLAIN_EVERY = 30.0


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print lines that may hold names and texts of a stranger's: none of their signs acts on the
    terminal. `nl`: whether a line end follows.
    """
    typer.echo(shown(str(text)), err=err, nl=nl)


def shown(text: str) -> str:
    """Text of several lines as `printable` has each; tabs stay."""
    return "\n".join(
        "\t".join(printable(part) for part in line.split("\t")) for line in text.split("\n")
    )


class Terminal(Console):
    """A console on which text only shows: rich hands on escape sequences that it is given."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """As rich renders it, with what would act on the terminal replaced in every text."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(shown(segment.text), segment.style)


def print_table(console: Console, table: Table) -> None:
    """Print a table as wide as its widest cell needs, also where the terminal is narrower: it then
    breaks the lines, and no text is lost.
    """
    least = Measurement.get(console, console.options.update(max_width=10_000), table).minimum
    # Rich never prints wider than its console, whatever width it is given.
    before, console.width = console.width, max(console.width, least)
    try:
        console.print(table)
    finally:
        console.width = before


class Reporter:
    """Progress of long steps, and single lines between them. `quiet` shows lines only."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Terminal(highlight=False, soft_wrap=True)
        self.quiet = quiet

    def line(self, text: str) -> None:
        """Print one line, never as markup."""
        self.console.print(text, markup=False)

    @contextmanager
    def task(self, label: str, total: int, unit: str = "tokens") -> Iterator[Callable[[int], None]]:
        """A bar for `total` units; yields the function that advances it.

        `total` may be an upper bound.
        """
        if self.quiet:
            yield lambda _: None
        elif self.console.is_terminal:
            yield from self._bar(label, total, unit)
        else:
            yield from self._lines(label, total, unit)

    def _bar(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        began = time.monotonic()
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(label, total=total, rate="")
            done = 0

            def advance(count: int) -> None:
                nonlocal done
                done += count
                rate = done / max(time.monotonic() - began, 1e-9)
                bar.update(task, completed=min(done, total), rate=f"{rate:,.0f} {unit}/s")

            yield advance
        self._closing(label, done, unit, began)

    def _lines(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        began = last = time.monotonic()
        done = 0

        def advance(count: int) -> None:
            nonlocal done, last
            done += count
            now = time.monotonic()
            if now - last >= PLAIN_EVERY:
                last = now
                rate = done / (now - began)
                left = max(total - done, 0) / rate
                self.line(
                    f"  {label}: {done:,} of at most {total:,} {unit}, {rate:,.0f} {unit}/s, "
                    f"about {left:.0f} s left"
                )

        yield advance
        self._closing(label, done, unit, began)

    def _closing(self, label: str, done: int, unit: str, began: float) -> None:
        seconds = time.monotonic() - began
        rate = f", {done:,} {unit}, {done / seconds:,.0f} {unit}/s" if done and seconds > 0 else ""
        self.line(f"  {label}: {seconds:.1f} s{rate}")
