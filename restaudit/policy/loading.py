"""Load a policy from a checkpoint, attach what will be trained, and prove how it may be
computed.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from restaudit.config import PolicyConfig
from restaudit.errors import BadInput
from restaudit.evidence.ledger import digest_file
from restaudit.models.artifacts import cached
from restaudit.models.devices import pick_device, pick_dtype
from restaudit.models.pretrained import quiet_loading, read_model, read_tokenizer
from restaudit.policy.adapters import with_lora
from restaudit.policy.exactness import prove
from restaudit.policy.model import Policy

# Tokens of a response that are allowed for where nobody says how long one may be.
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


def check_vocabulary(model: Any, tokenizer: Any, what: str) -> None:
    """Raise BadInput where the tokenizer has tokens that the model has no embedding for."""
    embedding = model.get_input_embeddings()
    size = int(getattr(embedding, "num_embeddings", None) or embedding.weight.shape[0])
    beyond = sorted((i, t) for t, i in tokenizer.get_vocab().items() if i >= size)
    if beyond:
        names = ", ".join(repr(t) for _, t in beyond[:3])
        raise BadInput(
            f"{what}: its tokenizer has {len(beyond)} tokens that the model has no embedding for "
            f"({names}; the model has {size} embeddings); give the tokenizer that the model was "
            "trained with, or resize the embeddings"
        )


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

    The conversion is kept in the cache with a digest of its own, which is compared whenever it is
    loaded.
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

    return cached(Path("converted", f"{digest_file(path).sha256}-hf2"), CONVERTED, convert)
