"""GRPO and RLOO under the audit: TRL trains the recipe's policy on its reward, and looks are a
Grow's worth apart.

What differs from ReST is the learning rule alone: policy, adapter, prompts, reward and sampler are
the same. TRL's own `generate` is replaced by the sampler that the loop and the audit use (same
temperature and top-k; several times as fast through a LoRA adapter), so that seconds compare
methods and not samplers.
"""

from __future__ import annotations

import math
import shutil
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from restaudit.errors import BadInput
from restaudit.evidence.chats import as_messages, asked
from restaudit.evidence.record import (
    BASE,
    CHECKPOINTS,
    D_EVAL,
    GROW,
    TRAIN,
    after_steps,
    write_table,
)
from restaudit.evidence.steps import Content
from restaudit.loop.audit import audit
from restaudit.loop.job import Job, as_facts
from restaudit.loop.look import LookCallback, look, looked_at
from restaudit.loop.probe_evidence import remember_known
from restaudit.loop.rest import fit_scale, supervised_start
from restaudit.models.devices import on_one_gpu
from restaudit.policy.forward import evaluating
from restaudit.policy.loading import train_in_float32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import TrainerControl, TrainerState


def online(job: Job) -> None:
    """Do every step that is not done yet.

    Raises Halted when a gate of the sealed policy stops the run.

    Training goes on from the trainer's last checkpoint, which is kept beside the record until the
    run ends.
    """
    supervised_start(job)
    fit_scale(job)
    remember_known(job)
    audit(job, BASE, policy=BASE)
    if not all(looked_at(job, s) for s in job.config.loop.looks):
        _train(job)
    # Before the end: a finished run holds nothing beside its record that it could go on from.
    shutil.rmtree(job.run / CHECKPOINTS, ignore_errors=True)
    job.end()


def _train(job: Job) -> None:
    from datasets import Dataset
    from transformers import PrinterCallback

    policy = job.policy
    policy.become(job.weights(BASE))
    train_in_float32(policy.model)
    prompts, config = job.prompts("grow").iloc[_order(job)], job.config.policy
    questions = [
        asked(as_messages(prompt), chat=config.chat, system=config.system_prompt)
        for prompt in prompts["prompt"]
    ]
    data = Dataset.from_dict({"prompt": questions, "prompt_id": list(prompts.index)})
    out = job.run / CHECKPOINTS
    looks = _Looks(job)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, about settings that are as they shall be
        trainer = _trainer_class(job)(
            model=policy.model,
            reward_funcs=looks.reward,
            args=_arguments(job, out),
            train_dataset=data,
            processing_class=policy.tokenizer,
            callbacks=[looks],
        )
        trainer.remove_callback(PrinterCallback)
        looks.trainer = trainer
        # By number: "checkpoint-100" comes before "checkpoint-20" by name.
        kept = sorted(out.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
        last = str(kept[-1]) if kept else None
        trainer.train(resume_from_checkpoint=last)
    policy.model.eval()
    # Raised here and not in the callback, so that the trainer came to an end of its own.
    if looks.stopped is not None:
        raise looks.stopped


def _order(job: Job) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Places of the prompts in the order in which the steps take them: every prompt once, then all
    again, shuffled.

    The order is written out, since a trainer that goes on from a checkpoint shuffles a later epoch
    otherwise.
    """
    rng = np.random.Generator(np.random.PCG64(job.seed("online/order")))
    loop, count = job.config.loop, len(job.prompts("grow"))
    needed = loop.looks[-1] * loop.online.prompts_per_step
    rounds = [rng.permutation(count) for _ in range(math.ceil(needed / count))]
    return np.concatenate(rounds)[:needed]


def _arguments(job: Job, out: Path) -> Any:
    from trl import GRPOConfig, RLOOConfig

    loop = job.config.loop
    kind = GRPOConfig if loop.method == "grpo" else RLOOConfig
    batch = loop.online.group * loop.online.prompts_per_step
    arguments = kind(
        output_dir=str(out),
        max_steps=loop.looks[-1],
        learning_rate=loop.online.learning_rate,
        lr_scheduler_type="constant",
        beta=loop.online.beta,
        max_grad_norm=loop.online.max_grad_norm,
        num_generations=loop.online.group,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=1,
        temperature=loop.sampling.temperature,
        top_k=loop.sampling.top_k,
        max_completion_length=loop.sampling.max_tokens,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=job.device == "cpu",
        logging_steps=1,
        save_strategy="no",  # looks ask for a checkpoint; the last one is enough to go on from
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=job.seed("online"),
        shuffle_dataset=False,  # `_order` did it
        chat_template_kwargs=dict(job.config.policy.template_arguments) or None,
    )
    on_one_gpu(arguments, job.reporter.line)
    return arguments


def _trainer_class(job: Job) -> Any:
    """TRL's trainer of the method, sampling as the audit samples."""
    from trl import GRPOTrainer, RLOOTrainer

    from restaudit.policy import SampleRequest, sample

    base: Any = GRPOTrainer if job.config.loop.method == "grpo" else RLOOTrainer

    class Sampling(base):  # type: ignore[misc]
        """Draws as the loop does; every sample's randomness comes from its name."""

        drawn: Sequence[Any] = ()

        def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> Any:
            step = self.state.global_step + 1
            requests: list[SampleRequest] = []
            # A prompt stands there once for each sample of its group, one after the other.
            for ids in prompt_ids:
                if not requests or requests[-1].tokens != tuple(ids):
                    requests.append(SampleRequest(str(len(requests)), tuple(ids), ()))
                last = requests[-1]
                name = f"{after_steps(step)}/{last.prompt_id}/{len(last.names):03d}"
                requests[-1] = SampleRequest(last.prompt_id, last.tokens, (*last.names, name))
            with evaluating(self.model):
                self.drawn = sample(
                    job.policy, requests, job.config.loop.sampling, seed=job.seed("online/samples")
                )
            tokens = [list(s.tokens) for s in self.drawn]
            return (tokens, None) if job.config.loop.method == "grpo" else tokens

    return Sampling


class _Looks(LookCallback):
    """Takes the looks after the step was logged, and hands what was sampled and learned since the
    last one to them.
    """

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        self.trainer: Any = None
        self.rows: list[dict[str, Any]] = []
        self.log: list[dict[str, Any]] = []
        self.tokens = 0
        self.since = time.monotonic()

    def reward(
        self, prompt_id: list[str], completion_ids: list[list[int]], **_: Any
    ) -> list[float]:
        """The recipe's reward of every completion, (n,), each remembered with the sample."""
        table = pd.DataFrame(
            {"prompt_id": prompt_id, "text": [self.job.policy.text(t) for t in completion_ids]}
        )
        scored = self.job.scored(table)
        if not np.isfinite(scored["reward"]).all():
            raise BadInput("the reward of a sample is not a number; nothing can be learned from it")
        rows: list[Any] = scored.to_dict("records")
        for row, s in zip(rows, self.trainer.drawn, strict=True):
            # The sampler knows a prompt by its place in the batch; the record, by its name.
            head, _, number = s.name.rpartition("/")
            step = head.rpartition("/")[0]
            self.rows.append(
                {
                    **row,
                    "sample_id": f"{step}/{row['prompt_id']}/{number}",
                    "n_tokens": len(s.tokens),
                    "finished": s.finished,
                    "logprob": s.logprob,
                }
            )
        self.tokens += sum(map(len, completion_ids))
        return [float(r) for r in scored["reward"]]

    def on_train_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Count the time from here."""
        self.since = time.monotonic()

    def on_log(
        self, _args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Remember the step's loss; take the look that is planned after it, and keep a checkpoint
        of the trainer.
        """
        # TRL logs again when training ends, without a loss.
        step = state.global_step
        if "loss" not in (logs or {}) or step > self.job.config.loop.looks[-1]:
            return
        if not math.isfinite(logs["loss"]) or not math.isfinite(logs.get("grad_norm", 0.0)):
            raise BadInput(
                f"the loss became {logs['loss']} at step {step}: lower loop.online.learning_rate"
            )
        taken = step * self.job.config.loop.online.prompts_per_step / len(self.job.prompts("grow"))
        self.log.append(
            {
                "epoch": math.ceil(taken),
                "step": step,
                "loss": float(logs["loss"]),
                "learning_rate": float(logs["learning_rate"]),
                "tokens": self.tokens,
                "grad_norm": float(logs.get("grad_norm", math.nan)),
            }
        )
        self.tokens = 0
        if step in self.job.config.loop.looks and self.stopped is None:
            control.should_save = True
            self.take(control, lambda: self._look(step))
            self.rows, self.log, self.since = [], [], time.monotonic()

    def _look(self, step: int) -> None:
        with evaluating(self.job.policy.model):
            look(self.job, step, {}, write=self._write, since=self.since)

    def _write(self, out: Path) -> Content:
        """What was sampled and learned since the last look: grow.parquet and train.parquet."""
        rows = pd.DataFrame(self.rows)
        owners = self.job.prompts("grow").loc[rows["prompt_id"]]
        rows = rows.assign(
            group=owners["group"].to_list(), family=owners["family"].to_list(), origin="policy"
        )
        rows["n_tokens"] = rows["n_tokens"].astype(np.int32)
        write_table(self.job.with_human(rows), out / "grow.parquet", GROW)
        write_table(pd.DataFrame(self.log), out / "train.parquet", TRAIN)
        name = after_steps(self.log[-1]["step"])
        write_table(
            self.job.d_eval(f"{name}/d_eval", f"D_eval, {name}", f"{name}/d_eval"),
            out / "d_eval.parquet",
            D_EVAL,
        )
        loop = self.job.config.loop
        return as_facts(
            {
                "samples": len(rows),
                "tokens": int(rows["n_tokens"].sum()),
                "reward": rows["reward"].mean(),
                "learning_rate": loop.online.learning_rate,
                "beta": loop.online.beta,
            }
        )
