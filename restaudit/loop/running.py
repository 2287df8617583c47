"""Running: a run is started, goes on where it stopped, and ends; what is sealed first is in
`sealing`, what is refused before that in `refusals`.

The way of a run: `start` or `resume`, then `under_plan` (refuse, seal, build the reward and the human
score), then the method's own steps: `rest` (Algorithm 1) or `online`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from restaudit.config import Config
from restaudit.console import Reporter
from restaudit.errors import BadInput, Halted
from restaudit.evidence.named_code import may_run
from restaudit.evidence.record import HUMAN, PLAN, REWARD, Run, is_run
from restaudit.evidence.steps import Content, Writer
from restaudit.loop.going_on import OTHER_WRITERS, other_writer
from restaudit.loop.job import Job, halt_message, load_run_policy
from restaudit.loop.refusals import (
    PreparedModels,
    check_method,
    check_threads,
    human_builder,
    prepare,
    reward_builder,
)
from restaudit.loop.rest import rest
from restaudit.loop.sealing import artifacts_of, seal, split_prompts
from restaudit.loop.waiting import check_ratings
from restaudit.models.artifacts import Artifact
from restaudit.reward.dossier import COMPUTE

if TYPE_CHECKING:
    from restaudit.evidence.seal.signer import Signer
    from restaudit.loop.sealing import Prompts
    from restaudit.policy import Policy


def start(config: Config, run: Path, reporter: Reporter, signer: Signer | None = None) -> None:
    """Seal a new run at `run` and do all of it; a `signer` signs the plan first, then the ledger's
    heads.

    Raises BadInput before anything is sealed for all that cannot be used, and leaves no run folder
    behind then.
    """
    if is_run(run):
        raise BadInput(f"{run}: a run is already there; go on with: restaudit resume {run}")
    if config.loop.method == "outside":
        raise BadInput(
            "loop.method outside: a trainer of somebody else's trains here, so there is nothing to "
            "run; give it restaudit.trainers.AuditCallback, or use restaudit watch"
        )
    check_method(config.loop.method)
    check_threads(config)
    prepare_machine(config)
    artifacts = artifacts_of(config)
    # Loaded before the plan is sealed: a model that cannot be computed exactly is refused while
    # nothing is lost.
    policy = load_run_policy(config, artifacts["policy.model"].path, reporter)
    with Writer(run, announce=reporter.line, signer=signer) as writer:
        _do_all(under_plan(None, config, writer, reporter, artifacts, policy=policy))


def resume(
    run: Path, reporter: Reporter, given: Signer | None = None, code: Collection[str] = ()
) -> None:
    """Go on with a run from its first step that is not done, with the signer that its plan names,
    if it names one.

    `code` names the callables of somebody else's plan that may be run. Raises Halted when a gate
    stopped it and nobody overrode that, Waiting when people's ratings are missing, BadInput when
    `given` is not the signer of the plan, for a run that something else writes, and for one whose
    plan names other code, unless this user began it here (see named_code).
    """
    record, signer = may_go_on(run, reporter, given)
    if record.state == "done":
        reporter.line(f"{run}: this run is done; nothing to resume")
        return
    if (other := other_writer(record)) is not None:
        raise BadInput(f"{run}: {other}")
    may_run(run, PLAN, record.plan["config"], code)
    # From the plan, not from the recipe: what a run does was decided when it was sealed.
    config = record.config
    check_method(config.loop.method)
    prepare_machine(config)
    with Writer(run, announce=reporter.line, signer=signer) as writer:
        _do_all(under_plan(record, config, writer, reporter, artifacts_of(config)))


def may_go_on(run: Path, reporter: Reporter, given: Signer | None) -> tuple[Run, Signer | None]:
    """A sealed run that no gate holds back, and the signer that its plan names.

    Raises as `resume` does.
    """
    from restaudit.evidence.seal.signer import signer_for

    record = Run(run)
    record.check_sealed()
    signer = signer_for(run, record.plan, given)
    if signer is not None:
        # A crash may have come between the last event and its signature: entering signs it. This
        # goes before the checks below, since a run that halts or waits must be signed too.
        with Writer(run, signer=signer):
            pass
    for override in record.overrides():
        reporter.line(
            f"{run}: goes on against HALT of {', '.join(override.gates)} at {override.iteration}, "
            f"by {override.by}: {override.reason}"
        )
    if (halt := record.halt) is not None:
        raise Halted(halt_message(run, halt.iteration, halt.gates))
    if record.state == "waiting":
        check_ratings(record)
    return record, signer


def under_plan(
    record: Run | None,
    config: Config,
    writer: Writer,
    reporter: Reporter,
    artifacts: Mapping[str, Artifact],
    *,
    policy: Policy | None = None,
    prompts: Prompts | None = None,
) -> Job:
    """The job of a run: its plan sealed now, or that of `record`, which must have been sealed with
    these artifacts.

    The reward and the human score are built (steps of their own, unless they are done). `policy` is
    the model where somebody else loads it; `prompts`, as `split_prompts` gives them, where they are
    not what data.prompts would be read as. Raises BadInput before the plan is sealed for all that
    cannot be used.
    """
    prepared = None
    if record is None:
        prompts = prompts or split_prompts(config)
        prepared = prepare(config, artifacts, prompts, policy)
        config = seal(config, writer, reporter, artifacts, prompts, policy)
    else:
        # What was sealed, and not what was given again: the plan has written out what decides.
        config = record.config
        _check_artifacts(record, artifacts)
    return _with_scores(config, writer, reporter, artifacts, policy, prepared)


def _check_artifacts(record: Run, artifacts: Mapping[str, Artifact]) -> None:
    for name, was in record.plan["artifacts"].items():
        if artifacts[name].sha256 != was["sha256"]:
            raise BadInput(
                f"{name} ({was['spec']}) is not the one the plan was sealed with: expected "
                f"{was['sha256']}, got {artifacts[name].sha256}"
            )


def _with_scores(
    config: Config,
    writer: Writer,
    reporter: Reporter,
    artifacts: Mapping[str, Artifact],
    policy: Policy | None,
    prepared: PreparedModels | None,
) -> Job:
    """The job, with the steps that build its reward and its human score done.

    `prepared` is there when the plan was sealed just now. A run that goes on opens what its steps
    still need inside them: most have both behind them, and need no training data any more.
    """
    job = Job(
        config,
        writer,
        reporter,
        {name: a.path for name, a in artifacts.items()},
        policy,
        embed=prepared.embed if prepared is not None else None,
    )

    if prepared is not None:
        scorer = prepared.toxicity
        job.once("toxicity", lambda: scorer)

    def build_reward(out: Path) -> Content:
        build = prepared.build_reward if prepared is not None else reward_builder(config)
        reward = build(out)
        return {"name": reward.name, "digest": reward.digest, "members": reward.members}

    def build_human(out: Path) -> Content:
        build = prepared.build_human if prepared is not None else human_builder(config)
        return {"label": build(out).label}

    job.step(REWARD, REWARD, build_reward, context=(f"{REWARD}/{COMPUTE}",))
    job.step(HUMAN, HUMAN, build_human, context=(f"{HUMAN}/{COMPUTE}",))
    return job


def _do_all(job: Job) -> None:
    """Every step of the job's method that is not done yet."""
    match job.config.loop.method:
        case "rest" | "rest_em" | "raft" | "best_of_n" | "dpo":
            rest(job)
        case "grpo" | "rloo":
            from restaudit.loop.online import online

            online(job)
        case "outside":
            raise BadInput(f"{job.run}: {OTHER_WRITERS['trainer']}")
        case _ as unknown:
            assert_never(unknown)


def prepare_machine(config: Config, *, threads: bool = True) -> None:
    """Libraries that are quiet and, with `threads`, the configured number of them, before anything
    is computed.
    """
    import warnings

    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    # peft asks transformers 5 for a name it is about to drop; nothing a user could do about it.
    warnings.filterwarnings(
        "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
    )

    if threads:
        # The affinity mask, not the number of cores: in a container the process may have fewer.
        every = len(os.sched_getaffinity(0))
        torch.set_num_threads(every if config.threads == "auto" else config.threads)
