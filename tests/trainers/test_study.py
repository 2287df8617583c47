"""A study of methods: sealed, searched at equal cost, resumable, compared by rule."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from probes.statistics.crossed import crossed
from reports.document.markdown import markdown
from reports.report_commands import compare_study
from reports.study.build import study_document
from reports.study.conclusions import Crossing, crossing
from reports.study.material import StudyMaterial, mean_shown
from restaudit.console import Reporter
from restaudit.errors import BadInput, Interrupted
from restaudit.evidence.record import Run, write_table
from restaudit.loop.running import resume, start
from restaudit.study.plan import FILE, Study, config_of, observing, planned, sealed
from restaudit.study.run import Tried, choose, judged, run_folder, run_study
from tests.loop.conftest import make_job_folder, tiny_raw

pytest.importorskip("trl", reason="the extra rlhf is not installed")

QUIET = Reporter(quiet=True)
METHODS = ("rest", "grpo", "best_of_n")


def here(config, run):
    """One run in this process: quicker than one of its own."""
    if (run / "plan.json").exists():
        resume(run, QUIET)
    else:
        start(config, run, QUIET)


@pytest.fixture(scope="module")
def folder(tiny_policy, tmp_path_factory):
    """A finished study of three methods and two seeds."""
    patch = pytest.MonkeyPatch()
    found = make_job_folder(tmp_path_factory.mktemp("study"), patch)
    raw = tiny_raw(
        tiny_policy,
        samples_per_prompt=4,
        include_references=False,
        online={"group": 4, "prompts_per_step": 4, "learning_rate": 0.01},
    )
    raw["human"] = {
        "kind": "python",
        "callable": "rewards_of_test:some",
    }  # as a lexicon, it has nothing to say of some
    (found / "tiny.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    study = sealed(found / "out", planned("tiny.yaml", METHODS, 2, small=False, changes=()))
    count = 0

    def interrupted(config, run):
        nonlocal count
        count += 1
        if count == 4:
            raise Interrupted("here")
        here(config, run)

    with pytest.raises(Interrupted):
        run_study(found / "out", study, QUIET, interrupted)
    run_study(found / "out", sealed(found / "out", study), QUIET, here)
    yield found / "out"
    patch.undo()


def test_every_method_searches_as_many_rates_and_trains_with_every_seed(folder):
    search = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    assert {m: len(r) for m, r in search["reward"].items()} == {"rest": 3, "grpo": 3}
    for method, tried in search["reward"].items():
        assert tried[search["chosen"][method]] == max(tried.values())
        assert all(0 < v <= 2 for v in search["variety"][method].values())
    for method in METHODS:
        for seed in (1, 2):
            run = Run(run_folder(folder, method, seed))
            assert run.state == "done"
            assert run.plan["config"]["loop"]["method"] == method
            assert run.events[-1].at["peak_memory_mib"][0]["resident"] > 0


def test_runs_have_the_same_prompts_and_those_of_a_seed_the_same_reward(folder):
    of = StudyMaterial(folder)
    assert len({r.records.digests["data/audit.parquet"] for r in of.every}) == 1
    assert of.study == Study.from_json(of.study.to_json())


def test_what_a_look_had_cost_is_what_the_tables_of_the_run_hold(folder):
    run = StudyMaterial(folder).runs["grpo"][0]
    look = run.looks[-1]
    rows = [run.material.run.path / i / "grow.parquet" for i in run.looks]
    import pandas as pd

    tokens = sum(int(pd.read_parquet(p)["n_tokens"].sum()) for p in rows)
    assert run.spent[look].samples == sum(len(pd.read_parquet(p)) for p in rows)
    assert run.spent[look].tokens == 2 * tokens  # each sampled once and trained on once
    rest = StudyMaterial(folder).runs["rest"][0]
    assert [rest.spent[i].samples for i in rest.looks] == [80, 80, 160, 160]


def test_the_document_says_what_follows_by_rule(folder):
    text = markdown(study_document(folder)).decode()
    assert "difference" in text
    assert "SIMULATED" in text
    of = StudyMaterial(folder)
    values = of.gains(of.last("rest"), "human")
    assert values.shape == (2, len(of.prompts))
    assert 0 < np.isnan(values).sum() < values.size
    assert mean_shown(crossed(values)).split(" ")[0].lstrip("−") in text.replace("\\", "")


def test_a_study_that_is_not_done_or_whose_runs_differ_is_refused_with_the_reason(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(run_folder(copy, "rest", 2))
    with pytest.raises(BadInput, match="not done yet: rest-s2"):
        study_document(copy)
    shutil.copytree(folder / "search" / "rest-0.02", run_folder(copy, "rest", 2))
    with pytest.raises(BadInput, match=r"rest-s2 has another data/audit\.parquet"):
        study_document(copy)
    with pytest.raises(BadInput, match="no study"):
        sealed(tmp_path)
    (copy / FILE).write_text('{"schema": 1}', encoding="utf-8")
    with pytest.raises(BadInput, match="not the plan of a study"):
        sealed(copy)


def test_the_document_in_every_format_leaves_the_study_s_plan_alone(folder):
    before = (folder / FILE).read_bytes()
    written = compare_study(folder, "html,md,json", folder)
    assert [p.name for p in written] == ["comparison.html", "comparison.md", "comparison.json"]
    assert (folder / FILE).read_bytes() == before


def test_another_study_is_not_mixed_into_a_folder(folder):
    study = sealed(folder)
    with pytest.raises(BadInput, match="another study was begun there"):
        sealed(folder, Study(study.recipe, study.methods, (1, 2, 3), study.changes, study.rates))


@pytest.mark.parametrize(
    ("methods", "says"),
    [(("rest", "ppo"), "ppo"), (("rest",), "two or more"), (("rest", "rest"), "each once")],
)
def test_methods_that_cannot_be(methods, says):
    with pytest.raises(BadInput, match=says):
        planned("reviews", methods, 2, small=True, changes=())


def test_where_a_run_comes_down_to_a_diversity_is_between_two_looks():
    path = [(1.0, 0.0, 0.0), (0.95, 0.2, 10.0), (0.75, 0.6, 30.0), (0.5, 0.9, 50.0)]
    assert crossing(path, 0.9) == Crossing(pytest.approx(0.3), pytest.approx(15.0), True)
    assert crossing(path, 0.75) == Crossing(pytest.approx(0.6), pytest.approx(30.0), True)
    assert crossing(path, 0.4) == Crossing(0.9, 50.0, False)
    assert crossing([(1.0, 0.0, 0.0), (1.1, 0.3, 5.0), (0.8, 0.9, 10.0)], 1.0) == Crossing(
        pytest.approx(0.5), pytest.approx(5 + 5 / 3), True
    )


@pytest.mark.parametrize(
    ("least", "chosen"),
    [(None, "3"), (0.6, "2"), (0.95, "1"), (0.99, "1")],
    ids=["by reward", "0.6", "0.95", "none"],
)
def test_a_rate_that_loses_too_much_variety_is_not_chosen(least, chosen):
    tried = {"1": Tried(0.2, 0.98), "2": Tried(0.9, 0.7), "3": Tried(2.0, 0.3)}
    assert choose(tried, least) == chosen


def test_variety_is_that_of_the_last_policy_on_d_eval_at_as_many_bigrams(tmp_path):
    for name, texts in {
        "g00/i00": ["a b c", "c d e"],
        "g01/i01": ["a b a b a", "a b a b a"],
    }.items():
        (tmp_path / name).mkdir(parents=True)
        rows = pd.DataFrame({"text": texts, "reward": [1.0, 2.0]})
        write_table(rows, tmp_path / name / "d_eval.parquet", ("text", "reward"))
    run = SimpleNamespace(path=tmp_path, iterations=lambda: ["g00/i00", "g01/i01"])
    found = judged(run)
    assert found.reward == 1.5
    # "a b" and "b a", four times each in 8; one of the two is missed by C(4, 4) of the C(8, 4) ways
    # to draw four
    assert found.variety == pytest.approx((2 - 2 / 70) / 4)


def test_a_rule_of_the_search_needs_a_search():
    with pytest.raises(BadInput, match="--no-search leaves that out"):
        planned(
            "reviews", ("rest", "grpo"), 1, small=True, changes=(), search=False, least_variety=0.8
        )


def test_without_a_search_every_method_has_the_rate_that_the_recipe_says(tmp_path):
    study = planned("reviews", ("rest", "best_of_n"), 1, small=True, changes=(), search=False)
    assert study.rates == {"rest": (2e-3,)}
    asked = []

    def stop(config, run):
        asked.append((run.name, config.loop.train.learning_rate))
        raise Interrupted("here")

    with pytest.raises(Interrupted):
        run_study(tmp_path, study, QUIET, stop)
    assert asked == [("rest-s1", 2e-3)]
    assert json.loads((tmp_path / "search.json").read_text(encoding="utf-8"))["chosen"] == {
        "rest": "0.002"
    }


def test_an_arm_is_a_method_with_settings_of_its_own():
    arms = (
        "rest-i4: loop.method=rest loop.improve_steps=4 'loop.thresholds.values=[60, 70, 80, 90]'",
    )
    study = planned("reviews", ("rest",), 1, small=True, changes=("loop.grow_steps=1",), arms=arms)
    assert study.methods == ("rest", "rest-i4")
    assert Study.from_json(study.to_json()) == study
    one, other = (config_of(study, name, 1, 1e-3) for name in study.methods)
    assert (one.loop.improve_steps, other.loop.improve_steps) == (2, 4)
    assert (one.loop.grow_steps, other.loop.grow_steps) == (1, 1)
    assert other.loop.thresholds.values == (60, 70, 80, 90)
    assert other.loop.train.learning_rate == 1e-3
    assert other.name == "rest-i4-s1"
    assert study.trains("rest-i4")


@pytest.mark.parametrize(
    ("arm", "says"),
    [
        ("rest", "expected 'NAME"),
        ("x: loop.improve_steps=4", "say once which method"),
        ("x: loop.method=ppo", "say once which method"),
        ("../up: loop.method=rest", "a name has small letters"),
        ("x: loop.method='rest", "No closing quotation"),
        ("rest: loop.method=rest", "a name of its own"),
        ("x: loop.method=rest loop.grow=2", "arm x: loop.grow"),
    ],
)
def test_arms_that_cannot_be(arm, says):
    with pytest.raises(BadInput, match=says):
        planned("reviews", ("rest",), 1, small=True, changes=(), arms=(arm,))


def test_a_study_that_was_sealed_before_there_were_arms_is_read(folder):
    raw = json.loads((folder / FILE).read_text(encoding="utf-8"))
    assert Study.from_json({k: v for k, v in raw.items() if k != "arms"}) == sealed(folder)


def test_gates_warn_where_they_would_have_stopped_a_run():
    study = planned("reviews", ("rest", "grpo"), 1, small=True, changes=())
    rules = config_of(study, "grpo", 1, 1e-4).gates.rules
    assert {r.action for r in rules} == {"WARN"}
    assert any(r.name == "harm (HALT)" for r in rules)
    assert observing({"rules": []}) == {"rules": []}
    assert config_of(study, "grpo", 1, 1e-4).loop.online.learning_rate == 1e-4


def page(root, monkeypatch, study=None):
    from pathlib import Path

    from streamlit.testing.v1 import AppTest

    monkeypatch.setenv("RESTAUDIT_RUNS", str(root))
    at = AppTest.from_file(
        str(Path(__file__).parents[2] / "reports/viewer/app.py"), default_timeout=120
    ).run()
    at = at.switch_page("app_pages/study.py")
    if study is not None:
        at.query_params["study"] = study
    return at.run()


def test_the_app_shows_a_study_with_its_conclusions(folder, monkeypatch):
    at = page(folder.parent, monkeypatch)
    assert not at.exception
    assert [h.value for h in at.header][:2] == ["What follows", "How it was compared"]
    assert page(folder / "runs", monkeypatch).header  # beside the runs of a study
    assert page(folder.parent, monkeypatch, "../elsewhere").info


def test_the_page_says_how_to_make_a_study_and_what_one_lacks(folder, tmp_path, monkeypatch):
    assert "restaudit compare --recipe" in page(tmp_path / "none", monkeypatch).code[0].value
    shutil.copytree(folder, tmp_path / "some" / "half", ignore=shutil.ignore_patterns("rest-s2*"))
    at = page(tmp_path / "some", monkeypatch)
    assert not at.exception
    assert "not done yet: rest-s2" in at.code[0].value
