"""A policy that somebody else trained under AuditCallback, put together from what the run kept.

The run has no checkpoint of it and no configuration of the adapter beyond PEFT's own. What was
looked at is known by digests of the frozen and of the trained parameters, so a policy that has both
is the one that was audited.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.config import Config
from restaudit.errors import BadInput
from restaudit.evidence.record import ADAPTER, BASE, Run
from restaudit.files import plain
from restaudit.models.artifacts import Artifact
from restaudit.policy.model import ADAPTER_CONFIG, ADAPTER_WEIGHTS

if TYPE_CHECKING:
    from restaudit.policy import Policy

TRAINER = "trainer:"


def trainers_policy(record: Run, config: Config, iteration: str) -> tuple[Artifact, Policy]:
    """The base model and the policy of one look.

    Raises BadInput where they are not as they were.
    """
    from restaudit.policy.loading import frozen_digest, live_policy, load_tokenizer, trained_digest

    sealed = record.plan["artifacts"]["policy.model"]
    spec = str(sealed["spec"])
    base = Artifact(_where(record, spec), spec, sealed["sha256"], sealed["licence"])
    kept = record.path / iteration / ADAPTER
    plain.names(record.path, f"{iteration}/{ADAPTER}")
    # Both files, since PEFT would take a pickle where the weights are not there.
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS) if config.policy.training == "lora" else ():
        if not plain.is_file(record.path, f"{iteration}/{ADAPTER}/{name}"):
            raise BadInput(
                f"{kept}: holds no {name}, and only the trainer knew how the adapter is built; "
                "use the trainer's own checkpoint"
            )
    digests = {e.step: e.content.get("weights_sha256") for e in record.events}
    # In what precision the trainer had model and adapter is not recorded; the digests tell.
    for dtype in ("float32", "bfloat16"):
        for cast in (True, False):
            model = _model(config, base.path, kept, dtype=dtype, cast=cast)
            if frozen_digest(model) != base.sha256:
                continue
            tokenizer = load_tokenizer(base.path, base.spec)
            policy = live_policy(model, tokenizer, config.policy, keep="trained")
            policy.become(kept)
            if iteration == BASE or trained_digest(policy.model) == digests[f"{iteration}/train"]:
                return base, policy
    raise BadInput(
        f"{base.path}: with the weights of {iteration} it is not the model that was audited (its "
        "parameters have another digest); bring back the model that the trainer began with, or "
        "use the trainer's own checkpoint"
    )


def _where(record: Run, spec: str) -> Path:
    """The trainer's model: a folder here, or what the hub has of this name; its digest decides."""
    from restaudit.models.artifacts import resolve

    name = spec.removeprefix(TRAINER)
    if Path(name).is_dir():
        return Path(name)
    if name.count("/") != 1 or name.startswith(("/", ".")):
        raise BadInput(
            f"{record.path}: the trainer's model '{name}' is no folder here; bring it back to "
            "that place"
        )
    return resolve(f"hf:{name}@main").path


def _model(config: Config, path: Path, kept: Path, *, dtype: str, cast: bool) -> Any:
    """The trainer's model with the adapter that was kept; `cast`: the adapter is in float32."""
    from restaudit.models.devices import pick_device
    from restaudit.models.pretrained import put_adapter
    from restaudit.policy.loading import load_model

    device, attention = pick_device(config.device), config.policy.attn_implementation
    model = load_model(path, str(path), dtype=dtype, device=device, attention=attention)
    if config.policy.training == "full":
        return model.requires_grad_(True)
    return put_adapter(model, kept, str(kept), trainable=True, cast=cast).eval()
