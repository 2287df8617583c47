"""Gains by distance from the base policy: the over-optimisation curve of Gao, Schulman & Hilton
2022 (2210.10760).

The points are what each look recorded; the curves are the two that the last look fitted, drawn from
its recorded numbers. Nothing is fitted here, and nobody knows which form ReST's curve has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from probes.base import Measurement
from probes.divergence.curves import Form, curve
from reports.document.model import Block, Chart, Curve, Line, Paragraph, Point, Row, Table
from reports.record import series
from reports.run_report.material import Material
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import LEVEL, NOTHING, estimate, figure, measured

TITLE = "Gains by distance from the base policy"
AXIS = "distance d = √KL (√nats a sequence)"
UNIT = "change since the base policy, in its standard deviations"
FORMS: dict[Form, str] = {"bon": "d·(α − β·d)", "rl": "d·(α − β·ln d)"}
FOUND_FOR: dict[Form, str] = {"bon": "best-of-n sampling", "rl": "reinforcement learning"}
STEPS = 40


def by_distance(of: Material) -> list[Block]:
    """The chart and what was fitted; or a sentence that says why there is none."""
    kept = [(i, d) for i in of.after_base if (d := _distance(of, i)) is not None]
    if not kept:
        why = "no look after the base policy's recorded a KL above 0"
        return [Paragraph(f"{TITLE} are not drawn: {why}.", "note")]
    fits, left_out = _fits(of), [i for i in of.after_base if i not in dict(kept)]
    lines = tuple(
        _line(of, name, label, [i for i, _ in kept]) for name, label in _gains(of).items()
    )
    farthest = max(d for _, d in kept)
    drawn = tuple(
        Curve(f"human gain, fit {FORMS[form]}", _points(form, found, farthest))
        for form, found in fits.items()
        if _fitted(found)
    )
    blocks: list[Block] = [
        Chart(
            TITLE,
            UNIT,
            tuple(series.short_name(i) for i in (BASE, *dict(kept))),
            lines,
            _table(of, kept, left_out),
            said=_said(lines, kept, fits),
            reference=0.0,
            reference_label="base policy",
            places=(0.0, *dict(kept).values()),
            axis=AXIS,
            curves=drawn,
        )
    ]
    return [
        *blocks,
        _fit_table(of, fits)
        if drawn
        else Paragraph(f"No curve is drawn: {_why_none(fits)}.", "note"),
    ]


def _gains(of: Material) -> dict[str, str]:
    return {
        "divergence.reward_change": series.REWARD,
        "divergence.human_change": f"Human score: {of.human}",
    }


def _distance(of: Material, iteration: str) -> float | None:
    kl = of.measured[iteration].get("drift.kl")
    return math.sqrt(kl.value) if kl is not None and kl.value is not None and kl.value > 0 else None


def _line(of: Material, name: str, label: str, kept: Sequence[str]) -> Line:
    points = []
    for x, iteration in enumerate(kept, start=1):
        m = of.measured[iteration].get(name)
        if m is not None and m.value is not None:
            i = m.interval(LEVEL)
            points.append(Point(x, m.value, i.low if i else None, i.high if i else None))
    return Line(label, (Point(0, 0.0), *points) if points else ())


def _fits(of: Material) -> dict[Form, Measurement | None]:
    """What the last look says of both forms."""
    return {form: of.measured[of.iterations[-1]].get(f"divergence.peak_{form}") for form in FORMS}


def _fitted(found: Measurement | None) -> bool:
    return found is not None and all(
        isinstance(found.detail.get(k), int | float) for k in ("alpha", "beta")
    )


def _points(
    form: Form, found: Measurement | None, farthest: float
) -> tuple[tuple[float, float], ...]:
    """The fitted curve from the base policy to the farthest look, and no farther."""
    assert found is not None
    d = np.linspace(0.0, farthest, STEPS + 1)
    y = curve(
        form, alpha=float(found.detail["alpha"]), beta=float(found.detail["beta"]), distance=d
    )
    return tuple(
        (float(f"{a:.5g}"), float(f"{b:.5g}")) for a, b in zip(d.tolist(), y.tolist(), strict=True)
    )


def _table(of: Material, kept: Sequence[tuple[str, float]], left_out: Sequence[str]) -> Table:
    rows = []
    for iteration, _ in kept:
        found = of.measured[iteration]
        cells = (
            series.short_name(iteration),
            _shown_distance(found["drift.kl"]),
            *(measured(found.get(n)) for n in _gains(of)),
            str(found["drift.kl"].n_prompts),
        )
        rows.append(Row(cells, (of.from_measurements(iteration),)))
    note = "The picture takes d as known; its interval stands here."
    if left_out:
        note += (
            " Without a KL above 0, and so not here: "
            f"{', '.join(series.short_name(i) for i in left_out)}."
        )
    return Table(
        TITLE,
        ("iteration", "d = √KL", *_gains(of).values(), "prompts with a KL"),
        tuple(rows),
        note=note,
    )


def _shown_distance(kl: Measurement) -> str:
    assert kl.value is not None
    interval = kl.interval(LEVEL)
    if interval is None:
        return figure(_root(kl.value))
    return estimate(_root(kl.value), _root(interval.low), _root(interval.high))


def _root(value: float) -> float:
    return math.sqrt(max(value, 0.0))


def _fit_table(of: Material, fits: dict[Form, Measurement | None]) -> Table:
    last = of.iterations[-1]
    rows = []
    for form, found in fits.items():
        if found is None or not _fitted(found):
            continue
        numbers = [
            figure(float(found.detail[k])) if k in found.detail else NOTHING
            for k in ("alpha", "beta", "residual")
        ]
        peak = f"d = {figure(found.value)}" if found.value is not None else found.reason or NOTHING
        rows.append(
            Row(
                (FORMS[form], f"{FOUND_FOR[form]}, Gao et al. 2022", *numbers, peak),
                (of.from_measurements(last, found.name),),
            )
        )
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


def _why_none(fits: dict[Form, Measurement | None]) -> str:
    known = [m.reason for m in fits.values() if m is not None and m.reason]
    return (
        known[0]
        if known
        else "this run did not ask for the fits (divergence.peak_bon, divergence.peak_rl)"
    )


def _said(
    lines: Sequence[Line], kept: Sequence[tuple[str, float]], fits: dict[Form, Measurement | None]
) -> str:
    parts = [f"{series.short_name(i)} stands at d = {figure(d)}." for i, d in kept]
    for line in lines:
        gains = ", ".join(f"{figure(p.value)}" for p in line.points[1:])
        parts.append(f"{line.label}: {gains or 'not measured'}.")
    for form, found in fits.items():
        if found is not None and _fitted(found):
            peak = (
                f"has its peak at d = {figure(found.value)}"
                if found.value is not None
                else "has no peak in reach"
            )
            parts.append(f"The fit {FORMS[form]} {peak}.")
    return f"{UNIT[:1].upper()}{UNIT[1:]}, in order of iteration. {' '.join(parts)}"
