"""The header of a GGUF file, read with every count bounded by the bytes that are there.

The library that loads these files believes their counts: an array of 10^18 numbers at the end of a
file makes it run until memory is full. The format is that of ggml-org/ggml, docs/gguf.md.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from restaudit.errors import BadInput
from restaudit.models.sizes import ALWAYS_ALLOWED, PACKED, Room, room_of
from restaudit.models.tensors import Tensor, opened

# Formats of plain values by their number in the file; 8 is a text, 9 an array.
PLAIN = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
TEXT, ARRAY = 8, 9
WHOLE = (0, 1, 2, 3, 4, 5, 10, 11)
# In bytes. Keys and names are short; chat templates are the longest texts.
LONGEST_TEXT = 1 << 24
# Vocabularies have up to 300,000 tokens, and as many merges of two.
MOST_TEXTS, LONGEST_WORD = 1_000_000, 1 << 16
# The format has four dimensions, and nobody's tensor has more.
MOST_DIMENSIONS = 4
# Parts of names of settings that size no weight.
MANY = ("context", "token", "rope", "window", "position")


class _Broken(Exception):
    """A header that cannot be read; the message says why."""


@dataclass
class _Reader:
    """Reads a header forwards; no more than the file still holds."""

    file: IO[bytes]
    left: int

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.left:
            raise _Broken(f"ends inside its header: {count:,} bytes expected, {self.left:,} there")
        self.left -= count
        return self.file.read(count)

    def value(self, format_: str) -> Any:
        """The next number."""
        return struct.unpack("<" + format_, self.take(struct.calcsize("<" + format_)))[0]

    def text(self, most: int = LONGEST_TEXT) -> str:
        """The next text, of at most so many bytes."""
        length = self.value("Q")
        if length > most:
            raise _Broken(f"a text of {length:,} bytes; at most {most:,} are read")
        return self.take(length).decode("utf-8", errors="replace")

    def count(self, least: int, of: str) -> int:
        """The next count, of things of at least so many bytes each."""
        count = int(self.value("Q"))
        if count * least > self.left:
            raise _Broken(f"{count:,} {of} cannot stand in the {self.left:,} bytes that are left")
        return count


def read_gguf(path: Path, what: str) -> Room:
    """What a model in a GGUF file may take: as much as its weights.

    Raises BadInput, which begins with `what`, where the file is none, ends early, or has a setting
    that no weight is as large as.
    """
    try:
        with opened(path) as f:
            size = os.fstat(f.fileno()).st_size
            settings, tensors = _header(_Reader(f, size), size)
        room = room_of(tensors, packed=False)
        _check_settings(settings, room)
    except _Broken as e:
        raise BadInput(f"{what}: {path} is no whole GGUF file ({e}); fetch it again") from None
    except BadInput as e:
        raise BadInput(f"{what}: {e}") from None
    except OSError as e:
        raise BadInput(f"{what}: {path}: cannot be read ({e.strerror})") from None
    return room


def _header(reader: _Reader, size: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if reader.take(4) != b"GGUF":
        raise _Broken("it does not begin with GGUF")
    version = reader.value("I")
    if version not in (2, 3):
        raise _Broken(f"version {version}; 2 and 3 are read")
    tensor_count = reader.count(24, "tensors")
    setting_count = reader.count(13, "settings")
    settings: dict[str, Any] = {}
    for _ in range(setting_count):
        name = reader.text()
        if name in settings:
            raise _Broken(f"the setting '{name[:80]}' comes twice")
        settings[name] = _setting(reader, reader.value("I"))
    found = [_tensor(reader) for _ in range(tensor_count)]
    alignment = settings.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise _Broken(f"an alignment of {alignment}")
    start = size - reader.left
    start += -start % alignment
    tensors = {}
    for name, tensor in found:
        if name in tensors:
            raise _Broken(f"the tensor '{name[:80]}' comes twice")
        if start + tensor.end > size:
            raise _Broken(
                f"tensor '{name[:80]}' ends {start + tensor.end - size:,} bytes behind it"
            )
        tensors[name] = tensor
    return settings, tensors


def _setting(reader: _Reader, kind: int) -> Any:
    """A value; of an array, how many there are: they are read again by who loads the file."""
    if kind == TEXT:
        return reader.text()
    if kind in PLAIN:
        value = reader.value(PLAIN[kind])
        return value if kind in WHOLE else None
    if kind != ARRAY:
        raise _Broken(f"a setting of kind {kind}")
    inner = reader.value("I")
    if inner in PLAIN:
        width = struct.calcsize("<" + PLAIN[inner])
        reader.take(width * reader.count(width, "numbers"))
    elif inner == TEXT:
        count = reader.count(8, "texts")
        if count > MOST_TEXTS:
            raise _Broken(f"a list of {count:,} texts; at most {MOST_TEXTS:,} are read")
        for _ in range(count):
            reader.text(LONGEST_WORD)
    else:
        raise _Broken(f"an array of kind {inner}")
    return None


def _tensor(reader: _Reader) -> tuple[str, Tensor]:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    name = reader.text()
    dimensions = reader.value("I")
    if dimensions > MOST_DIMENSIONS:
        raise _Broken(f"tensor '{name[:80]}' has {dimensions:,} dimensions")
    shape = tuple(reader.value("Q") for _ in range(dimensions))
    number, begin = reader.value("I"), reader.value("Q")
    try:
        kind = GGMLQuantizationType(number)
    except ValueError:
        raise _Broken(f"tensor '{name[:80]}' is of kind {number}") from None
    numbers, bytes_ = GGML_QUANT_SIZES[kind]
    return name, Tensor(kind.name, shape, begin, begin + math.prod(shape) * bytes_ // numbers)


def _check_settings(settings: dict[str, Any], room: Room) -> None:
    prefix = f"{settings.get('general.architecture')}."
    most = max(room.setting // PACKED, ALWAYS_ALLOWED)
    for name, value in settings.items():
        if not isinstance(value, int) or not name.startswith(prefix):
            continue
        if not any(part in name for part in MANY) and abs(value) > most:
            raise _Broken(f"{name} is {value:,}, but no weight is as large")
