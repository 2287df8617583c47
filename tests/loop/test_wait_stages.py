"""Where `human.samples` are rising counts, a look asks people in stages, and only while their
ratings could decide it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from restaudit.commands import plan
from restaudit.commands.calibrate import audit_size
from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.errors import BadInput, VerificationFailed, Waiting
from restaudit.evidence.record import BASE, Run, read_table, stage_file
from restaudit.evidence.steps import seed_of
from restaudit.evidence.verify import verify
from restaudit.gates import Decision
from restaudit.loop import audit
from restaudit.loop.running import resume, start
from restaudit.people.rating import draw, load_tasks, progress, task_sets
from restaudit.people.waiting import is_sealed, tasks_name, waited_for
from tests.loop import raters
from tests.loop.conftest import make_job_folder, own_copy, tiny_raw
from tests.loop.raters import PEOPLE, rate

SILENT = Reporter(quiet=True)
LOOK, NEXT = "g01/i01", "g01/i02"
COUNTS = [10, 14, 18]
HUMAN, VARIETY = "divergence.human_change", "diversity.distinct_2_ratio"
# What a rule says at any ratings of the tiny run: margins that nothing reaches.
PASSES = {"margin": -1e9, "ok_margin": -1e8}
OPEN = {"margin": -1e9, "ok_margin": 1e8}
# Of one mind: ratings that their raters do not agree on decide nothing.
ALIKE = ("ann", "cy")


def _rule(metric: str, answer: dict[str, float], **more: Any) -> dict[str, Any]:
    return {"name": metric, "metric": metric, "must_stay": "above", "reason": "r", **answer, **more}


def _raw(
    policy: Path, *rules: dict[str, Any], looks: int = 1, samples: Any = COUNTS
) -> dict[str, Any]:
    raw = tiny_raw(policy, grow_steps=1, improve_steps=looks)
    raw["human"] = {**PEOPLE, "samples": samples, "anchors": 1}
    # Texts are sampled at once, to the last count: only people are asked in stages.
    raw["audit"] |= {"samples_per_prompt": [1, 3], "human_text": {"source": "references"}}
    raw["gates"] = {"rules": list(rules)}
    return raw


def _until_it_waits(work: Any) -> bool:
    try:
        work()
    except Waiting:
        return True
    return False


def _rated(raw: dict[str, Any], folder: Path) -> tuple[Run, list[str]]:
    """The run with everything rated that it asked for, and the places where it waited."""
    places = []
    waits = _until_it_waits(lambda: start(parse(raw), folder, SILENT))
    while waits:
        places.append(waited_for(Run(folder)))
        rate(folder, tasks_name(places[-1]), raters=ALIKE)
        waits = _until_it_waits(lambda: resume(folder, SILENT))
    assert verify(folder).finished
    return Run(folder), places


def _decision(run: Run, look: str = LOOK) -> Decision:
    decision = run.decision(look)
    assert decision is not None
    return decision


def _asked(run: Run, *places: str, role: str = "sample") -> pd.DataFrame:
    columns = ("iteration", "sample_id", "inclusion", "role")
    tables = [read_table(run.path, f"{place}/asked.parquet", columns) for place in places]
    asked = pd.concat(tables)
    return asked[asked["role"] == role]


def _content(run: Run, step: str) -> Any:
    return next(e.content for e in run.events if e.step == step)


@pytest.fixture(scope="module")
def runs(tiny_policy, tmp_path_factory):
    """A folder with two runs: `open` is undecided to its last stage, `asked` is the same where it
    waits at its second stage.
    """
    with pytest.MonkeyPatch.context() as patch:
        folder = make_job_folder(tmp_path_factory.mktemp("stages"), patch)
        raw = _raw(tiny_policy, _rule(HUMAN, OPEN))
        with pytest.raises(Waiting):
            start(parse(raw), folder / "asked", SILENT)
        rate(folder / "asked", "g01-i01", raters=ALIKE)
        with pytest.raises(Waiting):
            resume(folder / "asked", SILENT)
        _rated(raw, folder / "open")
        yield folder


@pytest.fixture
def asked(runs, tmp_path):
    """A run that waits at its second stage."""
    return own_copy(runs / "asked", tmp_path / "run")


def test_every_stage_is_a_step_of_the_sealed_plan(runs):
    plan = Run(runs / "open").plan
    of_look = [s for s in plan["steps"] if s.startswith(f"{LOOK}/")]
    assert [s.removeprefix(f"{LOOK}/") for s in of_look] == [
        "improve",
        "samples",
        "wait",
        "stage2/wait",
        "stage3/wait",
        "audit",
    ]
    assert len(plan["config"]["gates"]["stage_shares"]) == 3


def test_a_look_that_stays_undecided_asks_for_every_count_and_records_what_it_decided_by(runs):
    run = Run(runs / "open")
    assert [e.step for e in run.events] == run.plan["steps"]
    decision = _decision(run)
    assert (decision.verdict, decision.stage, decision.stages) == ("UNDECIDED", 3, 3)
    rated = []
    for stage in (1, 2):
        raw = json.loads((run.path / LOOK / stage_file(stage)).read_text(encoding="utf-8"))
        found = {m["name"]: m for m in raw["measurements"]}
        assert set(found) == {HUMAN, "agreement.alpha"}
        rated.append(found[HUMAN]["n"])
    assert [*rated, {m.name: m for m in run.measurements(LOOK)}[HUMAN].n] == COUNTS
    assert _content(run, f"{LOOK}/stage2/wait")["undecided"] == [HUMAN]


def test_texts_are_sampled_at_once_and_no_text_is_asked_for_twice(runs):
    run = Run(runs / "open")
    rows = run.audit(LOOK)
    assert rows[rows["family"].isna()].groupby("prompt_id").size().eq(3).all()
    places = [LOOK, f"{LOOK}/stage2", f"{LOOK}/stage3"]
    for place, upto, new in zip(places, COUNTS, (10, 4, 4), strict=True):
        own = _asked(run, place)
        # Both policies in one shuffled list: a rater's mood of the day falls on both.
        assert own["iteration"].value_counts().to_dict() == {BASE: new, LOOK: new}
        shown = [x["item_id"] for x in map(json.loads, _lines(run, place))]
        # Two of them are shown twice.
        assert len(shown) == len(set(shown)) == 2 * new + 2
        # The chance is that of all that were drawn so far.
        share = upto / rows["family"].isna().sum()
        assert own["inclusion"].to_numpy() == pytest.approx(share)
    every = _asked(run, *places)
    assert not every.duplicated(["iteration", "sample_id"]).any()


def _lines(run: Run, place: str) -> list[str]:
    return load_tasks(run.path, tasks_name(place)).path.read_text(encoding="utf-8").splitlines()


def test_the_number_of_ratings_is_known_before_the_run(runs, tiny_policy):
    run = Run(runs / "open")
    every = (run.path / "human/ratings.jsonl").read_text(encoding="utf-8").splitlines()
    expected = plan._ratings(run.config, looks=1)
    assert expected == {"at_least": 2 * (20 + 2), "at_most": len(every)}


def test_a_calibration_takes_the_texts_that_such_a_look_samples(tiny_policy):
    raw = _raw(tiny_policy, _rule(HUMAN, OPEN), samples=10)
    raw["data"]["splits"] = {"sizes": {"grow": 20, "d_eval": 10, "audit": 9}}
    assert audit_size(parse(raw)).stages == ((3, 1),)


def test_what_is_read_beside_the_prompts_is_read_once(runs):
    run = Run(runs / "open")
    name = f"{LOOK}/human_text.parquet"
    assert [e.step for e in run.events if name in e.outputs] == [f"{LOOK}/stage2/wait"]
    found = {m.name: m for m in run.measurements(LOOK)}
    assert found["drift.human_text_nll"].value is not None


def test_all_stages_together_are_the_random_sample_that_one_stage_would_have_drawn(runs):
    run = Run(runs / "open")
    key = draw.drawing_key(run, str(seed_of(run.plan["config"]["seed"], "ratings")))
    for iteration in (BASE, LOOK):
        rows = run.audit(iteration)
        texts = rows[rows["family"].isna()].reset_index(drop=True)
        names = list(zip(texts["sample_id"], texts["prompt_id"], strict=True))
        at_once = set(texts.loc[draw.drawn(names, COUNTS[-1], key), "sample_id"])
        rated = rows[rows["human"].notna()]
        assert set(rated["sample_id"]) == at_once
        assert rated["inclusion"].to_numpy() == pytest.approx(COUNTS[-1] / len(texts))
    # Ratings that a stage was decided by stay in the record as that stage knew them.
    first = read_table(run.path, f"{LOOK}/stage1/ratings.parquet", ("inclusion", "check"))
    every = run.look_ratings(LOOK)
    assert every is not None
    shares = [t.loc[~t["check"], "inclusion"].unique().item() for t in (first, every)]
    assert shares[1] / shares[0] == pytest.approx(COUNTS[-1] / COUNTS[0])


def test_a_decided_look_asks_nobody_for_more(tiny_policy, job_folder):
    run, places = _rated(_raw(tiny_policy, _rule(HUMAN, PASSES)), job_folder / "run")
    assert places == [LOOK]
    assert [_content(run, f"{LOOK}/stage{k}/wait") for k in (2, 3)] == [{"needed": False}] * 2
    decision = _decision(run)
    assert (decision.verdict, decision.stage, decision.stages) == ("OK", 1, 3)
    assert [t.name for t in task_sets(run.path)] == ["g01-i01"]
    assert is_sealed(run, "g01-i01")
    assert run.audit(LOOK)["human"].notna().sum() == COUNTS[0]


def test_raters_who_disagree_are_not_asked_for_more_of_it(tiny_policy, job_folder, monkeypatch):
    monkeypatch.setattr(
        raters, "opinion", lambda text, rater: 1 + (len(text) * 7 + len(rater) * 3) % 7
    )
    run, places = _rated(_raw(tiny_policy, _rule(HUMAN, OPEN)), job_folder / "run")
    assert places == [LOOK]
    decision = _decision(run)
    assert (decision.verdict, decision.stage) == ("UNDECIDED", 1)
    assert "below 0.667" in decision.gates[0].why
    assert decision.gates[0].settle is None


def test_ratings_that_are_all_alike_are_reason_enough_to_ask_on(
    tiny_policy, job_folder, monkeypatch
):
    # Without a spread of the base policy's ratings there is not even a value.
    monkeypatch.setattr(raters, "opinion", lambda text, rater: 4)
    raw = _raw(tiny_policy, _rule(HUMAN, PASSES), samples=[2, 12])
    run, places = _rated(raw, job_folder / "run")
    assert places == [LOOK, f"{LOOK}/stage2"]
    assert [g.value for g in _decision(run).gates] == [None]


def test_too_few_ratings_for_an_interval_are_reason_enough_to_ask_on(tiny_policy, job_folder):
    raw = _raw(tiny_policy, _rule(HUMAN, PASSES), samples=[2, 12])
    run, places = _rated(raw, job_folder / "run")
    assert places == [LOOK, f"{LOOK}/stage2"]
    assert (_decision(run).verdict, _decision(run).stage) == ("OK", 2)


def test_a_gate_that_reads_no_ratings_asks_for_none_but_has_the_later_stages_to_decide_by(
    tiny_policy, job_folder
):
    rules = [_rule(HUMAN, PASSES), _rule(VARIETY, OPEN)]
    run, places = _rated(_raw(tiny_policy, *rules), job_folder / "run")
    assert places == [LOOK]
    assert {g.gate: g.stage for g in _decision(run).gates} == {HUMAN: 1, VARIETY: 3}
    assert run.audit(LOOK)["human"].notna().sum() == COUNTS[0]
    assert _content(run, f"{LOOK}/stage2/wait") == {"needed": False}


@pytest.fixture(scope="module")
def later(tiny_policy, tmp_path_factory):
    """A run whose first look is decided at once, and whose second asks to its last stage."""
    with pytest.MonkeyPatch.context() as patch:
        folder = make_job_folder(tmp_path_factory.mktemp("later"), patch)
        rules = [_rule(HUMAN, PASSES), _rule("divergence.human", OPEN, looks="last")]
        run, places = _rated(_raw(tiny_policy, *rules, looks=2), folder / "run")
        assert places == [LOOK, NEXT, f"{NEXT}/stage2", f"{NEXT}/stage3"]
        yield run


def test_a_later_look_asks_for_the_base_policys_samples_that_it_lacks(later):
    of_base = []
    for place in (LOOK, NEXT, f"{NEXT}/stage2", f"{NEXT}/stage3"):
        own = _asked(later, place)
        of_base.append(int((own["iteration"] == BASE).sum()))
    assert of_base == [10, 0, 4, 4]
    base, now = later.audit(BASE), later.audit(NEXT)
    assert base["human"].notna().sum() == now["human"].notna().sum() == COUNTS[-1]
    # All of them are one random sample: one chance, whichever look asked.
    assert (
        base["inclusion"].dropna().unique().tolist() == now["inclusion"].dropna().unique().tolist()
    )
    found = {m.name: m for m in later.measurements(NEXT)}
    assert found[HUMAN].n == found["divergence.human"].detail["rated"] == COUNTS[-1]
    assert {m.name: m for m in later.measurements(LOOK)}[HUMAN].n == COUNTS[0]


def test_every_stage_of_a_later_look_has_anchors_of_its_own(later):
    first = set(_asked(later, LOOK)["sample_id"])
    anchors = [
        _asked(later, place, role="anchor")["sample_id"].tolist()
        for place in (NEXT, f"{NEXT}/stage2", f"{NEXT}/stage3")
    ]
    assert [len(a) for a in anchors] == [1, 1, 1]
    assert len({a for own in anchors for a in own}) == 3
    assert {a for own in anchors for a in own} <= first
    ratings = later.look_ratings(NEXT)
    assert ratings["anchor"].sum() == 3 * len(ALIKE)


def test_a_waiting_run_says_which_stage_it_waits_for(asked):
    with pytest.raises(Waiting, match=r"waits at g01/i01 \(stage 2 of 3\) for people's ratings"):
        resume(asked, SILENT)
    run = Run(asked)
    assert run.state == "waiting"
    assert progress(asked, "g01-i01-stage2").missing == 2 * 10
    assert not verify(asked).finished


def test_lost_task_files_of_a_stage_are_written_again_as_they_were(asked):
    names = [f"{kind}-g01-i01-stage2.{end}" for kind, end in (("tasks", "jsonl"), ("key", "json"))]
    was = {name: (asked / "human" / name).read_bytes() for name in names}
    for name in names:
        (asked / "human" / name).unlink()
    with pytest.raises(Waiting):
        resume(asked, SILENT)
    assert {name: (asked / "human" / name).read_bytes() for name in names} == was


def test_ratings_of_a_stage_are_sealed_when_the_next_one_is_asked(runs, asked):
    assert is_sealed(Run(asked), "g01-i01")
    assert not is_sealed(Run(asked), "g01-i01-stage2")
    # A rating that comes later, or one that is edited, changes nothing any more.
    rate(asked, "g01-i01", raters=("late",))
    path = asked / "human/ratings.jsonl"
    rows = [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines()]
    edited = [r | {"score": 1} if r["tasks"] == "g01-i01" else r for r in rows]
    path.write_text("".join(f"{json.dumps(r)}\n" for r in edited), encoding="utf-8")
    for stage in (2, 3):
        rate(asked, f"g01-i01-stage{stage}", raters=ALIKE)
        assert _until_it_waits(lambda: resume(asked, SILENT)) == (stage == 2)
    # Of one plan, with the same ratings: what the run that nobody touched ended with.
    for a, b in zip(Run(asked).events, Run(runs / "open").events, strict=True):
        assert (a.step, a.outputs, a.content) == (b.step, b.outputs, b.content)


def test_a_stages_ratings_edited_in_the_record_are_found(runs, tmp_path):
    run = own_copy(runs / "open", tmp_path / "run")
    path = run / LOOK / "stage1/ratings.parquet"
    table = pd.read_parquet(path)
    table.loc[0, "score"] = 8 - table.loc[0, "score"]
    table.to_parquet(path, index=False)
    with pytest.raises(VerificationFailed, match=r"stage1/ratings\.parquet: changed after step"):
        verify(run)


def test_a_run_that_died_after_a_stage_that_was_not_needed_waits_for_nobody(
    tiny_policy, job_folder, monkeypatch
):
    raw, folder = _raw(tiny_policy, _rule(HUMAN, PASSES)), job_folder / "run"
    with pytest.raises(Waiting):
        start(parse(raw), folder, SILENT)
    rate(folder, "g01-i01", raters=ALIKE)

    class Died(Exception):
        pass

    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(audit, "seal_ratings", die)
        with pytest.raises(Died):
            resume(folder, SILENT)
    run = Run(folder)
    assert run.events[-1].step == f"{LOOK}/stage3/wait"
    assert run.state == "stopped"
    resume(folder, SILENT)
    assert verify(folder).finished


@pytest.mark.parametrize(
    ("samples", "more", "says"),
    [
        ([8, 8], {}, r"samples: expected rising counts, one a stage; got \[8, 8\]"),
        ([8, 4], {}, r"expected rising counts"),
        ([], {}, r"samples: Tuple should have at least 1 item"),
        ([1, 4], {}, r"samples.0: Input should be greater than or equal to 2"),
        ([4, 8], {"anchors": 3}, r"anchors \(3 at each of 2 stages\) .*samples \(4\)"),
    ],
)
def test_counts_that_make_no_sense_are_refused(tiny_policy, job_folder, samples, more, says):
    raw = _raw(tiny_policy, _rule(HUMAN, OPEN), samples=samples)
    raw["human"] |= more
    with pytest.raises(BadInput, match=says):
        parse(raw)


def test_shares_of_another_number_of_stages_are_refused(tiny_policy, job_folder):
    raw = _raw(tiny_policy, _rule(HUMAN, OPEN))
    raw["gates"]["stage_shares"] = [0.5, 0.5]
    with pytest.raises(BadInput, match=r"2 shares, but human\.samples has 3 stages"):
        parse(raw)


def test_more_ratings_than_texts_are_refused_before_anything_is_sealed(tiny_policy, job_folder):
    raw = _raw(tiny_policy, _rule(HUMAN, OPEN), samples=[4, 1000])
    with pytest.raises(BadInput, match=r"human\.samples: the last stage rates 1,000 texts of an"):
        start(parse(raw), job_folder / "run", SILENT)
    assert not (job_folder / "run").exists()


# --- judges that are programs or models: asked for each text once, whatever the stage

JUDGE = """
from rewards_of_test import people

asked = []


def judge(texts):
    asked.append(list(texts))
    return people(texts)
"""


def test_a_judge_is_asked_for_the_new_texts_of_a_stage_only(tiny_policy, job_folder, monkeypatch):
    (job_folder / "judge_of_test.py").write_text(JUDGE, encoding="utf-8")
    sys.modules.pop("judge_of_test", None)
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)
    raw["human"] = {"kind": "python", "callable": "judge_of_test:judge"}
    raw["audit"] |= {"samples_per_prompt": [1, 2, 4]}
    raw["gates"] = {"rules": [_rule(HUMAN, OPEN)]}
    start(parse(raw), job_folder / "run", SILENT)
    run = Run(job_folder / "run")
    assert _decision(run).stage == 3
    asked = [t for texts in sys.modules["judge_of_test"].asked for t in texts]
    # Not one more than there are texts in the record: of the base policy, the Grow set, the look.
    tables = [run.audit(BASE), run.audit(LOOK), run.grow("g01")]
    recorded = sorted(t for table in tables for t in table["text"])
    assert sorted(asked) == recorded
