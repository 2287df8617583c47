"""A model's weights for as long as a check takes: changed at random, and in float32.

What was there comes back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from restaudit.policy.adapters import plain_dtypes
from restaudit.policy.divergence import free_memory

if TYPE_CHECKING:
    import torch


class TwoStates:
    """The weights as they are, and changed at random: an adapter's trained ones, or every vector of
    a whole model.

    Tensors are exchanged and never written into, so that what comes back is what was there.
    """

    def __init__(self, model: Any) -> None:
        import torch

        adapters = hasattr(model, "peft_config")
        self.parameters = [
            p
            for p in model.parameters()
            if p.is_floating_point() and (p.requires_grad if adapters else p.dim() == 1)
        ]
        generator = torch.Generator().manual_seed(0)
        self.before = [p.data for p in self.parameters]
        self.changed = [_changed(p.data, generator) for p in self.parameters]

    def change(self) -> None:
        """Take the changed ones."""
        for p, data in zip(self.parameters, self.changed, strict=True):
            p.data = data

    def restore(self) -> None:
        """Take the ones that were there."""
        for p, data in zip(self.parameters, self.before, strict=True):
            p.data = data

    @contextlib.contextmanager
    def state(self, changed: bool) -> Iterator[None]:
        """The weights in one of the two states, and then as they were."""
        try:
            if changed:
                self.change()
            yield
        finally:
            self.restore()


def _changed(data: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Another tensor, a fifth of the weights' own size away; zeros, as in LoRA's B, get numbers of
    that size of one.

    On SmolLM2-135M this moves a response of 4 tokens by some 5 nats (environment.json says how far
    it did).
    """
    import torch

    size = float(data.float().pow(2).mean().sqrt()) if data.numel() else 0.0
    noise = torch.randn(data.shape, generator=generator) * 0.2 * (size if size > 0 else 1.0)
    return (data.float() + noise.to(data.device)).to(data.dtype)


@contextlib.contextmanager
def in_float32(model: Any) -> Iterator[bool]:
    """The model in float32 for as long as it takes, if it can be; yields whether it is."""
    import torch

    tensors = [*model.parameters(), *model.buffers()]
    lower = [t for t in tensors if t.dtype in (torch.bfloat16, torch.float16)]
    whole = all(
        p.dtype in plain_dtypes() for p in model.parameters()
    )  # others are quantised weights
    flash = "flash" in str(getattr(model.config, "_attn_implementation", ""))
    if lower and (not whole or flash or 4 * sum(t.numel() for t in lower) > _room(lower[0].device)):
        yield False
        return
    before = [t.data for t in lower]
    try:
        for t in lower:
            t.data = t.data.float()
        yield True
    finally:
        for t, data in zip(lower, before, strict=True):
            t.data = data


def _room(device: torch.device) -> int:
    """Bytes of memory that are free, less a tenth."""
    import torch

    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    return free * 9 // 10
