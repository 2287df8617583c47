"""A validation as a person reads it: a table of what was measured, and by reason what was not."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from probes.base import Measurement
from restaudit.evidence.record import printable
from restaudit.evidence.shown import number, together
from restaudit.reward_audit.outside import Outside

WIDTH = 100
SLICES = ("slice.", "slice_over.", "slice_gap.")


def show(outside: Outside, console: Console) -> None:
    """Print what was judged, the measurements, the slices that are worse, and the reasons for what
    is missing.
    """
    judged, found = outside.judged, outside.found
    for facts in outside.data:
        rows = facts["rows"]
        dropped = ", ".join(f"{n} {why}" for why, n in rows["dropped"].items())
        _wrapped(
            console,
            f"{facts['source']}: {rows['used']:,} of {rows['read']:,} rows used"
            + (f" (left out: {dropped})" if dropped else ""),
        )
    count = f"{len(judged.table):,} {judged.kind if judged.kind == 'pairs' else 'rated texts'}"
    _wrapped(
        console,
        f"{count}, {len(judged.votes):,} judgements, {judged.table['prompt_id'].nunique():,} "
        f"{judged.unit}s; reward {outside.reward.name}, {outside.reward.members} member(s)",
    )
    if (overlap := outside.overlap) is not None and (
        overlap["items"] or overlap["items_with_a_training_prompt"]
    ):
        near, shared = overlap["items"], overlap["items_with_a_training_prompt"]
        flatter = "measures on them flatter it"
        _wrapped(
            console,
            f"{near} items resemble a training item and {shared} have a training prompt: {flatter}",
        )
    sliced = [m for m in found.measurements if _short(m).startswith(SLICES)]
    whole = [m for m in found.measurements if m not in sliced]
    console.print(_table(whole))
    if any(m.value is not None for m in sliced):
        console.print(_slices(sliced))
    for name in found.worse_slices:
        m = next(m for m in sliced if _short(m) == f"slice_gap.{name}")
        _wrapped(
            console,
            (
                f"WORSE {name}: {m.detail['meaning']} (p {m.detail['p_holm']:.2g} after Holm's "
                "correction)"
            ),
        )
    if sliced and not found.worse_slices:
        _wrapped(console, "no slice is shown to be worse than the rest (5%, Holm's correction)")
    _reasons(console, found.measurements)


def _table(found: Sequence[Measurement]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("all items", overflow="fold", min_width=24)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95% interval", no_wrap=True)
    table.add_column("unit", overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    for m in found:
        if m.value is not None:
            table.add_row(
                *(escape(printable(c)) for c in (_short(m), *_numbers(m), m.unit, f"{m.n:,}"))
            )
    return table


def _slices(found: Sequence[Measurement]) -> Table:
    """A row a slice: agreement with people, and how much more the reward gets wrong there than on
    all other items.
    """
    named = {_short(m): m for m in found}
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("slice", overflow="fold", min_width=20)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95% interval", no_wrap=True)
    table.add_column("loss more than the rest", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for name, m in named.items():
        kind, _, rest = name.partition(".")
        if kind != "slice" or m.value is None:
            continue
        gap = named.get(f"slice_gap.{rest}")
        more = " ".join(_numbers(gap)) if gap is not None and gap.value is not None else "-"
        words = m.detail["meaning"].rpartition(": ")[2] if rest.startswith("topic.") else ""
        label = f"{rest} ({words})" if words else rest
        table.add_row(*(escape(printable(c)) for c in (label, *_numbers(m), more, f"{m.n:,}")))
    return table


def _numbers(m: Measurement) -> tuple[str, str]:
    """The value and its interval with the decimals that the interval allows."""
    if m.value is None or not m.intervals:
        return number(m.value), "-"
    value, low, high = together(m.value, m.intervals[0].low, m.intervals[0].high)
    return value, f"{low}..{high}"


def _reasons(console: Console, found: Sequence[Measurement]) -> None:
    """Why values and intervals are missing; a gap is missing where its slice is, for the same
    reason.
    """
    by_reason: dict[str, list[str]] = {}
    for m in found:
        if m.reason and not (m.value is None and _short(m).startswith(SLICES[1:])):
            reason = m.reason if m.value is not None else f"not measured: {m.reason}"
            by_reason.setdefault(reason, []).append(_short(m))
    for reason, names in by_reason.items():
        _wrapped(console, f"{', '.join(names)}: {reason}")


def _short(m: Measurement) -> str:
    return m.name.removeprefix("validation.")


def _wrapped(console: Console, text: str) -> None:
    width = max(40, min(WIDTH, console.width))
    lines = textwrap.wrap(printable(text), width, subsequent_indent="    ", break_on_hyphens=False)
    console.print("\n".join(lines), markup=False, soft_wrap=True)
