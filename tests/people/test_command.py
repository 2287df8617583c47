"""`restaudit rate`: out, back, how far it has come; and what raters' repeats say about them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rated import ASK, TOOLS, native, rows_of, scores_for, write_rows
from typer.testing import CliRunner, Result

from restaudit.commands.cli import app
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from restaudit.people.rating import TaskSet, import_ratings, load_ratings, progress, task_sets
from restaudit.people.rating.asking import draw_arguments
from restaudit.people.rating.status import rater_progress
from restaudit.people.rating.tasks import items_of, read_key
from tests.recorded import finish_step


def rate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["rate", *map(str, arguments)])


@pytest.mark.parametrize("layout", sorted(TOOLS))
def test_out_and_back_in_one_go(run: Path, tmp_path: Path, layout: str) -> None:
    out = tmp_path / "tasks.out"
    result = rate(
        "export", run, "--n", 8, "--format", layout, "--out", out, "--instructions", "Judge it."
    )
    assert result.exit_code == 0, result.output
    assert "samples of g00/i00, g01/i02" in result.output
    assert f"wrote {out}" in result.output
    (tasks,) = task_sets(run)
    back = tmp_path / "back"
    back.write_bytes(
        TOOLS[layout](out.read_bytes().decode(), "r1", scores_for(tasks.path)).encode()
    )
    result = rate("import", run, back)
    assert result.exit_code == 0, result.output
    assert f"{tasks.items} ratings taken ({layout})" in result.output
    assert f"{tasks.name}: {tasks.items} of {tasks.items * 2} ratings are in" in result.output
    status = rate("status", run).output
    assert f"{tasks.items - tasks.checks} ratings; {tasks.checks} texts seen twice" in status


def test_the_same_command_exports_the_same_set(run: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert rate("export", run, "--n", 8, "--out", tmp_path / "a.jsonl").exit_code == 0
    assert len(task_sets(run)) == 1
    assert rate("export", run, "--n", 9, "--out", tmp_path / "b.jsonl").exit_code == 0
    assert len(task_sets(run)) == 2


def test_options_reach_the_draw(run: Path, tmp_path: Path) -> None:
    text = tmp_path / "instructions.md"
    text.write_text("Read this.\nThen rate.\n")
    result = rate(
        "export",
        run,
        "--iterations",
        "g01/i01",
        "--n",
        5,
        "--raters",
        3,
        "--dimension",
        "warmth",
        "--scale",
        "0-4",
        "--halves",
        "--checks",
        1,
        "--anchors",
        2,
        "--seed",
        11,
        "--name",
        "mine",
        "--instructions",
        text,
        "--out",
        tmp_path / "o.jsonl",
    )
    assert result.exit_code == 0, result.output
    (tasks,) = task_sets(run)
    assert (tasks.name, tasks.iterations, tasks.samples, tasks.checks, tasks.anchors) == (
        "mine",
        ("g01/i01",),
        5,
        1,
        2,
    )
    assert (tasks.raters, tasks.dimension, tasks.scale, tasks.halves) == (3, "warmth", (0, 4), True)
    assert rows_of(tasks.path)[0]["instructions"] == "Read this.\nThen rate."


def test_a_waiting_run_exports_what_it_waits_for(run: Path, tasks: TaskSet, tmp_path: Path) -> None:
    for path in (tasks.path, tasks.key):
        name = path.name.replace("first", "g01-i02")
        path.with_name(name).write_text(
            path.read_text().replace('"name": "first"', '"name": "g01-i02"')
        )
    finish_step(run, "g01/i02/wait")
    result = rate("export", run, "--out", tmp_path / "w.jsonl")
    assert result.output.startswith("g01-i02: ")
    assert len(task_sets(run)) == 2


def test_a_run_that_asks_in_stages_proposes_the_last_count(run: Path) -> None:
    record = Run(run)
    record.plan["config"]["human"] = {"kind": "people", "samples": [4, 8, 16]}
    assert draw_arguments(record, {})["per_iteration"] == 16


def test_a_bad_scale_and_a_folder_are_one_clear_message(run: Path, tmp_path: Path) -> None:
    result = rate("export", run, "--scale", "good")
    assert isinstance(result.exception, BadInput)
    assert "--scale good: expected the lowest and the highest score" in str(result.exception)
    result = rate("export", run, "--out", tmp_path)
    assert "is a folder; name a file" in str(result.exception)
    result = rate("status", tmp_path)
    assert "not a run folder" in str(result.exception)


def test_refused_rows_are_in_the_message(run: Path, tasks: TaskSet, tmp_path: Path) -> None:
    rows = [
        r | {"rater_id": "r1", "score": 9, "submitted_at": "2026-01-02T00:00:00Z"}
        for r in rows_of(tasks.path)
    ]
    result = rate("import", run, write_rows(tmp_path / "bad.jsonl", rows[:2]))
    assert isinstance(result.exception, BadInput)
    assert "row 2: score 9 is not on the scale" in str(result.exception)


def test_status_before_anything_was_drawn(run: Path) -> None:
    assert "no rating tasks were drawn; first: restaudit rate export" in rate("status", run).output


def test_export_without_a_place_writes_here(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert rate("export", run, "--n", 4, "--name", "x", "--format", "csv").exit_code == 0
    assert "x-csv.csv" in os.listdir()  # noqa: PTH208


# --- how far, and how steady


def test_progress_counts_each_rater_up_to_the_number_wanted(
    run: Path, tasks: TaskSet, tmp_path: Path
) -> None:
    text, scores = tasks.path.read_text(encoding="utf-8"), scores_for(tasks.path)
    for number in range(3):
        before = progress(run, "first")
        assert before.complete == (number == 2)
        assert before.missing == before.wanted - before.rated == tasks.items * max(2 - number, 0)
        path = tmp_path / f"{number}.jsonl"
        path.write_text(native(text, f"r{number}", scores), encoding="utf-8")
        import_ratings(run, path)
    assert progress(run, "first").rated == tasks.items * 2
    with pytest.raises(BadInput, match="no rating tasks named 'x'; there are: first"):
        progress(run, "x")


def test_a_steady_rater_and_a_careless_one_are_told_apart(
    run: Path, tasks: TaskSet, tmp_path: Path
) -> None:
    items = items_of(read_key(tasks.key.parent, "first"))
    steady = {i.item_id: float(1 + int(i.response_sha256, 16) % 7) for i in items}
    careless = steady | {i.item_id: 8 - steady[i.item_id] for i in items if i.repeats}
    flat = dict.fromkeys(steady, 4.0)
    text = tasks.path.read_text(encoding="utf-8")
    for name, scores in (("steady", steady), ("careless", careless), ("flat", flat)):
        (tmp_path / name).write_text(native(text, name, scores), encoding="utf-8")
        import_ratings(run, tmp_path / name)
    found = {r.rater: r for r in progress(run, "first").per_rater}
    assert found["steady"].consistency == 1
    assert found["careless"].consistency is not None
    assert found["careless"].consistency < 1
    assert found["flat"].consistency is None
    assert found["flat"].reason == "gave every text the same score"
    assert all(
        r.repeats == tasks.checks and r.ratings == tasks.items - tasks.checks
        for r in found.values()
    )
    assert load_ratings(run).query("check")["repeats"].notna().all()


def test_consistency_is_one_minus_the_difference_over_that_of_any_two_scores() -> None:
    # Scores 1, 3, 5: any two differ by (2 + 4 + 2) / 3 on average; the one pair differs by 1.
    one = rater_progress("r", {"a": 1.0, "b": 3.0, "c": 5.0, "a2": 2.0}, {"a2": "a"})
    assert one.mean_difference == 1
    assert one.consistency == pytest.approx(1 - 1 / (8 / 3))
    assert (one.ratings, one.repeats) == (3, 1)


def test_consistency_is_undefined_without_a_repeat_or_with_one_text() -> None:
    assert rater_progress("r", {"a": 1.0, "b": 2.0}, {"a2": "a"}).reason == "saw no text twice"
    assert rater_progress("r", {"a": 1.0, "a2": 2.0}, {"a2": "a"}).reason == "rated one text only"


def test_shuffled_scores_have_no_consistency_on_average() -> None:
    import random

    rng = random.Random(1)
    values = []
    for _ in range(400):
        scores = {f"i{k}": float(rng.randint(1, 7)) for k in range(40)}
        repeats = {f"r{k}": f"i{k}" for k in range(10)}
        scores |= {
            r: scores[rng.choice([i for i in repeats.values() if i != o])]
            for r, o in repeats.items()
        }
        values.append(rater_progress("r", scores, repeats).consistency or 0.0)
    assert abs(sum(values) / len(values)) < 0.05


def test_the_instructions_that_were_shown_are_the_ones_that_count(
    run: Path, tasks: TaskSet
) -> None:
    from restaudit.people.rating.tasks import sha256

    assert tasks.instructions_sha256 == sha256(str(ASK["instructions"]))
