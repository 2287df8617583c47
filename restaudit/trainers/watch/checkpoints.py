"""Checkpoints that somebody else's trainer left, as one policy: its weights are those of the step
that is asked for.
"""

from __future__ import annotations

import gc
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restaudit.config import PolicyConfig
from restaudit.errors import BadInput
from restaudit.evidence.record import ADAPTER
from restaudit.models.artifacts import ADAPTER_CONFIG, base_of, is_adapter
from restaudit.models.devices import pick_device, pick_dtype
from restaudit.models.fetch import raw_digest
from restaudit.models.pretrained import quiet_loading, read_model
from restaudit.policy import Policy
from restaudit.policy.exactness import prove
from restaudit.policy.forward import Routes
from restaudit.policy.loading import LONGEST_RESPONSE, load_model, load_tokenizer

# Only these of a checkpoint decide what it says, with the tokenizer; optimiser states and logs do
# not.
WEIGHTS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    ADAPTER_CONFIG,
)
WORDS = (
    "tokenizer*.json",
    "vocab.*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
    "*.tiktoken",
    "chat_template*",
)
# What `digests` calls the model that an adapter is put on.
UNDER = "base"


@dataclass
class Checkpoints(Policy):
    """The policy at any step whose checkpoint was found.

    One model is in memory, loaded when its step is asked for.

    `base` is the checkpoint that is the base policy, and `digest` its digest when it was opened;
    `steps` maps an iteration ("step-50") to its checkpoint, a full model, or a PEFT adapter of the
    model in `under`; `recorded` maps a checkpoint to the digest that its step
    recorded. Nothing is kept in the run folder.
    """

    base: Path = Path()
    digest: str = ""
    steps: dict[str, Path] = field(default_factory=dict)
    recorded: dict[Path, str] = field(default_factory=dict)
    now: Path | None = None
    proved: dict[Path, Routes] = field(default_factory=dict)

    @property
    def under(self) -> Path:
        """The model that adapters are put on: the base policy, or its own base where it is an
        adapter as they are.
        """
        return base_of(self.base) or self.base

    def become(self, folder: Path | None) -> None:
        """Load the checkpoint of the iteration whose adapter folder this would be; None is the base
        policy.

        Raises BadInput where the files of the base policy are no longer those that the run began
        with: everything is compared with it, and adapters are put on it.
        """
        path = self.base if folder is None else self.steps[_iteration(folder, self.steps)]
        if path == self.now:
            return
        # Two models may not fit into memory: the one goes before the other comes.
        self.model, self.now = None, None
        gc.collect()
        read = {path, self.base} if is_adapter(path) else {path}
        # Before, so that nothing else is loaded; and afterwards, so that nothing else was.
        self._check_same(read)
        with quiet_loading():
            self.model = self._loaded(path)
        self._check_same(read)
        self.model.requires_grad_(False)
        # Each checkpoint brings a configuration of its own, which decides how it computes.
        if path in self.proved:
            self.routes = self.proved[path]
        else:
            prove(self, longest=self.config.max_prompt_tokens + LONGEST_RESPONSE)
            self.proved[path] = self.routes
        self.now = path

    def has(self, folder: Path) -> bool:
        """Whether the checkpoint of this iteration is known."""
        return any(folder.as_posix().endswith(f"/{name}/{ADAPTER}") for name in self.steps)

    def save(self, folder: Path) -> None:
        """Nothing: the checkpoints stay where they are, and the ledger holds their digests."""

    def take(self) -> None:
        """Nothing: no weights are trained here."""

    def _check_same(self, paths: set[Path]) -> None:
        """Raise BadInput where files are not those whose digest is in the record."""
        if self.base in paths and (got := digest_of_checkpoint(self.base)) != self.digest:
            raise BadInput(
                f"{self.base}: the base policy is not what the run began with (sha256 "
                f"{self.digest}, now {got}); bring that back, or begin another run"
            )
        for path in paths & self.recorded.keys():
            if (got := digest_of_checkpoint(path, self.under)) != self.recorded[path]:
                raise BadInput(
                    f"{path}: is not the checkpoint that was recorded (sha256 "
                    f"{self.recorded[path]}, now {got}); bring that back"
                )

    def _loaded(self, path: Path) -> Any:
        if is_adapter(path):
            return self._adapted(path)
        config = self.config
        return load_model(
            path,
            str(path),
            dtype=config.dtype,
            device=self.device,
            attention=config.attn_implementation,
        )

    def _adapted(self, path: Path) -> Any:
        """The model below with the adapter merged into its weights."""
        dtype = pick_dtype(self.config.dtype, self.device)
        model, loading = read_model("causal", path, str(path), dtype=dtype, base=self.under)
        if missing := sorted(loading["missing_keys"]):
            raise BadInput(
                f"{path}: neither the adapter nor the model it belongs to ({self.under}) has "
                f"weights for {', '.join(missing[:4])}; give the model that training began from "
                "with --base FOLDER"
            )
        return model.to(self.device)


def open_checkpoints(config: PolicyConfig, base: Path, *, device: str) -> Checkpoints:
    """The checkpoints of a training as a policy that stands at its base policy.

    Raises BadInput for one that is none.

    The tokenizer is the base policy's, so that every step is asked in the same tokens.
    """
    kind = pick_device(device)
    with quiet_loading():
        tokenizer = load_tokenizer(base, str(base))
    policy = Checkpoints(
        None, tokenizer, config, kind, base=base, digest=digest_of_checkpoint(base)
    )
    if config.chat and not tokenizer.chat_template:
        raise BadInput(f"{base}: its tokenizer has no chat template; add --set policy.chat=false")
    policy.become(None)
    return policy


def base_of_adapter(checkpoint: Path) -> Path:
    """The model that an adapter was trained on, where its configuration says where that is."""
    try:
        base = base_of(checkpoint)
    except BadInput as e:
        raise BadInput(
            f"give the model that the adapters belong to with --base FOLDER ({e})"
        ) from None
    if base is None:
        raise BadInput(
            f"{checkpoint}: has no {ADAPTER_CONFIG}; give the base policy with --base FOLDER"
        )
    return base


def digests(checkpoint: Path, under: Path | None = None) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint that decides what it says, by name.

    Of an adapter also the digest of the model it is put on, as "base": `under`, or the one that its
    configuration names.
    """
    names: set[str] = set()
    for pattern in (*WEIGHTS, *WORDS):
        names |= {path.name for path in checkpoint.glob(pattern) if path.is_file()}
    by_name = {name: raw_digest(checkpoint / name) for name in sorted(names)}
    if ADAPTER_CONFIG in by_name:
        base = under or base_of(checkpoint)
        # An adapter alone says nothing: another model under it is another policy.
        if base is not None:
            by_name[UNDER] = digest_of_checkpoint(base)
    return by_name


def digest_of_checkpoint(checkpoint: Path, under: Path | None = None) -> str:
    """One digest over `digests`, or of the file where the checkpoint is one."""
    if checkpoint.is_file():
        return raw_digest(checkpoint)
    lines = "".join(f"{name}\0{sha}\n" for name, sha in digests(checkpoint, under).items())
    return hashlib.sha256(lines.encode()).hexdigest()


def _iteration(folder: Path, steps: dict[str, Path]) -> str:
    name = folder.parent.name
    if name not in steps:
        raise BadInput(f"{name}: its checkpoint was not found")
    return name
