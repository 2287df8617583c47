"""People rate in the app: every answer is on disk at once, is what an import would take, and can be
taken back.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rate_page import (
    ASK,
    ITERATIONS,
    ROOT,
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

from reports.viewer.rating import desk, results
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from restaudit.people.rating import TaskSet, draw_tasks, import_ratings, in_app, load_ratings


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fresh(tmp_path / "runs", monkeypatch)


@pytest.fixture
def tasks(run: Path) -> TaskSet:
    return draw_tasks(run, ITERATIONS, per_iteration=8, name="first", **ASK)


# --- rating


def test_ten_ratings_are_kept_when_the_page_is_opened_again(run: Path, tasks: TaskSet) -> None:
    scores = [1, 2, 3, 4, 5, 6, 7, 6, 5, 4]
    at = rate(begin(), *scores)
    assert status(at) == f"10 of {tasks.items} rated. Saved: 4."
    where = shown(at)
    again = open_page("ana")
    assert status(again).startswith(f"10 of {tasks.items} rated")
    assert shown(again) == where
    given = rows(run)
    assert [r["score"] for r in given] == scores
    assert [r["order"] for r in given] == list(range(10))
    for r in given:
        assert (r["rater_id"], r["source"], r["blinded"]) == ("ana", "app", True)
        assert r["started_at"] <= r["submitted_at"]
        assert r["instructions_sha256"] == tasks.instructions_sha256


def test_what_the_app_writes_is_what_an_import_takes(
    run: Path, tasks: TaskSet, tmp_path: Path
) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    rate(begin(), *[3, 5] * (tasks.items // 2))
    given = rows(run)
    hidden = (
        "iteration",
        "sample_id",
        "prompt_id",
        "order",
        "order_seed",
        "inclusion_prob",
        "role",
        "repeats",
        "tasks",
        "file_sha256",
        "imported_at",
        "source",
    )
    back = tmp_path / "back.jsonl"
    back.write_text(
        "".join(json.dumps({k: v for k, v in r.items() if k not in hidden}) + "\n" for r in given)
    )
    assert import_ratings(other, back).accepted == len(given)
    beside = ("source", "file_sha256", "imported_at")
    here, there = (
        [{k: v for k, v in r.items() if k not in beside} for r in rows(folder)]
        for folder in (run, other)
    )
    assert here == there
    assert list(load_ratings(run).columns) == list(load_ratings(other).columns)


def test_the_instructions_are_shown_once_and_noted_with_their_digest(
    run: Path, tasks: TaskSet
) -> None:
    at = open_page("ana")
    assert at.container(key="rating_instructions").text[0].value == ASK["instructions"]
    assert not has(at, "score_0")
    click(at, "rating_begin")
    (note,) = in_app.read_notes(run)
    assert (note["what"], note["rater_id"], note["sha256"]) == (
        "read",
        "ana",
        tasks.instructions_sha256,
    )
    assert has(open_page("ana"), "score_0")
    assert not has(open_page("ben"), "score_0")


def test_an_answer_is_taken_back_and_the_log_keeps_it(run: Path, tasks: TaskSet) -> None:
    at = rate(begin(), 4)
    second = shown(at)
    rate(at, 6)
    click(at, "undo")
    assert shown(at) == second
    assert [r["score"] for r in rows(run)] == [4]
    taken = [n for n in in_app.read_notes(run) if n["what"] == "taken_back"]
    assert [n["rating"]["score"] for n in taken] == [6]
    rate(at, 2)
    assert [r["score"] for r in rows(run)] == [4, 2]
    click(click(at, "undo"), "undo")
    assert rows(run) == []
    assert button(at, "undo").disabled


def test_a_skipped_text_comes_at_the_end(run: Path, tasks: TaskSet) -> None:
    at = begin()
    first = shown(at)
    click(at, "skip")
    assert "1 skipped" in status(at)
    rate(at, *[4] * (tasks.items - 1))
    assert any("skipped 1 texts" in i.value for i in at.info)
    click(at, "unskip")
    assert shown(at) == first
    rate(at, 5)
    assert at.success[0].value.startswith("Hand in")
    assert len(rows(run)) == tasks.items


def test_a_skip_is_taken_back_before_the_rating_that_came_before_it(
    run: Path, tasks: TaskSet
) -> None:
    at = rate(begin(), 4)
    here = shown(at)
    click(click(at, "skip"), "undo")
    assert shown(at) == here
    assert len(rows(run)) == 1
    rate(click(at, "skip"), 3)
    click(at, "undo")
    assert len(rows(run)) == 1
    assert "1 skipped" in status(at)


def test_a_break_is_suggested_after_25(run: Path) -> None:
    draw_tasks(run, ITERATIONS, per_iteration=16, name="long", **ASK)
    at = rate(begin(), *[4] * 24)
    assert "break" not in status(at)
    assert "break" in status(rate(at, 4))
    assert "break" not in status(rate(at, 4))


# --- several raters


def test_two_raters_have_their_own_place_and_an_agreement(run: Path, tasks: TaskSet) -> None:
    one, two = begin("ana"), begin("ben")
    for k in range(10):
        rate(one, 1 + k % 7)
        rate(two, 1 + (k + k % 2) % 7)
    assert len(rows(run)) == 20
    assert "Ratings so far: ana 10, ben 10" in texts(two)
    assert any(
        t.startswith("Agreement so far: Krippendorff's alpha 0.") and "95% interval" in t
        for t in texts(two)
    )


def test_a_third_rater_gets_only_what_still_wants_ratings(run: Path, tasks: TaskSet) -> None:
    for rater in ("ana", "ben"):
        rate(begin(rater), *[4] * (tasks.items - (rater == "ben")))
    at = rate(begin("cleo"), 4)
    assert "1 of 1 rated" in status(at)


GIVE_ALL = """
import sys, time
from datetime import UTC, datetime
from reports.viewer.rating import desk
from restaudit.evidence.record import Run

run, rater = Run(sys.argv[1]), sys.argv[2]
opened = desk.open_set(run, "first")
print("ready", flush=True)
sys.stdin.readline()
for item in opened.shown:
    desk.answer(run.path, opened, item_id=item, rater=rater, score=4.0, started=datetime.now(UTC))
"""


def test_two_processes_at_once_lose_nothing(run: Path, tasks: TaskSet) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", GIVE_ALL, str(run), rater],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for rater in ("ana", "ben")
    ]
    for w in workers:
        assert w.stdout is not None
        assert w.stdout.readline() == "ready\n"
    for w in workers:
        assert w.stdin is not None
        w.stdin.write("go\n")
        w.stdin.flush()
    for w in workers:
        w.communicate(timeout=120)
        assert w.returncode == 0
    given = load_ratings(run)
    assert len(given) == 2 * tasks.items
    assert not given.duplicated(["item_id", "rater"]).any()


# --- results


def test_results_come_with_handing_in_and_close_the_set_for_that_rater(
    run: Path, tasks: TaskSet
) -> None:
    at = rate(begin(), *[1, 2, 3, 4, 5, 6, 7] * 2)
    assert not at.dataframe
    assert any("handing in is final" in t for t in texts(at))
    click(at, "rating_hand_in")
    table = at.dataframe[0].value
    assert list(table["iteration"]) == ["base", "G2·I2"]
    assert (table["low"] <= table["human"]).all()
    assert (table["human"] <= table["high"]).all()
    assert table["texts"].sum() == len([r for r in rows(run) if r["role"] == "sample"])
    assert any("Human score: PEOPLE" in t for t in texts(at))
    again = open_page("ana")
    assert again.dataframe
    assert not has(again, "score_0")
    assert not has(again, "undo")
    assert has(open_page("ben"), "rating_begin")
    (note,) = [n for n in in_app.read_notes(run) if n["what"] == "handed_in"]
    assert (note["rated"], note["left"]) == (14, tasks.items - 14)


def test_a_set_in_which_all_was_rated_has_the_plain_mean(run: Path) -> None:
    draw_tasks(run, ITERATIONS, per_iteration=1000, checks=0, name="all", **ASK)
    opened = desk.open_set(Run(run), "all")
    for k, item in enumerate(opened.shown):
        desk.answer(
            run, opened, item_id=item, rater="ana", score=1.0 + k % 7, started=datetime.now(UTC)
        )
    table = results.scores(Run(run), "all").set_index("iteration")
    given = load_ratings(run)
    for iteration in ITERATIONS:
        means = given[given["iteration"] == iteration].groupby("prompt_id")["score"].mean()
        assert table.loc[iteration, "human"] == pytest.approx(means.mean())
        assert table.loc[iteration, "low"] < means.mean() < table.loc[iteration, "high"]


def test_too_few_ratings_give_a_reason_and_no_number(run: Path, tasks: TaskSet) -> None:
    table = results.scores(Run(run), "first")
    assert table["human"].isna().all()
    assert set(table["why"]) == {"nobody rated a text of it yet"}
    at = click(rate(begin(), 4), "rating_hand_in")
    assert any("not known: nobody rated a text of it yet" in t for t in texts(at))


def test_what_was_handed_in_or_sealed_is_not_taken_back(run: Path, tasks: TaskSet) -> None:
    at = rate(begin(), 4)
    click(at, "rating_hand_in")
    opened = desk.open_set(Run(run), "first")
    now = desk.standing(opened, rows(run), in_app.read_notes(run), "ana")
    with pytest.raises(BadInput, match="handed this set in"):
        desk.undo(Run(run), opened, now, "ana", now.last)
    assert len(rows(run)) == 1


def test_a_rating_that_was_imported_is_not_taken_back_here(
    run: Path, tasks: TaskSet, tmp_path: Path
) -> None:
    row = json.loads(tasks.path.read_text().splitlines()[0])
    row |= {"rater_id": "ana", "score": 3, "submitted_at": datetime.now(UTC).isoformat()}
    (tmp_path / "one.jsonl").write_text(json.dumps(row) + "\n")
    import_ratings(run, tmp_path / "one.jsonl")
    at = begin()
    assert status(at).startswith("1 of")
    assert button(at, "undo").disabled
    with pytest.raises(BadInput, match="given in the app"):
        in_app.take_back(run, item_id=row["item_id"], rater="ana")
