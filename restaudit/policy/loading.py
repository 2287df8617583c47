"""Load a policy from a checkpoint, attach what will be trained, and prove how it may be computed."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

from restaudit.artifacts import cached
from restaudit.config import PolicyConfig
from restaudit.devices import pick_device, pick_dtype
from restaudit.errors import BadInput
from restaudit.ledger import digest_file
from restaudit.policy.exactness import prove
from restaudit.policy.model import Policy
from restaudit.pretrained import quiet_loading, read_model, read_tokenizer

# Tokens of a response that are allowed for where nobody says how long one may be.
LONGEST_RESPONSE = 512
# What the folder of a converted GGUF is called in the cache.
CONVERTED = "model"


def load_policy(config: PolicyConfig, path: Path, *, device: str, seed: int, longest: int | None = None) -> Policy:
    """Load the checkpoint at `path` (a Hugging Face folder or a GGUF file) and attach what will be trained.

    `seed` fixes the initial adapter; `longest` is the longest sequence to expect (prompt and response, in tokens; by
    default LONGEST_RESPONSE more than the longest prompt that the configuration lets in). How the policy is computed is
    checked against the model's own forward pass (restaudit.policy.exactness). Raises BadInput when the files are not a
    causal language model, when there is nothing to adapt, and for a model that cannot be computed exactly.
    """
    device = pick_device(device)
    what = f"policy.model {config.model}"
    tokenizer = load_tokenizer(path, what)
    model = load_model(path, what, dtype=config.dtype, device=device, attention=config.attn_implementation)
    check_vocabulary(model, tokenizer, what)
    if config.training == "lora":
        model = _with_lora(model, config, seed)
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
            f"{what}: its tokenizer has {len(beyond)} tokens that the model has no embedding for ({names}; the model"
            f" has {size} embeddings); give the tokenizer that the model was trained with, or resize the embeddings"
        )


def load_tokenizer(path: Path, what: str) -> Any:
    """The tokenizer of a checkpoint, with a padding token. Raises BadInput, which calls the checkpoint `what`."""
    tokenizer = read_tokenizer(model_folder(path, what), what, "causal")
    if tokenizer.eos_token_id is None:
        raise BadInput(f"{what}: its tokenizer has no end-of-sequence token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(path: Path, what: str, *, dtype: str, device: str, attention: str = "auto") -> Any:
    """The causal language model of a checkpoint, in evaluation mode. Raises BadInput, which calls it `what`.

    `attention` is as `policy.attn_implementation`: auto lets transformers take what the model supports. An adapter of
    PEFT comes merged into its base model.
    """
    chosen: dict[str, Any] = {} if attention == "auto" else {"attn_implementation": attention}
    kind = pick_dtype(dtype, device)
    model, loading = read_model("causal", model_folder(path, what), what, dtype=kind, **chosen)
    # The loader fills what is missing with random numbers.
    if missing := sorted(loading["missing_keys"]):
        raise BadInput(f"{what}: the checkpoint has no weights for {', '.join(missing[:4])}; they would be random")
    return model.to(device).eval()


def model_folder(path: Path, what: str) -> Path:
    """The folder to load from: of a GGUF file, what it was converted to, once, under the file's own digest.

    The conversion is kept in the cache with a digest of its own, which is compared whenever it is loaded.
    """
    if path.suffix != ".gguf":
        return path
    import torch

    def convert(folder: Path) -> None:
        model, _ = read_model("causal", path, what, dtype=torch.bfloat16)
        tokenizer = read_tokenizer(path, what, "causal")
        # The loader keeps the GGUF's quantisation settings after de-quantising, and save_pretrained then refuses.
        model.hf_quantizer = None
        model.config.__dict__.pop("quantization_config", None)
        # The bars of the writer go straight to stderr, whatever transformers is told; errors are raised.
        with quiet_loading(), contextlib.redirect_stderr(io.StringIO()):
            model.save_pretrained(folder / CONVERTED)
            tokenizer.save_pretrained(folder / CONVERTED)

    return cached(Path("converted", f"{digest_file(path).sha256}-hf2"), CONVERTED, convert)


def _with_lora(model: Any, config: PolicyConfig, seed: int) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    lora = config.lora
    linear = linear_layers(model)
    targets = linear if lora.targets == "all-linear" else list(lora.targets)
    depth = int(model.config.get_text_config().num_hidden_layers)
    if lora.first_layer >= depth:
        raise BadInput(f"policy.lora.first_layer is {lora.first_layer}, but the model's layers are 0 to {depth - 1}")
    layers = list(range(lora.first_layer, depth)) if lora.first_layer else None
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # That an adapter on tied weights is hard to merge: it is not merged here, see forward.unmergeable. And that
        # PEFT turns weights around for GPT-2's layers, which is as it should be.
        warnings.filterwarnings("ignore", message=".*tie_word_embeddings=True.*")
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False but")
        torch.manual_seed(seed)
        try:
            wrapped = get_peft_model(
                model,
                LoraConfig(
                    r=lora.rank,
                    lora_alpha=lora.alpha,
                    lora_dropout=lora.dropout,
                    target_modules=targets,
                    target_parameters=list(lora.parameters) or None,
                    layers_to_transform=layers,
                    task_type="CAUSAL_LM",
                ),
                autocast_adapter_dtype=False,
            )
        except (ValueError, AttributeError, RuntimeError, NotImplementedError) as e:
            raise BadInput(f"policy.lora: {e}") from None
    adapted = _adapted_names(wrapped)
    missing = [t for t in targets if not any(f".{n}".endswith(f".{t}") for n in adapted)]
    if missing and lora.targets != "all-linear":
        raise BadInput(
            f"policy.lora.targets: {', '.join(missing)} is no module of {type(model).__name__} that LoRA can adapt; it"
            f" has {', '.join(linear)}"
        )
    return wrapped.eval()


def linear_layers(model: Any) -> list[str]:
    """Names of the linear layers that "all-linear" adapts, sorted: all but the output layer.

    A last name (`q_proj`) stands for all layers that end in it, where all of these are linear; otherwise each is named
    in full. Left out are layers that only derive from a linear one (Llama 4's router returns two things), and what
    PEFT refuses in Mamba, whose fast kernels take these weights without calling their module.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    mamba = "mamba" in model.config.model_type or model.config.model_type in ("falcon_h1", "nemotron_h")
    found: dict[str, list[str]] = {}
    others: set[str] = set()
    for name, module in model.named_modules():
        last = name.rsplit(".", 1)[-1]
        linear = isinstance(module, torch.nn.Linear | Conv1D) and module is not head and _is_linear(module)
        if linear and not (mamba and last in ("out_proj", "conv1d")):
            found.setdefault(last, []).append(name)
        else:
            others.add(last)
    return sorted(n for last, names in found.items() for n in (names if last in others else [last]))


def _is_linear(module: Any) -> bool:
    """Whether a layer of a class of transformers' own does what the linear layer does that it derives from."""
    import torch

    if type(module) is not torch.nn.Linear and type(module).__module__.startswith("transformers.models."):
        try:
            given = torch.ones(1, 1, module.in_features, dtype=module.weight.dtype, device=module.weight.device)
            with torch.no_grad():
                ours = torch.nn.functional.linear(given, module.weight, module.bias)
                theirs = module(given)
            # As near as bfloat16 rounds; what is no linear layer is far off.
            return isinstance(theirs, torch.Tensor) and float((ours - theirs).abs().max()) <= 0.02 * float(
                ours.abs().max()
            )
        except (RuntimeError, TypeError, ValueError, IndexError):
            return False
    return True


def adapters_of(model: Any) -> dict[str, Any]:
    """What LoRA adapts, as counts by name, and the matrices that it leaves alone, with the reason where there is one.

    Experts of a mixture are often one tensor of three dimensions and no linear layer: "all-linear" does not see them.
    """
    adapted: dict[str, int] = {}
    for name in _adapted_names(model):
        last = name.rsplit(".", 1)[-1]
        adapted[last] = adapted.get(last, 0) + 1
    left: dict[str, dict[str, Any]] = {}
    for name, p in model.named_parameters():
        if p.dim() < 2 or "lora_" in name or ".base_layer" in name or p.requires_grad:
            continue
        parts = [x for x in name.removesuffix(".weight").split(".") if not x.isdigit()]
        row = left.setdefault(".".join(parts[-2:]) if p.dim() > 2 else parts[-1], {"tensors": 0, "numbers": 0})
        row["tensors"] += 1
        row["numbers"] += p.numel()
        if p.dim() > 2:
            row["reason"] = "one tensor for all experts; name it in policy.lora.parameters to adapt it"
    return {"adapted": dict(sorted(adapted.items())), "not_adapted": dict(sorted(left.items()))}


def _adapted_names(model: Any) -> list[str]:
    """Names of the modules and tensors that have a LoRA layer."""
    from peft.tuners.lora import LoraLayer

    found = []
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            parameter = getattr(module, "parameter_name", None)
            found.append(f"{name}.{parameter}" if parameter else name)
    return found
