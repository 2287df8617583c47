"""The chart is the same bytes for the same run, says what it shows, and draws every kind of run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import pytest

from reports.charts.reward_human import reward_human_chart
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from tests.reports.make_run import State, make_run

DRAW = """
import sys
from pathlib import Path
from reports.charts.reward_human import reward_human_chart
from restaudit.evidence.record import Run
for path in sys.argv[2:]:
    reward_human_chart(Run(sys.argv[1]), Path(path))
"""


def test_another_process_with_another_hash_seed_draws_the_same_bytes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    names = ("chart.svg", "chart.png")
    there = [tmp_path / "there" / name for name in names]
    there[0].parent.mkdir()
    subprocess.run(
        [sys.executable, "-c", DRAW, str(run), *map(str, there)],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=Path(__file__).parents[3],
    )
    for drawn in there:
        here = tmp_path / drawn.name
        reward_human_chart(Run(run), here)
        assert drawn.read_bytes() == here.read_bytes()


@pytest.mark.parametrize("state", [s for s in get_args(State) if s != "broken"])
def test_every_readable_run_can_be_drawn(tmp_path: Path, state: State) -> None:
    out = tmp_path / "chart.svg"
    reward_human_chart(Run(make_run(tmp_path / "run", state)), out)
    root = ElementTree.fromstring(out.read_text())
    assert root.get("role") == "img"
    assert (
        root.findtext("{http://www.w3.org/2000/svg}title")
        == "Reward against human score: reviews-trial"
    )


def test_the_svg_says_in_words_what_it_shows(tmp_path: Path) -> None:
    out = tmp_path / "chart.svg"
    reward_human_chart(Run(make_run(tmp_path / "run", "halted")), out)
    words = ElementTree.fromstring(out.read_text()).get("aria-label", "")
    assert "LEXICON (human word ratings, aggregated): -0.62 at G1·I2" in words
    assert "G1·I2 HALT" in words


def test_the_picture_holds_no_date_and_no_path(tmp_path: Path) -> None:
    out = tmp_path / "chart.svg"
    reward_human_chart(Run(make_run(tmp_path / "run")), out)
    text = out.read_text()
    assert "dc:date" not in text
    assert str(tmp_path) not in text


def test_a_hostile_label_is_drawn_and_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    path = run / "g00/i00/measurements.json"
    recorded = json.loads(path.read_text())
    recorded["human"]["label"] = '"><script>alert(1)</script> $\\frac{ \x07'
    path.write_text(json.dumps(recorded))
    out = tmp_path / "chart.svg"
    reward_human_chart(Run(run), out)
    root = ElementTree.fromstring(out.read_text())
    assert not [e for e in root.iter() if e.tag.endswith("script")]


def test_more_iterations_than_there_is_room_for_keep_their_markers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.reports import make_run as fabric

    many = {"g00/i00": fabric.HEALTHY["g00/i00"]}
    for k in range(1, 13):
        many[f"g{(k + 3) // 4:02d}/i{(k - 1) % 4 + 1:02d}"] = fabric.Point(
            0.1 * k, 0.05 * k, 0.6, 40 - k, 0.7, 0.05
        )
    monkeypatch.setattr(fabric, "HEALTHY", many)
    out = tmp_path / "chart.svg"
    reward_human_chart(Run(fabric.make_run(tmp_path / "run")), out)
    assert "G3·I4" in ElementTree.fromstring(out.read_text()).get("aria-label", "")


def test_another_file_type_is_refused_with_the_two_that_work(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\.svg or \.png, not as \.pdf"):
        reward_human_chart(Run(make_run(tmp_path / "run")), tmp_path / "chart.pdf")


def test_a_place_that_cannot_be_written_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot write the chart there"):
        reward_human_chart(Run(make_run(tmp_path / "run")), tmp_path / "file" / "chart.svg")
