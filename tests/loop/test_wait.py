"""A run whose human scores are people's waits for them, goes on when they are in, and seals what it
used.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.errors import BadInput, Exit, VerificationFailed, Waiting
from restaudit.evidence.record import BASE, RATINGS, Run, read_table
from restaudit.evidence.verify import verify
from restaudit.loop import waiting
from restaudit.loop.running import resume, start
from restaudit.people.waiting import tasks_name, what_is_missing
from tests.loop.conftest import make_job_folder, own_copy, tiny_raw
from tests.loop.raters import PEOPLE, opinion, rate

LOOKS = ("g01/i01", "g01/i02")


SILENT = Reporter(quiet=True)


def rated(run: Path, iteration: str) -> None:
    """Rate one look and resume: the run then waits at the next look, or is done."""
    rate(run, tasks_name(iteration))
    if iteration == LOOKS[-1]:
        resume(run, SILENT)
    else:
        with pytest.raises(Waiting):
            resume(run, SILENT)


@pytest.fixture(scope="module")
def config(tiny_policy):
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=2)
    raw["human"] = PEOPLE
    return parse(raw)


@pytest.fixture(scope="module")
def recorded(config, tmp_path_factory):
    """A folder with three states of one run: `asked` waits at its first look, `rated` at its
    second, `done` is done.
    """
    with pytest.MonkeyPatch.context() as patch:
        folder = make_job_folder(tmp_path_factory.mktemp("people"), patch)
        with pytest.raises(Waiting):
            start(config, folder / "asked", SILENT)
        own_copy(folder / "asked", folder / "rated")
        rated(folder / "rated", LOOKS[0])
        own_copy(folder / "rated", folder / "done")
        rated(folder / "done", LOOKS[1])
        yield folder


@pytest.fixture
def asked(recorded, tmp_path):
    """A run that stopped at its first look, nothing rated yet."""
    return own_copy(recorded / "asked", tmp_path / "run")


@pytest.fixture
def done(recorded):
    """A run whose two looks were rated; read it only."""
    return Run(recorded / "done")


def test_the_run_stops_before_measuring_and_says_what_it_needs(asked):
    with pytest.raises(Waiting) as stop:
        resume(asked, SILENT)
    assert stop.value.exit_code is Exit.WAITING
    run = Run(asked)
    assert run.state == "waiting"
    assert [e.step for e in run.events][-2:] == ["g01/i01/samples", "g01/i01/wait"]
    assert not (run.path / "g01/i01/measurements.json").exists()
    # 10 samples of the base policy and 10 of the first iteration, a tenth of them twice, two
    # raters.
    assert "44 wanted (22 texts, 2 rater(s) each), 0 are in, 44 are missing" in str(stop.value)
    for line in (
        "human/tasks-g01-i01.jsonl",
        "restaudit rate export",
        "restaudit rate import",
        "restaudit resume",
    ):
        assert line in str(stop.value)
    assert not verify(run.path).finished


def test_resume_before_the_ratings_are_in_says_what_is_missing_and_changes_nothing(asked):
    before = (asked / "ledger.jsonl").read_bytes()
    with pytest.raises(Waiting, match="0 are in, 44 are missing"):
        resume(asked, SILENT)
    rate(asked, "g01-i01", leave_out=5)
    with pytest.raises(Waiting, match="39 are in, 5 are missing"):
        resume(asked, SILENT)
    assert (asked / "ledger.jsonl").read_bytes() == before
    assert Run(asked).state == "waiting"


def test_lost_task_files_are_written_again_as_they_were(asked):
    files = {name: (asked / "human" / name) for name in ("tasks-g01-i01.jsonl", "key-g01-i01.json")}
    was = {name: path.read_bytes() for name, path in files.items()}
    for path in files.values():
        path.unlink()
    assert "writes them again" in str(what_is_missing(Run(asked)))
    with pytest.raises(Waiting):
        resume(asked, SILENT)
    assert {name: path.read_bytes() for name, path in files.items()} == was


def test_when_all_is_rated_the_run_goes_on_to_its_end_and_verifies(done):
    assert done.state == "done"
    assert [e.step for e in done.events] == done.plan["steps"]
    report = verify(done.path)
    assert report.finished
    assert report.decisions == 2


def test_a_run_that_got_the_same_ratings_without_stopping_ends_with_the_same_digests(
    done, config, recorded, monkeypatch
):
    check = waiting.check_ratings

    def rated_meanwhile(record: Run) -> None:
        rate(record.path, tasks_name(record.events[-1].step.removesuffix("/wait")))
        check(record)

    monkeypatch.setattr(waiting, "check_ratings", rated_meanwhile)
    start(config, recorded / "whole", SILENT)
    whole = Run(recorded / "whole")
    for a, b in zip(done.events, whole.events, strict=True):
        assert (a.step, a.outputs, a.content) == (b.step, b.outputs, b.content)
    assert done.digest == whole.digest


def test_the_base_policy_is_rated_with_the_first_iteration(done):
    base = {m.name: m for m in done.measurements(BASE)}
    assert base["divergence.human"].value is None
    assert base["divergence.human"].reason.endswith(waiting.TOGETHER)
    assert base["divergence.reward"].value is not None
    assert waiting.TOGETHER not in str(
        base["bias.human_gap"].reason
    )  # families are not drawn, so it never gets one
    for iteration in LOOKS:
        now = {m.name: m for m in done.measurements(iteration)}
        assert now["divergence.human"].value is not None
        assert now["divergence.human"].baseline is not None
        assert now["divergence.human_change"].value is not None
        assert now["divergence.human"].detail["human_label"] == "PEOPLE"
        assert now["divergence.human"].detail["rated"] == 10


def test_a_samples_human_score_is_the_mean_of_its_raters_and_the_others_have_none(done):
    for iteration in (BASE, *LOOKS):
        rows = done.audit(iteration)
        rated = rows[rows["human"].notna()]
        assert len(rated) == 10 < len(rows)
        expected = [(opinion(t, "ann") + opinion(t, "bo")) / 2 for t in rated["text"]]
        assert rated["human"].tolist() == expected
        assert np.allclose(rated["inclusion"], 10 / rows["family"].isna().sum())
        assert list(done.audit(iteration, ["human", "text"]).columns) == ["human", "text"]
        assert read_table(done.path, f"{iteration}/audit.parquet", ("human",))["human"].isna().all()


def test_later_looks_rate_a_few_base_samples_again_and_do_not_let_them_enter_the_score(done):
    first, second = (done.look_ratings(i) for i in LOOKS)
    assert first["iteration"].value_counts().index.isin([BASE, LOOKS[0]]).all()
    assert not first["anchor"].any()
    anchors = second[second["anchor"]]
    assert anchors["sample_id"].nunique() == 3
    assert set(anchors["sample_id"]) <= set(first.loc[first["iteration"] == BASE, "sample_id"])
    assert (anchors["iteration"] == BASE).all()
    assert (second.loc[~second["anchor"], "iteration"] == LOOKS[1]).all()
    assert first["check"].sum() == 4
    assert set(first["look"]) == {1}
    assert set(second["look"]) == {2}


def test_what_the_probes_read_has_a_name_for_each_item_that_does_not_depend_on_the_run(
    done, tmp_path
):
    (known,) = waiting.seal_ratings(done, LOOKS[1], tmp_path)
    assert not known.duplicated(["item_id", "rater"]).any()
    assert set(known["look"]) == {1, 2}
    assert (known.loc[known["look"] == 1, "iteration"] == BASE).all()
    assert known["submitted_at"].notna().all()
    assert set(known["item_id"].str.replace(r" at look \d(, again)?$", "", regex=True)) == set(
        known["sample_id"]
    )


def test_what_was_asked_is_in_the_record_without_names_that_differ_between_runs(done):
    asked = read_table(done.path, "g01/i01/asked.parquet", ("sample_id", "role", "inclusion"))
    assert asked["role"].value_counts().to_dict() == {"sample": 20, "check": 2}
    assert "item_id" not in asked.columns


@pytest.mark.parametrize("file", ["ratings.parquet", "rated_at.parquet", "asked.parquet"])
def test_a_rating_edited_after_sealing_is_found(recorded, tmp_path, file):
    run = own_copy(recorded / "rated", tmp_path / "run")
    verify(run)
    path = run / "g01/i01" / file
    table = pd.read_parquet(path)
    if "score" in table:
        table.loc[0, "score"] = 8 - table.loc[0, "score"]
    table.iloc[::-1].to_parquet(path, index=False)
    with pytest.raises(VerificationFailed, match=f"^g01/i01/{file}: changed after step"):
        verify(run)


def test_ratings_that_come_after_sealing_change_nothing(recorded, tmp_path):
    run = own_copy(recorded / "rated", tmp_path / "run")
    sealed = Run(run).look_ratings("g01/i01")
    rate(run, "g01-i01", raters=("late",))
    pd.testing.assert_frame_equal(sealed, Run(run).look_ratings("g01/i01"))
    verify(run)


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda rows: rows[0].update(score=70), r"is not on the scale \(1 to 7\)"),
        (
            lambda rows: rows[0].update(item_id="0123456789abcdef"),
            "is of an item that was not asked for",
        ),
        (lambda rows: rows.append(rows[0]), "is that rater's second one of an item"),
    ],
)
def test_ratings_edited_past_the_import_are_refused_when_they_are_sealed(asked, edit, problem):
    rate(asked, "g01-i01")
    rate(asked, "g01-i01", raters=("cy",))  # so that none is missing whatever the edit
    path = asked / "human/ratings.jsonl"
    rows = [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines()]
    edit(rows)
    path.write_text("".join(f"{json.dumps(r)}\n" for r in rows), encoding="utf-8")
    with pytest.raises(BadInput, match=problem):
        resume(asked, SILENT)
    assert Run(asked).state == "waiting"


def test_a_rating_moved_to_another_sample_in_the_file_stays_with_the_one_that_was_shown(asked):
    rate(asked, "g01-i01")
    path = asked / "human/ratings.jsonl"
    rows = [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines()]
    moved = [
        r | {"iteration": BASE, "sample_id": rows[0]["sample_id"], "role": "sample"} for r in rows
    ]
    path.write_text("".join(f"{json.dumps(r)}\n" for r in moved), encoding="utf-8")
    with pytest.raises(Waiting):
        resume(asked, SILENT)
    rows = Run(asked).audit(LOOKS[0])
    rated = rows[rows["human"].notna()]
    assert rated["human"].tolist() == [
        (opinion(t, "ann") + opinion(t, "bo")) / 2 for t in rated["text"]
    ]


def test_a_key_changed_while_people_rate_is_refused(asked):
    rate(asked, "g01-i01")
    path = asked / "human/key-g01-i01.json"
    key = json.loads(path.read_text(encoding="utf-8"))
    key["items"][0]["iteration"], key["items"][1]["iteration"] = LOOKS[0], BASE
    path.write_text(json.dumps(key), encoding="utf-8")
    with pytest.raises(BadInput, match=r"key-g01-i01\.json"):
        resume(asked, SILENT)


def test_best_of_n_waits_too(tiny_policy, recorded, tmp_path):
    raw = tiny_raw(tiny_policy)
    raw["loop"] = {
        "method": "best_of_n",
        "samples_per_prompt": 3,
        "sampling": {"max_tokens": 6, "temperature": 2.0},
    }
    raw["human"] = PEOPLE
    with pytest.raises(Waiting):
        start(parse(raw), tmp_path / "run", SILENT)
    rate(tmp_path / "run", "g01-i00")
    resume(tmp_path / "run", SILENT)
    assert verify(tmp_path / "run").finished
    assert set(RATINGS) <= set(Run(tmp_path / "run").look_ratings("g01/i00").columns)
