"""Measurements as tables and charts: a row an iteration, value with 95% interval, and the record
behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.document.model import Chart, Line, Point, Row, Table
from reports.record import series
from reports.run_report.material import Material
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import LEVEL, NOTHING, estimate, figure, measured


def by_iteration(of: Material, caption: str, columns: Mapping[str, str], note: str = "") -> Table:
    """A row an audited iteration; `columns` maps a measurement's name to its heading."""
    rows = []
    for iteration in of.iterations:
        found = of.measured[iteration]
        cells = [measured(found.get(name)) for name in columns]
        if iteration == BASE and all(c == NOTHING for c in cells):
            continue  # changes since the base policy
        units = [found[n].n_prompts for n in columns if n in found and found[n].value is not None]
        row = (series.short_name(iteration), *cells, str(units[0]) if units else NOTHING)
        rows.append(Row(row, (of.from_measurements(iteration),)))
    return Table(caption, ("iteration", *columns.values(), "units"), tuple(rows), note=note)


def by_name(
    of: Material, iteration: str, caption: str, labels: Mapping[str, str], note: str = ""
) -> Table:
    """A row a measurement of one iteration, with the base policy's value and its unit."""
    found = of.measured.get(iteration, {})
    rows = []
    for name, label in labels.items():
        m = found.get(name)
        if m is None:
            continue
        base = NOTHING if m.baseline is None else figure(m.baseline)
        rows.append(
            Row(
                (label, measured(m), base, m.unit, str(m.n)),
                (of.from_measurements(iteration, name),),
            )
        )
    return Table(caption, ("what", "value", "base policy", "unit", "n"), tuple(rows), note=note)


def chart(
    of: Material,
    title: str,
    unit: str,
    lines: Mapping[str, str],
    *,
    reference: float | None = None,
    reference_label: str = "",
    at_base: float | None = None,
    note: str = "",
) -> Chart:
    """A chart of measurements over iterations; `at_base` is what the base policy has by
    definition.
    """
    drawn = []
    for name, label in lines.items():
        points = []
        for x, iteration in enumerate(of.iterations):
            m = of.measured[iteration].get(name)
            if m is not None and m.value is not None:
                i = m.interval(LEVEL)
                points.append(Point(x, m.value, i.low if i else None, i.high if i else None))
            elif x == 0 and at_base is not None:
                points.append(Point(0, at_base))
        known = [p for p in points if p.x > 0] or (points if at_base is None else [])
        drawn.append(Line(label, tuple(points) if known else ()))
    table = by_iteration(of, title, lines, note)
    return Chart(
        title,
        unit,
        tuple(series.short_name(i) for i in of.iterations),
        tuple(drawn),
        table,
        said=_said(of, drawn, unit),
        reference=reference,
        reference_label=reference_label,
    )


def missing(of: Material, iteration: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """(name, reason) of what one iteration could not measure, among these names."""
    found = of.measured.get(iteration, {})
    return [(n, str(found[n].reason)) for n in names if n in found and found[n].value is None]


def _said(of: Material, lines: Sequence[Line], unit: str) -> str:
    parts = []
    for line in lines:
        if not line.points:
            parts.append(f"{line.label}: not measured.")
            continue
        last = line.points[-1]
        at = series.short_name(of.iterations[last.x])
        if last.low is None or last.high is None:
            parts.append(f"{line.label}: {figure(last.value)} at {at}.")
        else:
            parts.append(
                f"{line.label}, with 95% interval: {estimate(last.value, last.low, last.high)} at "
                f"{at}."
            )
    return f"In {unit}. {' '.join(parts)}"
