"""Ratings come back from every tool with every score on its sample, and each tool's own ways are
known.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rated import ASK, TOOLS, build, refused, returned, rows_of, scores_for, write_rows

from restaudit.errors import BadInput
from restaudit.files.spreadsheet import guard, unguard
from restaudit.people.rating import (
    RatingsRefused,
    TaskSet,
    draw_tasks,
    export_tasks,
    import_ratings,
    load_ratings,
    progress,
)
from restaudit.people.rating.checks import same_text
from restaudit.people.rating.formats import FORMATS, detect, potato
from restaudit.people.rating.sheet import Sheet, ShownText
from restaudit.people.rating.tasks import items_of, read_key, sha256

LAYOUTS = sorted(TOOLS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_comes_back_with_every_score_on_its_sample(
    run: Path, tasks: TaskSet, layout: str
) -> None:
    report = import_ratings(run, returned(run, tasks, layout))
    assert report.format == layout
    assert (report.accepted, report.checks, report.skipped) == (tasks.items, tasks.checks, {})
    got = load_ratings(run).set_index("item_id")
    assert got["score"].to_dict() == scores_for(tasks.path)
    key = {i.item_id: i for i in items_of(read_key(tasks.key.parent, "first"))}
    assert got["sample_id"].to_dict() == {i: k.sample_id for i, k in key.items()}
    assert got["iteration"].to_dict() == {i: k.iteration for i, k in key.items()}
    assert got["check"].sum() == tasks.checks
    assert got["inclusion_prob"].isna().equals(got["check"])
    assert set(got["source"]) == {layout}
    assert not got["anchor"].any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_nobody_rated_yet_is_counted_and_not_taken(
    run: Path, tasks: TaskSet, layout: str
) -> None:
    report = import_ratings(run, returned(run, tasks, layout, keep=5))
    assert report.accepted == 5
    assert sum(report.skipped.values()) == tasks.items - 5
    assert progress(run, "first").missing == tasks.items * 2 - 5


NASTY = [
    '=cmd|"/c calc"!A1',
    "'=1+1",
    "''",
    "+1",
    " -2",
    "\t@x",
    "\r\n",
    "a\r\nb\rc\nd",
    "",
    " ",
    "\u2028x\u2029\x85y",
    "\ufeff",
    'a;b,"c"\td',
    "<b>&amp;</b>",
    "[{}]",
    "\U0001f600\u202e",
]
TEXT = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(NASTY)


@given(texts=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6))
def test_any_text_survives_every_layout(texts: list[tuple[str, str]]) -> None:
    shown = tuple(
        ShownText(f"{k:016x}", prompt, text, sha256(text)) for k, (prompt, text) in enumerate(texts)
    )
    sheet = Sheet("run", "quality", (1.0, 2.0, 3.0), texts[0][0], sha256(texts[0][0]), 2, shown)
    scores = {r.item_id: float(1 + k % 3) for k, r in enumerate(shown)}
    for layout, tool in TOOLS.items():
        form = FORMATS[layout]
        back = tool(form.write(sheet), "r1", scores).removeprefix("\ufeff")
        assert detect(back) is form
        votes = form.read(back).votes
        assert {v.item_id: float(v.score) for v in votes} == scores
        if layout != "potato":  # gives back the id alone
            assert all(
                same_text(str(v.response), r.response) for v, r in zip(votes, shown, strict=True)
            )
            assert [v.response_sha256 for v in votes] == [r.response_sha256 for r in shown]


def test_nasty_texts_of_a_run_are_rated_in_every_layout(tmp_path: Path) -> None:
    run = build(tmp_path / "run", NASTY, prompts=len(NASTY) // 2)
    tasks = draw_tasks(run, ["g00/i00"], per_iteration=len(NASTY), name="first", **ASK)
    assert {r["response"] for r in rows_of(tasks.path)} == set(NASTY)
    for number, layout in enumerate(LAYOUTS):
        assert (
            import_ratings(run, returned(run, tasks, layout, f"r{number}")).accepted == tasks.items
        )
    got = load_ratings(run)
    assert (got.groupby("item_id")["score"].nunique() == 1).all()
    assert (got.groupby("item_id")["rater"].nunique() == len(LAYOUTS)).all()


@given(TEXT)
def test_the_guard_of_a_cell_is_undone_and_leaves_no_formula(text: str) -> None:
    cell = guard(text)
    assert unguard(cell) == text
    assert cell.strip(' \t\r\n"“”')[:1] not in {"=", "+", "-", "@"}


# --- each tool's own ways


def back(run: Path, tasks: TaskSet, layout: str, change: Callable[[Any], None]) -> Path:
    """A tool's file with its first record changed."""
    path = returned(run, tasks, layout)
    text = path.read_text(encoding="utf-8")
    if text.startswith("["):
        records = json.loads(text)
        change(records[0])
        path.write_text(json.dumps(records), encoding="utf-8")
    else:
        records = rows_of(path)
        change(records[0])
        write_rows(path, records)
    return path


def test_label_studio_predictions_and_skips_are_no_votes(run: Path, tasks: TaskSet) -> None:
    def change(task: dict[str, Any]) -> None:
        task["predictions"] = [{"model_version": "rm", "result": task["annotations"][0]["result"]}]
        task["annotations"][0]["was_cancelled"] = True

    report = import_ratings(run, back(run, tasks, "label-studio", change))
    assert report.accepted == tasks.items - 1
    assert report.skipped == {"model prediction": 1, "skipped by the rater (was_cancelled)": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"parent_prediction": 12},
            "row 1, annotation 1: is no person's rating: it was made from a model's prediction",
        ),
        (
            {"origin": "prediction"},
            "row 1, annotation 1: is no person's rating: it came from a model's prediction",
        ),
        ({"origin": "prediction-changed"}, "origin 'prediction-changed'"),
    ],
)
def test_label_studio_annotations_made_of_predictions_are_refused(
    run: Path, tasks: TaskSet, change: dict[str, Any], message: str
) -> None:
    def apply(task: dict[str, Any]) -> None:
        annotation = task["annotations"][0]
        if "origin" in change:
            annotation["result"][0] |= change
        else:
            annotation |= change

    (problem,) = refused(run, back(run, tasks, "label-studio", apply))
    assert message in problem


def test_label_studio_stars_and_numbers_are_read_and_pairs_are_not(
    run: Path, tasks: TaskSet
) -> None:
    def stars(task: dict[str, Any]) -> None:
        task["annotations"][0]["result"][0] |= {"type": "rating", "value": {"rating": 4}}

    import_ratings(run, back(run, tasks, "label-studio", stars))
    assert load_ratings(run)["score"].iloc[0] == 4

    def pair(task: dict[str, Any]) -> None:
        task["annotations"][0] |= {"completed_by": 5}
        task["annotations"][0]["result"][0] |= {"type": "pairwise", "value": {"selected": "left"}}

    with pytest.raises(RatingsRefused, match="score 'left' is not one number"):
        import_ratings(run, back(run, tasks, "label-studio", pair))


def test_argilla_suggestions_and_drafts_are_no_votes(run: Path, tasks: TaskSet) -> None:
    def change(record: dict[str, Any]) -> None:
        record |= {
            "score.suggestion": 3,
            "score.suggestion.agent": "rm",
            "score.responses.status": ["draft"],
        }

    report = import_ratings(run, back(run, tasks, "argilla", change))
    assert report.skipped == {"model suggestion": 1, "response that is not submitted (draft)": 1}


def test_argilla_responses_of_the_suggesting_agent_are_refused(run: Path, tasks: TaskSet) -> None:
    def change(record: dict[str, Any]) -> None:
        record |= {"score.suggestion": 3, "score.suggestion.agent": "r1"}

    (problem,) = refused(run, back(run, tasks, "argilla", change))
    assert (
        problem == "row 1, response 1: is no person's rating: its user is the agent of a suggestion"
    )


def test_argilla_nested_records_need_a_status(run: Path, tasks: TaskSet) -> None:
    exported = json.loads(
        (export_tasks(run, "first", format="argilla", out=run.parent / "a.json")[0]).read_text()
    )
    exported[0]["responses"] = {"score": [{"value": 5, "user_id": "u1"}]}
    path = run.parent / "nested.json"
    path.write_text(json.dumps(exported))
    with pytest.raises(BadInput, match=r"row 1, response 1: has no status.*flatten=True"):
        import_ratings(run, path)
    exported[0]["responses"]["score"][0]["status"] = "submitted"
    path.write_text(json.dumps(exported))
    assert import_ratings(run, path).accepted == 1


def test_argilla_columns_by_name_are_read_too(run: Path, tasks: TaskSet) -> None:
    records = json.loads(returned(run, tasks, "argilla").read_text())
    path = run.parent / "columns.json"
    path.write_text(json.dumps({k: [r[k] for r in records] for k in records[0]}))
    assert import_ratings(run, path).accepted == tasks.items


def test_a_file_of_suggestions_alone_holds_no_rating(run: Path, tasks: TaskSet) -> None:
    path = run.parent / "s.json"
    path.write_text(
        json.dumps(
            [{"id": "x", "fields": {}, "responses": {}, "suggestions": {"score": {"value": 4}}}]
        )
    )
    with pytest.raises(
        BadInput, match="holds no rating by a person; it holds: 1 x model suggestion"
    ):
        import_ratings(run, path)


@pytest.mark.parametrize("answer", ["ignore", "reject"])
def test_prodigy_ignore_and_reject_are_no_votes(run: Path, tasks: TaskSet, answer: str) -> None:
    report = import_ratings(run, back(run, tasks, "prodigy", lambda r: r.update(answer=answer)))
    assert report.skipped == {f"answer {answer!r}": 1}


def test_prodigy_rows_with_two_choices_are_refused(run: Path, tasks: TaskSet) -> None:
    (problem,) = refused(run, back(run, tasks, "prodigy", lambda r: r.update(accept=["3", "4"])))
    assert problem.startswith("row 1: score ['3', '4'] is not one number")


@pytest.mark.parametrize("origin", [{"kind": "llm", "model": "x"}, {"kind": "tool"}, "garbled"])
def test_potato_machine_annotators_are_refused(run: Path, tasks: TaskSet, origin: Any) -> None:
    (problem,) = refused(
        run, back(run, tasks, "potato", lambda r: r.update(annotator_origin=origin))
    )
    assert "row 1: is no person's rating: potato says its annotator is a machine" in problem


def test_potato_user_state_tables_and_likert_labels_are_read(run: Path, tasks: TaskSet) -> None:
    scores = scores_for(tasks.path)
    state = {
        "user_id": "ana",
        "instance_id_to_label_to_value": {
            i: [[{"schema": "score", "name": f"scale_{s:g}"}, f"{s:g}"]] for i, s in scores.items()
        },
        "instance_id_to_behavioral_data": {
            i: {"annotation_changes": [{"timestamp": 1767348000.5}]} for i in scores
        },
    }
    path = run.parent / "user_state.json"
    path.write_text(json.dumps(state, indent=2))
    assert import_ratings(run, path).untimed == 0
    table = pd.DataFrame({"instance_id": list(scores), "user_id": "ben"})
    for label in range(1, 8):
        table[f"score.{label}"] = ["true" if s == label else "" for s in scores.values()]
    table.to_csv(run.parent / "annotations.tsv", sep="\t", index=False)
    assert import_ratings(run, run.parent / "annotations.tsv").format == "potato"
    got = load_ratings(run)
    assert all(g.set_index("item_id")["score"].to_dict() == scores for _, g in got.groupby("rater"))
    assert set(got["rater"]) == {"ana", "ben"}


def test_potato_labels_that_contradict_their_value_are_not_guessed() -> None:
    row = {"instance_id": "i", "user_id": "u", "labels": {"score": {"scale_4": "5"}}}
    assert potato.read(json.dumps(row)).votes[0].score == ["scale_4", "5"]


def test_old_potato_files_name_no_rater_and_take_one_from_the_command(
    run: Path, tasks: TaskSet
) -> None:
    rows = [
        {"id": i, "displayed_text": "…", "label_annotations": {"score": {"scale_3": "3"}}}
        for i in scores_for(tasks.path)
    ]
    path = write_rows(run.parent / "annotated_instances.jsonl", rows)
    assert (
        "row 1: has no rater; add one, or name the file's rater with --rater"
        in refused(run, path)[0]
    )
    assert import_ratings(run, path, rater="cy").per_rater[0].rater == "cy"
