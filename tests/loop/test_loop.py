"""The loop is Algorithm 1: what each step reads, trains on and leaves behind."""

import json

import numpy as np
import pandas as pd
import pytest

from reports.record.files import Records
from reports.record.lineage import policies, reasons, training_rows, why_lines
from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.errors import BadInput, Exit, Halted
from restaudit.evidence.record import SAMPLES, Run, read_table
from restaudit.evidence.verify import verify
from restaudit.loop import running
from restaudit.loop.running import resume, start
from restaudit.loop.sealing import planned_steps
from tests.loop.conftest import make_job_folder, tiny_raw


@pytest.fixture(scope="module")
def finished(tiny_policy, tmp_path_factory) -> Run:
    """A finished run; read only."""
    with pytest.MonkeyPatch.context() as patch:
        folder = make_job_folder(tmp_path_factory.mktemp("finished"), patch)
        start(parse(tiny_raw(tiny_policy)), folder / "runs" / "a", Reporter(quiet=True))
    return Run(folder / "runs" / "a")


def content(run: Run, step: str):
    return next(e.content for e in run.events if e.step == step)


def test_a_run_does_the_planned_steps_in_order_and_verifies(finished, tiny_config):
    assert [e.step for e in finished.events] == planned_steps(tiny_config) == finished.plan["steps"]
    assert finished.state == "done"
    report = verify(finished.path)
    assert report.finished
    assert report.decisions == 4


def test_two_runs_of_one_plan_have_the_same_digest(finished, tiny_config, job_folder, silent):
    start(tiny_config, job_folder / "runs" / "b", silent)
    other = Run(job_folder / "runs" / "b")
    assert other.digest == finished.digest
    assert other.run_id != finished.run_id


def test_another_seed_gives_another_digest(finished, tiny_config, job_folder, silent):
    start(tiny_config.model_copy(update={"seed": 8}), job_folder / "runs" / "c", silent)
    assert Run(job_folder / "runs" / "c").digest != finished.digest


def test_every_prompt_of_grow_gets_n_samples_and_nothing_of_an_older_grow_is_left(finished):
    for g in ("g01", "g02"):
        rows = finished.grow(g)
        mine = rows[rows["origin"] == "policy"]
        assert mine.groupby("prompt_id").size().eq(3).all()
        assert rows["sample_id"].str.startswith(f"{g}/").all()
        for i in ("i01", "i02"):
            assert finished.kept(f"{g}/{i}")["sample_id"].str.startswith(f"{g}/").all()


def test_d_stays_in_the_mixture_and_is_filtered_by_the_threshold(finished):
    rows = finished.grow("g02")
    references = rows[rows["origin"] == "reference"]
    assert len(references) == sum(len(r) for r in finished.prompts("grow")["references"]) > 0
    kept = finished.kept("g02/i01")
    above = rows[rows["reward_01"] > kept["threshold"].iloc[0]]
    assert set(kept["sample_id"]) == set(above["sample_id"])


def test_a_reference_is_not_scored_against_itself(tiny_policy, job_folder, silent):
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)
    raw["human"] = {"kind": "reference"}
    start(parse(raw), job_folder / "run", silent)
    rows = Run(job_folder / "run").grow("g01")
    has_reference = rows["prompt_id"].isin(
        set(rows.loc[rows["origin"] == "reference", "prompt_id"])
    )
    assert rows.loc[rows["origin"] == "reference", "human"].isna().all()
    assert rows.loc[has_reference & (rows["origin"] == "policy"), "human"].between(0, 100).all()


def test_the_second_grow_samples_from_the_last_improved_policy(finished):
    assert content(finished, "g01/grow")["policy"] == "g00/i00"
    assert content(finished, "g02/grow")["policy"] == "g01/i02"


def test_each_improve_starts_from_the_policy_before_it_at_a_lower_rate(finished):
    starts = [content(finished, f"{i}/improve")["start"] for i in finished.iterations()[1:]]
    assert starts == ["g00/i00", "g01/i01", "g01/i02", "g02/i01"]
    rates = [content(finished, f"{i}/improve")["learning_rate"] for i in finished.iterations()[1:]]
    assert rates == [0.02, 0.01, 0.02, 0.01]


def test_the_policy_that_stays_is_the_best_epoch_on_d_eval(finished):
    for iteration in finished.iterations()[1:]:
        facts = content(finished, f"{iteration}/improve")
        before = read_table(finished.path, f"{facts['start']}/d_eval.parquet", ("reward",))[
            "reward"
        ].mean()
        after = read_table(finished.path, f"{iteration}/d_eval.parquet", ("reward",))[
            "reward"
        ].mean()
        assert facts["d_eval_before"] == pytest.approx(before)
        assert after == pytest.approx(max(facts["d_eval_by_epoch"]))
        assert facts["d_eval_by_epoch"][facts["best_epoch"] - 1] == pytest.approx(after)


def test_training_stops_at_the_first_epoch_that_does_not_improve_d_eval(
    tiny_policy, job_folder, silent
):
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)
    raw["loop"]["train"] = {"learning_rate": 5.0, "epochs": 8, "batch": 4, "max_grad_norm": 100.0}
    start(parse(raw), job_folder / "run", silent)
    run = Run(job_folder / "run")
    log = read_table(run.path, "g01/i01/train.parquet", ("epoch",))
    facts = content(run, "g01/i01/improve")
    assert log["epoch"].max() == len(facts["d_eval_by_epoch"]) < 8
    assert facts["d_eval_by_epoch"][-1] < facts["d_eval_by_epoch"][-2]
    assert facts["best_epoch"] == len(facts["d_eval_by_epoch"]) - 1


def test_training_raises_the_reward_on_audit_prompts(tiny_policy, job_folder, silent):
    raw = tiny_raw(tiny_policy, samples_per_prompt=24, grow_steps=2)
    raw["audit"] |= {"samples_per_prompt": 16}
    start(parse(raw), job_folder / "run", silent)
    run = Run(job_folder / "run")
    assert run.audit("g02/i02")["reward"].mean() > run.audit("g00/i00")["reward"].mean() + 0.3


def test_the_four_splits_share_no_prompt(finished):
    ids = [set(finished.prompts(s)["prompt_id"]) for s in ("grow", "d_eval", "audit")]
    assert all(a.isdisjoint(b) for a in ids for b in ids if a is not b)
    families = [set(finished.prompts(s)["family"].dropna()) for s in ("grow", "d_eval", "audit")]
    assert all(a.isdisjoint(b) for a in families for b in families if a is not b)


def test_sampled_tokens_are_what_is_kept_not_a_second_tokenisation(finished):
    samples = read_table(finished.path, "g01/samples.parquet", SAMPLES)
    rows = finished.grow("g01").set_index("sample_id")
    assert (samples["n_tokens"] == samples["token_ids"].map(len)).all()
    assert np.allclose(samples["logprob"], rows.loc[samples["sample_id"], "logprob"])


@pytest.mark.parametrize("method", ["rest_em", "raft", "best_of_n"])
def test_the_relatives_are_the_same_loop(tiny_policy, job_folder, silent, method):
    raw = tiny_raw(tiny_policy)
    raw["loop"] = {
        "method": method,
        "samples_per_prompt": 3,
        "sampling": {"max_tokens": 6, "temperature": 2.0},
        "train": {"learning_rate": 0.02, "epochs": 1},
    }
    if method != "best_of_n":
        raw["loop"]["grow_steps"] = 2
    start(parse(raw), job_folder / "run", silent)
    run = Run(job_folder / "run")
    assert verify(run.path).finished
    assert (run.grow("g01")["origin"] == "policy").all()
    if method == "rest_em":
        assert content(run, "g02/i01/improve")["start"] == "g00/i00"
    if method == "raft":
        assert run.kept("g01/i01").groupby("prompt_id").size().eq(1).all()
    if method == "best_of_n":
        assert run.iterations() == ["g00/i00", "g01/i00"]
        assert run.audit("g01/i00")["reward"].mean() > run.audit("g00/i00")["reward"].mean()
        # The best of three is one text: two a prompt at the first stage.
        counts = run.audit("g01/i00").groupby("prompt_id").size()
        assert set(counts) <= {1, 2}


def test_under_topr_what_is_below_the_threshold_is_unlearned_and_the_record_says_so(
    tiny_policy, job_folder, silent
):
    train = {"learning_rate": 0.02, "epochs": 1, "loss": {"kind": "topr"}}
    half = {"kind": "percentile", "values": [50], "per": "prompt"}
    raw = tiny_raw(
        tiny_policy,
        grow_steps=1,
        improve_steps=1,
        samples_per_prompt=4,
        train=train,
        thresholds=half,
    )
    start(parse(raw), job_folder / "run", silent)
    run = Run(job_folder / "run")
    assert verify(run.path).finished
    records = Records(run)
    step = next(p for p in policies(records) if p.name == "g01/i01")
    rows = training_rows(records, step)
    unlearned = rows["why"].str.endswith("made less likely")
    assert content(run, "g01/i01/improve")["unlearned"] == unlearned.sum() > 0
    assert not (unlearned & (rows["origin"] == "reference")).any()
    learned = (
        rows["why"].str.startswith(("its reward is above", "a human reference")) & rows["used"]
    )
    assert sum(reasons(records, step).values()) == len(rows)
    assert set(rows.loc[learned, "sample_id"]) <= set(run.kept("g01/i01")["sample_id"])
    assert rows["used"].sum() == learned.sum() + unlearned.sum()
    assert "made less likely" in "\n".join(
        why_lines(run, str(rows.loc[unlearned, "sample_id"].iloc[0]))
    )


def test_a_supervised_start_trains_on_d_before_the_base_audit(tiny_policy, job_folder, silent):
    raw = tiny_raw(
        tiny_policy, grow_steps=1, improve_steps=1, bc={"epochs": 2, "learning_rate": 0.02}
    )
    start(parse(raw), job_folder / "run", silent)
    run = Run(job_folder / "run")
    steps = [e.step for e in run.events]
    assert steps.index("g00/bc") < steps.index("scale") < steps.index("g00/i00/audit")
    log = read_table(run.path, "g00/i00/train.parquet", ("loss",))
    assert log["loss"].iloc[-1] < log["loss"].iloc[0]
    assert (run.path / "g00/i00/adapter/adapter_model.safetensors").exists()


def test_full_fine_tuning_runs_the_same_loop(tiny_policy, job_folder, silent):
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)
    raw["policy"] = {"model": str(tiny_policy), "dtype": "float32", "training": "full"}
    start(parse(raw), job_folder / "run", silent)
    assert verify(job_folder / "run").finished


def test_thresholds_nobody_reaches_leave_the_policy_as_it_was_and_say_so(
    tiny_policy, job_folder, capsys
):
    raw = tiny_raw(
        tiny_policy, grow_steps=1, improve_steps=1, thresholds={"kind": "fixed", "values": [1.0]}
    )
    start(parse(raw), job_folder / "run", Reporter(quiet=True))
    run = Run(job_folder / "run")
    assert len(run.kept("g01/i01")) == 0
    assert content(run, "g01/i01/improve")["best_epoch"] == 0
    assert "no row of the Grow set is above its threshold" in capsys.readouterr().out
    assert verify(run.path).finished


def test_a_gate_that_says_halt_stops_the_run_and_resume_does_not_go_on(
    tiny_policy, job_folder, silent
):
    raw = tiny_raw(tiny_policy)
    raw["gates"]["rules"][0] |= {"margin": 50.0, "must_stay": "above"}
    with pytest.raises(
        Halted, match=r"halted after g01/i01 by the sealed policy \(gate: harm\)"
    ) as stop:
        start(parse(raw), job_folder / "run", silent)
    assert stop.value.exit_code == Exit.HALTED == 4
    run = Run(job_folder / "run")
    assert run.state == "halted"
    assert run.events[-1].step == "g01/i01/halt"
    assert not (run.path / "g02").exists()
    assert verify(run.path).finished
    with pytest.raises(Halted, match="gate: harm"):
        resume(run.path, silent)


def test_a_reward_that_is_not_a_number_is_a_clear_stop_and_the_run_resumes_when_it_is_mended(
    tiny_policy, job_folder, silent
):
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)
    raw["reward"]["callable"] = "rewards_of_test:broken"
    with pytest.raises(BadInput, match=r"rewards_of_test:broken"):
        start(parse(raw), job_folder / "run", silent)
    assert [e.step for e in Run(job_folder / "run").events] == [
        "plan",
        "reward_model",
        "human_score",
    ]


def test_a_loss_that_breaks_is_a_clear_stop_with_everything_before_it_kept(
    tiny_policy, job_folder, silent
):
    from restaudit.policy.finetune import TrainingDiverged

    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)
    # Each step takes the weights times minus 9,999: they leave float32 within ten.
    wild = {"learning_rate": 100, "weight_decay": 100, "max_grad_norm": 1e12}
    raw["loop"]["train"] = {**wild, "epochs": 30, "batch": 4, "keep_best": False}
    with pytest.raises(TrainingDiverged, match=r"lower loop\.train\.learning_rate"):
        start(parse(raw), job_folder / "run", silent)
    run = Run(job_folder / "run")
    assert run.events[-1].step == "g01/score"
    assert not verify(run.path).finished


def test_a_run_is_not_started_over_another_one(finished, tiny_config, silent):
    with pytest.raises(BadInput, match=r"a run is already there; go on with: restaudit resume"):
        start(tiny_config, finished.path, silent)


def test_a_plan_changed_after_sealing_is_refused(tiny_config, job_folder, silent, monkeypatch):
    monkeypatch.setattr(running, "rest", lambda _: None)
    start(tiny_config, job_folder / "run", silent)
    monkeypatch.undo()
    path = job_folder / "run" / "plan.json"
    changed = json.loads(path.read_text())
    changed["config"]["gates"]["rules"][0]["margin"] = -99.0
    path.write_text(json.dumps(changed))
    with pytest.raises(BadInput, match=r"plan.json was changed after it was sealed"):
        resume(job_folder / "run", silent)


def test_a_policy_that_is_not_the_sealed_one_is_refused(
    tiny_config, job_folder, silent, monkeypatch, tmp_path
):
    import shutil

    copy = tmp_path / "policy"
    shutil.copytree(tiny_config.policy.model, copy)
    config = tiny_config.model_copy(
        update={"policy": tiny_config.policy.model_copy(update={"model": str(copy)})}
    )
    with monkeypatch.context() as patch:
        patch.setattr(running, "rest", lambda _: None)
        start(config, job_folder / "run", silent)
    (copy / "extra.txt").write_text("something else")
    with pytest.raises(BadInput, match=r"policy.model .* is not the one the plan was sealed with"):
        resume(job_folder / "run", silent)


def test_measurements_cover_reward_human_score_diversity_bias_and_kl(finished):
    names = {m.name for m in finished.measurements("g02/i02")}
    for name in (
        *(f"divergence.{m}" for m in ("reward", "human", "gap", "correlation", "d_eval_gap")),
        *(f"diversity.{m}" for m in ("distinct_2", "compression_ratio", "duplicates", "length")),
        *(f"bias.{m}" for m in ("reward_gap", "human_gap", "acceptance_ratio")),
        "drift.kl",
    ):
        assert name in names
    kl = next(m for m in finished.measurements("g02/i02") if m.name == "drift.kl")
    assert kl.value is not None
    assert kl.value > 0
    assert next(m for m in finished.measurements("g00/i00") if m.name == "drift.kl").value is None


def test_every_measurement_has_an_interval_and_n_or_a_reason(finished):
    for iteration in finished.iterations():
        for m in finished.measurements(iteration):
            assert m.reason or (m.value is not None and m.interval(0.95) is not None and m.n > 0)


def test_tables_have_one_row_a_sample_and_no_infinite_number(finished):
    for iteration in finished.iterations():
        table = finished.audit(iteration)
        assert table["sample_id"].is_unique
        assert np.isfinite(table[["reward", "reward_01"]]).all(axis=None)
    assert isinstance(finished.grow("g01"), pd.DataFrame)
