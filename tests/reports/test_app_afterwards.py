"""The Divergence page shows what people said at the desk: apart from the sealed figures, and to
nobody who rates on.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from rate_page import ASK, ITERATIONS, ROOT, begin, click, fresh, rate, rows
from streamlit.testing.v1 import AppTest

from reports.viewer.rating import desk, results
from restaudit.evidence.record import Run
from restaudit.people.rating import TaskSet, draw_tasks, in_app


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fresh(tmp_path / "runs", monkeypatch)


@pytest.fixture
def tasks(run: Path) -> TaskSet:
    return draw_tasks(run, ITERATIONS, per_iteration=10, name="first", **ASK)


def _divergence() -> AppTest:
    at = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60)
    at.switch_page("app_pages/divergence.py")
    at = at.run()
    assert not at.exception
    return at


def _after(at: AppTest) -> list[str]:
    """The texts below the line that parts the sealed figures from what people said."""
    every = [t.value for t in at.text]
    return every[
        next(k for k, t in enumerate(every) if t.startswith("These ratings were collected after")) :
    ]


def test_the_new_human_score_appears_with_its_interval_once_a_rater_hands_in(
    run: Path, tasks: TaskSet
) -> None:
    page = _divergence()
    before = len(page.dataframe)
    assert not any("People rated texts" in m.value for m in page.markdown)
    at = rate(begin(), *[1, 2, 3, 4, 5, 6, 7, 6, 5, 4] * 2)
    shown = _after(_divergence())
    assert any("20 of 44 ratings are in. A rater is in the middle" in t for t in shown)
    assert not any("95% interval" in t for t in shown)
    click(at, "rating_hand_in")
    page = _divergence()
    shown = _after(page)
    table = results.scores(Run(run), "first").set_index("iteration")
    last = table.loc["g02/i02"]
    expected = f"G2·I2: {last['human']:.2f} (95% interval {last['low']:.2f} to {last['high']:.2f}"
    assert any(t.startswith(expected) for t in shown)
    assert any("PEOPLE" in t for t in shown)
    assert "No decision of this run has used these ratings." in shown
    assert any("Krippendorff" in t or t.startswith("Agreement is not known yet") for t in shown)
    assert len(page.dataframe) == before + 1
    assert any("People rated texts of this run afterwards" in m.value for m in page.markdown)


def test_a_second_rater_who_began_hides_the_scores_again_until_all_is_in(
    run: Path, tasks: TaskSet
) -> None:
    click(rate(begin("ana"), *[4] * tasks.items), "rating_hand_in")
    assert any("95% interval" in t or "not known" in t for t in _after(_divergence()))
    ben = begin("ben")
    assert any("in the middle of this set" in t for t in _after(_divergence()))
    rate(ben, *[4] * tasks.items)
    assert not any("in the middle of this set" in t for t in _after(_divergence()))


def test_imported_ratings_leave_nobody_in_the_middle() -> None:
    given = [
        {"tasks": "s", "rater_id": "ana", "source": "csv"},
        {"tasks": "s", "rater_id": "ben", "source": "app"},
        {"tasks": "other", "rater_id": "cleo", "source": "app"},
    ]
    notes = [{"tasks": "s", "rater_id": "dan", "what": "read"}]
    assert desk.still_rating("s", given, notes) == ["ben", "dan"]
    assert desk.still_rating(
        "s", given, [*notes, {"tasks": "s", "rater_id": "ben", "what": "handed_in"}]
    ) == ["dan"]


def test_a_damaged_desk_does_not_hide_the_sealed_figures(run: Path, tasks: TaskSet) -> None:
    whole = len(_divergence().get("vega_lite_chart"))
    tasks.key.write_text("{")
    at = _divergence()
    assert len(at.get("vega_lite_chart")) == whole
    assert any("not a key of rating tasks" in c.value for c in at.code)
    assert at.warning


def test_nothing_is_written_by_looking(run: Path, tasks: TaskSet) -> None:
    _divergence()
    assert rows(run) == []
    assert in_app.read_notes(run) == []
