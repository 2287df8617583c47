"""Improve tokens/s against TRL's SFTTrainer with the same LoRA, examples, batch and epochs
(completion-only loss).

Tokens are those of prompt and response of every example, without padding, for both.

    python -m benchmarks.improve [--rounds 2] [--prompts 16] [--each 3]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from benchmarks.common import demo_policy, demo_prompts, paired, report
from restaudit.policy import SampleRequest, TrainingExample, fine_tune, sample


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--rounds", type=int, default=2)
    args.add_argument("--prompts", type=int, default=16)
    args.add_argument("--each", type=int, default=3, help="kept responses a prompt")
    given = args.parse_args()
    config, policy = demo_policy()
    prompts = demo_prompts(config, policy, given.prompts)
    requests = [
        SampleRequest(f"p{k}", p, tuple(f"p{k}/{j}" for j in range(given.each)))
        for k, p in enumerate(prompts)
    ]
    owner = {r.prompt_id: r.tokens for r in requests}
    examples = [
        TrainingExample(owner[s.prompt_id], s.tokens)
        for s in sample(policy, requests, config.loop.sampling, seed=1)
    ]
    tokens = sum(len(e.prompt) + len(e.response) for e in examples)
    train = config.loop.train

    def ours() -> float:
        policy.become(None)
        began = time.perf_counter()
        for _ in fine_tune(
            policy, examples, train, learning_rate=train.learning_rate, epochs=1, seed=1
        ):
            pass
        return tokens / (time.perf_counter() - began)

    _, other = demo_policy()
    other.model.to(torch.bfloat16)

    def theirs() -> float:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        rows = [
            {
                "input_ids": [*e.prompt, *e.response],
                "labels": [*[-100] * len(e.prompt), *e.response],
            }
            for e in examples
        ]
        with tempfile.TemporaryDirectory() as folder:
            settings = SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=train.batch,
                num_train_epochs=1,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                learning_rate=train.learning_rate,
                bf16=True,
                use_cpu=not torch.cuda.is_available(),
                completion_only_loss=True,
                gradient_checkpointing=False,
                dataset_kwargs={"skip_prepare_dataset": True},
                remove_unused_columns=False,
                disable_tqdm=True,
                max_grad_norm=train.max_grad_norm,
                seed=1,
            )
            trainer = SFTTrainer(
                model=other.model,
                args=settings,
                train_dataset=Dataset.from_list(rows),
                processing_class=other.tokenizer,
            )
            began = time.perf_counter()
            trainer.train()
            return tokens / (time.perf_counter() - began)

    a, b = paired(ours, theirs, given.rounds)
    report("improve", a, b, 1.2)


if __name__ == "__main__":
    main()
