"""Checkpoints that somebody else's trainer left, as one policy: its weights are those of the step that is asked for."""

from __future__ import annotations

import gc
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restaudit.config import PolicyConfig
from restaudit.devices import pick_device
from restaudit.encoder import quiet_loading
from restaudit.errors import BadInput
from restaudit.fetch import raw_digest
from restaudit.job import ADAPTER
from restaudit.policy import Policy
from restaudit.policy.loading import load_model, load_tokenizer

ADAPTER_CONFIG = "adapter_config.json"
# Only these of a checkpoint decide what it says; optimiser states and logs do not.
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", ADAPTER_CONFIG)


@dataclass
class Checkpoints(Policy):
    """The policy at any step whose checkpoint was found. One model is in memory, loaded when its step is asked for.

    `base` is the checkpoint that is the base policy; `steps` maps an iteration ("step-50") to its checkpoint, a full
    model, or a PEFT adapter of the base policy. Nothing is kept in the run folder.
    """

    base: Path = Path()
    steps: dict[str, Path] = field(default_factory=dict)
    now: Path | None = None

    def become(self, folder: Path | None) -> None:
        """Load the checkpoint of the iteration whose adapter folder this would be; None is the base policy."""
        path = self.base if folder is None else self.steps[_iteration(folder, self.steps)]
        if path == self.now:
            return
        self.model, self.now = None, None
        gc.collect()
        with quiet_loading():
            if (path / ADAPTER_CONFIG).is_file():
                self.model = self._adapted(path)
            else:
                self.model = load_model(path, str(path), dtype=self.config.dtype, device=self.device)
        self.model.requires_grad_(False)
        self.now = path

    def has(self, folder: Path) -> bool:
        """Whether the checkpoint of this iteration is known."""
        return any(folder.as_posix().endswith(f"/{name}/{ADAPTER}") for name in self.steps)

    def save(self, folder: Path) -> None:
        """Nothing: the checkpoints stay where they are, and the ledger holds their digests."""

    def take(self) -> None:
        """Nothing: no weights are trained here."""

    def _adapted(self, path: Path) -> Any:
        """The base policy with the adapter merged into its weights."""
        from peft import PeftModel

        base = load_model(self.base, str(self.base), dtype=self.config.dtype, device=self.device)
        try:
            return PeftModel.from_pretrained(base, str(path)).merge_and_unload().eval()
        except (OSError, ValueError, KeyError, RuntimeError) as e:
            first = (str(e).strip() or type(e).__name__).splitlines()[0]
            raise BadInput(f"{path}: not an adapter of the base policy {self.base}: {first}") from None


def open_checkpoints(config: PolicyConfig, base: Path, *, device: str) -> Checkpoints:
    """The checkpoints of a training as a policy that stands at its base policy. Raises BadInput for one that is none.

    The tokenizer is the base policy's, so that every step is asked in the same tokens.
    """
    kind = pick_device(device)
    with quiet_loading():
        tokenizer = load_tokenizer(base, str(base))
    policy = Checkpoints(None, tokenizer, config, kind, base=base)
    if config.chat and not tokenizer.chat_template:
        raise BadInput(f"{base}: its tokenizer has no chat template; add --set policy.chat=false")
    policy.become(None)
    return policy


def base_of_adapter(checkpoint: Path) -> Path:
    """The model that an adapter was trained on, where its configuration names a folder that is here."""
    try:
        named = json.loads((checkpoint / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        named = None
    if isinstance(named, str) and Path(named).is_dir():
        return Path(named)
    said = f" ('{named}' is no folder here)" if named else ""
    raise BadInput(f"{checkpoint} is an adapter; give the model it belongs to with --base FOLDER{said}")


def digests(checkpoint: Path) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint that decides what it says, by name."""
    names = sorted({p.name for pattern in WEIGHTS for p in checkpoint.glob(pattern) if p.is_file()})
    return {name: raw_digest(checkpoint / name) for name in names}


def digest_of_checkpoint(checkpoint: Path) -> str:
    """One digest over `digests`, or of the file where the checkpoint is one."""
    if checkpoint.is_file():
        return raw_digest(checkpoint)
    lines = "".join(f"{name}\0{sha}\n" for name, sha in digests(checkpoint).items())
    return hashlib.sha256(lines.encode()).hexdigest()


def _iteration(folder: Path, steps: dict[str, Path]) -> str:
    name = folder.parent.name
    if name not in steps:
        raise BadInput(f"{name}: its checkpoint was not found")
    return name
