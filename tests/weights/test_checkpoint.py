"""An exported checkpoint stands alone, in transformers and lm-eval, and is the policy that was audited."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from benchmarks import zoo
from restaudit.config import PolicyConfig
from restaudit.console import Reporter
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from restaudit.models.devices import restored
from restaudit.policy import load_policy
from restaudit.policy.likelihood import loglikelihoods
from restaudit.policy.loading import live_policy
from restaudit.weights.agreement import Response, apart, token_logprobs
from restaudit.weights.export import export_weights
from restaudit.weights.made import make_checkpoint
from tests.weights.exported import CARD, loaded, own_figure, pairs_of, policy_of


def test_a_checkpoint_stands_alone_with_tied_weights_and_the_policys_log_probabilities(
    run: Path, tmp_path: Path, silent: Reporter
):
    out = tmp_path / "out"
    exported = export_weights(run, "checkpoint", out, lambda _: CARD, silent)
    assert exported.agreement.bit_equal
    assert exported.agreement.difference.token == 0
    policy = policy_of(run, "g01/i02")
    pairs = pairs_of(run, policy, "g01/i02")
    model = loaded(out)
    assert model.dtype == torch.float32
    wanted = [nats for nats, _ in loglikelihoods(policy, pairs)]
    assert [own_figure(model, *p) for p in pairs] == pytest.approx(wanted, abs=0.001)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert "lm_head.weight" not in load_file(out / "model.safetensors")
    with policy.inference(merged=True) as merged:
        name = "model.layers.0.self_attn.q_proj"
        sampled_from = merged.get_submodule(name).base_layer.weight
        assert torch.equal(model.get_submodule(name).weight, sampled_from)


def test_generation_from_a_checkpoint_stops_where_the_audit_stopped(
    tiny_policy: Path, tmp_path: Path
):
    from transformers import GenerationConfig

    from restaudit.models.artifacts import Artifact

    base = shutil.copytree(tiny_policy, tmp_path / "base")
    (base / "generation_config.json").write_text(
        '{"eos_token_id": [7, 9], "temperature": 0.3}', encoding="utf-8"
    )
    policy = load_policy(PolicyConfig(model="m", dtype="float32"), base, device="cpu", seed=1)
    assert len(policy.stop_tokens) == 3
    prompt = tuple(policy.prompt_tokens([{"role": "user", "content": "Hi"}]))
    responses = [Response(({"role": "user", "content": "Hi"},), prompt, (20, 21, 22), None)]
    make_checkpoint(policy, Artifact(base, "m", ""), tmp_path / "out", responses)
    settings = GenerationConfig.from_pretrained(tmp_path / "out")
    assert settings.eos_token_id == policy.stop_tokens
    assert settings.temperature == 0.3
    assert loaded(tmp_path / "out").generation_config.eos_token_id == policy.stop_tokens


def test_no_file_of_a_checkpoint_names_this_machine_or_another_form_of_the_weights(
    run_in_bfloat16: Path, tmp_path: Path, silent: Reporter
):
    out = tmp_path / "out"
    export_weights(run_in_bfloat16, "checkpoint", out, lambda _: CARD, silent)
    config = json.loads((out / "config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == "bfloat16"
    assert {"_name_or_path", "quantization_config", "auto_map"}.isdisjoint(config)
    assert loaded(out).dtype == torch.bfloat16
    base = str(Run(run_in_bfloat16).plan["config"]["policy"]["model"])
    for name in (
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "tokenizer.json",
    ):
        text = (out / name).read_text()
        assert base not in text
        assert "local_files_only" not in text
    assert len({p.stat().st_mode for p in out.iterdir()}) == 1


def test_all_trained_weights_are_exported_as_a_checkpoint_and_are_no_adapter(
    run_of_all_weights: Path, tmp_path: Path, silent: Reporter
):
    out = tmp_path / "out"
    export_weights(run_of_all_weights, "checkpoint", out, lambda _: CARD, silent)
    policy = policy_of(run_of_all_weights, "g01/i01")
    model = loaded(out)
    masters = policy.masters
    assert all(torch.equal(p, masters[n]) for n, p in model.named_parameters())
    with pytest.raises(
        BadInput, match="trained as a whole and has no adapter; use --format checkpoint"
    ):
        export_weights(run_of_all_weights, "peft", tmp_path / "p", lambda _: CARD, silent)


def test_the_base_policy_is_a_checkpoint_and_no_adapter(
    run: Path, tmp_path: Path, silent: Reporter
):
    out = tmp_path / "out"
    export_weights(run, "checkpoint", out, lambda _: CARD, silent, iteration="g00/i00")
    base = loaded(Path(Run(run).plan["config"]["policy"]["model"]), dtype=torch.float32)
    assert all(
        torch.equal(p, dict(base.named_parameters())[n]) for n, p in loaded(out).named_parameters()
    )
    with pytest.raises(BadInput, match="g00/i00 is the base model itself and has no adapter"):
        export_weights(run, "peft", tmp_path / "p", lambda _: CARD, silent, iteration="g00/i00")


@pytest.fixture(scope="module")
def zoo_base(tmp_path_factory: pytest.TempPathFactory):
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            zoo.make(name, made[name])
        return made[name]

    return make


def live(variant: str, zoo_base: Any) -> tuple[Any, Any, list[Response]]:
    """A trained adapter of one of PEFT's kinds as a policy, its base, and some responses."""
    from restaudit.models.artifacts import Artifact

    base = zoo_base(zoo.BASES.get(variant, "llama"))
    model = zoo.adapted(variant, base)
    zoo.perturb(model, 1)
    policy = live_policy(
        model, zoo.tokenizer(), PolicyConfig(model=variant, dtype="float32"), keep="trained"
    )
    message = {"role": "user", "content": "Write about a river."}
    prompt = tuple(policy.prompt_tokens([message]))
    responses = [Response((message,), prompt, tuple(range(30 + k, 42 + k)), None) for k in range(3)]
    return policy, Artifact(base, variant, ""), responses


VARIANTS = (
    "dora",
    "rslora",
    "lora_conv1d",
    "lora_patterns",
    "lora_experts",
    "lora_modules_to_save",
    "ia3",
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_adapters_are_merged_as_sampling_merges_or_as_peft_does_where_that_agrees(
    variant: str, zoo_base: Any, tmp_path: Path
):
    policy, base, responses = live(variant, zoo_base)
    wanted = token_logprobs(policy.model, responses, "cpu")
    found = make_checkpoint(policy, base, tmp_path, responses)
    assert found.bit_equal
    assert apart(token_logprobs(loaded(tmp_path), responses, "cpu"), wanted).token < 0.001


@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings=True.*")
@pytest.mark.parametrize("variant", ["lora_head_tied", "prompt_tuning"])
def test_an_adapter_that_cannot_be_merged_is_refused_by_name(
    variant: str, zoo_base: Any, tmp_path: Path
):
    policy, base, responses = live(variant, zoo_base)
    with pytest.raises(
        BadInput, match=f"{variant}: this adapter cannot be merged into a checkpoint.*--format peft"
    ):
        make_checkpoint(policy, base, tmp_path, responses)


TASK = {
    "task": "tiny_local",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_target": 0,
    "doc_to_choice": "{{choices}}",
    "metric_list": [{"metric": "acc"}],
}


def evaluated(arguments: str, folder: Path) -> dict[str, Any]:
    """What lm-eval's own command line says of a local task of three items."""
    rows = [{"question": f"Day {k} was", "choices": [" good.", " bad."]} for k in range(3)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    files = {"data_files": {"test": str(folder / "rows.jsonl")}}
    kwargs = {**files, "cache_dir": str(folder / "cache")}
    task = {**TASK, "dataset_kwargs": kwargs}
    (folder / "tiny_local.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    from lm_eval import tasks
    from lm_eval.__main__ import cli_evaluate

    # In this process: a new one would import torch, transformers and lm-eval once more.
    command = ["lm_eval", "run", "--model", "hf", "--model_args", arguments]
    command += ["--tasks", "tiny_local", "--include_path", str(folder), "--device", "cpu"]
    command += ["--output_path", str(folder / "found")]
    with pytest.MonkeyPatch.context() as patch, restored():
        patch.setattr(sys, "argv", command)
        # Its own tasks, 14 000 files that it would read first, are not asked for.
        patch.setattr(tasks, "TaskManager", partial(tasks.TaskManager, include_defaults=False))
        cli_evaluate()
    (found,) = (folder / "found").rglob("results_*.json")
    results: dict[str, Any] = json.loads(found.read_text())["results"]["tiny_local"]
    return results


def test_the_command_line_of_lm_eval_loads_a_checkpoint(
    run: Path, tmp_path: Path, silent: Reporter
):
    out = tmp_path / "out"
    export_weights(run, "checkpoint", out, lambda _: CARD, silent)
    assert 0 <= evaluated(f"pretrained={out}", tmp_path)["acc,none"] <= 1
