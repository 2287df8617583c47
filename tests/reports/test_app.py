"""The app shows every kind of run folder without an exception, and text from a run only as text."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import get_args

import pytest
from make_run import HOSTILE, State, make_run
from streamlit.testing.v1 import AppTest

from probes.catalogue import SECTIONS, metric_of
from reports.record.series import OTHER
from reports.viewer.pages import PAGES, Page
from restaudit.evidence import record
from restaudit.evidence.record import Run

ROOT = Path(__file__).parents[2]
PAGES_FOLDER = "app_pages"


def _app(root: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("RESTAUDIT_RUNS", str(root))
    return AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60).run()


def _run_page(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str | None = None, file: str = "run.py"
) -> AppTest:
    at = _app(root, monkeypatch).switch_page(f"{PAGES_FOLDER}/{file}")
    if name is not None:
        at.query_params["run"] = name
    return at.run()


def _shown_as_markup(at: AppTest) -> str:
    kinds = (
        "markdown",
        "caption",
        "header",
        "subheader",
        "title",
        "error",
        "warning",
        "info",
        "html",
    )
    return "\n".join(str(e.value) for kind in kinds for e in at.get(kind))


def test_an_empty_folder_says_how_to_make_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _app(tmp_path / "absent", monkeypatch)
    assert not at.exception
    assert at.code[0].value == "make demo"
    page = _run_page(tmp_path / "absent", monkeypatch)
    assert not page.exception
    assert page.info


def test_the_list_shows_every_run_with_words_for_state_and_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for state in get_args(State):
        make_run(tmp_path / state, state)
    at = _app(tmp_path, monkeypatch)
    assert not at.exception
    table = at.dataframe[0].value.set_index("folder")
    assert set(table.index) == set(get_args(State))
    assert table.loc["halted", "state"] == "✕ halted"
    assert table.loc["halted", "decisions"].endswith("✕ HALT")
    assert "changed after it was written" in table.loc["broken", "problem"]


def test_a_run_of_a_newer_version_says_so_and_leaves_the_list_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "mine")
    plan = make_run(tmp_path / "later") / "plan.json"
    plan.write_text(
        json.dumps({**json.loads(plan.read_text()), "schema": 3, "steps": {"of": "another shape"}})
    )
    at = _app(tmp_path, monkeypatch)
    assert not at.exception
    table = at.dataframe[0].value.set_index("folder")
    assert table.loc["mine", "state"] == "✓ done"
    assert table.loc["later", "state"] == "⚠ broken"
    assert (
        "made by a newer version: schema 3; this version of restaudit reads 1 and 2"
        in table.loc["later", "problem"]
    )
    assert any(t.value.startswith("later: plan.json: made by a newer version") for t in at.text)
    for page in PAGES:
        if page.of_run:
            at = _run_page(tmp_path, monkeypatch, "later", page.file)
            assert not at.exception, page.file
            assert any("made by a newer version: schema 3" in c.value for c in at.code), page.file


@pytest.mark.parametrize("state", get_args(State))
def test_every_run_can_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    make_run(tmp_path / state, state)
    at = _run_page(tmp_path, monkeypatch, state)
    assert not at.exception
    assert at.selectbox[0].value == state
    charts = len(at.get("vega_lite_chart"))
    assert charts == {"broken": 0, "half": 0, "nulls": 2}.get(state, 3)
    assert bool(at.error) == (state in ("broken", "halted"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.file)
def test_every_page_shows_every_kind_of_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Page
) -> None:
    for state in get_args(State):
        make_run(tmp_path / state, state)
    at = _app(tmp_path, monkeypatch).switch_page(f"{PAGES_FOLDER}/{page.file}")
    at.run()
    for state in get_args(State) if page.of_run else ("healthy",):
        if page.of_run:
            at.selectbox(key="run").set_value(state).run()
        assert not at.exception, (page.file, state, at.exception)
        assert at.title[0].value == page.title
        assert bool(at.error) or state not in ("broken",) or not page.of_run
        markup = _shown_as_markup(at)
        assert not any(text in markup for text in HOSTILE)


def test_a_reward_that_is_a_program_cannot_be_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name comes from the folder, and a folder from somebody else must not choose code that
    runs here.
    """
    run = make_run(tmp_path / "run")
    plan = json.loads((run / "plan.json").read_text())
    plan["config"]["reward"] = {"kind": "python", "callable": "os:abort"}
    (run / "plan.json").write_text(json.dumps(plan))
    at = _run_page(tmp_path, monkeypatch, file="reward.py")
    assert not at.exception
    assert not at.text_area
    assert any("Only a reward model that restaudit trained" in c.value for c in at.caption)


def test_the_human_score_is_named_with_its_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run")
    at = _run_page(tmp_path, monkeypatch)
    texts = [t.value for t in at.text]
    assert any(
        "LEXICON (human word ratings, aggregated)" in t and "Nobody rated these texts" in t
        for t in texts
    )


def test_every_decision_is_written_as_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run")
    at = _run_page(tmp_path, monkeypatch)
    badges = " ".join(m.value for m in at.markdown)
    for words in ("G1·I1 OK", "G2·I1 UNDECIDED", "G2·I2 WARN"):
        assert words in badges


def test_a_run_that_was_sealed_before_shows_as_it_was_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run", "old")
    at = _run_page(tmp_path, monkeypatch)
    assert "G2·I1 INCONCLUSIVE" in " ".join(m.value for m in at.markdown)
    at.segmented_control(key="iteration_run").set_value("g02/i01").run()
    gates = at.dataframe[0].value
    assert "mde" in gates
    assert not {"finds", "stage", "passes_by"} & set(gates)


@pytest.mark.parametrize(
    ("state", "word"), [("healthy", "WARNED"), ("nulls", "UNDECIDED"), ("halted", "STOPPED")]
)
def test_the_overview_begins_with_what_the_run_concludes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State, word: str
) -> None:
    make_run(tmp_path / "run", state)
    at = _run_page(tmp_path, monkeypatch)
    # After the badge of the run's state.
    first = at.error[0].value if word == "STOPPED" else at.markdown[1].value
    assert "fired at" in first or "no alarm" in first
    assert word == "STOPPED" or f"{word}]" in first
    texts = " ".join(m.value for m in at.markdown)
    assert "What a reviewer should know" in texts
    assert ("No person rated a text" in texts) == (state != "nulls")


def test_an_overridden_run_is_marked_in_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run", "overridden")
    make_run(tmp_path / "other", "halted")
    table = _app(tmp_path, monkeypatch).dataframe[0].value.set_index("folder")
    assert table.loc["run", "state"] == "⚠ overridden, ■ stopped"
    assert "overridden" not in table.loc["other", "state"]
    assert table.loc["other", "latest"] == "G1·I2 ✕ HALT"


def test_measurements_stand_in_the_sections_of_their_probes_with_their_titles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(make_run(tmp_path / "run"))
    at = _run_page(tmp_path, monkeypatch)
    sections = list(at.pills(key="section").options)
    measured = {m.name for m in run.measurements(run.iterations()[-1])}
    known = {m for m in measured if metric_of(m) is not None}
    of_known = {SECTIONS[metric_of(name).section] for name in known}
    assert [s for s in sections if s != OTHER] == [s for s in SECTIONS.values() if s in of_known]
    # "Other" is for what no probe of this version measures, and for nothing else.
    assert (OTHER in sections) == (known != measured)
    shown = {}
    for section in sections:
        at.pills(key="section").set_value(section).run()
        (table,) = (d.value for d in at.dataframe if "measurement" in d.value)
        for _, row in table.iterrows():
            shown[row["measurement"]] = row["title"], section
    assert set(shown) == measured
    for name in known:
        metric = metric_of(name)
        assert shown[name] == (metric.title, SECTIONS[metric.section])


def test_a_halt_is_said_first_with_the_gates_that_said_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run", "halted")
    at = _run_page(tmp_path, monkeypatch)
    assert "harm and collapse fired at g01/i02" in at.error[0].value
    gates = at.dataframe[0].value.set_index("gate")
    assert gates.loc["harm", "verdict"] == "✕ HALT"


def test_an_override_is_shown_before_everything_else_and_only_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run", "overridden")
    at = _run_page(tmp_path, monkeypatch)
    assert not at.exception
    assert [w.value for w in at.warning] == [
        "A gate of the sealed policy stopped this run, and a person let it go on."
    ]
    texts = [t.value for t in at.text if not t.value.startswith("started")]
    assert texts[0].endswith("harm, collapse said HALT")
    assert texts[1] == f"Overridden by {HOSTILE[0]}: {record.printable(HOSTILE[2])}"
    assert HOSTILE[0] not in _shown_as_markup(at)
    assert not at.error


def test_choosing_an_iteration_shows_its_gates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run")
    at = _run_page(tmp_path, monkeypatch)
    assert (at.dataframe[0].value["verdict"] == "! WARN").any()
    at.segmented_control(key="iteration_run").set_value("g01/i01").run()
    assert not at.exception
    assert (at.dataframe[0].value["verdict"] == "✓ OK").all()
    at.segmented_control(key="iteration_run").set_value("g00/i00").run()
    assert not at.exception
    assert any("no gate decides about it" in c.value for c in at.caption)


def test_hostile_samples_and_prompts_are_shown_as_text_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run")
    at = _run_page(tmp_path, monkeypatch, file="samples.py")
    at.segmented_control(key="samples_view").set_value("One prompt").run()
    at.selectbox(key="samples_prompt").set_value("audit001").run()
    assert not at.exception
    texts = [t.value for t in at.text]
    assert HOSTILE[0] in texts
    assert HOSTILE[1] in texts
    assert HOSTILE[2] in texts
    markup = _shown_as_markup(at)
    assert not any(text in markup for text in HOSTILE)


def test_two_iterations_are_shown_for_the_same_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run")
    at = _run_page(tmp_path, monkeypatch, file="samples.py")
    at.segmented_control(key="samples_view").set_value("One prompt").run()
    at.selectbox(key="samples_prompt").set_value("audit003").run()
    at.selectbox(key="samples_left").set_value("g01/i01").run()
    at.toggle(key="samples_marks").set_value(False).run()
    texts = [t.value for t in at.text]
    assert sum("g01/i01 written on it" in t for t in texts) == 2
    assert sum("g02/i02 written on it" in t for t in texts) == 2


def test_a_name_that_is_not_in_the_folder_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "runs" / "inside")
    make_run(tmp_path / "outside")
    at = _run_page(tmp_path / "runs", monkeypatch, "../outside")
    assert not at.exception
    assert at.info
    assert not at.header
    assert at.selectbox[0].options == ["inside"]


def test_another_run_can_be_chosen_after_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "one")
    make_run(tmp_path / "two", "halted")
    at = _run_page(tmp_path, monkeypatch, "one")
    assert not at.error
    at.selectbox(key="run").set_value("two").run()
    assert not at.exception
    assert at.selectbox(key="run").value == "two"
    assert at.error


def test_without_a_name_the_newest_run_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "one")
    make_run(tmp_path / "two", "halted")
    at = _run_page(tmp_path, monkeypatch)
    assert not at.exception
    assert at.selectbox(key="run").value == "two"


@pytest.mark.parametrize(
    "missing",
    ["g02/i02/measurements.json", "g02/i02/audit.parquet", "g02/i02", "data/audit.parquet"],
)
def test_a_file_that_went_missing_is_a_message_not_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    target = make_run(tmp_path / "run") / missing
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    at = _run_page(
        tmp_path, monkeypatch, file="samples.py" if missing.endswith(".parquet") else "run.py"
    )
    assert not at.exception
    assert at.error or at.warning
    assert any(Path(missing).name in c.value for c in at.code)


def test_malformed_measurements_are_a_message_not_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (make_run(tmp_path / "run") / "g01/i01/measurements.json").write_text(
        '{"measurements": [{"name": 3}]}'
    )
    at = _run_page(tmp_path, monkeypatch)
    assert not at.exception
    assert at.error


def test_the_folder_comes_from_the_argument_then_the_environment_then_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RESTAUDIT_RUNS", raising=False)
    page = AppTest.from_file(str(ROOT / "reports/viewer/app.py"), default_timeout=60)
    assert "Folder: runs" in [t.value for t in page.run().text]
    monkeypatch.setenv("RESTAUDIT_RUNS", "elsewhere")
    assert "Folder: elsewhere" in [t.value for t in page.run().text]
    monkeypatch.setattr(sys, "argv", ["app.py", "given"])
    runpy.run_path(str(ROOT / "app.py"))
    assert "Folder: given" in [t.value for t in page.run().text]
