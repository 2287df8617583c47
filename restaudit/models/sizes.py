"""A model may be as large as its weights: what its settings ask for beyond them is refused before
memory is taken for it.

One number in a configuration (a vocabulary of 10^12, a billion layers) makes a library allocate, or
build for hours, before it compares anything with the weights.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput
from restaudit.models.settings import every_value
from restaudit.models.tensors import Tensor, count_numbers, largest_dimension

# Quantised weights hold up to eight numbers in one.
PACKED = 8
# What a model of any size may have beside its weights: a new head, tables of positions.
MORE_NUMBERS = 1 << 26
MORE_MODULES = 4096
# A module has at least one weight, or holds modules that do: depth, not number.
MODULES_A_TENSOR = 64
# Settings are not larger than the largest dimension of any weight, except those of MANY and small
# ones.
ALWAYS_ALLOWED = 1 << 16
# Parts of names of settings that count positions, tokens or time, and size no weight by themselves.
MANY = ("position", "length", "len", "ctx", "theta", "window", "seed", "time", "base")
TOKEN = "token"
# No vocabulary has as many tokens, and torch counts in 64 bits.
LARGEST_TOKEN, LARGEST_COUNT = 1 << 31, 1 << 62


@dataclass(frozen=True)
class Room:
    """What a model's weights allow: numbers, modules, and the largest setting."""

    numbers: int
    modules: int
    setting: int


def room_of(tensors: Mapping[str, Tensor], *, packed: bool) -> Room:
    """The room of a model with these tensors; `packed` where its weights are quantised."""
    times = PACKED if packed else 1
    found = tensors.values()
    return Room(
        numbers=2 * times * count_numbers(found) + MORE_NUMBERS,
        modules=MODULES_A_TENSOR * len(found) + MORE_MODULES,
        setting=max(PACKED * largest_dimension(found), ALWAYS_ALLOWED),
    )


def check_settings(
    config: Mapping[str, Any], room: Room, known: Collection[str], path: Path, what: str
) -> None:
    """Raise BadInput, which begins with `what`, for a setting that no weight of the model is as
    large as. Only `known` names are looked at: what nothing reads does no harm.
    """
    for key, value in every_value(config):
        if isinstance(value, bool) or not isinstance(value, int) or key not in known:
            continue
        if abs(value) > _most(key, room):
            raise BadInput(
                f"{what}: {path}: {key} is {str(value)[:40]}, which fits no weight of the model; "
                "expected the settings that the weights were saved with"
            )


def _most(key: str, room: Room) -> int:
    if TOKEN in key:
        return LARGEST_TOKEN
    return LARGEST_COUNT if any(part in key for part in MANY) else room.setting


@contextlib.contextmanager
def within(room: Room, beginning: str) -> Iterator[None]:
    """Refuse, while it is built in this thread, a model that takes more than its room.

    Raises BadInput, which starts with `beginning`.
    """
    from torch.nn.modules import module

    count = _Count(room, beginning)
    handles = [
        module.register_module_module_registration_hook(count.module),
        module.register_module_parameter_registration_hook(count.tensor),
        module.register_module_buffer_registration_hook(count.tensor),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Count:
    """What was built so far. Torch has one list of hooks for all threads."""

    def __init__(self, room: Room, beginning: str) -> None:
        self.room, self.beginning = room, beginning
        self.thread = threading.get_ident()
        self.modules = 0
        # By place: a weight takes the place of an empty one when it is loaded.
        self.sizes: dict[tuple[int, str], int] = {}
        self.numbers = 0

    def module(self, *_: Any) -> None:
        if threading.get_ident() != self.thread:
            return
        self.modules += 1
        if self.modules > self.room.modules:
            raise BadInput(f"{self.beginning}its settings ask for more layers than it has weights")

    def tensor(self, owner: Any, name: str, tensor: Any) -> None:
        if tensor is None or threading.get_ident() != self.thread:
            return
        place, size = (id(owner), name), int(tensor.numel())
        self.numbers += size - self.sizes.get(place, 0)
        self.sizes[place] = size
        if self.numbers > self.room.numbers:
            raise BadInput(
                f"{self.beginning}its settings ask for more numbers than its weights hold "
                f"({self.numbers:,} at {name}, where at most {self.room.numbers:,} are allowed)"
            )
