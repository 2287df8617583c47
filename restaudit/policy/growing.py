"""A key/value cache that grows in place: transformers' own dynamic cache copies everything at every
token.

Apart from `forward` because its classes need transformers, and with it torch, as soon as they are
written down: whoever imports this module is about to sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import __version__ as transformers_version
from transformers.cache_utils import Cache, DynamicLayer

if TYPE_CHECKING:
    import torch

# What a model's forward calls its cache. transformers 5.24 renames it, maps the old name with a
# warning, and drops it in 5.40. By version, not by signature: PEFT wraps `forward` and hides it.
_RENAMED = (5, 24)
_INSTALLED = tuple(int(part) for part in transformers_version.split(".")[:2])
ARGUMENT = "cache" if _INSTALLED >= _RENAMED else "past_key_values"


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, (rows, heads, length, head size), inside buffers with room for
    what is to come.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.used = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append new keys and values and return everything so far, as views of the buffers."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.key_buffer = _buffer(
                key_states, key_states.shape[0], key_states.shape[2] + self.room
            )
            self.value_buffer = _buffer(
                value_states, value_states.shape[0], value_states.shape[2] + self.room
            )
        end = self.used + key_states.shape[2]
        self.key_buffer[:, :, self.used : end] = key_states
        self.value_buffer[:, :, self.used : end] = value_states
        self._show(end)
        return self.keys, self.values

    def select(self, rows: torch.Tensor, room: int) -> None:
        """Keep (or repeat) these rows, with room for `room` more tokens."""
        self.key_buffer = self._selected(self.key_buffer, rows, room)
        self.value_buffer = self._selected(self.value_buffer, rows, room)
        self._show(self.used)

    def _selected(self, buffer: torch.Tensor, rows: torch.Tensor, room: int) -> torch.Tensor:
        selected = _buffer(buffer, len(rows), self.used + room)
        selected[:, :, : self.used] = buffer[rows, :, : self.used]
        return selected

    def _show(self, end: int) -> None:
        # Views, which DynamicLayer's own methods and the model's masks take for the whole cache.
        self.used = end
        self.keys = self.key_buffer[:, :, :end]
        self.values = self.value_buffer[:, :, :end]


class GrowingCache(Cache):  # type: ignore[misc]
    """A cache of GrowingLayers, one for each hidden layer of the model."""

    argument = ARGUMENT

    def __init__(self, config: Any, room: int) -> None:
        super().__init__(layers=[GrowingLayer(room) for _ in range(config.num_hidden_layers)])

    def select(self, rows: torch.Tensor, room: int) -> None:
        """Keep (or repeat) these rows in every layer."""
        for layer in self.layers:
            layer.select(rows, room)


def _buffer(like: torch.Tensor, rows: int, length: int) -> torch.Tensor:
    return like.new_empty(rows, like.shape[1], length, like.shape[3])
