"""A key/value cache that grows in place: transformers' own dynamic cache copies everything at every
token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers.cache_utils import Cache, DynamicLayer

if TYPE_CHECKING:
    import torch


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
        for name in ("key_buffer", "value_buffer"):
            old = getattr(self, name)
            new = _buffer(old, len(rows), self.used + room)
            new[:, :, : self.used] = old[rows, :, : self.used]
            setattr(self, name, new)
        self._show(self.used)

    def _show(self, end: int) -> None:
        self.used = end
        self.keys = self.key_buffer[:, :, :end]
        self.values = self.value_buffer[:, :, :end]


class GrowingCache(Cache):  # type: ignore[misc]
    """A cache of GrowingLayers, one for each hidden layer of the model."""

    def __init__(self, config: Any, room: int) -> None:
        super().__init__(layers=[GrowingLayer(room) for _ in range(config.num_hidden_layers)])

    def select(self, rows: torch.Tensor, room: int) -> None:
        """Keep (or repeat) these rows in every layer."""
        for layer in self.layers:
            layer.select(rows, room)


def _buffer(like: torch.Tensor, rows: int, length: int) -> torch.Tensor:
    return like.new_empty(rows, like.shape[1], length, like.shape[3])
