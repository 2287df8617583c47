"""Who may rate what: sets made in the app, runs that wait, desks that are damaged, logins,
scales.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from claims import login
from make_run import HOSTILE, make_run
from rate_page import (
    ASK,
    ITERATIONS,
    begin,
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

from reports.viewer.rating import desk
from restaudit.evidence.record import Run
from restaudit.people.rating import TaskSet, draw_tasks, in_app
from restaudit.people.rating.asking import draw_arguments, set_name
from restaudit.people.rating.store import locked
from tests.recorded import finish_step


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fresh(tmp_path / "runs", monkeypatch)


@pytest.fixture
def tasks(run: Path) -> TaskSet:
    return draw_tasks(run, ITERATIONS, per_iteration=8, name="first", **ASK)


# --- a new set


def test_a_set_made_in_the_app_is_the_one_the_command_makes(run: Path) -> None:
    at = open_page()
    at.number_input(key="new_n").set_value(6)
    at.number_input(key="new_high").set_value(5)
    click(at, "new_draw")
    arguments = draw_arguments(Run(run), {"n": 6, "scale": "1-5"})
    key = run / "human" / f"key-{set_name(arguments)}.json"
    before = key.read_bytes()
    draw_tasks(run, name=set_name(arguments), **arguments)
    assert key.read_bytes() == before
    assert at.selectbox(key="set").value == set_name(arguments)
    at.text_input(key="rater").set_value("ana").run()
    rate(click(at, "rating_begin"), 5)
    assert [b.label for b in at.button if (b.key or "").startswith("score_")] == [
        "1",
        "2",
        "3",
        "4",
        "5",
    ]


def test_a_draw_that_makes_no_sense_says_so_and_writes_nothing(run: Path) -> None:
    at = open_page()
    at.number_input(key="new_low").set_value(7)
    at.number_input(key="new_high").set_value(3)
    click(at, "new_draw")
    assert at.error
    assert any("the lowest comes first" in t for t in texts(at))
    assert not list((run / "human").glob("key-*"))


def test_instructions_typed_in_the_app_are_never_read_from_a_file(
    run: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("a secret")
    at = open_page()
    at.text_area(key="new_instructions").set_value(str(tmp_path / "secret.txt"))
    click(at, "new_draw")
    (path,) = (run / "human").glob("tasks-*")
    assert json.loads(path.read_text().splitlines()[0])["instructions"] == str(
        tmp_path / "secret.txt"
    )


def test_a_rater_who_comes_back_finds_the_set_that_was_begun(run: Path, tasks: TaskSet) -> None:
    begin()
    draw_tasks(run, ITERATIONS, per_iteration=3, name="newer", **ASK)
    assert open_page("ana").selectbox(key="set").value == "first"
    assert open_page("ben").selectbox(key="set").value == "newer"
    assert open_page("ana", set="newer").selectbox(key="set").value == "newer"


# --- a run that waits


@pytest.fixture
def waiting(run: Path) -> Path:
    """As if the run's own look had drawn a small set."""
    lines = (run / "ledger.jsonl").read_text().splitlines()
    last = next(k for k, line in enumerate(lines) if json.loads(line)["step"] == "end")
    (run / "ledger.jsonl").write_text("".join(f"{line}\n" for line in lines[:last]))
    finish_step(run, "g02/i02/wait")
    draw_tasks(run, ITERATIONS, per_iteration=2, name="g02-i02", **{**ASK, "raters": 1})
    return run


def test_a_waiting_run_says_what_is_missing_and_what_comes_next(waiting: Path) -> None:
    draw_tasks(waiting, ITERATIONS, per_iteration=8, name="another", **ASK)
    at = open_page()
    assert at.selectbox(key="set").value == "g02-i02"
    assert any(i.value.startswith("4 of 4 ratings are missing") for i in at.info)
    at.text_input(key="rater").set_value("ana").run()
    rate(click(at, "rating_begin"), 4, 5, 6)
    assert any(i.value.startswith("1 of 4 ratings are missing") for i in at.info)
    assert at.code[-1].value == f"restaudit resume {waiting}"
    rate(at, 7)
    assert any(s.value.startswith("Go on in a terminal") for s in at.success)


def test_tasks_that_are_gone_are_written_again_by_resume(waiting: Path) -> None:
    for path in (waiting / "human").glob("*-g02-i02*"):
        path.unlink()
    at = open_page()
    assert not at.exception
    assert any("writes the same tasks again" in w.value for w in at.warning)


# --- what goes wrong


def test_a_locked_desk_says_so_and_keeps_the_text(
    run: Path, tasks: TaskSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_app, "PATIENCE", 0.1)
    at = begin()
    here = shown(at)
    with locked(run / "human"):
        rate(at, 4)
    assert at.error
    assert any("try again" in t for t in texts(at))
    assert shown(at) == here
    rate(at, 4)
    assert not at.error
    assert len(rows(run)) == 1


def _break_text(run: Path, tasks: TaskSet) -> None:
    lines = tasks.path.read_text(encoding="utf-8").splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), "response": "another text"})
    tasks.path.write_text("\n".join(lines) + "\n", encoding="utf-8")


BROKEN: dict[str, Callable[[Path, TaskSet], object]] = {
    "another text": _break_text,
    "no lines": lambda run, tasks: tasks.path.write_text(""),
    "no tasks": lambda run, tasks: tasks.path.unlink(),
    "no JSON": lambda run, tasks: tasks.path.write_text("{"),
    "key": lambda run, tasks: tasks.key.write_text('{"schema": 1}'),
    "ratings": lambda run, tasks: (run / "human" / "ratings.jsonl").write_text("[]\n"),
    "log": lambda run, tasks: (run / "human" / "desk.jsonl").write_text("[]\n"),
    "raters": lambda run, tasks: (run / "human" / "raters.json").write_text("[3]"),
    "link": lambda run, tasks: (
        shutil.move(run / "human", run / "else"),
        (run / "human").symlink_to(run / "else"),
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_damaged_desk_is_one_message(run: Path, tasks: TaskSet, what: str) -> None:
    BROKEN[what](run, tasks)
    at = open_page("ana")
    assert not at.exception
    assert len(at.error) == 1
    assert at.code
    assert not has(at, "score_0")


def test_a_line_that_a_crash_cut_off_is_taken_away(run: Path, tasks: TaskSet) -> None:
    at = begin()
    log = run / "human" / "desk.jsonl"
    log.write_bytes(log.read_bytes() + b'{"what": "skip')
    click(at, "skip")
    assert [n["what"] for n in in_app.read_notes(run)] == ["read", "skipped"]
    assert b'"skip{' not in log.read_bytes()


@pytest.mark.parametrize("name", ["ana@example.org", "<b>x</b>", HOSTILE[0], "-ana", "a/b"])
def test_a_name_that_is_none_is_refused(run: Path, tasks: TaskSet, name: str) -> None:
    at = open_page()
    at.text_input(key="rater").set_value(name[:40]).run()
    assert not at.exception
    assert len(at.error) == 1
    assert not has(at, "rating_begin")
    assert name not in "".join(
        e.value for kind in ("markdown", "caption", "error", "info") for e in at.get(kind)
    )


def test_a_known_name_in_other_letters_is_the_same_rater(run: Path, tasks: TaskSet) -> None:
    rate(begin("ana"), 4)
    assert status(open_page("ANA")).startswith("1 of")


def test_a_developer_of_the_model_may_not_rate(run: Path, tasks: TaskSet) -> None:
    (run / "human" / "raters.json").write_text(
        '{"ana": {"developer": true}, "judge": {"model": true}}'
    )
    for name in ("ana", "judge"):
        at = open_page(name)
        assert at.warning
        assert not has(at, "rating_begin")


def test_hostile_texts_are_shown_as_text_only(run: Path) -> None:
    draw_tasks(
        run, ITERATIONS, per_iteration=100, name="all", **{**ASK, "instructions": HOSTILE[2]}
    )
    at = open_page("ana")
    seen = set(texts(at))
    click(at, "rating_begin")
    for _ in range(70):
        seen |= set(texts(at))
        markup = "".join(
            str(e.value)
            for k in ("markdown", "caption", "header", "subheader", "info")
            for e in at.get(k)
        )
        assert not any(text in markup for text in HOSTILE)
        if not has(at, "score_0"):
            break
        rate(at, 4)
    assert set(HOSTILE) <= seen


@pytest.mark.parametrize("state", ["half", "base_only", "halted", "broken", "nulls"])
def test_a_run_that_did_not_end_well_can_be_rated_as_far_as_it_came(run: Path, state: Any) -> None:
    make_run(run.parent / state, state)
    at = open_page("ana", run=state)
    assert not at.exception
    if state in ("half", "broken"):
        assert at.error or at.info
        return
    at.number_input(key="new_n").set_value(2)
    click(at, "new_draw")
    rate(click(at, "rating_begin"), 4)
    assert len(rows(run.parent / state)) == 1


# --- login


def test_with_a_login_the_name_is_a_pseudonym_and_the_role_decides(
    run: Path, tasks: TaskSet
) -> None:
    claims = login(email="ana@example.org", roles=["restaudit:rater"])
    at = open_page(user=claims)
    assert not any(t.key == "rater" for t in at.text_input)
    assert not has(at, "new_draw")
    rate(click(at, "rating_begin"), 4)
    (row,) = rows(run)
    assert row["rater_id"].startswith("rater-")
    assert "ana" not in (run / "human" / "ratings.jsonl").read_text()
    viewer = open_page(user={**claims, "roles": []})
    assert not any(
        (b.key or "").startswith(("score", "rating_begin", "new")) for b in viewer.button
    )
    approver = open_page(user={**claims, "restaudit_role": "approver"})
    assert has(approver, "new_draw")
    stranger = open_page(user={"is_logged_in": False})
    assert has(stranger, "rating_login")
    assert not has(stranger, "score_0")


# --- scales


@pytest.fixture
def drawn(run: Path) -> Callable[..., desk.OpenSet]:
    def make(scale: tuple[int, int], halves: bool = False) -> desk.OpenSet:
        name = f"s{scale[0]}-{scale[1]}".replace("--", "-m")
        draw_tasks(
            run, ITERATIONS, per_iteration=2, name=name, halves=halves, **{**ASK, "scale": scale}
        )
        return desk.open_set(Run(run), name)

    return make


def test_every_score_has_a_key_where_there_are_enough(drawn: Any) -> None:
    assert desk.keys(drawn((1, 7)).sheet) == list("1234567")
    assert desk.keys(drawn((0, 5)).sheet) == list("012345")
    assert desk.keys(drawn((1, 10)).sheet) == list("1234567890")
    assert desk.keys(drawn((-3, 3)).sheet) == list("1234567")
    assert desk.keys(drawn((1, 5), halves=True).sheet) == list("123456789")
    assert desk.keys(drawn((0, 10)).sheet) == [None] * 11


def test_a_long_scale_has_a_slider(run: Path, drawn: Any) -> None:
    drawn((0, 100))
    at = begin()
    at.select_slider[0].set_value(73.0)
    click(at, "score_save")
    assert [r["score"] for r in rows(run)] == [73]
