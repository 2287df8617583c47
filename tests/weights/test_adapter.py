"""An exported adapter loads in PEFT, and is the policy that was audited."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from restaudit.console import Reporter
from restaudit.evidence import ledger
from restaudit.evidence.record import Run
from restaudit.policy.likelihood import loglikelihoods
from restaudit.policy.model import OLD_WEIGHTS
from restaudit.weights.export import export_weights
from restaudit.weights.files import base_for_adapter
from tests.weights.exported import (
    ADAPTER,
    CARD,
    loaded,
    own_figure,
    pairs_of,
    policy_of,
    re_recorded,
)


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
    agreement = export_weights(
        run_in_bfloat16, "peft", tmp_path / "p", lambda _: CARD, silent
    ).agreement
    assert agreement.in_float32 is not None
    assert agreement.rounding is not None
    assert agreement.own_rounding is not None
    assert agreement.in_float32.token < 0.001 < agreement.difference.token
    assert (
        agreement.difference.token
        <= agreement.rounding.token + agreement.own_rounding.token + 0.001
    )
    said = " ".join(agreement.sentences())
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
