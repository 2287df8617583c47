"""Measurements as tables and charts: a row an iteration, value with 95% interval, and the record
behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reports.document.model import Chart, Line, Point, Row, Table
from reports.record import series
from reports.run_report.material import Material
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import LEVEL, NOTHING, estimate, figure, measured


def titles(names: Iterable[str]) -> dict[str, str]:
    """Names of measurements and what their probes call them."""
    return {name: series.title_of(name) for name in names}


def by_iteration(
    material: Material, caption: str, columns: Mapping[str, str], note: str = ""
) -> Table:
    """A row an audited iteration; `columns` maps a measurement's name to its heading."""
    rows = []
    for iteration in material.iterations:
        measurements = material.measured[iteration]
        cells = [measured(measurements.get(name)) for name in columns]
        # A change since the base policy is nothing that the base policy itself can have.
        if iteration == BASE and all(cell == NOTHING for cell in cells):
            continue
        known = [measurements[n] for n in columns if n in measurements]
        # Units of resampling, mostly prompts: those of the first figure that has a value.
        units = [str(m.n_prompts) for m in known if m.value is not None] or [NOTHING]
        row = (series.short_name(iteration), *cells, units[0])
        rows.append(Row(row, (material.from_measurements(iteration),)))
    return Table(caption, ("iteration", *columns.values(), "units"), tuple(rows), note=note)


def by_name(
    material: Material, iteration: str, caption: str, labels: Mapping[str, str], note: str = ""
) -> Table:
    """A row a measurement of one iteration, with the base policy's value and its unit."""
    measurements = material.measured.get(iteration, {})
    rows = []
    for name, label in labels.items():
        # What was not asked for has no row; what was asked and has no value keeps its row.
        m = measurements.get(name)
        if m is None:
            continue
        cells = (label, measured(m), figure(m.baseline), m.unit, str(m.n))
        rows.append(Row(cells, (material.from_measurements(iteration, name),)))
    return Table(caption, ("what", "value", "base policy", "unit", "n"), tuple(rows), note=note)


def point(material: Material, iteration: str, name: str, x: int) -> Point | None:
    """A measurement with its interval at place `x` of a chart; None where it has no value."""
    m = material.measured[iteration].get(name)
    if m is None or m.value is None:
        return None
    interval = m.interval(LEVEL)
    if interval is None:
        return Point(x, m.value)
    return Point(x, m.value, interval.low, interval.high)


def chart(
    material: Material,
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
        for x, iteration in enumerate(material.iterations):
            measured_point = point(material, iteration, name, x)
            if measured_point is not None:
                points.append(measured_point)
            elif x == 0 and at_base is not None:
                points.append(Point(0, at_base))
        # The base policy's point alone is true by definition and would look like a measurement.
        if at_base is not None and all(p.x == 0 for p in points):
            points = []
        drawn.append(Line(label, tuple(points)))
    return Chart(
        title,
        unit,
        tuple(series.short_name(i) for i in material.iterations),
        tuple(drawn),
        by_iteration(material, title, lines, note),
        said=_in_words(material, drawn, unit),
        reference=reference,
        reference_label=reference_label,
    )


def _in_words(material: Material, lines: Sequence[Line], unit: str) -> str:
    """The last point of every line, for who cannot see the chart."""
    sentences = []
    for line in lines:
        if not line.points:
            sentences.append(f"{line.label}: not measured.")
            continue
        last = line.points[-1]
        at = series.short_name(material.iterations[last.x])
        if last.low is None or last.high is None:
            sentences.append(f"{line.label}: {figure(last.value)} at {at}.")
        else:
            value = estimate(last.value, last.low, last.high)
            sentences.append(f"{line.label}, with 95% interval: {value} at {at}.")
    return f"In {unit}. {' '.join(sentences)}"
