"""Adapters: put LoRA on a model, say what it adapts, and add adapters into the weights where that
is exact.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from restaudit.config import PolicyConfig
from restaudit.errors import BadInput

if TYPE_CHECKING:
    import torch


def with_lora(model: Any, config: PolicyConfig, seed: int) -> Any:
    """The model with a fresh LoRA adapter as configured, PEFT's own model; `seed` fixes it.

    Raises BadInput where there is nothing of that name to adapt, or PEFT cannot.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    lora = config.lora
    linear = linear_layers(model)
    targets = linear if lora.targets == "all-linear" else list(lora.targets)
    depth = int(model.config.get_text_config().num_hidden_layers)
    if lora.first_layer >= depth:
        raise BadInput(
            f"policy.lora.first_layer is {lora.first_layer}, but the model's layers are 0 to "
            f"{depth - 1}"
        )
    layers = list(range(lora.first_layer, depth)) if lora.first_layer else None
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # That an adapter on tied weights is hard to merge: it is not merged here, see unmergeable.
        # And that PEFT turns weights around for GPT-2's layers, which is as it should be.
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
            f"policy.lora.targets: {', '.join(missing)} is no module of {type(model).__name__} "
            f"that LoRA can adapt; it has {', '.join(linear)}"
        )
    return wrapped.eval()


def linear_layers(model: Any) -> list[str]:
    """Names of the linear layers that "all-linear" adapts, sorted: all but the output layer.

    A last name (`q_proj`) stands for all layers that end in it, where all of these are linear;
    otherwise each is named in full. Left out are layers that only derive from a linear one (Llama
    4's router returns two things), and what PEFT refuses in Mamba, whose fast kernels take these
    weights without calling their module.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    mamba = "mamba" in model.config.model_type or model.config.model_type in (
        "falcon_h1",
        "nemotron_h",
    )
    by_last_name: dict[str, list[str]] = {}
    others: set[str] = set()
    for name, module in model.named_modules():
        last = name.rsplit(".", 1)[-1]
        linear = (
            isinstance(module, torch.nn.Linear | Conv1D)
            and module is not head
            and _is_linear(module)
        )
        if linear and not (mamba and last in ("out_proj", "conv1d")):
            by_last_name.setdefault(last, []).append(name)
        else:
            others.add(last)
    targets: list[str] = []
    for last, names in by_last_name.items():
        targets += names if last in others else [last]
    return sorted(targets)


def _is_linear(module: Any) -> bool:
    """Whether a layer of a class of transformers' own does what the linear layer does that it
    derives from.
    """
    import torch

    if type(module) is not torch.nn.Linear and type(module).__module__.startswith(
        "transformers.models."
    ):
        try:
            states = torch.ones(
                1, 1, module.in_features, dtype=module.weight.dtype, device=module.weight.device
            )
            with torch.no_grad():
                ours = torch.nn.functional.linear(states, module.weight, module.bias)
                theirs = module(states)
            if not isinstance(theirs, torch.Tensor):
                return False
            # As near as bfloat16 rounds; what is no linear layer is far off.
            difference = float((ours - theirs).abs().max())
            return difference <= 0.02 * float(ours.abs().max())
        except (RuntimeError, TypeError, ValueError, IndexError):
            return False
    return True


def adapters_of(model: Any) -> dict[str, Any]:
    """What LoRA adapts, as counts by name, and the matrices that it leaves alone, with the reason
    where there is one.

    Experts of a mixture are often one tensor of three dimensions and no linear layer: "all-linear"
    does not see them.
    """
    adapted: dict[str, int] = {}
    for name in _adapted_names(model):
        last = name.rsplit(".", 1)[-1]
        adapted[last] = adapted.get(last, 0) + 1
    left: dict[str, dict[str, Any]] = {}
    for name, p in model.named_parameters():
        if p.dim() < 2 or "lora_" in name or ".base_layer" in name or p.requires_grad:
            continue
        # Without the layer's number, so that all layers are counted under one name.
        parts = [x for x in name.removesuffix(".weight").split(".") if not x.isdigit()]
        kind = ".".join(parts[-2:]) if p.dim() > 2 else parts[-1]
        row = left.setdefault(kind, {"tensors": 0, "numbers": 0})
        row["tensors"] += 1
        row["numbers"] += p.numel()
        if p.dim() > 2:
            row["reason"] = (
                "one tensor for all experts; name it in policy.lora.parameters to adapt it"
            )
    return {"adapted": dict(sorted(adapted.items())), "not_adapted": dict(sorted(left.items()))}


def _adapted_names(model: Any) -> list[str]:
    """Names of the modules and tensors that have a LoRA layer."""
    from peft.tuners.lora import LoraLayer

    names = []
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            parameter = getattr(module, "parameter_name", None)
            names.append(f"{name}.{parameter}" if parameter else name)
    return names


# --- merging


def plain_dtypes() -> tuple[torch.dtype, ...]:
    """Dtypes whose numbers are the weights; in others (integers, 8-bit floats) they need scales
    that lie elsewhere.
    """
    import torch

    return (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def unmergeable(model: Any) -> str | None:
    """Why the adapters of a model cannot be added into its weights and taken out again exactly;
    None if they can.

    Only the plainest case is merged here: LoRA on linear layers whose weights are floating-point
    numbers that nothing else uses. For every other kind the model with its adapter is used as it
    is.
    """
    if not hasattr(model, "peft_config"):
        return None
    from peft.tuners.lora import Linear
    from peft.tuners.tuners_utils import BaseTunerLayer

    if any(c.is_prompt_learning for c in model.peft_config.values()):
        return "virtual tokens are not weights"
    # How many modules use a tensor: what is added to tied weights would be added for all of them.
    owners: dict[int, int] = {}
    for module in model.modules():
        for p in module.parameters(recurse=False):
            owners[id(p)] = owners.get(id(p), 0) + 1
    for layer in (m for m in model.modules() if isinstance(m, BaseTunerLayer)):
        # A subclass (quantised layers are some) may keep its weights in another way.
        if type(layer) is not Linear:
            return f"{type(layer).__module__.removeprefix('peft.tuners.')}.{type(layer).__name__}"
        weight = layer.base_layer.weight
        if layer.lora_variant or any(layer.lora_bias.values()):
            return "a variant of LoRA (DoRA, a bias, …)"
        if layer.merged or layer.disable_adapters:
            return "adapters that are merged or switched off already"
        if weight.dtype not in plain_dtypes():
            return "quantised weights"
        if owners[id(weight)] > 1:
            return "an adapter on weights that are tied"
    return None


@contextlib.contextmanager
def merged_weights(model: Any) -> Iterator[Any]:
    """The model with its active adapters added into its weights; its own weights come back exactly
    afterwards.

    Merging and un-merging in bfloat16 would leave rounding errors behind, so the originals are put
    aside instead.
    """
    from peft.tuners.lora import LoraLayer

    layers = [m for m in model.modules() if isinstance(m, LoraLayer)]
    aside = []
    try:
        for layer in layers:
            weight = layer.base_layer.weight
            aside.append(weight.data)
            names = [n for n in layer.active_adapters if n in layer.lora_A]
            # In float32, and rounded once: what is sampled from is one model of the weights' dtype.
            total = weight.data.float()
            for name in names:
                total = total + layer.get_delta_weight(name).float()
            weight.data = total.to(weight.dtype)
            layer.merged_adapters.extend(names)
        yield model.get_base_model()
    finally:
        for layer, original in zip(layers, aside, strict=False):
            layer.base_layer.weight.data = original
            layer.merged_adapters.clear()
