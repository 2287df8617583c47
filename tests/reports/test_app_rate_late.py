"""A key that comes late, twice or from another window counts for the text that was in sight, or not
at all. A button of an older drawing stands for a browser that still shows it.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from claims import login
from make_run import make_run
from rate_page import (
    ASK,
    ITERATIONS,
    begin,
    button,
    click,
    fresh,
    has,
    open_page,
    rate,
    rows,
    shown,
    status,
    texts,
)
from streamlit.testing.v1.element_tree import Button

from reports.viewer import logins
from reports.viewer.rating import desk
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from restaudit.people.rating import TaskSet, draw_tasks, in_app
from restaudit.people.rating.pairs import draw_pairs
from restaudit.people.rating.store import read_rows


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fresh(tmp_path / "runs", monkeypatch)


@pytest.fixture
def tasks(run: Path) -> TaskSet:
    return draw_tasks(run, ITERATIONS, per_iteration=8, name="first", **ASK)


def _press_late(late: Button) -> None:
    """Press a button that a browser still shows."""
    late.click().run()


def test_a_key_pressed_twice_or_held_counts_once(
    run: Path, tasks: TaskSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = begin()
    monkeypatch.setattr(desk, "QUICK", 3600.0)
    at.session_state["rating_drawn"].ended = time.monotonic() - 7200
    rate(at, 5)
    assert len(rows(run)) == 1
    rate(at, 5, 5, 5)
    assert len(rows(run)) == 1
    assert "not counted" in status(at)


def test_a_second_key_for_a_text_that_was_answered_rates_no_other(
    run: Path, tasks: TaskSet
) -> None:
    at = begin()
    late = button(at, "score_4")
    rate(at, 6)
    second = shown(at)
    _press_late(late)
    at.run()
    assert shown(at) == second
    assert [r["score"] for r in rows(run)] == [6]
    assert "for the text before was not counted" in status(at)
    rate(at, 2)
    assert [r["score"] for r in rows(run)] == [6, 2]


def test_two_keys_that_arrive_together_give_one_answer(run: Path, tasks: TaskSet) -> None:
    at = begin()
    button(at, "score_5").click()
    button(at, "score_2").click().run()
    assert len(rows(run)) == 1
    assert "answer stands" in status(at)
    assert status(at).startswith("1 of")


def test_a_second_skip_or_undo_does_nothing_to_another_text(run: Path, tasks: TaskSet) -> None:
    at = rate(begin(), 3, 4)
    late = button(at, "skip")
    click(at, "skip")
    _press_late(late)
    at.run()
    assert "1 skipped" in status(at)
    click(at, "undo")
    late = button(at, "undo")
    click(at, "undo")
    _press_late(late)
    assert [r["score"] for r in rows(run)] == [3]
    opened, notes = desk.open_set(Run(run), "first"), in_app.read_notes(run)
    now = desk.standing(opened, rows(run), notes, "ana")
    with pytest.raises(BadInput, match="in another window"):
        desk.undo(Run(run), opened, now, "ana", ("rated", "another"))


def test_an_answer_to_a_text_that_was_skipped_is_no_answer(run: Path, tasks: TaskSet) -> None:
    at = begin()
    late = button(at, "score_4")
    click(at, "skip")
    _press_late(late)
    assert rows(run) == []
    assert "not counted" in status(at.run())


def test_a_held_skip_or_undo_counts_once(
    run: Path, tasks: TaskSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = rate(begin(), 3, 4, 5)
    monkeypatch.setattr(desk, "QUICK", 3600.0)
    for key in ("undo", "skip"):
        click(at, key)
        assert "Too soon" in status(at)
    assert len(rows(run)) == 3
    assert [n["what"] for n in in_app.read_notes(run)] == ["read"]


def test_a_key_for_another_rater_of_the_same_window_is_not_this_ones(
    run: Path, tasks: TaskSet
) -> None:
    begin("ben")
    at = begin("ana")
    late, hand_in = button(at, "score_4"), button(at, "rating_hand_in")
    at.text_input(key="rater").set_value("ben").run()
    _press_late(late)
    assert rows(run) == []
    _press_late(hand_in)
    notes = [(n["rater_id"], n["what"]) for n in in_app.read_notes(run)]
    assert ("ben", "handed_in") not in notes


def test_a_key_for_a_pair_that_was_answered_chooses_nothing_of_the_next(run: Path) -> None:
    draw_pairs(
        run, (run, ITERATIONS[0]), (run, ITERATIONS[1]), n=6, raters=1, seed=7, name="duel",
        dimension="quality", instructions="Which?",
    )  # fmt: skip
    at = begin()
    late = button(at, "choice_B")
    click(at, "choice_A")
    _press_late(late)
    at.run()
    assert [r["choice"] for r in read_rows(run / "human", "choices.jsonl")] == ["A"]
    assert "not counted" in status(at)


def test_after_handing_in_another_window_rates_no_more(run: Path, tasks: TaskSet) -> None:
    at, other = begin(), open_page("ana")
    click(at, "rating_hand_in")
    rate(other, 4)
    assert rows(run) == []
    assert not has(other, "score_0")


def test_an_answer_to_texts_that_were_exchanged_is_refused(run: Path, tasks: TaskSet) -> None:
    at = begin()
    shutil.rmtree(run)
    make_run(run)
    draw_tasks(run, ["g01/i01"], per_iteration=8, name="first", **ASK)
    rate(at, 4)
    assert rows(run) == []
    assert any("were changed since" in t for t in texts(at))


@pytest.mark.parametrize("key", ["score_2", "skip", "undo", "rating_hand_in"])
def test_whoever_is_logged_out_meanwhile_rates_no_more(
    run: Path, tasks: TaskSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("RESTAUDIT_CACHE", str(tmp_path / "cache"))
    user = login(email="ana@example.org", roles=["rater"])
    at = rate(click(open_page(user=user), "rating_begin"), 4)
    logins.end(user)
    click(at, key)
    assert [r["score"] for r in rows(run)] == [4]
    assert [n["what"] for n in in_app.read_notes(run)] == ["read"]
    assert has(at, "rating_login")


def test_a_text_answered_in_another_tab_keeps_its_first_answer(run: Path, tasks: TaskSet) -> None:
    one, other = begin(), open_page("ana")
    rate(one, 3)
    rate(other, 6)
    assert [r["score"] for r in rows(run)] == [3]
    assert "that answer stands" in status(other)
