"""Sealing: everything that decides what a run will do, written and digested before the first sample
is drawn.
"""

from __future__ import annotations

import importlib.util
import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit import __version__
from restaudit.config import BY_STEPS, ONLINE, Config, HatesonarToxicity, ModelHuman, TrainedReward
from restaudit.console import Reporter
from restaudit.errors import BadInput, Halted
from restaudit.evidence.chats import as_messages
from restaudit.evidence.record import (
    BASE,
    HUMAN,
    PROMPTS,
    REWARD,
    SCHEMA,
    Run,
    write_json,
    write_table,
)
from restaudit.evidence.steps import Content, Writer
from restaudit.gates import rule_level
from restaudit.loop.audit import planned_iterations
from restaudit.loop.going_on import writer_of
from restaudit.loop.held_out import held_out_artifacts
from restaudit.loop.job import Job, halt_message, load_run_policy
from restaudit.loop.probe_evidence import remembers_known
from restaudit.loop.rest import rest
from restaudit.loop.waiting import check_ratings
from restaudit.models.artifacts import Artifact, resolve
from restaudit.reward.dossier import COMPUTE

if TYPE_CHECKING:
    import pandas as pd

    from restaudit.config import Split
    from restaudit.data.records import RowReport
    from restaudit.evidence.seal.signer import Signer
    from restaudit.policy import Policy

    # The prompts by split, the overlap of the splits, and what was read of each source.
    Prompts = tuple[dict[Split, pd.DataFrame], dict[str, Any], list[RowReport]]

TRAINER = "trainer"

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "pyarrow",
    "safetensors",
    "tokenizers",
    "sacrebleu",
)


def start(config: Config, run: Path, reporter: Reporter, signer: Signer | None = None) -> None:
    """Seal a new run at `run` and do all of it; a `signer` signs the plan first, then the ledger's
    heads.
    """
    if (run / "plan.json").exists():
        raise BadInput(f"{run}: a run is already there; go on with: restaudit resume {run}")
    check_extras(config)
    prepare_machine(config)
    artifacts = artifacts_of(config)
    # Loaded before the plan is sealed: a model that cannot be computed exactly is refused while
    # nothing is lost.
    policy = load_run_policy(config, artifacts["policy.model"].path, reporter)
    with Writer(run, announce=reporter.line, signer=signer) as writer:
        _do(under_plan(None, config, writer, reporter, artifacts, policy=policy))


def resume(run: Path, reporter: Reporter, given: Signer | None = None) -> None:
    """Go on with a run from its first step that is not done, with the signer that its plan names,
    if it names one.

    Raises Halted when a gate stopped it and nobody overrode that, Waiting when people's ratings are
    missing, BadInput when `given` is not the signer of the plan, and for a run that something else
    writes.
    """
    record, signer = may_go_on(run, reporter, given)
    if record.state == "done":
        reporter.line(f"{run}: this run is done; nothing to resume")
        return
    if (writes := writer_of(record)) is not None:
        raise BadInput(f"{run}: {writes}")
    config = Config.model_validate(record.plan["config"])
    check_extras(config)
    prepare_machine(config)
    with Writer(run, announce=reporter.line, signer=signer) as writer:
        _do(under_plan(record, config, writer, reporter, artifacts_of(config)))


def may_go_on(run: Path, reporter: Reporter, given: Signer | None) -> tuple[Run, Signer | None]:
    """A sealed run that no gate holds back, and the signer that its plan names.

    Raises as `resume` does.
    """
    from restaudit.evidence.seal.signer import signer_for

    record = Run(run)
    record.check_sealed()
    signer = signer_for(run, record.plan, given)
    if signer is not None:
        with Writer(run, signer=signer):
            pass  # a crash may have come between the last event and its signature
    for o in record.overrides():
        reporter.line(
            f"{run}: goes on against HALT of {', '.join(o.gates)} at {o.iteration}, by {o.by}: "
            f"{o.reason}"
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
    not what data.prompts would be read as.
    """
    if record is None:
        config = _sealed(config, writer, reporter, artifacts, prompts, policy)
    else:
        _check_artifacts(record, artifacts)
    return _opened(config, writer, reporter, artifacts, policy)


def _check_artifacts(record: Run, artifacts: Mapping[str, Artifact]) -> None:
    for name, was in record.plan["artifacts"].items():
        if artifacts[name].sha256 != was["sha256"]:
            raise BadInput(
                f"{name} ({was['spec']}) is not the one the plan was sealed with: expected "
                f"{was['sha256']}, got {artifacts[name].sha256}"
            )


def check_extras(config: Config) -> None:
    """Raise BadInput where the method needs a library that is not installed."""
    if config.loop.method in (*ONLINE, "dpo") and importlib.util.find_spec("trl") is None:
        raise BadInput(f"loop.method {config.loop.method} needs TRL: pip install 'restaudit[rlhf]'")


def _do(job: Job) -> None:
    if job.config.loop.method in ONLINE:
        from restaudit.loop.online import online

        online(job)
    else:
        rest(job)


def _opened(
    config: Config,
    writer: Writer,
    reporter: Reporter,
    artifacts: Mapping[str, Artifact],
    policy: Policy | None,
) -> Job:
    from restaudit.people.human_score import build_human
    from restaudit.reward import build_reward

    job = Job(config, writer, reporter, {name: a.path for name, a in artifacts.items()}, policy)

    def make_reward(out: Path) -> Content:
        reward = build_reward(
            config.reward, out, rules=config.data.rows, device=job.device, seed=job.seed(REWARD)
        )
        return {"name": reward.name, "digest": reward.digest, "members": reward.members}

    def make_human(out: Path) -> Content:
        human = build_human(
            config.human, out, rules=config.data.rows, device=job.device, seed=job.seed(HUMAN)
        )
        return {"label": human.label}

    job.step(REWARD, REWARD, make_reward, context=(f"{REWARD}/{COMPUTE}",))
    job.step(HUMAN, HUMAN, make_human, context=(f"{HUMAN}/{COMPUTE}",))
    return job


def planned_steps(config: Config) -> list[str]:
    """Names of all steps, in order, of a run that nothing stops."""
    loop = config.loop
    audit = ["samples", "wait", "audit"] if config.human.kind == "people" else ["audit"]
    start = (
        [TRAINER]
        if loop.method == "outside"
        else [*(["g00/bc"] if loop.bc.epochs else []), "scale"]
    )
    known = ["known"] if remembers_known(config) else []
    steps = ["plan", REWARD, HUMAN, *start, *known, f"{BASE}/audit"]
    if loop.method in BY_STEPS:
        return [
            *steps,
            *(f"{i}/{part}" for i in planned_iterations(loop) for part in ("train", *audit)),
            "end",
        ]
    for g in range(1, loop.grow_steps + 1):
        if g > 1 and isinstance(config.reward, TrainedReward) and config.reward.refit is not None:
            steps += [f"g{g:02d}/refit/wait", f"g{g:02d}/refit"]
        steps += [f"g{g:02d}/grow", f"g{g:02d}/score"]
        for iteration in planned_iterations(loop):
            if iteration.startswith(f"g{g:02d}/"):
                parts = ["improve"] * bool(loop.improve_steps) + audit
                steps += [f"{iteration}/{part}" for part in parts]
    return [*steps, "end"]


def _sealed(
    config: Config,
    writer: Writer,
    reporter: Reporter,
    artifacts: Mapping[str, Artifact],
    prompts: Prompts | None,
    policy: Policy | None,
) -> Config:
    """The first step: seal the plan, and return the configuration as it was sealed, with its
    looks.
    """
    key_id = writer.signer.key_id if writer.signer is not None else None
    reporter.line(
        f"{writer.run}: sealing the plan" + (f", signed with key {key_id}" if key_id else "")
    )
    writer.step(
        "plan",
        "",
        lambda out: _seal(config, artifacts, key_id, out, prompts, policy),
        context=("environment.json",),
    )
    return Config.model_validate(Run(writer.run).plan["config"])


def _with_looks(config: Config, prompts: int) -> Config:
    """The configuration with the optimiser steps at which an online method is looked at: once a
    Grow's samples.
    """
    loop = config.loop
    if loop.method not in ONLINE or loop.looks:
        return config
    a_step = loop.online.group * loop.online.prompts_per_step
    looks = [
        math.ceil(g * prompts * loop.samples_per_prompt / a_step)
        for g in range(1, loop.grow_steps + 1)
    ]
    return config.model_copy(
        update={"loop": loop.model_copy(update={"looks": tuple(dict.fromkeys(looks))})}
    )


def split_prompts(config: Config) -> Prompts:
    """The prompts of a run by split (columns: PROMPTS), the overlap of the splits, and what was
    read of each source.
    """
    from restaudit.data.splits import SPLITS
    from restaudit.reward.leakage import split_apart

    needed: Sequence[Split] = ("audit",) if config.loop.method == "outside" else SPLITS
    return split_apart(config.data, config.reward, config.data.rows, config.seed, needed)


def _seal(
    config: Config,
    artifacts: Mapping[str, Artifact],
    signer: str | None,
    out: Path,
    prompts: Prompts | None,
    policy: Policy | None,
) -> Content:
    from probes import PROBES
    from restaudit.people.human_score import check_raters
    from restaudit.reward.leakage import leakage

    check_raters(config.reward, config.human)
    splits, overlap, reports = prompts or split_prompts(config)
    if policy is not None:
        _check_prompts(policy, splits, config.loop.sampling.max_tokens)
    config = _with_looks(config, len(splits["grow"]))
    (out / "data").mkdir()
    for name, table in splits.items():
        write_table(table, out / "data" / f"{name}.parquet", PROMPTS)
    reward_overlap = leakage(config.reward, config.data.rows, config.data.splits, splits)
    report = {
        "splits": overlap,
        "reward_model": reward_overlap,
        "rows": [r.to_json() for r in reports],
    }
    write_json(report, out / "data" / "report.json")
    looks = planned_iterations(config.loop)
    plan = {
        "schema": SCHEMA,
        "restaudit": __version__,
        "config": config.model_dump(mode="json"),
        "steps": planned_steps(config),
        "looks": looks,
        "gate_levels": {
            r.name: [
                rule_level(config.gates, r, look=k, looks=len(looks))
                for k in range(1, len(looks) + 1)
            ]
            for r in config.gates.rules
        },
        "probes": [
            {"name": p.name, "version": p.version, "measures": list(p.names)} for p in PROBES
        ],
        "artifacts": {
            n: {"spec": a.spec, "sha256": a.sha256, "licence": a.licence, **a.base_facts()}
            for n, a in artifacts.items()
        },
        "prompts": {name: len(table) for name, table in splits.items()},
        **({"signer": signer} if signer else {}),
    }
    write_json(plan, out / "plan.json")
    write_json(_environment(config, policy), out / "environment.json")
    return {"name": config.name}


def _check_prompts(policy: Policy, splits: Mapping[Split, pd.DataFrame], max_tokens: int) -> None:
    """Raise BadInput for a prompt that is too long, with its response too, or that the chat
    template refuses.
    """
    room = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
    for split, table in splits.items():
        for prompt in table["prompt"]:
            length = len(policy.prompt_tokens(as_messages(prompt)))
            if isinstance(room, int) and 0 < room < length + max_tokens:
                raise BadInput(
                    f"a prompt of the split {split} has {length} tokens, and its response up to "
                    f"{max_tokens} "
                    f"(loop.sampling.max_tokens): {policy.config.model} reads {room} tokens in all"
                )


def artifacts_of(config: Config) -> dict[str, Artifact]:
    """Models the run needs beside its data, by the key of the configuration that names them."""
    wanted = {}
    if config.loop.method != "outside":
        wanted["policy.model"] = (config.policy.model, config.policy.sha256, config.policy.licence)
    if config.audit.encoder:
        wanted["audit.encoder"] = (config.audit.encoder, config.audit.encoder_sha256, None)
    if isinstance(config.reward, TrainedReward):
        reward = config.reward
        wanted["reward.encoder"] = (reward.encoder, reward.encoder_sha256, reward.encoder_licence)
    if isinstance(config.audit.toxicity, HatesonarToxicity):
        scorer = config.audit.toxicity
        wanted["audit.toxicity"] = (scorer.model, scorer.sha256, scorer.licence)
    if isinstance(config.human, ModelHuman):
        wanted["human.encoder"] = (config.human.encoder, config.human.encoder_sha256, None)
    return {
        **{
            name: resolve(spec, sha256=sha, licence=lic)
            for name, (spec, sha, lic) in wanted.items()
        },
        **held_out_artifacts(config.audit),
    }


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
        torch.set_num_threads(
            len(os.sched_getaffinity(0)) if config.threads == "auto" else config.threads
        )


def _environment(config: Config, policy: Policy | None) -> dict[str, Any]:
    import torch

    from restaudit.models.devices import pick_device, pick_dtype

    device = pick_device(config.device)
    return {
        "restaudit": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "device": device,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "dtype": str(pick_dtype(config.policy.dtype, device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "packages": {p: metadata.version(p) for p in PACKAGES},
        "seed": str(config.seed),
        **(policy.facts() if policy is not None else {}),
    }


def _processor() -> str | None:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or None
    lines = info.read_text(encoding="utf-8").splitlines()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), None)
