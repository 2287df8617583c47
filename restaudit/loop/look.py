"""One look at a policy that is trained by optimiser steps: its weights are kept, it is audited, a
gate may stop it. And what a trainer of TRL's or transformers' needs to be looked at.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from transformers import TrainerCallback, TrainerControl

from restaudit.errors import BadInput, Halted, Waiting
from restaudit.evidence.record import ADAPTER, BASE, after_steps
from restaudit.evidence.steps import Content
from restaudit.loop.audit import audit
from restaudit.loop.job import Job
from restaudit.policy.loading import Unkept, trained_digest


def looked_at(job: Job, step: int) -> bool:
    """Whether the look after so many steps is recorded."""
    return job.writer.has(f"{after_steps(step)}/audit")


def before(job: Job, step: int) -> str:
    """The iteration that is looked at before this step."""
    earlier = [s for s in job.config.loop.looks if s < step]
    return after_steps(earlier[-1]) if earlier else BASE


def look(
    job: Job,
    step: int,
    facts: Content,
    *,
    write: Callable[[Path], Content] | None = None,
    since: float | None = None,
) -> None:
    """Take the look after so many steps at the policy as it stands in training.

    `facts` are noted in the ledger; `write` writes further files of the training into the
    iteration's folder; `since` (of time.monotonic) is when the training that this look records
    began. A look that is recorded is only compared: raises BadInput where the weights are not those
    that were looked at. Raises Halted and Waiting as any audit does.
    """
    name = after_steps(step)
    job.policy.take()
    digest = trained_digest(job.policy.model)
    is_recorded = job.writer.has(f"{name}/train")
    # A trainer that goes on from an earlier checkpoint comes past looks that are recorded already.
    # They stand for its policy only if it has the same weights there again.
    if is_recorded and job.writer.content(f"{name}/train")["weights_sha256"] != digest:
        raise BadInput(
            f"{job.run}: {name} was looked at with other weights than the trainer has there now; "
            "this is another training, or one that does not repeat itself (data order, dropout, "
            "GPU kernels). Resume it from a checkpoint after its last look, or give another run "
            "folder"
        )

    def make(out: Path) -> Content:
        # A whole model at every look can be more than a disk holds: its owner keeps it, or nobody.
        if not isinstance(job.policy, Unkept):
            job.policy.save(out / ADAPTER)
        more = write(out) if write is not None else {}
        return {"start": before(job, step), "step": step, "weights_sha256": digest, **facts, **more}

    job.step(f"{name}/train", name, make, since=since or time.monotonic())
    audit(job, name, policy=name)


# --- for trainers: they report to nobody, and a look that says HALT stops them


def no_telemetry() -> None:
    """TRL reports every trainer to Hugging Face unless it is told not to; whoever asked for it by
    name is obeyed.
    """
    from huggingface_hub import constants

    if "HF_HUB_DISABLE_TELEMETRY" not in os.environ:
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        constants.HF_HUB_DISABLE_TELEMETRY = True


# When this module is imported, and so before any trainer of TRL's is made.
no_telemetry()


class LookCallback(TrainerCallback):  # type: ignore[misc]
    """A look that says HALT, or waits for people, stops the trainer.

    What stopped it is in `stopped`, for whoever called `train`: an exception raised inside a
    callback would leave the trainer, and whatever it had open, half done.
    """

    def __init__(self) -> None:
        self.stopped: Halted | Waiting | None = None

    def take(self, control: TrainerControl, work: Callable[[], None]) -> None:
        """Do the work of a look; where it says HALT or waits, remember that and let the trainer
        stop after the step.
        """
        try:
            work()
        except (Halted, Waiting) as e:
            self.stopped = e
            control.should_training_stop = True
