"""A run folder that is written while something else trains: opened under its sealed plan, and
closed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.config import Config
from restaudit.console import Reporter
from restaudit.errors import BadInput
from restaudit.evidence.record import ADAPTER, BASE, ONE_QUESTION, Run, as_sealed, is_run
from restaudit.evidence.steps import Content, Writer
from restaudit.loop.audit import audit, planned_iterations
from restaudit.loop.job import Job
from restaudit.loop.look import looked_at
from restaudit.loop.probe_evidence import remember_known
from restaudit.loop.running import may_go_on, prepare_machine, under_plan
from restaudit.loop.sealing import TRAINER, artifacts_of, with_gates
from restaudit.models.artifacts import Artifact
from restaudit.policy.loading import Unkept

if TYPE_CHECKING:
    from restaudit.evidence.seal.signer import Signer
    from restaudit.policy import Policy

# Runs that this process is writing: training that died with an exception leaves its writer behind.
_OPEN: dict[Path, Writer] = {}


class Session:
    """One process's turn at such a run. `job` is there from `begin` on."""

    job: Job

    def __init__(self, run: Path, reporter: Reporter, signer: Signer | None) -> None:
        self.run = run
        self.reporter = reporter
        self.signer = signer

    def begin(self, config: Config, base: Artifact, policy: Policy | None) -> None:
        """Seal the plan, or go on under the one that is there; build reward and human score.

        Raises Halted, Waiting or BadInput as `restaudit resume` does; BadInput where the plan there
        was sealed from another configuration or another base model, or another process writes this
        run.
        """
        signer, record = self.signer, None
        if is_run(self.run):
            record, signer = may_go_on(self.run, self.reporter, self.signer)
            if record.state == "done":
                raise BadInput(
                    f"{self.run}: this run is done; give another training another run folder"
                )
            check_same(record, config)
        self.close()
        # The trainer's threads and its Ctrl-C stay the trainer's.
        prepare_machine(config, threads=False)
        artifacts = {"policy.model": base, **artifacts_of(config)}
        writer = Writer(self.run, announce=self.reporter.line, signer=signer, interrupts=False)
        # Not in a `with`: it is closed when training ends, in another call of the trainer's.
        writer.__enter__()
        _OPEN[self.run.resolve()] = writer
        try:
            self.job = under_plan(record, config, writer, self.reporter, artifacts, policy=policy)
        except BaseException:
            self.close()  # what was refused leaves neither a lock nor a folder behind
            raise

    @property
    def looks(self) -> tuple[int, ...]:
        """The planned looks, in optimiser steps."""
        return self.job.config.loop.looks

    def base(self, facts: Callable[[], Content]) -> None:
        """Record the trainer and audit the base policy, unless that is done; `facts` are about the
        trainer.
        """

        def make(out: Path) -> Content:
            # The caller may have chosen to put no weights aside.
            if not isinstance(self.job.policy, Unkept):
                self.job.policy.save(out / BASE / ADAPTER)
            return {**self.job.policy.parameters(), **facts()}

        self.job.step(TRAINER, "", make)
        remember_known(self.job)
        audit(self.job, BASE, policy=BASE)

    def missed(self, step: int) -> list[int]:
        """Planned looks before `step` that were never taken."""
        return [s for s in self.looks if s < step and not looked_at(self.job, s)]

    def end(self) -> None:
        """Record the end where every planned look was taken, and let others write."""
        # Training that broke off is not done: the same run may go on from a checkpoint.
        if all(self.job.writer.has(f"{i}/audit") for i in planned_iterations(self.job.config.loop)):
            self.job.end()
        self.close()

    def close(self) -> None:
        """Let others write this run."""
        writer = _OPEN.pop(self.run.resolve(), None)
        if writer is not None:
            writer.__exit__(None, None, None)


def check_same(record: Run, config: Config) -> None:
    """Raise BadInput with the keys that differ where this configuration is not the one that was
    sealed.
    """
    # What decides is written out when a plan is sealed; before that was so, it was not.
    schema = record.plan["schema"]
    if schema == ONE_QUESTION:
        config = config.model_copy(update={"gates": as_sealed(config.gates, schema)})
    else:
        config = with_gates(config)
    # Through the model of today: a key that is new since has its default on both sides.
    sealed = record.config.model_dump(mode="json")
    keys = sorted(_differences(sealed, config.model_dump(mode="json")))
    if keys:
        more = " …" if len(keys) > 5 else ""
        raise BadInput(
            f"{record.path}: its plan was sealed from another configuration "
            f"({', '.join(keys[:5])}{more} differ); give the same one, or another run folder"
        )


def _differences(a: Any, b: Any, where: str = "") -> list[str]:
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return [] if a == b else [where]
    differences = []
    for key in sorted({*a, *b}):
        path = f"{where}.{key}" if where else key
        differences += _differences(a.get(key), b.get(key), path)
    return differences
