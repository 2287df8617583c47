"""A way out: a trained policy of a run as a folder that PEFT, transformers, lm-eval and vLLM load.

The folder is loaded again before it is put in place, and compared with the policy as it was
audited.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from restaudit import __version__
from restaudit.config import Config
from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence import ledger
from restaudit.evidence.record import ADAPTER, BASE, Run
from restaudit.evidence.shown import escaped_json
from restaudit.files import plain
from restaudit.files.signs import printable

if TYPE_CHECKING:
    from restaudit.console import Reporter
    from restaudit.models.artifacts import Artifact
    from restaudit.policy import Policy
    from restaudit.weights.agreement import Agreement

Kind = Literal["peft", "checkpoint"]
KINDS: tuple[Kind, ...] = ("peft", "checkpoint")
SCHEMA = "restaudit.weights/1"
FACTS, CARD = "restaudit.json", "README.md"
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Chosen:
    """The policy to export.

    iteration  whose audit looked at it
    policy     the iteration that trained it; another one where the best of N samples were audited
    files      the recorded files of its weights, name -> SHA-256; none for a base policy that is
               the base model itself
    why        why this iteration, in words
    """

    iteration: str
    policy: str
    files: Mapping[str, str]
    why: str


@dataclass(frozen=True)
class Exported:
    """An exported folder.

    `files` (name -> SHA-256) are all but the card and the file of facts, which holds `facts`.
    """

    kind: Kind
    folder: Path
    chosen: Chosen
    base: Artifact
    config: Config
    agreement: Agreement
    notices: tuple[str, ...]
    files: Mapping[str, str]
    facts: Mapping[str, Any]


def export_weights(
    run: Path,
    kind: Kind,
    out: Path | None,
    card: Callable[[Exported], str],
    reporter: Reporter,
    *,
    iteration: str | None = None,
    push: str | None = None,
) -> Exported:
    """Write the weights of one iteration, with tokenizer, generation config, card, licence, facts.

    `out` must not hold anything (None: a folder beside the run); `card` writes the README.md;
    `push` is a repository of the Hugging Face hub. Without `iteration` it is the last one that was
    trained and audited.

    Raises BadInput for what cannot be exported, and where the exported folder does not give the
    audited policy's log-probabilities; VerificationFailed where a recorded file was changed.
    Nothing is left behind then. Where only the upload fails, the folder stays.
    """
    if push is not None and not REPOSITORY.fullmatch(push):
        raise BadInput(f"--push: expected ORG/NAME, got '{push}'")
    record = Run(run)
    chosen = chosen_policy(record, kind, iteration)
    folder = out if out is not None else default_folder(run, kind, chosen.iteration)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise BadInput(
            f"{folder}: is not an empty folder; name another one with --out, or remove it"
        )
    _check_recorded(record, chosen)
    notices = _notices(record, chosen)
    for line in notices:
        reporter.line(printable(line))
    reporter.line(printable(f"{kind}: {chosen.iteration}, {chosen.why}"))

    try:
        with plain.stage(plain.make_parent(folder), f"{folder.name}-") as stage:
            exported = _written(
                record, kind, chosen, stage, folder, notices, reporter, pushed=push is not None
            )
            plain.write(stage, CARD, card(exported).encode())
            files = {**exported.files, CARD: ledger.digest_in(stage, CARD).sha256}
            text = json.dumps(
                {**exported.facts, "files": files}, indent=2, sort_keys=True, allow_nan=False
            )
            plain.write(stage, FACTS, f"{escaped_json(text)}\n".encode())
            plain.become(stage, folder)
    except OSError as e:
        first = (e.strerror or str(e).strip() or type(e).__name__).splitlines()[0]
        raise BadInput(f"{folder}: not exported ({first})") from None
    for line in exported.agreement.sentences():
        reporter.line(line)
    reporter.line(str(folder))
    if push is not None:
        reporter.line(pushed(folder, push, exported))
    return exported


def default_folder(run: Path, kind: Kind, iteration: str) -> Path:
    """Where weights go by default: beside the run, so that neither record nor bundle takes them."""
    place = run.resolve()
    return place.parent / f"{place.name}-{kind}-{iteration.replace('/', '-')}"


# --- which policy


def chosen_policy(record: Run, kind: Kind, iteration: str | None) -> Chosen:
    """The policy that an iteration's audit looked at.

    Raises BadInput where it lacks such weights.
    """
    audited: dict[str, str] = {}
    for event in record.events:
        if event.step.endswith("/audit"):
            # best-of-N audits chosen samples of another iteration's policy.
            name = event.step.removesuffix("/audit")
            audited[name] = str(event.content.get("policy", name))
    trained = [i for i in audited if {f"{i}/improve", f"{i}/train"} & record.done]
    if iteration is None and not trained:
        raise BadInput(
            f"{record.path}: no policy of this run was trained and audited yet; the base policy: "
            f"--format checkpoint --iteration {BASE}"
        )
    name = iteration or trained[-1]
    if name not in audited:
        there = ", ".join(audited) or "none"
        raise BadInput(f"{record.path}: no audited iteration '{name}'; there are: {there}")
    policy = audited[name]
    files: dict[str, str] = {}
    for event in record.events:
        for path, recorded in event.outputs.items():
            if path.startswith(f"{policy}/{ADAPTER}/"):
                files[path] = recorded.sha256
    loop, training = record.plan["config"]["loop"], record.plan["config"]["policy"]["training"]
    if not files and (loop["method"] == "outside" or policy != BASE):
        raise BadInput(
            f"{record.path}: the weights of {policy} were not kept in the run; the trainer's own "
            "checkpoint of that step loads as it is (AuditCallback keeps them in the run with "
            "keep='trained')"
        )
    if kind == "peft" and (not files or training == "full"):
        what = "the base model itself" if not files else "trained as a whole"
        raise BadInput(
            f"{record.path}: {policy} is {what} and has no adapter; use --format checkpoint"
        )
    why = "as asked for" if iteration else "the last iteration that was trained"
    if policy != name:
        why += f"; its audit chose among samples of {policy}, whose weights these are"
    return Chosen(name, policy, dict(sorted(files.items())), why)


def _notices(record: Run, chosen: Chosen) -> tuple[str, ...]:
    """What a reader must know first: that a gate stopped the run, or would have."""
    notices = [
        f"HALT at {o.iteration} (gate: {', '.join(o.gates)}) was overridden by {o.by}: {o.reason}"
        for o in record.overrides()
    ]
    halt = record.halt
    if halt is not None:
        notices.append(
            f"This run was halted at {halt.iteration} by its sealed gates "
            f"({', '.join(halt.gates)}). What is exported is {chosen.iteration}."
        )
    return tuple(notices)


# --- what was recorded


def _check_recorded(record: Run, chosen: Chosen) -> None:
    """Raise VerificationFailed where a file is not as the ledger has it, BadInput where it is
    gone.
    """
    recorded: dict[str, ledger.FileDigest] = {}
    for event in record.events:
        for files in (event.outputs, event.context):
            recorded |= files
    # Everything that is read here, and so would be believed.
    needed = [
        "plan.json",
        "environment.json",
        "data/audit.parquet",
        f"{chosen.iteration}/audit.parquet",
    ]
    decision = f"{chosen.iteration}/decision.json"
    if decision in recorded:
        needed.append(decision)
    for name in (*needed, *chosen.files):
        path = record.path / name
        if name not in recorded:
            raise BadInput(f"{path}: no finished step recorded it")
        if not plain.is_file(record.path, name):
            raise BadInput(f"{path}: missing from the run folder")
        if not ledger.as_recorded(record.path, name, recorded[name]):
            raise VerificationFailed(
                f"{name}: changed after it was recorded: expected {recorded[name].bytes:,} bytes "
                f"with sha256 {recorded[name].sha256}"
            )


def _as_audited(record: Run, reporter: Reporter) -> Config:
    """The sealed configuration, in the precision of the audit rather than in this machine's own."""
    import torch

    config = record.config
    update: dict[str, Any] = {
        "policy": config.policy.model_copy(update={"dtype": str(record.environment["dtype"])})
    }
    if config.device == "cuda" and not torch.cuda.is_available():
        reporter.line("The run used a GPU; this machine has none, so the CPU makes the comparison.")
        update["device"] = "cpu"
    return config.model_copy(update=update)


def _base(record: Run, config: Config) -> Artifact:
    """The base model, which must be the one that the plan was sealed with."""
    from restaudit.models.artifacts import resolve

    sealed = record.plan["artifacts"]["policy.model"]
    base = resolve(sealed["spec"], sha256=config.policy.sha256, licence=sealed["licence"])
    if base.sha256 != sealed["sha256"]:
        raise BadInput(
            f"{sealed['spec']}: is not the base model that the plan was sealed with (expected "
            f"sha256 {sealed['sha256']}, got {base.sha256}); bring that one back"
        )
    return base


# --- the folder


def _written(
    record: Run,
    kind: Kind,
    chosen: Chosen,
    stage: Path,
    folder: Path,
    notices: tuple[str, ...],
    reporter: Reporter,
    *,
    pushed: bool,
) -> Exported:
    """Write everything but the card and the facts into `stage`, load it again and compare."""
    from restaudit.loop.running import prepare_machine
    from restaudit.weights.agreement import audited_responses
    from restaudit.weights.files import LICENCE, write_licence
    from restaudit.weights.made import make_adapter, make_checkpoint

    config = _as_audited(record, reporter)
    prepare_machine(config)
    base, policy = _policy(record, config, chosen, reporter)
    responses = audited_responses(record, chosen.iteration, policy)
    write_licence(base.spec, base.licence, stage)
    stops = policy.stop_tokens
    recorded = record.path / chosen.policy / ADAPTER
    with warnings.catch_warnings():
        # Of libraries, about adapters on tied weights and the like: what counts is compared.
        warnings.simplefilter("ignore")
        if kind == "peft":
            agreement = make_adapter(policy, base, recorded, stage, responses, pushed=pushed)
        else:
            agreement = make_checkpoint(policy, base, stage, responses)
    for path in stage.iterdir():  # safetensors lets only the owner read what it wrote
        path.chmod((stage / LICENCE).stat().st_mode & 0o777)
    decision = record.decision(chosen.iteration)
    files = {p.name: ledger.digest_file(p).sha256 for p in sorted(stage.iterdir())}
    facts = {
        "schema": SCHEMA,
        "restaudit": __version__,
        "format": kind,
        "run": {
            "name": record.name,
            "id": record.run_id,
            "state": record.state,
            "digest": record.digest,
            "ledger_head": record.events[-1].hash,
            "plan_sha256": record.events[0].outputs["plan.json"].sha256,
        },
        "notices": list(notices),
        "iteration": chosen.iteration,
        "policy": chosen.policy,
        "decision": None if decision is None else decision.verdict,
        "base_model": {"spec": base.spec, "sha256": base.sha256, "licence": base.licence},
        "recorded_weights": dict(chosen.files),
        "audited_with": {
            "chat": config.policy.chat,
            "system_prompt": config.policy.system_prompt,
            "template_arguments": dict(config.policy.template_arguments),
            "sampling": config.loop.sampling.model_dump(mode="json"),
            "stop_tokens": stops,
        },
        "comparison": agreement.to_json(),
    }
    return Exported(kind, folder, chosen, base, config, agreement, notices, files, facts)


def _policy(
    record: Run, config: Config, chosen: Chosen, reporter: Reporter
) -> tuple[Artifact, Policy]:
    """The base model and, on it, the policy with the weights that were recorded."""
    if config.loop.method == "outside":
        from restaudit.weights.outside import trainers_policy

        return trainers_policy(record, config, chosen.policy)
    from restaudit.loop.job import load_run_policy

    base = _base(record, config)
    policy = load_run_policy(config, base.path, reporter)
    policy.become(record.path / chosen.policy / ADAPTER if chosen.files else None)
    return base, policy


# --- the hub


def pushed(folder: Path, repository: str, exported: Exported) -> str:
    """Upload a folder to a repository of the hub, private where it is new; returns where it is.

    Raises BadInput where it cannot be uploaded; the folder stays.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    # One base is the error of whatever HTTP client the library uses, which is no OSError.
    errors: tuple[type[Exception], ...] = (OSError, ValueError, *HfHubHTTPError.__bases__)
    try:
        url = api.create_repo(repository, repo_type="model", private=True, exist_ok=True)
        message = f"{exported.chosen.iteration} of run {exported.facts['run']['id']}"
        api.upload_folder(
            repo_id=repository, repo_type="model", folder_path=folder, commit_message=message
        )
    except errors as e:
        first = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise BadInput(
            f"--push {repository}: not uploaded ({first}); the folder is complete at {folder}. "
            f"Log in with: hf auth login, and then: hf upload {repository} {folder}"
        ) from None
    return f"{url} (a new repository is private; one that was there keeps its visibility)"
