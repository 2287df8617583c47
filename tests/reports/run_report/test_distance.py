"""Gains by distance from the base policy: the points as recorded, the curves as fitted by the last
look, no more.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from probes.divergence.curves import fit
from reports.document.chart import figure, svg
from reports.document.model import Chart, Paragraph, Table
from reports.run_report.distance import FORMS, by_distance
from reports.run_report.material import Material
from reports.viewer.charts import document_chart
from restaudit.evidence.record import Run
from tests.reports.make_run import HEALTHY, make_run, resealed


def _blocks(run: Path) -> tuple[Chart, list[object]]:
    chart, *rest = by_distance(Material(Run(run)))
    assert isinstance(chart, Chart)
    return chart, list(rest)


def test_points_stand_at_the_root_of_the_recorded_kl_with_their_intervals(tmp_path: Path) -> None:
    chart, _ = _blocks(make_run(tmp_path / "run"))
    later = list(HEALTHY.values())[1:]
    assert chart.places == pytest.approx([0.0, *(np.sqrt(0.8 * p.reward) for p in later)])
    reward, human = chart.lines
    assert [p.value for p in human.points] == [0.0, *(p.human for p in later)]
    assert [p.value for p in reward.points] == [0.0, *(p.reward for p in later)]
    assert all(p.low is not None and p.high is not None for p in human.points[1:])
    assert human.points[0].low is None
    assert "√nats" in chart.axis


def test_curves_are_the_recorded_fits_and_end_at_the_farthest_look(tmp_path: Path) -> None:
    chart, rest = _blocks(make_run(tmp_path / "run"))
    d, gain = np.array(chart.places[1:]), np.array([p.value for p in chart.lines[1].points[1:]])
    for form, curve in zip(FORMS, chart.curves, strict=True):
        again = fit(distance=d, gain=gain, form=form)
        assert not isinstance(again, str)
        x, y = np.array(curve.points).T
        assert x[0] == 0.0
        assert y[0] == 0.0
        assert x[-1] == pytest.approx(max(chart.places), rel=1e-4)
        expected = x * (
            again.alpha - again.beta * (x if form == "bon" else np.log(np.maximum(x, 1e-300)))
        )
        assert y == pytest.approx(expected, rel=1e-3, abs=1e-4)
    (table,) = rest
    assert isinstance(table, Table)
    assert [r.cells[0] for r in table.rows] == list(FORMS.values())
    assert "neither is claimed" in table.note


def test_too_few_points_are_drawn_without_a_curve_and_said(tmp_path: Path) -> None:
    chart, rest = _blocks(make_run(tmp_path / "run", "halted"))
    assert chart.curves == ()
    assert len(chart.lines[1].points) == 3
    (why,) = rest
    assert isinstance(why, Paragraph)
    assert "at least 4 are needed" in why.text


def test_without_a_human_score_only_the_reward_has_points(tmp_path: Path) -> None:
    chart, rest = _blocks(make_run(tmp_path / "run", "nulls"))
    assert [len(line.points) for line in chart.lines] == [5, 0]
    assert chart.curves == ()
    assert isinstance(rest[0], Paragraph)


@pytest.mark.parametrize("kl", [None, 0.0, -0.1])
def test_a_look_without_a_distance_is_left_out_by_name(tmp_path: Path, kl: float | None) -> None:
    run = make_run(tmp_path / "run")
    path = run / "g01/i02/measurements.json"
    raw = json.loads(path.read_text())
    for m in raw["measurements"]:
        if m["name"] == "drift.kl":
            m |= {"value": kl, "reason": "no reason", "intervals": []}
    path.write_text(json.dumps(raw))
    chart, _ = _blocks(resealed(run))
    assert chart.labels == ("base", "G1·I1", "G2·I1", "G2·I2")
    assert "Without a KL above 0, and so not here: G1·I2." in chart.table.note


def test_a_run_with_the_base_policy_only_says_why_nothing_is_drawn(tmp_path: Path) -> None:
    (only,) = by_distance(Material(Run(make_run(tmp_path / "run", "base_only"))))
    assert isinstance(only, Paragraph)
    assert "no look after the base policy's" in only.text


def test_report_and_app_draw_the_same_points_and_curves(tmp_path: Path) -> None:
    chart, _ = _blocks(make_run(tmp_path / "run"))
    axes = figure(chart).axes[0]
    drawn = [line for line in axes.lines if line.get_linestyle() not in ("None", "")]
    assert sum(len(line.get_xdata()) == len(chart.curves[0].points) for line in drawn) == 2
    assert axes.get_xlabel() == chart.axis
    spec = document_chart(chart).to_dict()
    rows = [row for table in spec["datasets"].values() for row in table]
    assert {round(r["d"], 6) for r in rows if "d" in r and "value" in r} == {
        round(p, 6) for p in chart.places
    }
    assert sum("curve" in r for r in rows) == sum(len(c.points) for c in chart.curves)
    assert "G2·I2" in svg(chart)[:3000]
