"""What the audit costs a TRL training: GRPO on the real model with AuditCallback and without, side
by side in one run.

The training is short, so that the measurement ends; a look costs the same however many steps lie
between two of them. What is printed is the share at the default looks for trainings of several
lengths: (base audit + looks x a look) over (steps x a step).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

from restaudit.trainers.callback import LOOKS

CHANGES = (
    "data.splits.sizes.audit=40",
    "data.splits.counterfactual_families.audit=6",
    "loop.sampling.max_tokens=24",
    "audit.base_samples_per_prompt=4",
    "audit.samples_per_prompt=2",
    "audit.counterfactual_samples=1",
    "audit.benchmarks.tasks=[]",
    "audit.human_text=null",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8, help="optimiser steps of each training")
    parser.add_argument("--looks", type=int, default=2)
    steps, looks = (args := parser.parse_args()).steps, args.looks
    with tempfile.TemporaryDirectory() as folder:
        each = _train(Path(folder), steps, None)
        audited = _train(Path(folder), steps, looks)
    step = statistics.median(each)
    print(f"a step of GRPO (16 samples of 24 tokens), median of {len(each)}: {step:.1f} s")
    base, taken = audited[0], audited[1:]
    print(
        f"before the first step (reward model, base audit): {base:.1f} s; looks: "
        f"{[round(t, 1) for t in taken]} s"
    )
    cost = base + LOOKS * statistics.mean(taken)
    for length in (100, 250, 500, 1000, 2000):
        print(
            f"at the default {LOOKS} looks, a training of {length:>5} steps takes "
            f"{cost / (length * step):6.1%} longer"
        )
    print(
        f"15% are reached from {cost / (0.15 * step):,.0f} steps on ({cost / 0.15 / 3600:.1f} h "
        "of training)"
    )


def _train(folder: Path, steps: int, looks: int | None) -> list[float]:
    """Seconds of every step of a training that nobody audits; else of the beginning and of each
    look.
    """
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from restaudit.config.reading import load
    from restaudit.models.artifacts import resolve
    from restaudit.policy.loading import model_folder
    from restaudit.trainers import AuditCallback

    config = load("reviews", CHANGES)
    path = model_folder(
        resolve(config.policy.model, sha256=config.policy.sha256).path, config.policy.model
    )
    torch.set_num_threads(2)
    seconds: list[float] = []

    class Timed(AuditCallback):
        def on_train_begin(self, *a: object, **k: object) -> None:
            began = time.perf_counter()
            super().on_train_begin(*a, **k)
            seconds.append(time.perf_counter() - began)

        def on_step_end(self, args: object, state: object, control: object, **k: object) -> None:
            began = time.perf_counter()
            super().on_step_end(args, state, control, **k)
            if state.global_step in self.session.looks:
                seconds.append(time.perf_counter() - began)

    class Clock(TrainerCallback):
        began = 0.0

        def on_step_begin(self, *_: object, **__: object) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: object, **__: object) -> None:
            seconds.append(time.perf_counter() - self.began)

    audit = Timed("reviews", folder / "run", looks=looks or 1, changes=CHANGES)
    model = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=torch.float32,
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
    )
    arguments = GRPOConfig(
        output_dir=str(folder / "out"),
        max_steps=steps,
        learning_rate=2e-4,
        lr_scheduler_type="constant",
        num_generations=8,
        per_device_train_batch_size=16,
        temperature=0.8,
        top_k=50,
        max_completion_length=24,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=1000,
        dataloader_pin_memory=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        GRPOTrainer(
            model,
            reward_funcs=_length,
            args=arguments,
            train_dataset=audit.dataset("grow"),
            processing_class=AutoTokenizer.from_pretrained(
                path, trust_remote_code=False, local_files_only=True
            ),
            peft_config=LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"),
            callbacks=[audit if looks else Clock()],
        ).train()
    return seconds


def _length(completions: list[list[dict[str, str]]], **_: object) -> list[float]:
    """A reward that costs nothing, so that a step is the trainer's own."""
    return [float(len(c[0]["content"])) for c in completions]


if __name__ == "__main__":
    main()
