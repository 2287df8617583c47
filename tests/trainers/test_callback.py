"""AuditCallback on every TRL trainer and on transformers.Trainer, with tiny models."""

from pathlib import Path

import pytest

from restaudit.errors import BadInput, Halted
from restaudit.evidence.override import override
from restaudit.evidence.record import Run
from restaudit.evidence.verify.check import verify
from tests.loop.conftest import tiny_raw

trl = pytest.importorskip("trl", reason="the extra rlhf is not installed")
KINDS = ("sft", "dpo", "grpo", "rloo", "transformers")
PROMPTS = [f"Say something about day {k}." for k in range(12)]


def audit_raw(policy: Path, margin: float = -50.0) -> dict[str, object]:
    """A recipe whose reward, human score, audit and gates are used; its policy and its loop are
    not.
    """
    raw = tiny_raw(policy)
    raw["gates"]["rules"][0]["margin"] = margin
    return raw


def make_trainer(
    kind: str,
    policy: Path,
    out: Path,
    callbacks: list,
    *,
    lora: bool = True,
    steps: int = 4,
    prompts: list[str] = PROMPTS,
    **more,
):
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    tokenizer = AutoTokenizer.from_pretrained(policy)
    model = AutoModelForCausalLM.from_pretrained(policy)
    common = {
        "output_dir": str(out),
        "max_steps": steps,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "learning_rate": 0.01,
        "per_device_train_batch_size": 4,
        "save_strategy": "steps",
        "save_steps": 1,
        "logging_steps": 1,
        "dataloader_pin_memory": False,
        "seed": 3,
        **more,
    }
    set_seed(3)
    adapter = (
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        if lora
        else None
    )
    if kind == "transformers":
        rows = [tokenizer(f"{p} It was fine.") for p in prompts]
        for row in rows:
            row["labels"] = list(row["input_ids"])
        from transformers import DataCollatorForSeq2Seq

        return Trainer(
            get_peft_model(model, adapter) if lora else model,
            TrainingArguments(**common),
            train_dataset=Dataset.from_list([dict(r) for r in rows]),
            processing_class=tokenizer,
            data_collator=DataCollatorForSeq2Seq(tokenizer),
            callbacks=callbacks,
        )
    common |= {"bf16": False, "gradient_checkpointing": False}
    if kind == "sft":
        data = {"prompt": prompts, "completion": [" It was fine."] * len(prompts)}
        return trl.SFTTrainer(
            model,
            trl.SFTConfig(**common, max_length=64),
            train_dataset=Dataset.from_dict(data),
            processing_class=tokenizer,
            peft_config=adapter,
            callbacks=callbacks,
        )
    if kind == "dpo":
        data = {
            "prompt": prompts,
            "chosen": [" It was fine."] * len(prompts),
            "rejected": [" Zzz."] * len(prompts),
        }
        return trl.DPOTrainer(
            model,
            None,
            trl.DPOConfig(**common, max_length=64),
            train_dataset=Dataset.from_dict(data),
            processing_class=tokenizer,
            peft_config=adapter,
            callbacks=callbacks,
        )
    config, trainer = (
        (trl.GRPOConfig, trl.GRPOTrainer) if kind == "grpo" else (trl.RLOOConfig, trl.RLOOTrainer)
    )
    return trainer(
        model,
        reward_funcs=lambda completions, **_: [float(len(c)) for c in completions],
        args=config(**common, num_generations=2, max_completion_length=8, beta=0.0),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=callbacks,
    )


def weights(trainer) -> dict[str, object]:
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}


def same(a: dict, b: dict) -> bool:
    import torch

    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_a_run_folder_is_written_and_training_is_not_changed_by_it(
    kind, lora, tiny_policy, job_folder
):
    from restaudit.trainers import AuditCallback

    plain = make_trainer(kind, tiny_policy, job_folder / "plain", [], lora=lora)
    plain.train()
    callback = AuditCallback(audit_raw(tiny_policy), job_folder / "run", looks=2)
    audited = make_trainer(kind, tiny_policy, job_folder / "out", [callback], lora=lora)
    audited.train()
    assert same(weights(plain), weights(audited))
    run = Run(job_folder / "run")
    assert (run.state, run.iterations()) == ("done", ["g00/i00", "step-2", "step-4"])
    assert verify(run.path).decisions == 2
    found = {m.name: m for m in run.measurements("step-4")}
    assert found["divergence.reward_change"].value is not None
    if lora:
        assert found["drift.kl"].value > 0
    else:
        assert found["drift.kl"].value is None
        assert "weights" in found["drift.kl"].reason
    facts = next(e.content for e in run.events if e.step == "trainer")
    assert facts["overlap_with_audit"]["rows"] == len(PROMPTS)


def test_a_fully_trained_model_is_put_aside_where_that_is_asked_for(tiny_policy, job_folder):
    from restaudit.trainers import AuditCallback

    callback = AuditCallback(audit_raw(tiny_policy), job_folder / "run", looks=1, keep="trained")
    trainer = make_trainer("sft", tiny_policy, job_folder / "out", [callback], lora=False, steps=2)
    trainer.train()
    run = Run(job_folder / "run")
    assert run.state == "done"
    assert {m.name: m for m in run.measurements("step-2")}["drift.kl"].value > 0
    assert verify(run.path).decisions == 1


def test_halt_in_the_middle_of_grpo_stops_it_and_an_override_lets_it_go_on(tiny_policy, job_folder):
    from restaudit.trainers import AuditCallback

    raw = audit_raw(tiny_policy, margin=50.0)
    callback = AuditCallback(raw, job_folder / "run", looks=2)
    trainer = make_trainer("grpo", tiny_policy, job_folder / "out", [callback])
    with pytest.warns(UserWarning, match="halted after step-2"):
        trainer.train()
    assert trainer.state.global_step == 2
    assert isinstance(callback.stopped, Halted)
    assert Run(job_folder / "run").state == "halted"
    with pytest.raises(Halted):
        trainer.train()
    override(job_folder / "run", by="Ada", reason="only to see where it goes")
    again = AuditCallback(raw, job_folder / "run", looks=2)
    other = make_trainer("grpo", tiny_policy, job_folder / "out", [again])
    with pytest.warns(UserWarning, match="halted after step-4"):
        other.train(resume_from_checkpoint=True)
    assert Run(job_folder / "run").iterations()[-1] == "step-4"
    assert verify(job_folder / "run").decisions == 2


def test_it_goes_on_from_the_trainers_own_checkpoint(tiny_policy, job_folder):
    from restaudit.trainers import AuditCallback

    whole = AuditCallback(audit_raw(tiny_policy), job_folder / "whole", looks=4)
    make_trainer("sft", tiny_policy, job_folder / "a", [whole]).train()

    class Killed(Exception):
        pass

    from transformers import TrainerCallback

    class Kill(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 3:
                raise Killed

    first = AuditCallback(audit_raw(tiny_policy), job_folder / "run", looks=4)
    with pytest.raises(Killed):
        make_trainer("sft", tiny_policy, job_folder / "b", [first, Kill()]).train()
    again = AuditCallback(audit_raw(tiny_policy), job_folder / "run", looks=4)
    make_trainer("sft", tiny_policy, job_folder / "b", [again]).train(
        resume_from_checkpoint=str(job_folder / "b" / "checkpoint-2")
    )
    assert Run(job_folder / "run").digest == Run(job_folder / "whole").digest


def test_another_training_does_not_go_on_in_the_same_folder(tiny_policy, job_folder):
    from transformers import TrainerCallback

    from restaudit.trainers import AuditCallback

    class Kill(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 2:
                raise KeyboardInterrupt

    def train(out: str, looks: int, *more: TrainerCallback, **changes: float) -> None:
        callback = AuditCallback(audit_raw(tiny_policy), job_folder / "run", looks=looks)
        make_trainer("sft", tiny_policy, job_folder / out, [callback, *more], **changes).train()

    with pytest.raises(KeyboardInterrupt):
        train("a", 4, Kill())
    with pytest.raises(BadInput, match=r"another configuration \(loop.looks"):
        train("b", 2)
    with pytest.raises(BadInput, match="other weights"):
        train("c", 4, learning_rate=0.5)
    train("d", 4)
    with pytest.raises(BadInput, match="is done"):
        train("e", 4)


def test_audit_prompts_that_are_trained_on_are_refused(tiny_policy, job_folder):

    from restaudit.trainers import AuditCallback

    callback = AuditCallback(
        audit_raw(tiny_policy) | {"data": {"prompts": [{"source": "prompts.jsonl"}]}},
        job_folder / "run",
    )
    judged = [m[-1]["content"] for m in callback.dataset("audit")["prompt"]]

    with pytest.raises(BadInput, match="must not be trained on"):
        make_trainer("sft", tiny_policy, job_folder / "a", [callback], prompts=judged).train()


@pytest.mark.parametrize(
    ("looks", "says"), [(0, "1 or more"), ((3, 2), "rising steps"), ((5,), "from 1 to 4")]
)
def test_looks_that_cannot_be(looks, says, tiny_policy, job_folder):
    from restaudit.trainers import AuditCallback

    with pytest.raises(BadInput, match=says):
        make_trainer(
            "sft",
            tiny_policy,
            job_folder / "a",
            [AuditCallback(audit_raw(tiny_policy), job_folder / "run", looks=looks)],
        ).train()
    assert not (job_folder / "run" / "plan.json").exists()


ADAPTERS = {
    "dora": lambda peft: peft.LoraConfig(
        r=4, use_dora=True, target_modules=["q_proj"], task_type="CAUSAL_LM"
    ),
    "prefix": lambda peft: peft.PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
    "another name": lambda peft: peft.LoraConfig(
        r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"
    ),
}


def trainer_of_adapter(kind, policy, out, callbacks):
    """A transformers.Trainer whose model has an adapter that is not plain LoRA called 'default'."""
    import peft
    from transformers import AutoModelForCausalLM

    trainer = make_trainer("transformers", policy, out, callbacks, lora=False, save_strategy="no")
    name = "policy" if kind == "another name" else "default"
    model = AutoModelForCausalLM.from_pretrained(policy)
    trainer.model = trainer.model_wrapped = peft.get_peft_model(
        model, ADAPTERS[kind](peft), adapter_name=name
    )
    return trainer


@pytest.mark.parametrize("kind", ADAPTERS)
def test_every_kind_of_adapter_is_audited_as_it_computes(kind, tiny_policy, job_folder):
    import torch

    from restaudit.config import SamplingConfig
    from restaudit.policy import SampleRequest, sample
    from restaudit.trainers import AuditCallback

    callback = AuditCallback(audit_raw(tiny_policy), job_folder / "run", looks=2)
    trainer = trainer_of_adapter(kind, tiny_policy, job_folder / "t", [callback])
    trainer.train()
    run = Run(job_folder / "run")
    assert run.state == "done"
    assert run.environment["exactness"]["largest_difference_nats"] < 0.001
    policy = callback.session.job.policy
    prompt = tuple(
        policy.prompt_tokens([{"role": "user", "content": "Say something about day 99."}])
    )
    config = SamplingConfig(temperature=1.0, top_k=0, max_tokens=8)
    drawn = sample(policy, [SampleRequest("p", prompt, ("a", "b"))], config, seed=1)
    for one in drawn:
        ids = torch.tensor([[*prompt, *one.tokens]])
        with torch.no_grad():
            own = torch.log_softmax(trainer.model(input_ids=ids).logits[0, -ids.shape[1] :], -1)
        nats = own[len(prompt) - 1 : -1].gather(1, torch.tensor(one.tokens)[:, None]).sum()
        assert one.logprob == pytest.approx(float(nats), abs=0.001)


def test_a_model_that_is_not_computed_exactly_is_refused_before_anything_is_sealed(
    tiny_policy, job_folder, monkeypatch
):
    from restaudit.policy import exactness
    from restaudit.trainers import AuditCallback

    monkeypatch.setattr(
        exactness, "training_logprobs", lambda policy, examples, *, route: [0.0] * len(examples)
    )
    callback = AuditCallback(audit_raw(tiny_policy), job_folder / "run")
    with pytest.raises(BadInput, match="no way to compute training"):
        make_trainer("sft", tiny_policy, job_folder / "t", [callback]).train()
    assert not (job_folder / "run" / "plan.json").exists()
