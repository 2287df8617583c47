"""`restaudit watch` on checkpoints: full models and adapters, whole and half written."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
import yaml

from restaudit.config import PolicyConfig
from restaudit.console import Reporter
from restaudit.errors import BadInput, Halted
from restaudit.evidence.record import Run
from restaudit.evidence.verify.check import verify
from restaudit.trainers.watch.checkpoints import digest_of_checkpoint, open_checkpoints
from restaudit.trainers.watch.folder import Watcher
from restaudit.trainers.watch.settings import WatchSettings
from restaudit.trainers.watch.watching import watch
from tests.loop.conftest import tiny_raw


def config(policy: Path, folder: Path, margin: float = -50.0) -> str:
    raw = tiny_raw(policy)
    raw["gates"]["rules"][0]["margin"] = margin
    del raw["policy"]["lora"]
    (folder / "audit.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return str(folder / "audit.yaml")


def nudged(policy: Path, target: Path, seed: int, size: float = 0.02) -> None:
    """The tiny policy with noise on its weights, as a checkpoint of transformers' Trainer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(policy)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        for p in model.parameters():
            p += size * torch.randn(p.shape, generator=generator)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(policy).save_pretrained(target)
    (target / "trainer_state.json").write_text(json.dumps({"global_step": seed}), encoding="utf-8")


def adapter(
    policy: Path, target: Path, seed: int, name: str = "default", **settings: object
) -> None:
    """A LoRA adapter that does something, as PEFT saves it: in a folder of its own unless it is
    called "default".
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    how = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", **settings)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(policy), how, adapter_name=name)
    generator = torch.Generator().manual_seed(seed)
    for parameter, p in model.named_parameters():
        if "lora" in parameter:
            p.data = 0.3 * torch.randn(p.shape, generator=generator)
    model.save_pretrained(target)


def go(folder: Path, run: Path, **asked: object) -> Run:
    watch(
        WatchSettings(folder, **asked),
        run,
        Watcher(WatchSettings(folder, **asked), Reporter(quiet=True)),
    )
    return Run(run)


@pytest.fixture
def checkpoints(tiny_policy: Path, job_folder: Path) -> Path:
    folder = job_folder / "out"
    shutil.copytree(tiny_policy, folder / "checkpoint-0")
    (folder / "checkpoint-0" / "trainer_state.json").write_text("{}", encoding="utf-8")
    for step in (10, 20):
        nudged(tiny_policy, folder / f"checkpoint-{step}", step, step / 500)
    return folder


def test_checkpoints_become_a_run_with_kl_and_their_weights_stay_where_they_are(
    checkpoints, tiny_policy, job_folder
):
    run = go(checkpoints, job_folder / "run", config=config(tiny_policy, job_folder))
    assert (run.state, run.iterations()) == ("done", ["g00/i00", "step-10", "step-20"])
    assert verify(run.path).decisions == 2
    kl = [
        {m.name: m for m in run.measurements(i)}["drift.kl"].value for i in ("step-10", "step-20")
    ]
    assert 0 < kl[0] < kl[1]
    facts = next(e.content for e in run.events if e.step == "step-10/train")
    assert set(facts["files"]) >= {"model.safetensors", "config.json"}
    assert not list(run.path.rglob("*.safetensors"))
    assert "step 0" in run.plan["config"]["description"]


def test_each_step_is_sampled_from_its_own_weights(checkpoints, tiny_policy, job_folder):
    run = go(checkpoints, job_folder / "run", config=config(tiny_policy, job_folder))
    texts = [tuple(run.audit(i)["text"]) for i in run.iterations()]
    assert len(set(texts)) == 3


def test_a_checkpoint_that_is_the_base_policy_has_no_kl_and_changes_nothing(
    checkpoints, tiny_policy, job_folder
):
    shutil.rmtree(checkpoints / "checkpoint-10")
    shutil.copytree(checkpoints / "checkpoint-0", checkpoints / "checkpoint-10")
    run = go(checkpoints, job_folder / "run", config=config(tiny_policy, job_folder), looks=(10,))
    assert {m.name: m for m in run.measurements("step-10")}["drift.kl"].value == 0


def test_adapters_are_audited_over_the_model_they_belong_to(tiny_policy, job_folder):
    for step in (5, 9):
        adapter(tiny_policy, job_folder / "out" / f"global_step_{step}", step)
    run = go(job_folder / "out", job_folder / "run", config=config(tiny_policy, job_folder))
    assert run.iterations() == ["g00/i00", "step-5", "step-9"]
    assert all(
        {m.name: m for m in run.measurements(i)}["drift.kl"].value > 0 for i in ("step-5", "step-9")
    )
    assert run.plan["artifacts"]["policy.model"]["spec"] == str(tiny_policy)


def test_an_adapter_whose_model_is_not_here_needs_base(tiny_policy, job_folder):
    adapter(tiny_policy, job_folder / "out" / "global_step_5", 5)
    path = job_folder / "out" / "global_step_5" / "adapter_config.json"
    path.write_text(
        path.read_text().replace(str(tiny_policy), "someone/somewhere"), encoding="utf-8"
    )
    with pytest.raises(BadInput, match="--base"):
        go(job_folder / "out", job_folder / "run", config=config(tiny_policy, job_folder))
    run = go(
        job_folder / "out",
        job_folder / "run",
        config=config(tiny_policy, job_folder),
        base=tiny_policy,
    )
    assert run.state == "done"


def test_an_adapter_s_look_records_the_model_it_is_put_on_and_a_changed_one_is_refused(
    tiny_policy, job_folder
):
    from safetensors.torch import load_file, save_file

    base = job_folder / "base"
    shutil.copytree(tiny_policy, base)
    adapter(base, job_folder / "out" / "step-5", 5, use_dora=True)
    how = {"config": config(tiny_policy, job_folder), "looks": (5, 9), "skip_missing": True}
    adapter(base, job_folder / "out" / "step-9", 9)
    run = go(job_folder / "out", job_folder / "run", **how)
    facts = next(e.content for e in run.events if e.step == "step-5/train")
    assert (
        facts["files"]["base"]
        == digest_of_checkpoint(base)
        == run.plan["artifacts"]["policy.model"]["sha256"]
    )
    policy = open_checkpoints(PolicyConfig(model=str(base), chat=False), base, device="cpu")
    policy.steps["step-5"] = job_folder / "out" / "step-5"
    tensors = load_file(base / "model.safetensors")
    save_file(
        {k: v * 1.1 for k, v in tensors.items()}, base / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(BadInput, match="the base policy is not what the run began with"):
        policy.become(Path("run/step-5/adapter"))


@pytest.mark.parametrize(
    "settings", [{"name": "mine"}, {"use_dora": True}, {"bias": "lora_only", "lora_bias": True}]
)
def test_adapters_of_any_name_and_kind_are_what_peft_computes(tiny_policy, job_folder, settings):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = job_folder / "step-5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT takes a bias for a tensor that was cut
        adapter(tiny_policy, folder, 5, **settings)
        step = folder / settings.get("name", ".")
        theirs = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(tiny_policy), step
        ).eval()
    policy = open_checkpoints(PolicyConfig(model="x", dtype="float32"), tiny_policy, device="cpu")
    policy.steps["step-5"] = step
    policy.become(Path("run/step-5/adapter"))
    ids = torch.arange(5, 40)[None]
    with torch.inference_mode():
        assert torch.allclose(
            policy.model(input_ids=ids).logits, theirs(input_ids=ids).logits, atol=1e-4
        )


def test_steps_are_put_on_the_model_below_a_base_policy_that_is_an_adapter_itself(
    tiny_policy, job_folder
):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for step in (0, 5):
        adapter(tiny_policy, job_folder / f"step-{step}", step + 1)
    AutoTokenizer.from_pretrained(tiny_policy).save_pretrained(job_folder / "step-0")
    policy = open_checkpoints(
        PolicyConfig(model="x", dtype="float32"), job_folder / "step-0", device="cpu"
    )
    policy.steps["step-5"] = job_folder / "step-5"
    ids = torch.arange(5, 40)[None]
    for folder, step in ((Path("run/step-5/adapter"), 5), (None, 0)):
        policy.become(folder)
        theirs = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(tiny_policy), job_folder / f"step-{step}"
        )
        with torch.inference_mode():
            assert torch.allclose(
                policy.model(input_ids=ids).logits, theirs.eval()(input_ids=ids).logits, atol=1e-4
            )


@pytest.mark.parametrize("step", ["prompts", "code"])
def test_virtual_tokens_and_code_are_refused_before_anything_is_sealed(
    step, checkpoints, tiny_policy, job_folder
):
    from peft import PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    last = checkpoints / "checkpoint-20"
    if step == "code":
        (last / "modeling_mine.py").write_text("", encoding="utf-8")
    else:
        shutil.rmtree(last)
        how = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
        get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_policy), how).save_pretrained(last)
        (last / "trainer_state.json").write_text("{}", encoding="utf-8")
    with pytest.raises(
        BadInput, match="code of its own" if step == "code" else "type PROMPT_TUNING"
    ):
        go(checkpoints, job_folder / "run", config=config(tiny_policy, job_folder))
    assert not (job_folder / "run").exists()


def test_another_tokenizer_of_the_base_policy_is_another_base_policy(
    checkpoints, tiny_policy, job_folder
):
    before = digest_of_checkpoint(checkpoints / "checkpoint-0")
    words = checkpoints / "checkpoint-0" / "tokenizer.json"
    words.write_text(words.read_text(encoding="utf-8").replace("</s>", "<end>"), encoding="utf-8")
    assert digest_of_checkpoint(checkpoints / "checkpoint-0") != before


@pytest.mark.parametrize("damage", ["weights", "header", "config", "state", "none"])
def test_a_half_written_checkpoint_is_named_before_anything_is_sealed(
    damage, checkpoints, tiny_policy, job_folder
):
    last = checkpoints / "checkpoint-20"
    weights = last / "model.safetensors"
    if damage in ("weights", "header"):
        data = weights.read_bytes()
        weights.write_bytes(data[: len(data) // 2 if damage == "weights" else 100])
    elif damage == "none":
        weights.unlink()
    else:
        (last / ("config.json" if damage == "config" else "trainer_state.json")).unlink()
    with pytest.raises(BadInput, match="checkpoint-20 is no whole checkpoint"):
        go(checkpoints, job_folder / "run", config=config(tiny_policy, job_folder))
    assert not (job_folder / "run").exists()


def test_pickled_weights_are_not_loaded(checkpoints, tiny_policy, job_folder):
    (checkpoints / "checkpoint-20" / "model.safetensors").rename(
        checkpoints / "checkpoint-20" / "pytorch_model.bin"
    )
    with pytest.raises(BadInput, match="save them as safetensors"):
        go(checkpoints, job_folder / "run", config=config(tiny_policy, job_folder))


def test_a_missing_shard_is_named(checkpoints, tiny_policy, job_folder):
    last = checkpoints / "checkpoint-20"
    (last / "model.safetensors").rename(last / "model-00001-of-00002.safetensors")
    index = {
        "weight_map": {
            "a": "model-00001-of-00002.safetensors",
            "b": "model-00002-of-00002.safetensors",
        }
    }
    (last / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(BadInput, match=r"model-00002-of-00002\.safetensors is not there"):
        go(checkpoints, job_folder / "run", config=config(tiny_policy, job_folder))


def test_a_folder_that_grows_is_followed_and_a_half_written_checkpoint_waited_for(
    checkpoints, tiny_policy, job_folder
):
    """Its clock and its sleep are the test's: while it sleeps, the training goes on."""
    weights = checkpoints / "checkpoint-20" / "model.safetensors"
    data, state = weights.read_bytes(), checkpoints / "checkpoint-20" / "trainer_state.json"
    weights.write_bytes(data[: len(data) // 2])
    state.unlink()
    now, said = [0.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] == 20:
            weights.write_bytes(data)
        if now[0] == 30:
            state.write_text("{}", encoding="utf-8")
        assert now[0] < 100

    settings = WatchSettings(
        checkpoints, config=config(tiny_policy, job_folder), looks=(10, 20), follow=True
    )
    reporter = Reporter(quiet=True)
    reporter.line = said.append  # type: ignore[method-assign]
    watch(
        settings, job_folder / "run", Watcher(settings, reporter, sleep=sleep, clock=lambda: now[0])
    )
    assert Run(job_folder / "run").state == "done"
    assert now[0] >= 30
    assert any("model.safetensors has" in line for line in said)


def test_a_halt_stops_it_and_an_override_lets_the_same_command_go_on(
    checkpoints, tiny_policy, job_folder
):
    from restaudit.evidence.override import override

    asked = {"config": config(tiny_policy, job_folder, margin=50.0)}
    with pytest.raises(Halted):
        go(checkpoints, job_folder / "run", **asked)
    with pytest.raises(Halted):
        go(checkpoints, job_folder / "run", **asked)
    override(job_folder / "run", by="Ada", reason="only to see where it goes")
    with pytest.raises(Halted, match="step-20"):
        go(checkpoints, job_folder / "run", **asked)
    assert verify(job_folder / "run").decisions == 2


def test_another_checkpoint_under_a_name_that_was_begun_is_refused(
    checkpoints, tiny_policy, job_folder, monkeypatch
):
    import restaudit.trainers.watch.watching as module

    real = module.audit

    def dies(job, iteration, **how):
        if iteration == "step-10":
            raise KeyboardInterrupt
        real(job, iteration, **how)

    monkeypatch.setattr(module, "audit", dies)
    with pytest.raises(KeyboardInterrupt):
        go(checkpoints, job_folder / "run", config=config(tiny_policy, job_folder))
    monkeypatch.setattr(module, "audit", real)
    shutil.rmtree(checkpoints / "checkpoint-10")
    nudged(tiny_policy, checkpoints / "checkpoint-10", 11)
    with pytest.raises(BadInput, match="not what step-10 was begun with"):
        go(checkpoints, job_folder / "run", config=config(tiny_policy, job_folder))


def test_checkpoints_need_a_configuration(checkpoints, job_folder):
    with pytest.raises(BadInput, match="--config"):
        go(checkpoints, job_folder / "run")
