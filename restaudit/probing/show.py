"""What a person reads: a table a probe, and at the end, by reason, what was not measured."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from probes import PROBES
from probes.base import Measurement
from restaudit.console import print_table
from restaudit.evidence.shown import number
from restaudit.probing.session import ProbeResult

BETTER = {"higher": "↑", "lower": "↓", "neutral": ""}
CHOSEN = {
    "all": "every row could get one, and is undefined where it has none",
    "random": "the rows that have one were drawn at random",
    "unknown": "nobody says how the rows that have one were chosen",
}
WIDTH = 100
DETAILS = ("in_words", "known_failure", "note")


def as_json(result: ProbeResult) -> str:
    """All measurements and what they were made from, as JSON text; the same for the same input."""
    return (
        json.dumps(result.to_json(), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        + "\n"
    )


def show(result: ProbeResult, console: Console) -> None:
    """Print what was read, a table a probe with what was measured, and the reasons for the rest."""
    for line in read_lines(result):
        _wrapped(console, line)
    printed: set[str] = set()
    measured = [m for m in result.measurements if m.value is not None]
    for probe in PROBES:
        own = [m for m in measured if m.name.startswith(f"{probe.name}.")]
        if not own:
            continue
        console.print()
        console.print(f"[bold]{probe.name}[/]", end="")
        console.print(f": {probe.goal}", markup=False)
        print_table(console, _table(own, probe.name, result.facts["levels"][0]))
        for text in _remarks(own):
            if text not in printed:
                _wrapped(console, text)
            printed.add(text)
    _reasons(console, "value without an interval", [m for m in measured if m.reason])
    _reasons(console, "not measured", [m for m in result.measurements if m.value is None])
    console.print()
    total = sum(result.seconds.values())
    each = ", ".join(f"{name} {seconds:.1f}" for name, seconds in result.seconds.items())
    _wrapped(
        console,
        "↑ higher is better, ↓ lower is better; base is the same measured on the base policy",
    )
    _wrapped(
        console,
        f"probes took {total:.1f} s ({each}). What each measures and how it misleads: "
        "docs/probes.md",
    )


def read_lines(result: ProbeResult) -> list[str]:
    """One line for every set of generations, with all that was made, renamed or left out; then
    scores and encoder.
    """
    facts = result.facts
    lines = []
    for name, title in (("outputs", "read"), ("base", "against"), ("grow", "Grow set")):
        one = facts[name]
        if one is not None:
            count = f"{one['rows']:,} rows, {one['prompts']:,} prompts"
            lines.append(f"{title} {one['source']}: {'; '.join([count, *one['notes']])}")
    if facts["base"] is None:
        lines.append(
            "against nothing: without --against this is the base policy to every probe, and "
            "nothing is compared"
        )
    lines += [f"ratings: {note}" for note in facts["ratings"]]
    human = facts["human"]
    chosen = ""
    if human["label"] != "NONE":
        chosen = f": {CHOSEN[human['sampling']]}"
    lines.append(f"human score {human['label']}{chosen}")
    encoder = facts["encoder"]
    if encoder is not None and encoder["used"]:
        lines.append("; ".join([f"encoder: {encoder['spec']}", *encoder["notes"]]))
    return [*lines, *facts.get("notes", ())]


def _table(measured: Sequence[Measurement], probe: str, level: float) -> Table:
    """One row a measurement, those of one unit together under its name, so that 80 columns are
    enough.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    baselines = any(m.baseline is not None for m in measured)
    table.add_column("", no_wrap=True)
    table.add_column("measurement", overflow="fold", min_width=24)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column(f"{100 * level:g}% interval", no_wrap=True)
    if baselines:
        table.add_column("base", justify="right", no_wrap=True)
    table.add_column("n/prompts", justify="right", no_wrap=True)
    units: dict[str, list[Measurement]] = {}
    for m in measured:
        units.setdefault(m.unit, []).append(m)
    for unit, own in units.items():
        table.add_row("", f"[italic]{escape(unit)}[/]")
        for m in own:
            table.add_row(*(escape(cell) for cell in _row(m, probe, level, baselines)))
    return table


def _row(m: Measurement, probe: str, level: float, baselines: bool) -> list[str]:
    assert m.value is not None
    interval = m.interval(level)
    if interval is None:
        places, span = _places(m.value), "-"
    else:
        # Value, ends and base alike, so that they can be compared digit by digit.
        places = _places(interval.high - interval.low)
        low, high = (number(end, decimals=places) for end in (interval.low, interval.high))
        span = f"{low}..{high}"
    base = []
    if baselines:
        base = ["" if m.baseline is None else number(m.baseline, decimals=places)]
    name = m.name.removeprefix(f"{probe}.")
    return [
        BETTER[m.direction],
        f"  {name}",
        number(m.value, decimals=places),
        span,
        *base,
        f"{m.n:,}/{m.n_prompts:,}",
    ]


def _remarks(measured: Iterable[Measurement]) -> list[str]:
    """What a probe wants printed beside its numbers, each sentence once."""
    remarks: dict[str, None] = {}
    for m in measured:
        for key in DETAILS:
            if m.detail.get(key):
                remarks[f"  {m.detail[key]}"] = None
    return list(remarks)


def _reasons(console: Console, title: str, measurements: Sequence[Measurement]) -> None:
    by_reason: dict[str, list[str]] = {}
    for m in measurements:
        by_reason.setdefault(str(m.reason), []).append(m.name)
    if not by_reason:
        return
    console.print()
    for reason, names in by_reason.items():
        short_reason = reason.removeprefix("no interval: ")
        _wrapped(console, f"{title}: {', '.join(_short(names))}: {short_reason}")


def _short(names: Sequence[str]) -> list[str]:
    """The names, where three or more of one family (bias.reward.GROUP) are one: "bias.reward.*
    (4)".
    """
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(".".join(name.split(".")[:2]), []).append(name)
    short: list[str] = []
    for stem, own in families.items():
        if len(own) < 3:
            short += own
        else:
            short.append(f"{stem}.* ({len(own)})")
    return short


def _wrapped(console: Console, text: str) -> None:
    width = max(40, min(WIDTH, console.width))
    lines = textwrap.wrap(
        text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def _places(width: float) -> int:
    """Decimals that show two digits of an interval this wide; the rest would be noise."""
    if width == 0 or not math.isfinite(width):
        return 3
    fewest = 2 if abs(width) < 10 else 0
    return max(fewest, min(4, 1 - math.floor(math.log10(abs(width)))))
