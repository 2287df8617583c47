"""GRPO and RLOO as methods of a recipe: same folder, same looks, same gates, resumable."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.errors import Halted
from restaudit.evidence.override import override
from restaudit.evidence.record import CHECKPOINTS, GROW, TRAIN, Run, read_table
from restaudit.evidence.verify.check import verify
from restaudit.loop.running import resume, start
from tests.loop.conftest import make_job_folder, tiny_raw

pytest.importorskip("trl", reason="the extra rlhf is not installed")


def online_raw(policy: Path, method: str, **online: object) -> dict[str, object]:
    return tiny_raw(
        policy,
        method=method,
        samples_per_prompt=4,
        include_references=False,
        improve_steps=1,
        online={"group": 4, "prompts_per_step": 4, "learning_rate": 0.02, **online},
    )


@pytest.fixture(scope="module", params=["grpo", "rloo"])
def done(request, tiny_policy, tmp_path_factory) -> Run:
    """A finished run of each method, made once. Read only."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        make_job_folder(folder, patch)
        start(parse(online_raw(tiny_policy, request.param)), folder / "run", Reporter(quiet=True))
    return Run(folder / "run")


def test_looks_are_a_grows_worth_of_samples_apart_and_everything_is_recorded(done):
    grow = len(done.prompts("grow"))
    looks = done.plan["config"]["loop"]["looks"]
    assert looks == [-(-grow * 4 // 16), -(-grow * 8 // 16)]
    assert done.iterations() == ["g00/i00", *(f"step-{n}" for n in looks)]
    assert done.state == "done"
    assert verify(done.path).decisions == 2
    assert not (done.path / CHECKPOINTS).exists()
    before = 0
    for n in looks:
        rows = read_table(done.path, f"step-{n}/grow.parquet", GROW)
        log = read_table(done.path, f"step-{n}/train.parquet", TRAIN)
        assert len(rows) == (n - before) * 16
        assert rows["sample_id"].is_unique
        assert list(log["step"]) == list(range(before + 1, n + 1))
        assert log["tokens"].sum() == rows["n_tokens"].sum()
        assert np.isfinite(log["loss"]).all()
        before = n


def test_training_changes_the_policy_and_raises_the_reward_it_is_trained_on(
    tiny_policy, job_folder, silent
):
    raw = online_raw(tiny_policy, "grpo")
    raw["loop"] = {**raw["loop"], "grow_steps": 4}
    start(parse(raw), job_folder / "run", silent)
    run = Run(job_folder / "run")
    gain = {m.name: m for m in run.measurements(run.iterations()[-1])}["divergence.reward_change"]
    assert gain.value > 0.2


def test_a_run_taken_up_from_the_trainers_checkpoint_ends_with_the_same_digest(
    done, tiny_policy, job_folder, silent, monkeypatch
):
    """Killed after its first look was recorded: the trainer's checkpoint is what it goes on
    from.
    """
    method = done.plan["config"]["loop"]["method"]
    looks = done.plan["config"]["loop"]["looks"]
    import restaudit.loop.online as module

    real, taken = module.look, []

    def once(job, step, *args, **kwargs):
        if taken:
            raise KeyboardInterrupt
        taken.append(step)
        real(job, step, *args, **kwargs)

    monkeypatch.setattr(module, "look", once)
    with pytest.raises(KeyboardInterrupt):
        start(parse(online_raw(tiny_policy, method)), job_folder / "again", silent)
    assert Run(job_folder / "again").iterations()[-1] == f"step-{looks[0]}"
    assert list((job_folder / "again" / CHECKPOINTS).glob("checkpoint-*"))
    monkeypatch.setattr(module, "look", real)
    resume(job_folder / "again", silent)
    assert Run(job_folder / "again").digest == done.digest


def test_without_its_checkpoint_it_trains_again_and_must_come_to_the_same_weights(
    tiny_policy, job_folder, silent, monkeypatch
):
    import restaudit.loop.online as module

    real = module.look

    def stop_after(job, step, *args, **kwargs):
        real(job, step, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "look", stop_after)
    with pytest.raises(KeyboardInterrupt):
        start(parse(online_raw(tiny_policy, "grpo")), job_folder / "run", silent)
    shutil.rmtree(job_folder / "run" / CHECKPOINTS, ignore_errors=True)
    monkeypatch.setattr(module, "look", real)
    resume(job_folder / "run", silent)
    assert Run(job_folder / "run").state == "done"


def test_a_gate_stops_the_trainer_and_an_override_lets_it_go_on(tiny_policy, job_folder, silent):
    raw = online_raw(tiny_policy, "grpo")
    raw["gates"]["rules"][0]["margin"] = 50.0
    with pytest.raises(Halted):
        start(parse(raw), job_folder / "run", silent)
    run = Run(job_folder / "run")
    looks = run.plan["config"]["loop"]["looks"]
    assert (run.state, run.iterations()[-1]) == ("halted", f"step-{looks[0]}")
    override(job_folder / "run", by="Ada", reason="only to see where it goes")
    with pytest.raises(Halted):
        resume(job_folder / "run", silent)
    assert Run(job_folder / "run").iterations()[-1] == f"step-{looks[1]}"
    assert verify(job_folder / "run").decisions == 2
