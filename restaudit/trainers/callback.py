"""One line audits any trainer of transformers or TRL: `callbacks=[AuditCallback("audit.yaml",
out="runs/mine")]`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import TrainerControl, TrainerState, TrainingArguments

from restaudit.config import Config, SplitConfig
from restaudit.config.loop import with_method
from restaudit.data.splits import METHOD, overlap
from restaudit.errors import BadInput
from restaudit.evidence.chats import as_text, normalise
from restaudit.evidence.steps import Content
from restaudit.loop.look import LookCallback, look, looked_at
from restaudit.models.artifacts import Artifact
from restaudit.policy.forward import evaluating
from restaudit.policy.loading import Keep, frozen_digest, live_policy
from restaudit.trainers.session import Session

LOOKS = 4


class AuditCallback(LookCallback):
    """Audit a training run at sealed looks, with the probes and gates of a recipe, and stop it
    when a gate says HALT.

    config   a recipe's name, a YAML file, or a mapping: data (the audit prompts), reward, human,
             loop.sampling, audit, gates and, of the policy, chat and system_prompt. What it says of
             training is not used: the trainer trains.
    out      the run folder. A run that is there goes on where it stands.
    looks    how many, evenly spaced over the planned optimiser steps (the last one is at the end),
             or the steps.
    changes  as `--set` takes them, for instance "audit.samples_per_prompt=4".
    key      private key file that signs the plan and the heads of the ledger.
    keep     which weights are put aside at a look; see restaudit.policy.loading.live_policy.

    The plan is sealed when training begins, before the first optimiser step, and the base policy is
    audited then. At a look training waits. Where a gate says HALT the trainer stops after that
    step, and saves a checkpoint if it saves any; `stopped` then holds the reason, and training
    again raises Halted unless a person overrode it. Where people rate samples it stops in the same
    way until their ratings are in.

    Nothing of the trainer's random numbers, weights or modes is changed, so that an audited
    training ends with the weights of one that nobody audited. Raises BadInput when training begins
    for a configuration that cannot be used, audit prompts that are trained on, and a run folder of
    another training.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any],
        out: Path | str,
        *,
        looks: int | Sequence[int] = LOOKS,
        changes: Iterable[str] = (),
        key: Path | None = None,
        keep: Keep = "adapter",
        quiet: bool = True,
    ) -> None:
        from restaudit.console import Reporter
        from restaudit.evidence.seal.signer import given_signer

        super().__init__()
        self.out = Path(out)
        self.keep = keep
        self._looks = looks
        self._raw, self._where = _read(config, changes)
        self._prompts: dict[str, pd.DataFrame] | None = None
        self.session = Session(self.out, Reporter(quiet=quiet), given_signer(key))
        self._since = time.monotonic()

    def dataset(self, split: str = "grow") -> Any:
        """The prompts of a split as a datasets.Dataset with the columns prompt (messages; text
        where policy.chat is false) and prompt_id.

        For training on prompts that are disjoint from the audit's by the recipe's own rule.
        """
        from datasets import Dataset

        from restaudit.evidence.chats import as_messages, asked
        from restaudit.loop.sealing import split_prompts

        # Before training no step is planned and no model is known; the prompts depend on neither.
        config = self._config(looks=(1,), model="trainer:not known yet")
        if self._prompts is None:
            self._prompts = {str(k): v for k, v in split_prompts(config)[0].items()}
        table, policy = self._prompts[split], config.policy
        prompts = [
            asked(as_messages(p), chat=policy.chat, system=policy.system_prompt)
            for p in table["prompt"]
        ]
        return Dataset.from_dict({"prompt": prompts, "prompt_id": table["prompt_id"].tolist()})

    # --- what the trainer calls

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Seal the plan and audit the base policy, or check that this is the training that was
        looked at before.
        """
        # Training may begin again in the same process, after a person let it go on.
        self.stopped = None
        if state.is_world_process_zero:
            self._start(args, state, control, **kwargs)
        _agree(control)

    def _start(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        model, tokenizer, step = kwargs["model"], kwargs.get("processing_class"), state.global_step
        loader = kwargs.get("train_dataloader")
        try:
            self._begin(model, tokenizer, state.max_steps)
            # A look at later weights in its place would be recorded as one at these.
            missed = self.session.missed(step)
            if missed:
                raise BadInput(
                    f"{self.out}: the trainer goes on from step {step}, but the look planned "
                    f"after step {missed[0]} was never taken; resume from a checkpoint before it"
                )
            with evaluating(model):
                if step == 0:
                    self.take(
                        control,
                        lambda: self.session.base(lambda: self._facts(args, tokenizer, loader)),
                    )
                elif step in self.session.looks and not looked_at(self.session.job, step):
                    self.take(control, lambda: self._look(state))
        except BaseException:
            # Whoever begins again in this process (a notebook) must find the folder open.
            self.session.close()
            raise
        self._since = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the look that is planned after this step."""
        if (
            state.is_world_process_zero
            and self.stopped is None
            and state.global_step in self.session.looks
        ):
            with evaluating(kwargs["model"]):
                self.take(control, lambda: self._look(state))
            # The trainer is still in this step, so the checkpoint it saves is the policy that was
            # looked at.
            self._tell(control, args)
            self._since = time.monotonic()
        _agree(control)

    def _tell(self, control: TrainerControl, args: TrainingArguments) -> None:
        """Where the look stopped the trainer: say why, and keep a checkpoint if it keeps any."""
        if self.stopped is not None:
            control.should_save = _saves(args)
            warnings.warn(str(self.stopped), stacklevel=2)

    def on_train_end(self, _args: Any, state: TrainerState, _control: Any, **_: Any) -> None:
        """Close the run folder; the run is done where every planned look was taken and none of them
        stopped it.
        """
        if not state.is_world_process_zero:
            return
        if self.stopped is None:
            self.session.end()
        else:
            self.session.close()

    # --- how

    def _begin(self, model: Any, tokenizer: Any, steps: int) -> None:
        name = getattr(model.config, "_name_or_path", "") or type(model).__name__
        config = self._config(self._planned(steps), f"trainer:{name}")
        longest = config.policy.max_prompt_tokens + config.loop.sampling.max_tokens
        policy = live_policy(model, tokenizer, config.policy, keep=self.keep, longest=longest)
        for line in policy.remarks():
            self.session.reporter.line(line)
        # What the trainer really trains is sealed, and not what a recipe says of some other model.
        config = config.model_copy(update={"policy": policy.config})
        base = Artifact(Path(), config.policy.model, frozen_digest(model), config.policy.licence)
        self.session.begin(config, base, policy)

    def _look(self, state: TrainerState) -> None:
        facts = {"tokens_seen": int(state.num_input_tokens_seen or 0) or None}
        look(self.session.job, state.global_step, facts, since=self._since)

    def _planned(self, steps: int) -> tuple[int, ...]:
        if steps < 1:
            raise BadInput("the trainer plans no step; set max_steps or num_train_epochs")
        if isinstance(self._looks, int):
            if self._looks < 1:
                raise BadInput(f"looks={self._looks}: expected 1 or more, or the steps")
            count = min(self._looks, steps)
            # dict.fromkeys: of few steps two looks may fall on one.
            return tuple(dict.fromkeys(round(k * steps / count) for k in range(1, count + 1)))
        wanted = tuple(int(s) for s in self._looks)
        if not wanted or list(wanted) != sorted(set(wanted)) or wanted[0] < 1 or wanted[-1] > steps:
            raise BadInput(
                f"looks={list(wanted)}: expected rising steps from 1 to {steps}, which the "
                "trainer plans"
            )
        return wanted

    def _config(self, looks: tuple[int, ...], model: str) -> Config:
        from restaudit.config.reading import parse

        raw = with_method(self._raw, "outside")
        policy = {"model": model}
        # What turns a prompt into tokens; all else of the policy is the trainer's business.
        for key in ("chat", "system_prompt", "max_prompt_tokens"):
            if key in raw.get("policy", {}):
                policy[key] = raw["policy"][key]
        loop = {**raw["loop"], "looks": list(looks)}
        return parse({**raw, "policy": policy, "loop": loop}, self._where)

    def _facts(self, args: TrainingArguments, tokenizer: Any, loader: Any) -> Content:
        """What a reader should know of the trainer, and what its data has in common with the audit
        prompts.
        """
        job = self.session.job
        dataset = getattr(loader, "dataset", None)
        common = overlap_with_audit(
            dataset, tokenizer, job.prompts("audit"), job.config.data.splits
        )
        return {
            "arguments": type(args).__name__,
            "learning_rate": float(args.learning_rate),
            "schedule": str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
            "planned_steps": self.session.looks[-1],
            "per_device_batch": args.per_device_train_batch_size,
            "gradient_accumulation": args.gradient_accumulation_steps,
            "processes": args.world_size,
            "trainer_seed": args.seed,
            "overlap_with_audit": common,
        }


def _read(
    config: str | Path | Mapping[str, Any], changes: Iterable[str]
) -> tuple[dict[str, Any], str]:
    from restaudit.config.reading import changed, read

    if isinstance(config, Mapping):
        return changed(config, changes), "AuditCallback's configuration"
    return read(str(config), changes)


def _saves(args: TrainingArguments) -> bool:
    """Whether the trainer keeps checkpoints at all."""
    return str(getattr(args.save_strategy, "value", args.save_strategy)) != "no"


def _agree(control: TrainerControl) -> None:
    """Let every process of a distributed training stop where the first one says so."""
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    # Only the first process looks; one that went on alone would wait for the others for ever.
    decision: list[Any] = [(control.should_training_stop, control.should_save)]
    torch.distributed.broadcast_object_list(decision, src=0)
    control.should_training_stop, control.should_save = decision[0]


# --- what a trainer's dataset has in common with the audit prompts

# The columns in which trainers keep their prompts: texts or messages, or tokens once they have
# prepared the dataset.
TEXTS = ("prompt", "messages", "text")
TOKENS = ("prompt_ids", "prompt_input_ids", "input_ids")


def overlap_with_audit(
    dataset: Any, tokenizer: Any, audit: pd.DataFrame, config: SplitConfig
) -> dict[str, Any]:
    """How many of the audit prompts the training rows hold: as a prompt (exact or near), or
    anywhere in a row's text.

    Raises BadInput above `max_near_duplicate_share`. Where the dataset cannot be read, {"reason":
    …}.
    """
    texts, column = _texts(dataset, tokenizer)
    if texts is None:
        return {"reason": column}
    prompts = [as_text(p) for p in audit["prompt"]]
    near = overlap(texts, prompts, config.near_duplicate_jaccard)
    # A prompt inside a long row is no near-duplicate of the row, and is trained on all the same.
    contained = _contained(texts, prompts)
    share = max(near["share"] or 0.0, contained / max(len(prompts), 1))
    if share > config.max_near_duplicate_share:
        raise BadInput(
            f"{share:.1%} of the audit prompts are in the trainer's dataset or resemble a prompt "
            f"of it (limit {config.max_near_duplicate_share:.1%}): what judges must not be "
            "trained on. Take them out of the dataset, give other audit prompts, or raise "
            "data.splits.max_near_duplicate_share if you accept it"
        )
    return {
        **near,
        "contained": contained,
        "rows": len(texts),
        "read_as": column,
        "method": f"{METHOD}; and containment",
    }


def _contained(texts: Sequence[str], prompts: Sequence[str]) -> int:
    """Audit prompts that stand, normalised, inside some training row."""
    body = "\n".join(normalise(t) for t in set(texts))
    return sum(normalise(p) in body for p in set(prompts))


def _texts(dataset: Any, tokenizer: Any) -> tuple[list[str] | None, str]:
    """The training rows' prompts (or whole texts) and which column they are; or why they cannot be
    read.
    """
    # Reading a stream would take its first rows from the training.
    names = getattr(dataset, "column_names", None)
    if dataset is None or names is None or not hasattr(dataset, "__len__"):
        return None, "the trainer's dataset is a stream, or none that can be read twice"
    for name in TEXTS:
        if name in names:
            return [_as_text(x) for x in dataset[name]], f"column {name}"
    for name in TOKENS:
        if name in names:
            rows = [list(ids) for ids in dataset[name]]
            return tokenizer.batch_decode(rows, skip_special_tokens=True), f"column {name}, decoded"
    return None, f"no column of the trainer's dataset is called {', '.join((*TEXTS, *TOKENS))}"


def _as_text(value: Any) -> str:
    """A prompt as plain text: it may be a text, or messages of a chat, of which only what is asked
    counts.
    """
    if isinstance(value, str):
        return value
    from_user = [m for m in value if isinstance(m, dict) and m.get("role") == "user"]
    return "\n".join(str(m.get("content", "")) for m in from_user or value)
