"""Gains by distance from the base policy: the over-optimisation curve of Gao, Schulman & Hilton
2022 (2210.10760).

The points are what each look recorded; the curves are the two that the last look fitted, drawn from
its recorded numbers. Nothing is fitted here, and nobody knows which form ReST's curve has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from probes.base import Measurement
from probes.divergence.curves import Form, curve
from reports.document.model import Block, Chart, FitCurve, Line, Paragraph, Point, Row, Table
from reports.record import series
from reports.run_report.material import Material
from reports.run_report.tables import point
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import LEVEL, NOTHING, estimate, figure, measured

TITLE = "Gains by distance from the base policy"
AXIS = "distance d = √KL (√nats a sequence)"
UNIT = "change since the base policy, in its standard deviations"
FORMS: dict[Form, str] = {"bon": "d·(α − β·d)", "rl": "d·(α − β·ln d)"}
FOUND_FOR: dict[Form, str] = {"bon": "best-of-n sampling", "rl": "reinforcement learning"}
STEPS = 40


def by_distance(material: Material) -> list[Block]:
    """The chart and what was fitted; or a sentence that says why there is none."""
    distances: dict[str, float] = {}
    for iteration in material.after_base:
        distance = _distance(material, iteration)
        if distance is not None:
            distances[iteration] = distance
    if not distances:
        why = "no look after the base policy's recorded a KL above 0"
        return [Paragraph(f"{TITLE} are not drawn: {why}.", "note")]
    fits = _fits(material)
    gains = _gains(material)
    lines = tuple(_line(material, name, label, list(distances)) for name, label in gains.items())
    farthest = max(distances.values())
    curves = []
    for form, fit in fits.items():
        curves.append(FitCurve(f"human gain, fit {FORMS[form]}", _points(form, fit, farthest)))
    drawn = Chart(
        TITLE,
        UNIT,
        tuple(series.short_name(i) for i in (BASE, *distances)),
        lines,
        _table(material, distances),
        said=_in_words(lines, distances, fits),
        reference=0.0,
        reference_label="base policy",
        places=(0.0, *distances.values()),
        axis=AXIS,
        curves=tuple(curves),
    )
    if fits:
        return [drawn, _fit_table(material, fits)]
    return [drawn, Paragraph(f"No curve is drawn: {_why_none(material)}.", "note")]


def _gains(material: Material) -> dict[str, str]:
    return {
        "divergence.reward_change": series.REWARD,
        "divergence.human_change": f"Human score: {material.human}",
    }


def _distance(material: Material, iteration: str) -> float | None:
    """√KL, the measure in which Gao et al. found the curves; None for a KL that is not above 0."""
    kl = material.measured[iteration].get("drift.kl")
    # An estimate of a small KL from samples can be negative; then there is no distance to draw.
    if kl is None or kl.value is None or kl.value <= 0:
        return None
    return math.sqrt(kl.value)


def _line(material: Material, name: str, label: str, iterations: Sequence[str]) -> Line:
    # Place 0 is the base policy's.
    points = [point(material, look, name, x) for x, look in enumerate(iterations, start=1)]
    known = [p for p in points if p is not None]
    # The base policy's point is true by definition: alone it would look like a measurement.
    if not known:
        return Line(label, ())
    return Line(label, (Point(0, 0.0), *known))


def _peaks(material: Material) -> dict[Form, Measurement]:
    """What the last look recorded of both forms, a fit or why there is none."""
    at_last = material.measured[material.iterations[-1]]
    peaks = {form: at_last.get(f"divergence.peak_{form}") for form in FORMS}
    return {form: peak for form, peak in peaks.items() if peak is not None}


def _fits(material: Material) -> dict[Form, Measurement]:
    """The forms that the last look could fit; their numbers are in the measurement's detail."""
    fits: dict[Form, Measurement] = {}
    for form, peak in _peaks(material).items():
        # A fit without a peak has no value and still has its two numbers, which draw the curve.
        numbers = (peak.detail.get("alpha"), peak.detail.get("beta"))
        if all(isinstance(n, int | float) for n in numbers):
            fits[form] = peak
    return fits


def _points(form: Form, fit: Measurement, farthest: float) -> tuple[tuple[float, float], ...]:
    """The fitted curve from the base policy to the farthest look, and no farther: nothing was
    measured there.
    """
    distances = np.linspace(0.0, farthest, STEPS + 1)
    alpha, beta = float(fit.detail["alpha"]), float(fit.detail["beta"])
    gains = curve(form, alpha=alpha, beta=beta, distance=distances)
    # A picture shows no more than five digits, and noise in the last ones must not change its bytes.
    points = []
    for distance, gain in zip(distances.tolist(), gains.tolist(), strict=True):
        points.append((float(f"{distance:.5g}"), float(f"{gain:.5g}")))
    return tuple(points)


def _table(material: Material, distances: Mapping[str, float]) -> Table:
    gains = _gains(material)
    rows = []
    for iteration in distances:
        measurements = material.measured[iteration]
        kl = measurements["drift.kl"]
        cells = (
            series.short_name(iteration),
            _shown_distance(kl),
            *(measured(measurements.get(name)) for name in gains),
            str(kl.n_prompts),
        )
        rows.append(Row(cells, (material.from_measurements(iteration),)))
    note = "The picture takes d as known; its interval stands here."
    left_out = [series.short_name(i) for i in material.after_base if i not in distances]
    if left_out:
        note += f" Without a KL above 0, and so not here: {', '.join(left_out)}."
    columns = ("iteration", "d = √KL", *gains.values(), "prompts with a KL")
    return Table(TITLE, columns, tuple(rows), note=note)


def _shown_distance(kl: Measurement) -> str:
    assert kl.value is not None
    interval = kl.interval(LEVEL)
    if interval is None:
        return figure(_root(kl.value))
    # A root keeps the order of numbers, so the roots of an interval's ends are the root's interval.
    return estimate(_root(kl.value), _root(interval.low), _root(interval.high))


def _root(value: float) -> float:
    return math.sqrt(max(value, 0.0))


def _fit_table(material: Material, fits: Mapping[Form, Measurement]) -> Table:
    last = material.iterations[-1]
    rows = []
    for form, fit in fits.items():
        numbers = []
        for key in ("alpha", "beta", "residual"):
            known = key in fit.detail
            numbers.append(figure(float(fit.detail[key])) if known else NOTHING)
        peak = fit.reason or NOTHING
        if fit.value is not None:
            peak = f"d = {figure(fit.value)}"
        cells = (FORMS[form], f"{FOUND_FOR[form]}, Gao et al. 2022", *numbers, peak)
        rows.append(Row(cells, (material.from_measurements(last, fit.name),)))
    note = (
        "Least squares through the human gains of these looks: a description of a few points, not "
        "a test and no forecast. Both forms were found for other methods; neither is claimed for "
        "this one, and no KL is a limit."
    )
    return Table(
        f"Fitted curves at {series.short_name(last)}",
        ("human gain at d", "form found for", "α", "β", "typical miss (base sd)", "peak"),
        tuple(rows),
        prose=(1, 5),
        note=note,
    )


def _why_none(material: Material) -> str:
    for peak in _peaks(material).values():
        if peak.reason:
            return peak.reason
    return "this run did not ask for the fits (divergence.peak_bon, divergence.peak_rl)"


def _in_words(
    lines: Sequence[Line], distances: Mapping[str, float], fits: Mapping[Form, Measurement]
) -> str:
    """The chart for who cannot see it."""
    sentences = [
        f"{series.short_name(iteration)} stands at d = {figure(distance)}."
        for iteration, distance in distances.items()
    ]
    for line in lines:
        gains = ", ".join(figure(p.value) for p in line.points[1:])
        sentences.append(f"{line.label}: {gains or 'not measured'}.")
    for form, fit in fits.items():
        peak = "has no peak in reach"
        if fit.value is not None:
            peak = f"has its peak at d = {figure(fit.value)}"
        sentences.append(f"The fit {FORMS[form]} {peak}.")
    return f"{UNIT[:1].upper()}{UNIT[1:]}, in order of iteration. {' '.join(sentences)}"
