"""Everything that was measured: each value of the last look and of the base policy, by section of
the probes' own contracts.

The sections before it choose what a reader needs first. This one chooses nothing, so that nothing
that was measured goes unseen, and a new probe appears without an edit here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from probes.base import Measurement
from reports.document.model import Block, Paragraph, Row, Section, Table
from reports.record import series
from reports.record.series import by_section, title_of
from reports.run_report.material import Material
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import LEVEL, NOTHING, figure, measured

KEY, TITLE = "measured", "Appendix: everything that was measured"
ABOUT = (
    "Each value stands with its 95% interval, under the name that it has in measurements.json and "
    "in a gate's rule. Baseline: the base policy's value on the same prompts, as the measurement "
    "compares with it. Base policy's own look: what its own audit measured. n: rows, and in "
    "brackets the prompts (or other units) that were drawn again for the interval."
)


def everything(material: Material) -> Section:
    """The last section: two tables a section of probes, what was measured and what was not."""
    if not material.iterations:
        return Section(KEY, TITLE, (Paragraph("No iteration was audited yet."),))
    last = material.iterations[-1]
    at_last = material.measured[last]
    # Where the base policy is all there is, a second column would repeat the first.
    at_base: Mapping[str, Measurement] = {}
    if last != BASE:
        at_base = material.measured.get(BASE, {})
    # Benchmarks may be asked at the ends only: then the last look lacks what the base policy has.
    names = {**at_base, **at_last}
    blocks: list[Block] = [Paragraph(ABOUT, "note")]
    for title, members in by_section(names.values()).items():
        section = [m.name for m in members]
        known = [n for n in section if _has_value(at_last.get(n)) or _has_value(at_base.get(n))]
        if known:
            blocks.append(_values(material, title, known, at_last, at_base))
        missing = [m for m in members if m.name not in known]
        if missing:
            blocks.append(_missing(material, title, missing, at_last))
    return Section(KEY, TITLE, tuple(blocks))


def _values(
    material: Material,
    section: str,
    names: Sequence[str],
    at_last: Mapping[str, Measurement],
    at_base: Mapping[str, Measurement],
) -> Table:
    """A row a measurement that has a value at the last look or at the base policy's own."""
    last = material.iterations[-1]
    rows = []
    lacking: dict[str, list[str]] = defaultdict(list)
    for name in names:
        here, base = at_last.get(name), at_base.get(name)
        shown = base
        if here is not None and here.value is not None:
            shown = here
        assert shown is not None  # one of the two has a value
        # Names of one reason stand together under the table: a cell has no room for a sentence.
        if here is not None and here.value is None:
            lacking[f"Not measured at {series.short_name(last)}: {here.reason}"].append(name)
        elif shown.interval(LEVEL) is None:
            lacking[f"No interval: {_reason(shown)}"].append(name)
        elif base is not None and base.value is not None and base.interval(LEVEL) is None:
            lacking[f"Base policy's own look, no interval: {_reason(base)}"].append(name)
        baseline = NOTHING
        if here is not None and here.baseline is not None:
            baseline = figure(here.baseline)
        own_look = (measured(base),) if at_base else ()
        counts = f"{shown.n:,} ({shown.n_prompts:,})"
        cells = (title_of(name), name, measured(here), baseline, *own_look, shown.unit, counts)
        sources = []
        if here is not None:
            sources.append(material.from_measurements(last, name))
        if base is not None:
            sources.append(material.from_measurements(BASE, name))
        rows.append(Row(cells, tuple(sources)))
    own_look = ("base policy's own look",) if at_base else ()
    return Table(
        section,
        ("what", "name", series.short_name(last), "baseline", *own_look, "unit", "n"),
        tuple(rows),
        prose=(0,),
        note=" ".join(f"{why}: {', '.join(members)}." for why, members in lacking.items()),
    )


def _missing(
    material: Material,
    section: str,
    members: Sequence[Measurement],
    at_last: Mapping[str, Measurement],
) -> Table:
    """A row a reason, with all that it kept from being measured."""
    by_reason: dict[str, list[Measurement]] = defaultdict(list)
    for m in members:
        by_reason[str(m.reason)].append(m)
    rows = []
    for reason, group in by_reason.items():
        look = BASE
        if group[0].name in at_last:
            look = material.iterations[-1]
        cells = (
            "; ".join(title_of(m.name) for m in group),
            ", ".join(m.name for m in group),
            reason,
        )
        rows.append(Row(cells, (material.from_measurements(look),)))
    return Table(f"{section}: not measured", ("what", "name", "why"), tuple(rows), prose=(0, 1, 2))


def _has_value(m: Measurement | None) -> bool:
    return m is not None and m.value is not None


def _reason(m: Measurement) -> str:
    return str(m.reason or "not computed at this level").removeprefix("no interval: ")
