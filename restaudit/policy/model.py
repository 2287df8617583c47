"""Load a policy, switch its weights between iterations, and turn prompts into tokens."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.config import PolicyConfig
from restaudit.data.chats import asked
from restaudit.encoder import quiet_loading
from restaudit.errors import BadInput

if TYPE_CHECKING:
    import torch

WEIGHTS = "adapter.safetensors"
FULL_WEIGHTS = "weights.safetensors"


@dataclass
class Policy:
    """A model with its tokenizer, and one set of trained weights on top of the checkpoint.

    With LoRA the trained weights are float32 masters of the adapter; with full fine-tuning, of every parameter. The
    checkpoint's own weights are never changed in place by sampling: `merged` swaps them in and out exactly.
    """

    model: Any
    tokenizer: Any
    config: PolicyConfig
    device: str
    masters: dict[str, torch.Tensor] = field(default_factory=dict)
    initial: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def stop_tokens(self) -> list[int]:
        """Token ids that end a response."""
        ids: list[int] = []
        for source in (self.model.generation_config.eos_token_id, self.tokenizer.eos_token_id):
            ids += source if isinstance(source, list) else [source] if source is not None else []
        return sorted(set(ids))

    def prompt_tokens(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Token ids of one prompt, ready for the response to follow.

        Raises BadInput when the prompt is longer than `max_prompt_tokens`.
        """
        put = asked(messages, chat=self.config.chat, system=self.config.system_prompt)
        if self.config.chat:
            if not self.tokenizer.chat_template:
                raise BadInput(
                    f"policy.chat is true, but {self.config.model} has no chat template; set policy.chat: false"
                )
            text = self.tokenizer.apply_chat_template(put, tokenize=False, add_generation_prompt=True)
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            ids = self.tokenizer(put)["input_ids"]
        if len(ids) > self.config.max_prompt_tokens:
            start = messages[-1]["content"][:60]
            raise BadInput(
                f"prompt '{start}…' has {len(ids)} tokens; policy.max_prompt_tokens is {self.config.max_prompt_tokens}"
            )
        if not ids:
            raise BadInput("a prompt has no tokens at all")
        return [int(i) for i in ids]

    def response_tokens(self, text: str) -> list[int]:
        """Token ids of a reference response, with the token that ends it."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*(int(i) for i in ids), int(self.tokenizer.eos_token_id)]

    def text(self, tokens: Sequence[int]) -> str:
        """The text of a response, without special tokens and outer blanks."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()

    def parameters(self) -> dict[str, int]:
        """Number of parameters in all (an adapter's too), and of those that are trained."""
        return {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "trained_parameters": sum(m.numel() for m in self.masters.values()),
        }

    # --- weights ------------------------------------------------------------------------------------------------------

    def become(self, folder: Path | None) -> None:
        """Take the trained weights saved in `folder`; None is the checkpoint itself."""
        from safetensors.torch import load_file

        if folder is None:
            for name, value in self.initial.items():
                self.masters[name].copy_(value)
        else:
            path = folder / (WEIGHTS if self.config.training == "lora" else FULL_WEIGHTS)
            saved = load_file(str(path))
            if set(saved) != set(self.masters):
                raise BadInput(f"{path}: its weights do not belong to this policy (other names or another adapter)")
            for name, value in saved.items():
                self.masters[name].copy_(value)
        self.write_back()

    def has(self, folder: Path) -> bool:
        """Whether `become(folder)` can be asked for: trained weights are kept there."""
        return folder.is_dir()

    def save(self, folder: Path) -> None:
        """Save the trained weights (float32, safetensors) and, with LoRA, the adapter's own configuration."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        name = WEIGHTS if self.config.training == "lora" else FULL_WEIGHTS
        save_file({k: v.contiguous().cpu() for k, v in self.masters.items()}, str(folder / name))

    def take(self) -> None:
        """Copy the parameters the model computes with into the masters: somebody else's optimiser changed them."""
        params = dict(self.model.named_parameters())
        for name, master in self.masters.items():
            master.copy_(params[name].data)

    def write_back(self) -> None:
        """Copy the float32 masters into the parameters the model computes with."""
        params = dict(self.model.named_parameters())
        for name, master in self.masters.items():
            params[name].data.copy_(master)

    @contextlib.contextmanager
    def merged(self) -> Iterator[Any]:
        """The model with the adapter merged into its weights, for sampling; the checkpoint's weights come back exactly.

        Merging and un-merging in bfloat16 would leave rounding errors behind, so the originals are put aside instead.
        """
        if self.config.training == "full":
            yield self.model
            return
        layers = list(_lora_layers(self.model))
        aside = []
        try:
            for layer in layers:
                weight = layer.base_layer.weight
                aside.append(weight.data)
                delta = layer.get_delta_weight("default")
                weight.data = (weight.data.float() + delta.float()).to(weight.dtype)
                layer.merged_adapters.append("default")
            yield self.model.get_base_model()
        finally:
            for layer, original in zip(layers, aside, strict=False):
                layer.base_layer.weight.data = original
                if layer.merged_adapters:
                    layer.merged_adapters.pop()


def hidden_states(model: Any, **inputs: Any) -> torch.Tensor:
    """Last hidden states (rows, length, width) of a causal language model, without the logits nobody asked for."""
    states: torch.Tensor = getattr(model, model.base_model_prefix)(**inputs).last_hidden_state
    return states


def logits_of(model: Any, hidden: torch.Tensor, head: torch.Tensor | None = None) -> torch.Tensor:
    """Logits (n, vocabulary) for hidden states (n, width); `head` replaces the model's own output weights.

    The rows are made contiguous first: for a strided slice torch would copy the head once a row.
    """
    import torch

    hidden = hidden.contiguous()
    logits: torch.Tensor = model.get_output_embeddings()(hidden) if head is None else hidden @ head.T
    cap = getattr(model.config, "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits


def _lora_layers(model: Any) -> Iterator[Any]:
    from peft.tuners.lora import LoraLayer

    return (m for m in model.modules() if isinstance(m, LoraLayer))


def pick_device(device: str) -> str:
    """`auto` is CUDA where there is one; asking for CUDA without one is an error."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise BadInput("device: cuda was asked for, but torch sees no CUDA device; use device: auto or cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def pick_dtype(dtype: str, device: str) -> torch.dtype:
    """`auto` is bfloat16 where the hardware computes in it, float32 elsewhere."""
    import torch

    if dtype != "auto":
        return torch.bfloat16 if dtype == "bfloat16" else torch.float32
    native = torch.cuda.is_bf16_supported() if device == "cuda" else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def load_policy(config: PolicyConfig, path: Path, *, device: str, seed: int) -> Policy:
    """Load the checkpoint at `path` (a Hugging Face folder or a GGUF file) and attach what will be trained.

    `seed` fixes the initial adapter. Raises BadInput when the files are not a causal language model.
    """
    import torch

    device = pick_device(device)
    tokenizer = load_tokenizer(path, f"policy.model {config.model}")
    model = load_model(path, f"policy.model {config.model}", dtype=config.dtype, device=device)
    if config.training == "lora":
        model = _with_lora(model, config, seed)
    else:
        model.requires_grad_(True)
    policy = Policy(model, tokenizer, config, device)
    for name, p in model.named_parameters():
        if p.requires_grad:
            policy.masters[name] = p.detach().to(torch.float32, copy=True)
            policy.initial[name] = policy.masters[name].clone()
    return policy


def load_tokenizer(path: Path, what: str) -> Any:
    """The tokenizer of a checkpoint, with a padding token. Raises BadInput, which calls the checkpoint `what`."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(_folder(path))
    except (OSError, ValueError, KeyError) as e:
        raise BadInput(f"{what}: not a causal language model with a tokenizer: {e}") from None
    if tokenizer.eos_token_id is None:
        raise BadInput(f"{what}: its tokenizer has no end-of-sequence token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(path: Path, what: str, *, dtype: str, device: str) -> Any:
    """The causal language model of a checkpoint, in evaluation mode. Raises BadInput, which calls it `what`."""
    from transformers import AutoModelForCausalLM

    kind = pick_dtype(dtype, device)
    try:
        model = AutoModelForCausalLM.from_pretrained(_folder(path), dtype=kind, attn_implementation="sdpa")
    except (OSError, ValueError, KeyError) as e:
        raise BadInput(f"{what}: not a causal language model with a tokenizer: {e}") from None
    return model.to(device).eval()


def _folder(path: Path) -> Path:
    return _unpacked_gguf(path) if path.suffix == ".gguf" else path


def _with_lora(model: Any, config: PolicyConfig, seed: int) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    lora = config.lora
    if lora.targets == "all-linear":
        head = model.get_output_embeddings()
        named = model.named_modules()
        targets = sorted({n.rsplit(".", 1)[-1] for n, m in named if isinstance(m, torch.nn.Linear) and m is not head})
    else:
        targets = list(lora.targets)
    depth = int(model.config.num_hidden_layers)
    if lora.first_layer >= depth:
        raise BadInput(f"policy.lora.first_layer is {lora.first_layer}, but the model's layers are 0 to {depth - 1}")
    layers = list(range(lora.first_layer, depth)) if lora.first_layer else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            wrapped = get_peft_model(
                model,
                LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets,
                           layers_to_transform=layers,
                           task_type="CAUSAL_LM"),
                autocast_adapter_dtype=False,
            )  # fmt: skip
        except ValueError as e:
            raise BadInput(f"policy.lora: {e}") from None
    return wrapped.eval()


def _unpacked_gguf(path: Path) -> Path:
    """The GGUF as a Hugging Face folder, converted once and kept in the cache under the file's own digest."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from restaudit.artifacts import cache_folder
    from restaudit.ledger import digest_file

    target = cache_folder() / "converted" / f"{digest_file(path).sha256}-hf1"
    if target.is_dir():
        return target
    where: dict[str, Any] = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent))
    # The bars of converter and writer go straight to stderr, whatever transformers is told; errors are raised.
    with quiet_loading(), contextlib.redirect_stderr(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
        tokenizer = AutoTokenizer.from_pretrained(**where)
        # The loader keeps the GGUF's quantisation settings after de-quantising, and save_pretrained then refuses.
        model.hf_quantizer = None
        model.config.__dict__.pop("quantization_config", None)
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    try:
        os.rename(temporary, target)  # noqa: PTH104 - atomic, and another process may have been first
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(temporary)
    return target
