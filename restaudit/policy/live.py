"""A model that somebody else trains, as a policy that can be audited and is left exactly as it
was.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from restaudit.config import PolicyConfig
from restaudit.errors import BadInput, RestauditError
from restaudit.policy import Policy
from restaudit.policy.exactness import prove
from restaudit.policy.loading import LONGEST_RESPONSE, check_vocabulary

if TYPE_CHECKING:
    import torch

Keep = Literal["trained", "adapter", "none"]


@dataclass
class Unkept(Policy):
    """A policy whose weights are too large to be put aside at every look: it can be looked at,
    never gone back to.
    """

    def become(self, folder: Path | None) -> None:
        """Nothing, for the policy that is in training now; raises RestauditError where other
        weights were kept.
        """
        if folder is not None and folder.is_dir():
            raise RestauditError(
                f"{folder}: weights are kept there, but this policy cannot take them"
            )

    def take(self) -> None:
        """Nothing: no copy is kept."""

    def save(self, folder: Path) -> None:
        """Nothing: the trainer's own checkpoints hold the weights."""

    def parameters(self) -> dict[str, int]:
        """Number of parameters in all, and of those that are trained."""
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        return {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "trained_parameters": trained,
        }


def live_policy(
    model: Any,
    tokenizer: Any,
    config: PolicyConfig,
    *,
    keep: Keep = "adapter",
    longest: int | None = None,
) -> Policy:
    """The model in training as a policy. Nothing of the model is changed.

    How it is computed is checked against its own forward pass, as `load_policy` does; `longest` is
    as there.

    keep    "adapter": put the trained weights aside at every look where the model is a PEFT model
            (LoRA), and none of a fully trained one; "trained": whatever is trained; "none":
            nothing. What is put aside costs four bytes a trained parameter in memory and on disk,
            and is what KL to the base policy is computed from.

    Raises BadInput for a model that cannot be sampled here: no causal language model, one whose
    weights are spread over several processes, and one that cannot be computed exactly.
    """
    peft = hasattr(model, "peft_config")
    core = model.get_base_model() if peft else model
    if not hasattr(core, "base_model_prefix") or core.get_output_embeddings() is None:
        raise BadInput(f"{type(core).__name__}: expected a causal language model of transformers")
    if any(getattr(p, "ds_id", None) is not None for p in core.parameters()) or _sharded(core):
        raise BadInput(
            "the model's weights are spread over several processes (FSDP or ZeRO-3), from which "
            "no sample can be drawn here: train with weights whole on each device, or audit the "
            "checkpoints with `restaudit watch`"
        )
    if tokenizer is None or not hasattr(tokenizer, "eos_token_id"):
        raise BadInput("the trainer has no tokenizer; give it as processing_class")
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # a processor holds one
    if tokenizer.pad_token_id is None:
        raise BadInput(
            "the trainer's tokenizer has no padding token; set tokenizer.pad_token = "
            "tokenizer.eos_token"
        )
    config = config.model_copy(update={"training": "lora" if peft else "full"})
    device = next(core.parameters()).device
    kind = "cuda" if device.type == "cuda" else "cpu"
    check_vocabulary(core, tokenizer, f"the trainer's {type(core).__name__}")
    if keep == "none" or (keep == "adapter" and not peft):
        policy: Policy = Unkept(model, tokenizer, config, kind)
    else:
        policy = Policy(model, tokenizer, config, kind)
        policy.keep_trained()
    prove(policy, longest=longest or config.max_prompt_tokens + LONGEST_RESPONSE)
    return policy


def in_float32(model: Any) -> None:
    """Keep what is trained in float32: Adam on bfloat16 weights would lose small steps."""
    for p in model.parameters():
        if p.requires_grad:
            p.data = p.data.float()


def frozen_digest(model: Any) -> str:
    """SHA-256 over name, shape and bytes of every parameter that is not trained; of all where every
    one is trained.
    """
    frozen = [(n, p) for n, p in model.named_parameters() if not p.requires_grad]
    return _digest(frozen or list(model.named_parameters()))


def trained_digest(model: Any) -> str:
    """SHA-256 over name, shape and bytes of every trained parameter."""
    return _digest([(n, p) for n, p in model.named_parameters() if p.requires_grad])


def _digest(parameters: list[tuple[str, torch.Tensor]]) -> str:
    import torch

    sha = hashlib.sha256()
    for name, p in sorted(parameters, key=lambda item: item[0]):
        sha.update(f"{name} {tuple(p.shape)} {p.dtype}\n".encode())
        sha.update(p.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def _sharded(model: Any) -> bool:
    return any(
        type(p).__name__ == "DTensor" or type(p.data).__name__ == "DTensor"
        for p in model.parameters()
    )
