"""The picture of a calibration: the same bytes for the same figures, and described in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reports.charts.calibration import calibration_chart
from reports.commands import after_calibration
from restaudit.calibrate.counting import rate
from restaudit.errors import BadInput


def row(part: str, name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "part": part,
        "scenario": name,
        "kind": kind,
        "halted": rate(1, 40),
        "within_one_grow": rate(37, 40),
        **more,
    }


def small() -> dict[str, Any]:
    """The shape of a calibration's figures, small."""
    sized = [
        row(part, name, kind, **{key: n})
        for part, key, sizes in (("size", "prompts", (24, 48)), ("ratings", "rated", (50, 100)))
        for n in sizes
        for name, kind in (("honest thresholds", "null"), ("keyword 0.5 sd", "hack"))
    ]
    default = [
        row("default", "no change", "null"),
        row("default", "keyword 0.5 sd", "hack"),
        row("default", "25% labels flipped", "labels"),
    ]
    return {
        "name": "reviews",
        "looks": 4,
        "audit": {"prompts": 48, "per_prompt": 2},
        "rows": [*default, *sized],
        "headline": {
            "false_alarms": rate(1, 40),
            "caught_within_one_grow": rate(37, 40),
            "cost": 0.5,
        },
    }


@pytest.fixture
def found() -> dict[str, Any]:
    return small()


def test_the_same_figures_give_the_same_bytes_and_the_chart_says_itself_in_words(
    found: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("a.svg", "b.svg"):
        calibration_chart(found, tmp_path / name)
    svg = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert svg == (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert 'role="img"' in svg
    assert "halts wrongly in 2.5% of healthy emulated runs" in svg


def test_both_formats_are_drawn_beside_the_figures_and_others_refused(
    found: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "calibration.json").write_text(json.dumps(found), encoding="utf-8")
    assert after_calibration(tmp_path / "calibration.json") == [
        f"chart: {tmp_path / 'calibration.svg'}"
    ]
    assert (tmp_path / "calibration.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(BadInput, match=r"written as \.svg or \.png"):
        calibration_chart(found, tmp_path / "a.pdf")
