"""Whatever is no person's blinded rating of this run's text is refused with its row, and nothing is
lost.
"""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from rated import RATED, TOOLS, filled, native, refused, returned, scores_for, write_rows

from restaudit.errors import BadInput
from restaudit.people.rating import (
    ImportReport,
    RatingsRefused,
    TaskSet,
    import_ratings,
    load_ratings,
)
from restaudit.people.rating.formats import detect
from restaudit.people.rating.tasks import items_of, read_key

LAYOUTS = sorted(TOOLS)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "item of no set": (
        {"item_id": "0" * 16},
        "item '0000000000000000' is in no set of rating tasks of this run",
    ),
    "neither id nor text": (
        {"item_id": None, "response": None, "response_sha256": None},
        "a response without an item_id is in no set",
    ),
    "another response": ({"response_sha256": "ab" * 32}, "response_sha256 is not that of item"),
    "a changed text": (
        {"response": "A better text.", "response_sha256": None},
        "is not the run's text of item",
    ),
    "older than the text": (
        {"submitted_at": "2025-12-31T23:59:59Z", "started_at": None},
        (
            "was submitted at 2025-12-31T23:59:59Z, before the text was recorded at "
            "2026-01-01T00:00:00Z"
        ),
    ),
    "in the future": ({"submitted_at": "2999-01-01T00:00:00Z"}, "which is in the future"),
    "no time": ({"submitted_at": None}, "has no time of submission"),
    "not a time": ({"submitted_at": "yesterday"}, "submitted_at 'yesterday' is not a time"),
    "done before begun": (
        {"started_at": "2026-01-03T00:00:00Z"},
        "was started at 2026-01-03T00:00:00Z, after",
    ),
    "iteration": ({"iteration": "g01/i01"}, "is not blinded: it carries iteration"),
    "model": ({"Model": "policy-2", "reward": 0.0}, "is not blinded: it carries Model, reward"),
    "sample": ({"sample_id": "g01/i01/p000/000"}, "is not blinded: it carries sample_id"),
    "blinded": ({"blinded": False}, "is not blinded: blinded is False"),
    "too high": ({"score": 8}, "score 8 is not on the scale; expected 1 to 7 in steps of 1"),
    "half": ({"score": 3.5}, "score 3.5 is not on the scale"),
    "word": ({"score": "good"}, "score 'good' is not one number"),
    "true": ({"score": True}, "score True is not one number"),
    "nan": ({"score": "nan"}, "score 'nan' is not one number"),
    "infinite": ({"score": "inf"}, "score 'inf' is not on the scale"),
    "other scale": ({"scale_max": 5}, "scale_max is 5; the scale of these tasks is 1 to 7"),
    "developer": (
        {"rater_is_developer": True},
        "rater 'r1' is flagged as a developer of the model",
    ),
    "developer by role": ({"rater_role": "Developer"}, "flagged as a developer"),
    "model rater": ({"rater_kind": "llm"}, "is no person's rating: rater_kind is 'llm'"),
    "model source": ({"source": "prediction"}, "is no person's rating: source is 'prediction'"),
    "instructions": (
        {"instructions_sha256": "00"},
        "instructions_sha256 is not that of the instructions",
    ),
    "dimension": ({"dimension": "length"}, "rates the dimension 'length'; 'quality' was asked for"),
    "run": ({"run_id": "r2"}, "belongs to run 'r2', this one is 'r1'"),
    "no rater": ({"rater_id": " "}, "has no rater"),
    "long name": ({"rater_id": "r" * 300}, "name has 300 characters"),
}


@pytest.mark.parametrize("what", WRONG)
def test_one_wrong_row_refuses_the_file_and_is_named(run: Path, tasks: TaskSet, what: str) -> None:
    change, message = WRONG[what]
    rows = filled(run, tasks)
    rows[4] |= change
    problems = refused(run, write_rows(run.parent / "wrong.jsonl", rows))
    assert len(problems) == 1
    assert problems[0].startswith("row 5: ")
    assert message in problems[0]
    assert not (run / "human" / "ratings.jsonl").exists()


def test_every_wrong_row_is_counted_and_the_message_stays_readable(
    run: Path, tasks: TaskSet
) -> None:
    rows = [r | {"score": 99} for r in filled(run, tasks)]
    with pytest.raises(RatingsRefused) as caught:
        import_ratings(run, write_rows(run.parent / "wrong.jsonl", rows))
    assert len(caught.value.problems) == tasks.items
    assert str(caught.value).endswith(f"and {tasks.items - 20} more")


def test_a_rater_rates_an_item_once_in_a_file(run: Path, tasks: TaskSet) -> None:
    rows = filled(run, tasks)
    (problem,) = refused(run, write_rows(run.parent / "twice.jsonl", [*rows, rows[2]]))
    assert (
        problem
        == f"row {len(rows) + 1}: rater 'r1' rated item {rows[2]['item_id']} in row 3 already"
    )


def test_a_rater_rates_an_item_once_in_a_run(run: Path, tasks: TaskSet) -> None:
    rows = filled(run, tasks)
    path = write_rows(run.parent / "once.jsonl", rows[:3])
    import_ratings(run, path)
    with pytest.raises(
        RatingsRefused, match=r"row 1: rater 'r1' rated item .* in an earlier import.*--skip-known"
    ):
        import_ratings(run, path)
    everything = write_rows(run.parent / "all.jsonl", rows)
    report = import_ratings(run, everything, skip_known=True)
    assert (report.known, report.accepted) == (3, len(rows) - 3)
    rows[0]["score"] = 7 if rows[0]["score"] != 7 else 1
    with pytest.raises(RatingsRefused, match="in an earlier import with score"):
        import_ratings(run, write_rows(everything, rows[:1]), skip_known=True)
    assert len(load_ratings(run)) == len(rows)


def test_raters_the_run_declares_are_refused_in_every_layout(run: Path, tasks: TaskSet) -> None:
    (run / "human" / "raters.json").write_text('{"r1": {"developer": true}, "r2": {"model": true}}')
    assert (
        "rater 'r1' is flagged as a developer" in refused(run, returned(run, tasks, "argilla"))[0]
    )
    assert (
        "human/raters.json says this rater is a model"
        in refused(run, returned(run, tasks, "csv", "r2"))[0]
    )
    (run / "human" / "raters.json").write_text('{"r1": {"boss": true}}')
    with pytest.raises(BadInput, match=r"raters\.json: expected"):
        import_ratings(run, returned(run, tasks, "csv"))


def test_addresses_become_pseudonyms_that_stay_the_same(run: Path, tasks: TaskSet) -> None:
    rows = filled(run, tasks, "ana@example.org")
    report = import_ratings(run, write_rows(run.parent / "a.jsonl", rows[:5]))
    assert report.notes == ("1 e-mail address(es) stored as pseudonyms",)
    import_ratings(run, write_rows(run.parent / "b.jsonl", rows[5:]))
    assert load_ratings(run)["rater"].nunique() == 1
    assert "ana" not in (run / "human" / "ratings.jsonl").read_text()


def test_a_rating_without_item_id_is_found_by_its_text(run: Path, tasks: TaskSet) -> None:
    repeated = {i.repeats for i in items_of(read_key(tasks.key.parent, "first")) if i.repeats}
    repeated |= {i.item_id for i in items_of(read_key(tasks.key.parent, "first")) if i.repeats}
    row = next(r for r in filled(run, tasks) if r["item_id"] not in repeated)
    path = write_rows(
        run.parent / "by_text.jsonl", [row | {"item_id": None, "response_sha256": None}]
    )
    assert import_ratings(run, path).accepted == 1
    assert load_ratings(run)["item_id"].tolist() == [row["item_id"]]


def test_times_without_a_zone_are_utc_and_counted(run: Path, tasks: TaskSet) -> None:
    report = import_ratings(run, returned(run, tasks, "csv"))
    assert f"{tasks.items} time(s) name no zone and were read as UTC" in report.notes
    assert set(load_ratings(run)["submitted_at"]) == {RATED}


# --- files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("hello", "is like none of the known formats"),
        ("[1]", "row 1: expected a JSON object, found int"),
        ('{"item_id": 1', "row 1: not valid JSON"),
        ("[" * 100_000, "nested more than 64 levels deep"),
        ('{"item_id": 1, "item_id": 2}', "row 1: the key 'item_id' comes twice"),
        ('{"a": 1}', "is like none of the known formats; say which: --format"),
        ("item_id,score,score\n1,2,3\n", "row 1: the column 'score' is there twice"),
        ("item_id,score\n1,2,3\n", "row 2: 3 cells; the header has 2 columns"),
        ("item_id,score\n", "it holds no rating by a person; it holds: nothing"),
    ],
)
def test_a_file_that_is_none_is_one_clear_message(
    run: Path, tasks: TaskSet, text: str, message: str
) -> None:
    path = run.parent / "bad"
    path.write_text(text)
    with pytest.raises(BadInput, match="(?s)bad: .*" + message.replace("[", r"\[")):
        import_ratings(run, path)


def test_unreadable_files_say_why(run: Path, tasks: TaskSet) -> None:
    path = run.parent / "latin.csv"
    path.write_bytes("item_id,score\né,1".encode("latin-1"))
    with pytest.raises(BadInput, match="not UTF-8 at byte 14"):
        import_ratings(run, path)
    with pytest.raises(BadInput, match="there is no such file"):
        import_ratings(run, run.parent / "none")
    # Whoever names a link means what it leads to; what waits or never ends is refused.
    (run.parent / "link").symlink_to(path)
    with pytest.raises(BadInput, match="link: not UTF-8 at byte 14"):
        import_ratings(run, run.parent / "link")
    (run.parent / "zeros").symlink_to("/dev/zero")
    with pytest.raises(BadInput, match="zeros: is a device; expected a file"):
        import_ratings(run, run.parent / "zeros")
    with pytest.raises(BadInput, match="format 'excel': expected one of native, label-studio"):
        import_ratings(run, returned(run, tasks, "csv"), format="excel")


def test_nothing_can_be_imported_before_something_was_drawn(run: Path) -> None:
    path = write_rows(run.parent / "early.jsonl", [{"item_id": "x", "rater_id": "r", "score": 1}])
    with pytest.raises(BadInput, match="no rating tasks were drawn; first: restaudit rate export"):
        import_ratings(run, path)
    assert load_ratings(run).empty


def test_a_key_that_does_not_fit_the_record_is_refused(run: Path, tasks: TaskSet) -> None:
    path = returned(run, tasks, "native")
    key = json.loads(tasks.key.read_text())
    key["items"][0]["sample_id"] = key["items"][1]["sample_id"]
    key["items"][0]["iteration"] = key["items"][1]["iteration"]
    tasks.key.write_text(json.dumps(key))
    with pytest.raises(BadInput, match=r"is not what .* of the run holds"):
        import_ratings(run, path)


def test_a_damaged_store_is_named_with_its_line(run: Path, tasks: TaskSet) -> None:
    import_ratings(run, returned(run, tasks, "native"))
    store = run / "human" / "ratings.jsonl"
    store.write_text(store.read_text() + '{"score": 1}\n')
    with pytest.raises(BadInput, match=rf"line {tasks.items + 1}: not a rating"):
        load_ratings(run)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_is_found_from_the_file(run: Path, tasks: TaskSet, layout: str) -> None:
    assert detect(returned(run, tasks, layout).read_bytes().decode("utf-8-sig")).name == layout


def _import(run: Path, path: Path) -> ImportReport:
    return import_ratings(run, path)


def test_imports_at_the_same_time_lose_nothing(run: Path, tasks: TaskSet) -> None:
    raters = [f"r{k}" for k in range(6)]
    text = tasks.path.read_text(encoding="utf-8")
    files = [run.parent / f"{r}.jsonl" for r in raters]
    for rater, path in zip(raters, files, strict=True):
        path.write_text(native(text, rater, scores_for(tasks.path)), encoding="utf-8")
    with multiprocessing.get_context("fork").Pool(3) as pool:
        reports = pool.starmap(_import, [(run, f) for f in files], chunksize=1)
    assert [r.accepted for r in reports] == [tasks.items] * 6
    got = load_ratings(run)
    assert len(got) == 6 * tasks.items
    assert set(got["rater"]) == set(raters)
    assert sorted(p.name for p in (run / "human").iterdir()) == [
        ".lock",
        "key-first.json",
        "ratings.jsonl",
        "tasks-first.jsonl",
    ]
