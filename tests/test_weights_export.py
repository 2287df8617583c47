"""Exported weights load in PEFT, transformers and lm-eval, and are the policy that was audited."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from benchmarks import zoo
from restaudit.commands import cli
from restaudit.config import Config, PolicyConfig
from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.errors import BadInput, Halted, VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.chats import as_messages
from restaudit.evidence.override import override
from restaudit.evidence.record import Run
from restaudit.loop.plan import start
from restaudit.policy import load_policy
from restaudit.policy.likelihood import loglikelihoods
from restaudit.policy.live import live_policy
from restaudit.policy.model import OLD_WEIGHTS
from restaudit.weights.agreement import Response, apart, audited_responses, token_logprobs
from restaudit.weights.export import export_weights
from restaudit.weights.files import base_for_adapter
from restaudit.weights.made import make_checkpoint
from tests.loop.conftest import make_job_folder, tiny_raw

CARD = "the card\n"
SMALL = {"grow_steps": 1, "improve_steps": 1}
ADAPTER = "g01/i02/adapter/adapter_model.safetensors"


def make_run(
    policy: Path, folder: Path, *, policy_is: dict[str, Any] | None = None, **loop: Any
) -> Path:
    """A finished run by the real program; `folder` is where its prompts are."""
    raw = tiny_raw(policy, **loop)
    raw["policy"] |= policy_is or {}  # type: ignore[operator]
    start(parse(raw), folder / "run", Reporter(quiet=True))
    return folder / "run"


def made_in(tmp_path_factory: pytest.TempPathFactory, policy: Path, **how: Any) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        make_job_folder(folder, patch)
        yield make_run(policy, folder, **how)


@pytest.fixture(scope="module")
def run(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One Grow step of two Improve steps in float32, on a base with tied weights. Read only."""
    yield from made_in(
        tmp_path_factory, tiny_policy, policy_is={"licence": "Apache-2.0"}, grow_steps=1
    )


@pytest.fixture(scope="module")
def run_in_bfloat16(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same in bfloat16. Read only."""
    yield from made_in(tmp_path_factory, tiny_policy, policy_is={"dtype": "bfloat16"}, **SMALL)


@pytest.fixture(scope="module")
def run_of_all_weights(
    tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A run that trains every parameter. Read only."""
    yield from made_in(tmp_path_factory, tiny_policy, policy_is={"training": "full"}, **SMALL)


@pytest.fixture
def silent() -> Reporter:
    return Reporter(quiet=True)


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Call the command line as a shell would; returns (exit code, standard output, standard
    error).
    """

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["restaudit", *map(str, words)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as e:
            code = int(e.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def loaded(folder: Path, **more: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=False, use_safetensors=True, **more
    ).eval()


def policy_of(run: Path, iteration: str) -> Any:
    """The policy of a run with the weights of an iteration, as the run itself loads it."""
    config = Config.model_validate(Run(run).plan["config"])
    policy = load_policy(config.policy, Path(config.policy.model), device="cpu", seed=1)
    policy.become(run / iteration / "adapter")
    return policy


def pairs_of(
    run: Path, policy: Any, iteration: str
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Prompt and response of some audited samples in tokens."""
    record = Run(run)
    prompts = record.prompts("audit").set_index("prompt_id")["prompt"]
    rows = record.audit(iteration, ["prompt_id", "text"]).head(6)
    return [
        (tuple(policy.prompt_tokens(as_messages(prompts[p]))), tuple(policy.response_tokens(t)))
        for p, t in zip(rows["prompt_id"], rows["text"], strict=True)
    ]


def own_figure(model: Any, prompt: tuple[int, ...], response: tuple[int, ...]) -> float:
    """log p(response | prompt) by the model's own forward pass."""
    with torch.no_grad():
        logits = (
            model(input_ids=torch.tensor([[*prompt, *response]]))
            .logits[0, len(prompt) - 1 : -1]
            .float()
        )
    return float(torch.log_softmax(logits, -1).gather(1, torch.tensor(response)[:, None]).sum())


def re_recorded(run: Path, out: Path, change: Any) -> Path:
    """A copy of a run whose files `change` altered, with a ledger that fits them."""
    shutil.copytree(run, out)
    change(out)
    events = ledger.read(out)
    (out / ledger.FILE).unlink()
    prev = ledger.GENESIS
    for event in events:
        folders = {str(Path(n).parent) for n in event.outputs if "/adapter/" in n}
        outputs = {n: d for n, d in event.outputs.items() if "/adapter/" not in n}
        outputs |= {
            f"{f}/{p.name}": ledger.digest_file(p) for f in folders for p in (out / f).iterdir()
        }
        event = dataclasses.replace(event, prev=prev, outputs=outputs)
        ledger.append(out, event)
        prev = event.hash
    return out


# --- an adapter


def test_peft_loads_the_adapter_and_gives_the_policys_log_probabilities(
    run: Path, tmp_path: Path, silent: Reporter
):
    from peft import AutoPeftModelForCausalLM, PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    out = tmp_path / "out"
    exported = export_weights(run, "peft", out, lambda _: CARD, silent)
    assert exported.chosen.iteration == "g01/i02"
    assert (out / "adapter_model.safetensors").read_bytes() == (run / ADAPTER).read_bytes()
    named = json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"]
    policy = policy_of(run, "g01/i02")
    pairs = pairs_of(run, policy, "g01/i02")
    wanted = [nats for nats, _ in loglikelihoods(policy, pairs)]
    for model in (
        PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(named, dtype=torch.float32), out
        ),
        AutoPeftModelForCausalLM.from_pretrained(out, dtype=torch.float32),
    ):
        assert [own_figure(model.eval(), *p) for p in pairs] == pytest.approx(wanted, abs=0.001)
    base = loaded(named, dtype=torch.float32)
    assert max(abs(own_figure(base, *p) - w) for p, w in zip(pairs, wanted, strict=True)) > 0.1
    tokenizer = AutoTokenizer.from_pretrained(out)
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True
    )
    assert chat["input_ids"] == policy.prompt_tokens([{"role": "user", "content": "Hi"}])
    assert GenerationConfig.from_pretrained(out).eos_token_id == policy.stop_tokens


def test_what_is_in_the_folder_is_written_down_with_its_digests(
    run: Path, tmp_path: Path, silent: Reporter
):
    out = tmp_path / "out"
    export_weights(run, "peft", out, lambda _: CARD, silent)
    facts = json.loads((out / "restaudit.json").read_text())
    record = Run(run)
    assert facts["run"]["id"] == record.run_id
    assert facts["run"]["ledger_head"] == record.events[-1].hash
    assert facts["run"]["plan_sha256"] == ledger.digest_file(run / "plan.json").sha256
    assert facts["base_model"]["sha256"] == record.plan["artifacts"]["policy.model"]["sha256"]
    assert facts["recorded_weights"][ADAPTER] == facts["files"]["adapter_model.safetensors"]
    assert facts["files"] == {
        p.name: ledger.digest_file(p).sha256 for p in out.iterdir() if p.name != "restaudit.json"
    }
    found = facts["comparison"]
    assert found["responses"] == 8
    assert found["largest_difference_nats"]["token"] < 0.001
    assert found["median_difference_from_the_recorded_nats"] < 0.001
    assert "Apache-2.0" in (out / "LICENSE").read_text()
    assert (out / "README.md").read_text() == CARD
    assert [p.name for p in out.parent.iterdir() if p.name.startswith(".tmp")] == []


def test_in_bfloat16_the_difference_stands_beside_what_rounding_explains(
    run_in_bfloat16: Path, tmp_path: Path, silent: Reporter
):
    found = export_weights(
        run_in_bfloat16, "peft", tmp_path / "p", lambda _: CARD, silent
    ).agreement
    assert found.exact is not None
    assert found.rounding is not None
    assert found.own is not None
    assert found.exact.token < 0.001 < found.found.token
    assert found.found.token <= found.rounding.token + found.own.token + 0.001
    said = " ".join(found.sentences())
    assert "PeftModel.from_pretrained" in said
    assert "Rounding to bfloat16 alone moves the audited policy by up to" in said


def test_the_base_model_is_named_so_that_it_can_be_loaded():
    here = Path("/cache/converted")
    assert base_for_adapter("hf:org/name@v1", here, pushed=False) == ("org/name", "v1")
    assert base_for_adapter("hf:org/name@v1!model.gguf", here, pushed=False) == (
        "/cache/converted",
        None,
    )
    assert base_for_adapter("models/mine", here, pushed=False) == ("/cache/converted", None)
    assert base_for_adapter("pypi:a==1!b.gguf", here, pushed=True) == ("pypi:a==1!b.gguf", None)


def test_an_adapter_that_an_older_run_kept_by_parameter_names_is_exported_too(
    run: Path, tmp_path: Path, silent: Reporter
):
    policy = policy_of(run, "g01/i02")

    def as_before(copy: Path) -> None:
        folder = copy / "g01/i02/adapter"
        shutil.rmtree(folder)
        folder.mkdir()
        save_file({n: v.contiguous() for n, v in policy.masters.items()}, str(folder / OLD_WEIGHTS))

    old = re_recorded(run, tmp_path / "old", as_before)
    out = tmp_path / "out"
    export_weights(old, "peft", out, lambda _: CARD, silent)
    new, before = load_file(out / "adapter_model.safetensors"), load_file(run / ADAPTER)
    assert new.keys() == before.keys()
    assert all(torch.equal(new[k], before[k]) for k in new)


# --- a whole model


def test_a_checkpoint_stands_alone_with_tied_weights_and_the_policys_log_probabilities(
    run: Path, tmp_path: Path, silent: Reporter
):
    out = tmp_path / "out"
    exported = export_weights(run, "checkpoint", out, lambda _: CARD, silent)
    assert exported.agreement.bit_equal
    assert exported.agreement.found.token == 0
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


# --- other tools

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
    task = {**TASK, "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}}}
    (folder / "tiny_local.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", arguments]
    command += ["--tasks", "tiny_local", "--include_path", folder, "--device", "cpu"]
    command += ["--output_path", folder / "found"]
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(
        [str(c) for c in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **offline},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (found,) = (folder / "found").rglob("results_*.json")
    results: dict[str, Any] = json.loads(found.read_text())["results"]["tiny_local"]
    return results


def test_the_command_line_of_lm_eval_loads_a_checkpoint(
    run: Path, tmp_path: Path, silent: Reporter
):
    out = tmp_path / "out"
    export_weights(run, "checkpoint", out, lambda _: CARD, silent)
    assert 0 <= evaluated(f"pretrained={out}", tmp_path)["acc,none"] <= 1


# --- what is refused


def test_a_changed_adapter_file_is_refused_with_exit_code_5(
    run: Path, tmp_path: Path, run_cli: Any
):
    copy = shutil.copytree(run, tmp_path / "copy")
    data = bytearray((copy / ADAPTER).read_bytes())
    data[-1] ^= 1
    (copy / ADAPTER).write_bytes(data)
    code, _, err = run_cli("export", copy, "--format", "peft", "--out", tmp_path / "out")
    assert code == 5
    assert f"{ADAPTER}: changed after it was recorded" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["plan.json", "environment.json", "data/audit.parquet", "g01/i02/audit.parquet"]
)
def test_every_recorded_file_that_is_read_is_compared_first(
    run: Path, tmp_path: Path, silent: Reporter, name: str
):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / name).write_bytes((copy / name).read_bytes() + b" ")
    with pytest.raises(VerificationFailed, match=f"{name}: changed after it was recorded"):
        export_weights(copy, "checkpoint", tmp_path / "out", lambda _: CARD, silent)


def test_a_folder_that_holds_something_is_refused(run: Path, tmp_path: Path, run_cli: Any):
    assert run_cli("export", run, "--format", "peft", "--out", tmp_path / "out")[0] == 0
    before = {p: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    code, _, err = run_cli("export", run, "--format", "peft", "--out", tmp_path / "out")
    assert code == 2
    assert "is not an empty folder; name another one with --out" in err
    assert {p: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_an_iteration_that_is_not_there_is_refused_with_those_that_are(
    run: Path, tmp_path: Path, silent: Reporter
):
    with pytest.raises(
        BadInput, match="no audited iteration 'g09/i01'; there are: g00/i00, g01/i01, g01/i02"
    ):
        export_weights(run, "peft", tmp_path / "out", lambda _: CARD, silent, iteration="g09/i01")


def test_another_base_model_is_refused(
    tiny_policy: Path, tmp_path: Path, monkeypatch: Any, silent: Reporter
):
    base = shutil.copytree(tiny_policy, tmp_path / "base")
    made = make_run(base, make_job_folder(tmp_path, monkeypatch), **SMALL)
    (base / "generation_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BadInput, match="is not the base model that the plan was sealed with"):
        export_weights(made, "peft", tmp_path / "out", lambda _: CARD, silent)


def test_what_is_not_the_audited_policy_is_refused_and_nothing_is_left(
    run: Path, tmp_path: Path, monkeypatch: Any, silent: Reporter
):
    from restaudit.weights import made as weights_made

    def doubled(*given: Any) -> None:
        write(*given)
        config = json.loads((given[2] / "adapter_config.json").read_text())
        (given[2] / "adapter_config.json").write_text(
            json.dumps(config | {"lora_alpha": 2 * config["lora_alpha"]})
        )

    write = weights_made.write_adapter
    monkeypatch.setattr(weights_made, "write_adapter", doubled)
    with pytest.raises(
        BadInput, match="is not the audited policy: its log-probabilities differ by up to"
    ):
        export_weights(run, "peft", tmp_path / "out", lambda _: CARD, silent)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_that_makes_another_model_of_the_same_weights_is_refused(
    run_in_bfloat16: Path, tmp_path: Path, monkeypatch: Any, silent: Reporter
):
    from restaudit.weights import made as weights_made

    def elsewhere(model: Any, out: Path, base: Path) -> None:
        write(model, out, base)
        config = json.loads((out / "config.json").read_text())
        config["rope_parameters"]["rope_theta"] = 100.0
        (out / "config.json").write_text(json.dumps(config))

    write = weights_made.write_checkpoint
    monkeypatch.setattr(weights_made, "write_checkpoint", elsewhere)
    with pytest.raises(
        BadInput, match="is not the audited policy: its log-probabilities differ by up to"
    ):
        export_weights(run_in_bfloat16, "checkpoint", tmp_path / "out", lambda _: CARD, silent)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_trained_nothing_offers_its_base_policy(
    tiny_policy: Path, tmp_path: Path, monkeypatch: Any, silent: Reporter
):
    made = make_run(
        tiny_policy,
        make_job_folder(tmp_path, monkeypatch),
        method="best_of_n",
        grow_steps=1,
        improve_steps=0,
    )
    with pytest.raises(BadInput, match=r"no policy of this run was trained.*--iteration g00/i00"):
        export_weights(made, "checkpoint", tmp_path / "out", lambda _: CARD, silent)
    exported = export_weights(
        made, "checkpoint", tmp_path / "out", lambda _: CARD, silent, iteration="g01/i00"
    )
    assert exported.chosen.policy == "g00/i00"
    assert "its audit chose among samples of g00/i00" in exported.chosen.why


# --- a run that a gate stopped


def test_a_halted_run_is_exported_and_says_so_first(
    tiny_policy: Path, tmp_path: Path, monkeypatch: Any, run_cli: Any
):
    folder = make_job_folder(tmp_path, monkeypatch)
    raw = tiny_raw(tiny_policy)
    raw["gates"]["rules"][0]["margin"] = 50.0  # type: ignore[index]
    with pytest.raises(Halted):
        start(parse(raw), folder / "run", Reporter(quiet=True))
    code, out, _ = run_cli("export", folder / "run", "--format", "peft", "--out", tmp_path / "out")
    assert code == 0
    assert out.startswith("This run was halted at g01/i01 by its sealed gates (harm).")
    text = (tmp_path / "out/README.md").read_text().split("---", 2)[2]
    assert text.index("This run was halted at g01/i01") < text.index("## What is in this folder")
    override(folder / "run", by="Ada", reason="we look at it by hand")
    out = run_cli("export", folder / "run", "--format", "checkpoint", "--out", tmp_path / "two")[1]
    assert out.startswith(
        "HALT at g01/i01 (gate: harm) was overridden by Ada: we look at it by hand"
    )


# --- somebody else's trainer


@pytest.fixture(scope="module")
def trained_outside(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory):
    """Runs of trainers that AuditCallback looked at: with a LoRA, with all weights kept, with none
    kept.
    """
    pytest.importorskip("trl", reason="the extra rlhf is not installed")
    from restaudit.trainers import AuditCallback
    from tests.rlhf.test_callback import audit_raw, make_trainer

    made: dict[str, Path] = {}

    def make(keep: str) -> Path:
        if keep not in made:
            folder = tmp_path_factory.mktemp(keep)
            with pytest.MonkeyPatch.context() as patch:
                make_job_folder(folder, patch)
                watching = AuditCallback(audit_raw(tiny_policy), folder / "run", looks=1, keep=keep)
                lora = keep != "trained"
                make_trainer(
                    "sft", tiny_policy, folder / "out", [watching], lora=lora, steps=2
                ).train()
            made[keep] = folder / "run"
        return made[keep]

    return make


@pytest.mark.parametrize(
    ("keep", "kind"), [("adapter", "peft"), ("adapter", "checkpoint"), ("trained", "checkpoint")]
)
def test_a_policy_that_somebody_else_trained_is_put_together_from_what_was_kept(
    trained_outside: Any, tmp_path: Path, silent: Reporter, keep: str, kind: Any
):
    run = trained_outside(keep)
    found = export_weights(run, kind, tmp_path / "out", lambda _: CARD, silent)
    assert found.chosen.iteration == "step-2"
    assert found.agreement.found.token < 0.001
    assert found.facts["recorded_weights"].keys() == {
        f"step-2/adapter/{p.name}" for p in (run / "step-2/adapter").iterdir()
    }


def test_weights_that_were_not_kept_are_refused_with_where_they_are(
    trained_outside: Any, tmp_path: Path, silent: Reporter
):
    with pytest.raises(
        BadInput,
        match="the weights of step-2 were not kept in the run; the trainer's own checkpoint",
    ):
        export_weights(trained_outside("none"), "peft", tmp_path / "out", lambda _: CARD, silent)


# --- the command, the card and the hub


def test_the_command_writes_weights_beside_the_run_and_says_where(
    run: Path, tmp_path: Path, run_cli: Any
):
    copy = shutil.copytree(run, tmp_path / "mine")
    code, out, _ = run_cli("export", copy, "--format", "peft,checkpoint,prov")
    assert code == 0
    for name in ("mine-peft-g01-i02", "mine-checkpoint-g01-i02"):
        assert str(tmp_path / name) in out
        assert (tmp_path / name / "restaudit.json").is_file()
    assert (copy / "report/exports/run.prov.json").is_file()
    assert "peft: g01/i02, the last iteration that was trained" in out
    assert "Loaded with PeftModel.from_pretrained and compared with the audited policy" in out
    code, out, _ = run_cli("export", copy, "--format", "prov,peft", "--out", tmp_path / "all")
    assert code == 0
    assert (tmp_path / "all/peft/adapter_config.json").is_file()
    assert (tmp_path / "all/run.prov.json").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--iteration", "g01/i01"), "--iteration: only with --format peft or --format checkpoint"),
        (
            ("--push", "org/name", "--format", "prov"),
            "--push: only with --format peft or --format checkpoint",
        ),
        (
            ("--push", "org/name", "--format", "peft,checkpoint"),
            "--push: a repository holds one model",
        ),
        (("--push", "name", "--format", "peft"), "--push: expected ORG/NAME, got 'name'"),
        (("--format", "gguf"), "or weights: peft, checkpoint"),
    ],
)
def test_options_that_do_not_fit_are_one_message(
    run: Path, run_cli: Any, words: tuple[str, ...], said: str
):
    code, _, err = run_cli("export", run, *words)
    assert code == 2
    assert said in err


def test_the_card_has_front_matter_that_the_hub_reads_and_the_comparison(
    run: Path, tmp_path: Path, run_cli: Any
):
    from huggingface_hub import ModelCard

    run_cli("export", run, "--format", "peft", "--iteration", "g01/i01", "--out", tmp_path / "out")
    card = ModelCard.load(tmp_path / "out/README.md")
    assert card.data.library_name == "peft"
    assert card.data.license == "apache-2.0"
    assert "lora" in card.data.tags
    assert "g01/i01" in card.text
    assert "largest difference in log-probability is" in card.text
    run_cli("export", run, "--format", "checkpoint", "--out", tmp_path / "two")
    assert ModelCard.load(tmp_path / "two/README.md").data.library_name == "transformers"


class Hub:
    """Stands in for huggingface_hub.HfApi."""

    calls: ClassVar[list[tuple[str, dict[str, Any]]]] = []
    error: ClassVar[Exception | None] = None

    def create_repo(self, repo_id: str, **how: Any) -> str:
        self.calls.append(("create", {"repo_id": repo_id, **how}))
        if self.error is not None:
            raise self.error
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(self, **how: Any) -> None:
        self.calls.append(
            ("upload", {**how, "names": {p.name for p in Path(how["folder_path"]).iterdir()}})
        )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    import huggingface_hub

    Hub.calls, Hub.error = [], None
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    return Hub


def test_a_pushed_adapter_goes_to_a_private_repository_and_names_no_folder_of_this_machine(
    run: Path, tmp_path: Path, run_cli: Any, hub: type[Hub]
):
    code, out, _ = run_cli(
        "export", run, "--format", "peft", "--out", tmp_path / "out", "--push", "org/name"
    )
    assert code == 0
    assert "https://huggingface.co/org/name" in out
    (made, how), (sent, what) = hub.calls
    assert (made, how["repo_id"], how["private"], how["exist_ok"]) == (
        "create",
        "org/name",
        True,
        True,
    )
    assert (sent, what["repo_id"]) == ("upload", "org/name")
    assert {"adapter_model.safetensors", "README.md", "restaudit.json", "LICENSE"} <= what["names"]
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == Run(run).plan["artifacts"]["policy.model"]["spec"]


def test_where_the_hub_cannot_be_reached_the_folder_stays(
    run: Path, tmp_path: Path, run_cli: Any, hub: type[Hub]
):
    from huggingface_hub.errors import LocalTokenNotFoundError

    hub.error = LocalTokenNotFoundError("Token is required")
    code, _, err = run_cli(
        "export", run, "--format", "peft", "--out", tmp_path / "out", "--push", "org/name"
    )
    assert code == 2
    assert "not uploaded (Token is required); the folder is complete at" in err
    assert (tmp_path / "out/adapter_model.safetensors").is_file()


def test_responses_that_are_compared_are_those_that_were_drawn(run: Path):
    policy = policy_of(run, "g01/i02")
    record = Run(run)
    responses = audited_responses(record, "g01/i02", policy)
    assert len({r.prompt for r in responses}) == len(responses) == 8
    recorded = [
        (sum(t), r.logprob)
        for t, r in zip(token_logprobs(policy.model, responses, "cpu"), responses, strict=True)
        if r.logprob is not None
    ]
    close = [abs(a - b) < 0.001 for a, b in recorded if b is not None]
    assert sum(close) >= len(close) * 3 // 4
