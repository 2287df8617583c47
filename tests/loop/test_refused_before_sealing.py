"""What cannot be sampled or trained exactly is refused while nothing is sealed, and what was proved
is on record.
"""

from __future__ import annotations

import shutil

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.errors import BadInput, Interrupted
from restaudit.evidence.record import Run
from restaudit.loop.plan import resume, start
from restaudit.policy import load_policy
from restaudit.policy.model import OLD_WEIGHTS
from tests.conftest import CHAT_TEMPLATE
from tests.loop.conftest import tiny_raw


def refused(raw, folder, silent, match):
    with pytest.raises(BadInput, match=match):
        start(parse(raw), folder / "runs" / "x", silent)
    assert not (folder / "runs" / "x" / "plan.json").exists()
    assert not (folder / "runs" / "x" / "ledger.jsonl").exists()


def test_a_prompt_that_is_too_long(tiny_policy, job_folder, silent):
    raw = tiny_raw(tiny_policy)
    raw["policy"]["max_prompt_tokens"] = 8
    refused(raw, job_folder, silent, r"policy\.max_prompt_tokens is 8")


def test_a_response_that_the_model_has_no_positions_for(tiny_policy, job_folder, silent):
    raw = tiny_raw(tiny_policy)
    raw["loop"]["sampling"]["max_tokens"] = 250
    refused(raw, job_folder, silent, r"its response up to 250.*reads 256 tokens in all")


def test_a_system_message_that_the_template_refuses(tiny_policy, job_folder, silent):
    folder = job_folder / "refuses"
    shutil.copytree(tiny_policy, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    refuse = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template = refuse + CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    raw = tiny_raw(folder)
    raw["policy"]["system_prompt"] = "Be brief."
    refused(raw, job_folder, silent, r"refuses.*no system.*policy\.system_prompt: null")


def test_a_model_that_is_not_computed_exactly(tiny_policy, job_folder, silent, monkeypatch):
    from restaudit.policy import exactness

    monkeypatch.setattr(
        exactness, "training_logprobs", lambda policy, examples, *, route: [0.0] * len(examples)
    )
    refused(
        tiny_raw(tiny_policy),
        job_folder,
        silent,
        r"refused, since no way to compute training.*nats",
    )


def test_a_module_that_the_model_does_not_have(tiny_policy, job_folder, silent):
    raw = tiny_raw(tiny_policy)
    raw["policy"]["lora"]["targets"] = ["c_attn"]
    refused(raw, job_folder, silent, r"policy\.lora.*c_attn")


def test_what_was_proved_is_in_the_record(tiny_policy, job_folder, capsys):
    start(
        parse(tiny_raw(tiny_policy, grow_steps=1, improve_steps=1)),
        job_folder / "runs" / "x",
        Reporter(),
    )
    found = Run(job_folder / "runs" / "x").environment
    assert found["exactness"]["largest_difference_nats"] < 0.001
    assert set(found["exactness"]["uses"]) == {"sampling", "training", "likelihood", "kl"}
    assert found["lora"]["adapted"]["q_proj"] == 2
    assert "the model's own forward pass agree within" in capsys.readouterr().out


def test_an_adapter_of_a_run_is_pefts_own_and_a_run_with_the_old_kind_goes_on(
    tiny_policy, job_folder, silent
):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    config = parse(tiny_raw(tiny_policy, grow_steps=1, improve_steps=1))
    start(config, job_folder / "runs" / "x", silent)
    adapter = job_folder / "runs" / "x" / "g01" / "i01" / "adapter"
    policy = load_policy(config.policy, tiny_policy, device="cpu", seed=0)
    policy.become(adapter)
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_policy), adapter)
    mine, loaded = dict(policy.model.named_parameters()), dict(theirs.named_parameters())
    names = [n for n in mine if "lora_" in n]
    assert names
    assert all(mine[n].equal(loaded[n]) for n in names)
    # As runs kept it before: by the names of the parameters.
    old = job_folder / "old"
    old.mkdir()
    save_file(dict(policy.masters), str(old / OLD_WEIGHTS))
    policy.become(None)
    policy.become(old)
    assert all(value.equal(mine[name]) for name, value in policy.masters.items())
    other = load_file(str(old / OLD_WEIGHTS))
    save_file({f"{k}.x": v for k, v in other.items()}, str(old / OLD_WEIGHTS))
    with pytest.raises(BadInput, match="do not belong to this policy"):
        policy.become(old)


def test_a_resumed_run_is_checked_again(tiny_policy, job_folder, monkeypatch, silent):
    from restaudit.evidence.steps import Writer
    from restaudit.policy import exactness

    run = job_folder / "runs" / "x"
    real = Writer.step

    def stop(self, name, *args, **kwargs):
        if name == "g01/grow":
            raise Interrupted("stopped")
        return real(self, name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "step", stop)
        with pytest.raises(Interrupted):
            start(parse(tiny_raw(tiny_policy)), run, silent)
    monkeypatch.setattr(
        exactness, "training_logprobs", lambda policy, examples, *, route: [0.0] * len(examples)
    )
    with pytest.raises(BadInput, match="no way to compute training"):
        resume(run, silent)
