"""The model's own forward pass, asked only for what is needed, and the ways to compute it faster.

`model(input_ids).logits` is the truth: what a model does after its last hidden state (scaling, caps, a bias, an adapter
on the head) happens inside it. Everything that is faster is a choice in a `Route`, taken only where
`restaudit.policy.exactness` proved it on the very model that is loaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

# How sampling remembers what was computed, from the fastest way to the plainest.
#   shared    our cache; what all prompts of a batch begin with is computed once, the rest is padded on the left
#   growing   our cache; whole prompts, padded on the left
#   padded    the model's own cache, through `generate`; prompts padded on the left
#   equal     the model's own cache, through `generate`; only prompts of one length share a batch
#   none      no cache: every token is a whole forward pass over what came before it; prompts of one length
Cache = Literal["shared", "growing", "padded", "equal", "none"]


@dataclass(frozen=True)
class Route:
    """How something is computed. The default is the fastest way; PLAIN is the model's own forward pass and no more.

    merged  adapters are added into the weights for as long as it takes
    packed  responses to one prompt share a row, under a mask of our own, instead of a row each
    head    the output layer is computed at the places that are needed only
    cache   how sampling remembers; see Cache
    """

    merged: bool = True
    packed: bool = True
    head: bool = True
    cache: Cache = "shared"


PLAIN = Route(merged=False, packed=False, head=False, cache="none")


@dataclass(frozen=True)
class Routes:
    """The route of each use, and the longest sequence (prompt and response, in tokens) that they were proved for."""

    sampling: Route = Route()
    training: Route = Route(merged=False)
    likelihood: Route = Route()
    kl: Route = Route()
    reach: int | None = None


class HeadPassedBy(RuntimeError):
    """The model does not call its output layer as a module, so it cannot be asked at chosen places only."""


def logits_at(
    model: Any, rows: torch.Tensor, columns: torch.Tensor, *, head: bool, **inputs: torch.Tensor
) -> torch.Tensor:
    """The model's own logits at chosen places of a batch: (places, vocabulary), in the dtype that the model gives.

    `rows` and `columns`, (places,), name them in `inputs["input_ids"]`, (rows, length). With `head` a hook hands the
    output layer just these places; what the model does to its logits afterwards then applies to them alone. Raises
    HeadPassedBy where the hook is not called.
    """
    length = inputs["input_ids"].shape[1]

    def choose(states: torch.Tensor) -> torch.Tensor:
        # Counted from the end: prompt tuning puts virtual tokens in front.
        return states[rows, columns + (states.shape[1] - length)]

    return _forward(model, choose, head=head, **inputs, use_cache=False)


def last_logits(model: Any, *, head: bool = True, **inputs: Any) -> torch.Tensor:
    """The model's own logits after the last token of every row: (rows, vocabulary)."""
    # Contiguous, since torch copies the output layer once a row for a strided slice.
    return _forward(model, lambda states: states[:, -1].contiguous(), head=head, **inputs)


def _forward(model: Any, choose: Any, *, head: bool, **inputs: Any) -> torch.Tensor:
    if not head:
        plain: torch.Tensor = choose(model(**inputs).logits)
        return plain
    chosen: list[int] = []

    def hook(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if not given:  # handed over by name: the check below refuses it
            return given
        states = choose(given[0])
        chosen.append(len(states))
        return (states, *given[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(hook)
    try:
        logits: torch.Tensor = model(**inputs).logits
    finally:
        handle.remove()
    if len(chosen) != 1 or logits.shape[:-1] != (chosen[0],):
        raise HeadPassedBy(f"{type(model).__name__} does not call its output layer once, on all places")
    return logits


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The model in evaluation mode, and then in the mode of each of its modules as before."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


# --- adapters ---------------------------------------------------------------------------------------------------------


def plain_dtypes() -> tuple[torch.dtype, ...]:
    """Dtypes whose numbers are the weights; in others (integers, 8-bit floats) they need scales that lie elsewhere."""
    import torch

    return (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def unmergeable(model: Any) -> str | None:
    """Why the adapters of a model cannot be added into its weights and taken out again exactly; None if they can.

    Only the plainest case is merged here: LoRA on linear layers whose weights are floating-point numbers that nothing
    else uses. For every other kind the model with its adapter is used as it is.
    """
    if not hasattr(model, "peft_config"):
        return None
    from peft.tuners.lora import Linear
    from peft.tuners.tuners_utils import BaseTunerLayer

    if any(c.is_prompt_learning for c in model.peft_config.values()):
        return "virtual tokens are not weights"
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
    """The model with its active adapters added into its weights; its own weights come back exactly afterwards.

    Merging and un-merging in bfloat16 would leave rounding errors behind, so the originals are put aside instead.
    """
    from peft.tuners.lora import LoraLayer

    layers = [m for m in model.modules() if isinstance(m, LoraLayer)]
    aside = []
    try:
        for layer in layers:
            weight = layer.base_layer.weight
            aside.append(weight.data)
            names = [n for n in layer.active_adapters if n in layer.lora_A]
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
