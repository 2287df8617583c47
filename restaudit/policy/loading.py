"""Where a policy comes from: a checkpoint, to which what will be trained is attached, or a model
that somebody else trains. Either is proved: how it may be computed is checked before it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from restaudit.config import PolicyConfig
from restaudit.errors import BadInput, RestauditError
from restaudit.evidence.ledger import digest_file
from restaudit.models.artifacts import cached, check_unchanged
from restaudit.models.devices import pick_device, pick_dtype
from restaudit.models.pretrained import check_vocabulary, quiet_loading, read_model, read_tokenizer
from restaudit.policy.adapters import with_lora
from restaudit.policy.exactness import prove
from restaudit.policy.model import Policy

if TYPE_CHECKING:
    import torch


# Tokens of a response that are allowed for where nobody says how long one may be. A longer one has
# the check made again (Policy.routes_for).
LONGEST_RESPONSE = 512
# What the folder of a converted GGUF is called in the cache.
CONVERTED = "model"


def load_policy(
    config: PolicyConfig, path: Path, *, device: str, seed: int, longest: int | None = None
) -> Policy:
    """Load the checkpoint at `path` (a Hugging Face folder or a GGUF file) and attach what will be
    trained.

    `seed` fixes the initial adapter; `longest` is the longest sequence to expect (prompt and
    response, in tokens; by default LONGEST_RESPONSE more than the longest prompt that the
    configuration lets in). How the policy is computed is checked against the model's own forward
    pass (restaudit.policy.exactness). Raises BadInput when the files are not a causal language
    model, when there is nothing to adapt, and for a model that cannot be computed exactly.
    """
    device = pick_device(device)
    what = f"policy.model {config.model}"
    tokenizer = load_tokenizer(path, what)
    model = load_model(
        path, what, dtype=config.dtype, device=device, attention=config.attn_implementation
    )
    check_vocabulary(model, tokenizer, what)
    if config.training == "lora":
        model = with_lora(model, config, seed)
    else:
        model.requires_grad_(True)
    policy = Policy(model, tokenizer, config, device)
    policy.keep_trained()
    prove(policy, longest=longest or config.max_prompt_tokens + LONGEST_RESPONSE)
    return policy


def load_tokenizer(path: Path, what: str) -> Any:
    """The tokenizer of a checkpoint, with a padding token.

    Raises BadInput, which calls the checkpoint `what`.
    """
    tokenizer = read_tokenizer(model_folder(path, what), what, "causal")
    if tokenizer.eos_token_id is None:
        raise BadInput(f"{what}: its tokenizer has no end-of-sequence token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(path: Path, what: str, *, dtype: str, device: str, attention: str = "auto") -> Any:
    """The causal language model of a checkpoint, in evaluation mode.

    Raises BadInput, which calls it `what`.

    `attention` is as `policy.attn_implementation`: auto lets transformers take what the model
    supports. An adapter of PEFT comes merged into its base model.
    """
    chosen: dict[str, Any] = {} if attention == "auto" else {"attn_implementation": attention}
    kind = pick_dtype(dtype, device)
    model, loading = read_model("causal", model_folder(path, what), what, dtype=kind, **chosen)
    # The loader fills what is missing with random numbers.
    if missing := sorted(loading["missing_keys"]):
        raise BadInput(
            f"{what}: the checkpoint has no weights for {', '.join(missing[:4])}; they would be "
            "random"
        )
    return model.to(device).eval()


def model_folder(path: Path, what: str) -> Path:
    """The folder to load from: of a GGUF file, what it was converted to, once, under the file's own
    digest.

    The conversion is kept in the cache with a seal of this user's, which is compared with its bytes
    whenever it is loaded.
    """
    if path.suffix != ".gguf":
        return path
    import torch

    def convert(folder: Path) -> None:
        model, _ = read_model("causal", path, what, dtype=torch.bfloat16)
        tokenizer = read_tokenizer(path, what, "causal")
        # The loader keeps the GGUF's quantisation settings after de-quantising, and save_pretrained
        # then refuses.
        model.hf_quantizer = None
        model.config.__dict__.pop("quantization_config", None)
        # The bars of the writer go straight to stderr, whatever transformers is told; errors are
        # raised.
        with quiet_loading(), contextlib.redirect_stderr(io.StringIO()):
            model.save_pretrained(folder / CONVERTED)
            tokenizer.save_pretrained(folder / CONVERTED)

    slot = Path("converted", f"{digest_file(path).sha256}-hf3")
    check_unchanged(path, what)
    return cached(slot, CONVERTED, convert)


# --- a model that somebody else trains, audited and left exactly as it was

# Which weights are put aside at a look; see `live_policy`.
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
    if _spread(core):
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


def train_in_float32(model: Any) -> None:
    """Keep what is trained in float32: Adam on bfloat16 weights would lose small steps."""
    for p in model.parameters():
        if p.requires_grad:
            # `data`, so that the parameter stays the object that an optimiser may hold already.
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
        # As bytes, since numpy has no bfloat16.
        sha.update(p.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def _spread(model: Any) -> bool:
    """Whether a process holds a part of the weights only: ZeRO-3 (`ds_id`) or FSDP (DTensor)."""
    for p in model.parameters():
        if getattr(p, "ds_id", None) is not None:
            return True
        # By name: the class has moved between versions of torch.
        if "DTensor" in (type(p).__name__, type(p.data).__name__):
            return True
    return False
