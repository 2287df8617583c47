"""What safetensors files say of themselves: names, kinds and shapes of their tensors, in a few
kilobytes before gigabytes of weights. Nothing of the weights is read.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeGuard

from restaudit.errors import BadInput
from restaudit.files import plain
from restaudit.files.strict import NotStrict, parse_json

# In bytes. The format allows 100 MB; the longest published headers have about 3, and 25 MB of JSON
# take half a gigabyte of memory.
LONGEST_HEADER = 25_000_000
# Bits of a number of each kind that safetensors knows.
BITS: Mapping[str, int] = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


class NotWhole(BadInput):
    """A file of weights that ends early or is no safetensors; `why` is the sentence without the
    path.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.why = why


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: kind of number as safetensors names it, shape, and where its bytes
    begin and end behind the header.
    """

    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int


def header(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name.

    Raises NotWhole where the file is shorter or longer than its header says, or the header is none:
    tensors must fill the file without gap or overlap, as the format wants it.
    """
    with opened(path) as f:
        size = f.seek(0, 2)
        f.seek(0)
        length = _length(path, f.read(8), size)
        tensors = _entries(path, f.read(length))
    _check_places(path, tensors, size - 8 - length)
    return tensors


def opened(path: Path) -> IO[bytes]:
    """Open a plain file for reading; a link is followed, since the user's own folders have some.

    Raises FileNotFoundError, and BadInput for a pipe, a device, a socket or a folder.
    """
    real = path.resolve()
    try:
        return plain.opened(real.parent, real.name)
    except plain.NotPlain as e:
        raise BadInput(f"{path}: {e.why}") from None


def count_numbers(tensors: Iterable[Tensor]) -> int:
    """How many numbers tensors hold in all."""
    return sum(math.prod(t.shape) for t in tensors)


def _length(path: Path, head: bytes, size: int) -> int:
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if not 0 < length <= size - 8:
        raise NotWhole(path, f"ends inside its header ({size:,} bytes)")
    if length > LONGEST_HEADER:
        raise NotWhole(
            path, f"has a header of {length:,} bytes; at most {LONGEST_HEADER:,} are read"
        )
    return int(length)


def _entries(path: Path, data: bytes) -> dict[str, Tensor]:
    try:
        found = parse_json(data)
    except NotStrict as e:
        raise NotWhole(path, f"has a header that cannot be read ({e})") from None
    if not isinstance(found, dict):
        raise NotWhole(path, "has a header that cannot be read (no JSON object)")
    return {name: _tensor(path, name, e) for name, e in found.items() if name != "__metadata__"}


def _tensor(path: Path, name: str, entry: Any) -> Tensor:
    if isinstance(entry, dict):
        kind, shape, place = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if isinstance(kind, str) and kind in BITS and _counts(shape) and _counts(place, 2):
            return Tensor(kind, tuple(shape), *place)
    raise NotWhole(
        path, f"has a header that cannot be read (the entry '{name[:80]}' describes no tensor)"
    )


def _counts(value: Any, how_many: int | None = None) -> TypeGuard[list[int]]:
    if not isinstance(value, list) or how_many not in (None, len(value)):
        return False
    return all(type(each) is int and 0 <= each < 1 << 63 for each in value)


def _check_places(path: Path, tensors: Mapping[str, Tensor], room: int) -> None:
    wanted = max((t.end for t in tensors.values()), default=0)
    if wanted != room:
        start = path.stat().st_size - room
        raise NotWhole(path, f"has {start + room:,} of {start + wanted:,} bytes")
    in_order = sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end))
    for name, tensor in in_order:
        bits = math.prod(tensor.shape) * BITS[tensor.kind]
        if bits != 8 * (tensor.end - tensor.begin):
            raise NotWhole(path, f"has a tensor '{name[:80]}' whose bytes do not fit its shape")
    edges = [0, *(t.end for _, t in in_order)]
    for (name, tensor), before in zip(in_order, edges, strict=False):
        if tensor.begin != before:
            raise NotWhole(path, f"has a gap or an overlap before tensor '{name[:80]}'")


def largest_dimension(tensors: Iterable[Tensor]) -> int:
    """The largest size along any axis of any tensor; 0 without tensors."""
    return max(itertools.chain.from_iterable(t.shape for t in tensors), default=0)
