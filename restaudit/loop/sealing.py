"""Sealing: everything that decides what a run will do, written and digested before the first sample
is drawn.

A plan that is sealed cannot be tuned to what the run then shows: `resume`, `override` and `verify`
compare it with the digest in the ledger's first event (docs/threat-model.md).
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit import __version__
from restaudit.config import BY_STEPS, ONLINE, Config, ModelHuman, TrainedReward
from restaudit.console import Reporter
from restaudit.evidence.named_code import remember
from restaudit.evidence.record import (
    BASE,
    HUMAN,
    PLAN,
    PROMPTS,
    REWARD,
    SCHEMA,
    Run,
    json_bytes,
    write_json,
    write_table,
)
from restaudit.evidence.steps import Content, Writer
from restaudit.files import plain
from restaudit.gates import ok_level, rule_level
from restaudit.loop.audit import planned_iterations
from restaudit.loop.held_out import held_out_artifacts
from restaudit.loop.probe_evidence import remembers_known
from restaudit.loop.toxicity import toxicity_artifacts
from restaudit.models.artifacts import Artifact, resolve

if TYPE_CHECKING:
    import pandas as pd

    from restaudit.config import Split
    from restaudit.data.records import RowReport
    from restaudit.policy import Policy

    # The prompts by split, the overlap of the splits, and what was read of each source.
    Prompts = tuple[dict[Split, pd.DataFrame], dict[str, Any], list[RowReport]]

# The step that records somebody else's trainer; it stands where `scale` stands in a run of our own.
TRAINER = "trainer"

# Packages whose version can change a run's figures.
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


def seal(
    config: Config,
    writer: Writer,
    reporter: Reporter,
    artifacts: Mapping[str, Artifact],
    prompts: Prompts,
    policy: Policy | None,
) -> Config:
    """The first step: seal the plan, and return the configuration as it was sealed, with its looks.

    Everything that can be refused was refused before (`refusals.prepare`). `prompts` are as
    `split_prompts` gives them; `policy` is None where only its generations are at hand.
    """
    key_id = writer.signer.key_id if writer.signer is not None else None
    signed = f", signed with key {key_id}" if key_id else ""
    reporter.line(f"{writer.run}: sealing the plan{signed}")
    config = with_gates(_with_looks(config, len(prompts[0]["grow"])))

    def make(out: Path) -> Content:
        _write_data(config, prompts, out)
        plan = _plan(config, artifacts, prompts, key_id)
        data = json_bytes(plan)
        plain.write(out, PLAN, data)
        remember(writer.run, data, plan["config"])
        write_json(_environment(config, policy), out / "environment.json")
        return {"name": config.name}

    writer.step("plan", "", make, context=("environment.json",))
    # Read back, so that this run goes on with exactly what a later `resume` will read.
    return Run(writer.run).config


def split_prompts(config: Config) -> Prompts:
    """The prompts of a run by split (columns: PROMPTS), the overlap of the splits, and what was
    read of each source.
    """
    from restaudit.data.splits import SPLITS
    from restaudit.reward.leakage import split_apart

    # A trainer of somebody else's has its own prompts to train on and chooses its own checkpoints.
    needed: Sequence[Split] = ("audit",) if config.loop.method == "outside" else SPLITS
    return split_apart(config.data, config.reward, config.data.rows, config.seed, needed)


def artifacts_of(config: Config) -> dict[str, Artifact]:
    """Models and data the run needs beside its prompts, fetched and digested, by the key of the
    configuration that names them.

    Raises BadInput for what cannot be had, or is not what its pinned digest says.
    """
    wanted = {}
    if config.loop.method != "outside":
        wanted["policy.model"] = (config.policy.model, config.policy.sha256, config.policy.licence)
    if config.audit.encoder:
        wanted["audit.encoder"] = (config.audit.encoder, config.audit.encoder_sha256, None)
    if isinstance(config.reward, TrainedReward):
        reward = config.reward
        wanted["reward.encoder"] = (reward.encoder, reward.encoder_sha256, reward.encoder_licence)
    if isinstance(config.human, ModelHuman):
        wanted["human.encoder"] = (config.human.encoder, config.human.encoder_sha256, None)
    models = {
        key: resolve(spec, sha256=sha256, licence=licence)
        for key, (spec, sha256, licence) in wanted.items()
    }
    return {
        **models,
        **toxicity_artifacts(config.audit.toxicity),
        **held_out_artifacts(config.audit),
    }


def planned_steps(config: Config) -> list[str]:
    """Names of all steps, in order, of a run that nothing stops."""
    loop = config.loop
    steps = ["plan", REWARD, HUMAN]
    if loop.method == "outside":
        steps.append(TRAINER)
    else:
        if loop.bc.epochs:
            steps.append("g00/bc")
        steps.append("scale")
    if remembers_known(config):
        steps.append("known")
    steps.append(f"{BASE}/audit")
    if config.audit.reward_stress is not None:
        steps.append("stress")
    # People rate between sampling and measuring, so their look is three steps or more, each of
    # which can be the one that the run stops after. A stage that is not needed says so in its step.
    look = ["audit"]
    if config.human.kind == "people":
        later = [f"stage{k}/wait" for k in range(2, config.stages + 1)]
        look = ["samples", "wait", *later, "audit"]
    if loop.method in BY_STEPS:
        for iteration in planned_iterations(loop):
            steps += [f"{iteration}/{part}" for part in ("train", *look)]
        return [*steps, "end"]
    refits = isinstance(config.reward, TrainedReward) and config.reward.refit is not None
    trains = ["improve"] if loop.improve_steps else []
    for g in range(1, loop.grow_steps + 1):
        grow = f"g{g:02d}"
        if g > 1 and refits:
            steps += [f"{grow}/refit/wait", f"{grow}/refit"]
        steps += [f"{grow}/grow", f"{grow}/score"]
        for iteration in planned_iterations(loop):
            if iteration.startswith(f"{grow}/"):
                steps += [f"{iteration}/{part}" for part in (*trains, *look)]
    return [*steps, "end"]


def _with_looks(config: Config, prompts: int) -> Config:
    """The configuration with the optimiser steps at which an online method is looked at: once a
    Grow's samples.
    """
    loop = config.loop
    if loop.method not in ONLINE or loop.looks:
        return config
    # Methods are compared at equal cost, and what costs is sampling: a look comes whenever the
    # trainer has drawn as many samples as a Grow step of ReST draws.
    a_step = loop.online.group * loop.online.prompts_per_step
    a_grow = prompts * loop.samples_per_prompt
    looks = [math.ceil(g * a_grow / a_step) for g in range(1, loop.grow_steps + 1)]
    with_looks = loop.model_copy(update={"looks": tuple(dict.fromkeys(looks))})
    return config.model_copy(update={"loop": with_looks})


def with_gates(config: Config) -> Config:
    """The configuration with everything written out that its gates decide by."""
    gates = config.gates.written_out(stage_shares(config.stages))
    return config.model_copy(update={"gates": gates})


def stage_shares(stages: int) -> tuple[float, ...]:
    """What each stage spends of a look's error rates, where a configuration does not say: twice as
    much as the stage before it.

    A stage that comes is one that the earlier ones could not decide. docs/calibrate.md compares
    this with other ways to share them.
    """
    total = 2**stages - 1
    return tuple(2**k / total for k in range(stages))


def _write_data(config: Config, prompts: Prompts, out: Path) -> None:
    """data/: the prompts of every split, and report.json, what was read, dropped and overlaps."""
    from restaudit.reward.leakage import leakage

    splits, overlap, reports = prompts
    for name, table in splits.items():
        write_table(table, out / "data" / f"{name}.parquet", PROMPTS)
    report = {
        "splits": overlap,
        "reward_model": leakage(config.reward, config.data.rows, config.data.splits, splits),
        "rows": [r.to_json() for r in reports],
    }
    write_json(report, out / "data" / "report.json")


def _plan(
    config: Config, artifacts: Mapping[str, Artifact], prompts: Prompts, key_id: str | None
) -> dict[str, Any]:
    """plan.json: what the run will do, what its gates will say no to, and what both rest on."""
    from probes import PROBES

    looks = planned_iterations(config.loop)
    gates = config.gates
    stages = range(1, len(gates.shares) + 1)
    # Written out, so that a reader sees what every look will ask for without this program: per rule
    # the level of every stage of every look, and the one that OK needs at every stage.
    levels: dict[str, list[list[float]]] = {}
    for rule in gates.rules:
        levels[rule.name] = []
        for k in range(1, len(looks) + 1):
            levels[rule.name].append(
                [rule_level(gates, rule, look=k, looks=len(looks), stage=s) for s in stages]
            )
    plan = {
        "schema": SCHEMA,
        "restaudit": __version__,
        "config": config.model_dump(mode="json"),
        "steps": planned_steps(config),
        "looks": looks,
        "gate_levels": levels,
        "ok_levels": [ok_level(gates, stage=s) for s in stages],
        "probes": [
            {"name": p.name, "version": p.version, "measures": list(p.names)} for p in PROBES
        ],
        "artifacts": {
            key: {"spec": a.spec, "sha256": a.sha256, "licence": a.licence, **a.base_facts()}
            for key, a in artifacts.items()
        },
        "prompts": {name: len(table) for name, table in prompts[0].items()},
    }
    # The signer is in the plan, so that taking every signature away does not make a run unsigned.
    return {**plan, "signer": key_id} if key_id else plan


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
    for line in info.read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return None
