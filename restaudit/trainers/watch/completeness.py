"""Whether what lies there is whole: a file or a checkpoint may be half written when it is looked
at.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

STATE = "trainer_state.json"
INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model*.bin", "adapter_model.bin")
LONGEST_HEADER = 100_000_000  # of the format's own definition

Signature = tuple[tuple[str, int, int], ...]


def signature(path: Path) -> Signature:
    """Name, size and time of every file at `path`: what changes while something writes there."""
    found = []
    for file in sorted(_files(path)):
        try:
            stat = file.stat()
        except FileNotFoundError:  # taken away between the listing and now
            continue
        found.append((file.relative_to(path).as_posix(), stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def checkpoint_lacks(folder: Path, *, state: bool = False) -> str | None:
    """What a checkpoint lacks to be whole, or None: a full model or a PEFT adapter, in safetensors.

    `state`: its siblings have a trainer_state.json, which trainers write after the weights.
    """
    adapter = (folder / "adapter_config.json").exists()
    config = "adapter_config.json" if adapter else "config.json"
    lack = _json_lacks(folder / config) or _model_lacks(folder, adapter)
    return lack or (_json_lacks(folder / STATE) if state else None)


def _model_lacks(folder: Path, adapter: bool) -> str | None:
    single = folder / ("adapter_model.safetensors" if adapter else "model.safetensors")
    if single.exists():
        return _weights_lack(single)
    if not adapter and (folder / INDEX).exists():
        return _shards_lack(folder)
    if any(next(folder.glob(p), None) is not None for p in PICKLES):
        return "its weights are pickles (.bin), which are not loaded: save them as safetensors"
    return f"no {single.name}" + ("" if adapter else f" and no {INDEX}")


def _shards_lack(folder: Path) -> str | None:
    if (lack := _json_lacks(folder / INDEX)) is not None:
        return lack
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    shards = sorted(set(index.get("weight_map", {}).values())) if isinstance(index, dict) else []
    if not shards:
        return f"{INDEX} names no file"
    return next(
        (lack for name in shards if (lack := _weights_lack(folder / name)) is not None), None
    )


def _weights_lack(path: Path) -> str | None:
    """What a safetensors file lacks: its header tells how long it must be."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else None
            if length is None or not 0 < length <= min(size - 8, LONGEST_HEADER):
                return f"{path.name} ends inside its header ({size:,} bytes)"
            header: dict[str, Any] = json.loads(file.read(length))
        ends = [
            int(entry["data_offsets"][1])
            for name, entry in header.items()
            if name != "__metadata__"
        ]
    except FileNotFoundError:
        return f"{path.name} is not there"
    except (OSError, ValueError, KeyError, TypeError, IndexError) as e:
        return f"{path.name}: its header cannot be read ({type(e).__name__})"
    wanted = 8 + length + max(ends, default=0)
    return None if size == wanted else f"{path.name} has {size:,} of {wanted:,} bytes"


def _json_lacks(path: Path) -> str | None:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"no {path.name}"
    except (OSError, ValueError):
        return f"{path.name} is not whole"
    return None


def _files(path: Path) -> Iterable[Path]:
    return (p for p in path.rglob("*") if p.is_file()) if path.is_dir() else (path,)
