"""Which device and which precision to compute with, one GPU for trainers that would take them all,
and the global random generators, put back.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from restaudit.errors import BadInput

if TYPE_CHECKING:
    import torch


def pick_device(device: str) -> str:
    """`auto` is CUDA where there is one; asking for CUDA without one is an error."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise BadInput(
            "device: cuda was asked for, but torch sees no CUDA device; use device: auto or cpu"
        )
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def pick_dtype(dtype: str, device: str) -> torch.dtype:
    """`auto` is bfloat16 where the hardware computes in it, float32 elsewhere."""
    import torch

    if dtype == "auto":
        dtype = "bfloat16" if _computes_bfloat16(device) else "float32"
    return torch.bfloat16 if dtype == "bfloat16" else torch.float32


def _computes_bfloat16(device: str) -> bool:
    """Whether the hardware itself does: a CPU with AVX512-BF16 is four times as fast as in float32."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def on_one_gpu(arguments: Any, say: Callable[[str], None]) -> None:
    """Let transformers' Trainer use the first GPU only, and `say` so where there are several.

    It would wrap the model in DataParallel, which copies the model at every step and returns
    gathered outputs: neither the loss nor the speed would be what was checked. `arguments` are its
    TrainingArguments.
    """
    count = int(arguments.n_gpu)
    if count > 1:
        arguments._n_gpu = 1  # there is no public setting for it
        say(
            f"{count} GPUs are here; training uses the first one (restaudit trains in one process "
            "on one device)"
        )


# --- the global random generators: libraries that reseed them are run inside `restored`


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Put the states of Python's, numpy's and torch's global generators back on leaving, whatever
    happened inside.
    """
    import torch

    python, legacy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
