"""What may lie in the folder of somebody else's model: weights and settings.

Code, pickles, and adapters that have nothing to merge are refused here, before anything is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from restaudit.errors import BadInput
from restaudit.models.artifacts import ADAPTER_CONFIG, is_adapter

Kind = Literal["causal", "classifier", "encoder"]
# What PEFT calls the model that an adapter was trained on; everything else counts as an encoder.
TASKS: Mapping[str, Kind] = {"SEQ_CLS": "classifier", "CAUSAL_LM": "causal"}
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
# Adapters that load further models, from places that no digest covers.
LOADS_MORE = ("XLORA", "SHADOW")
NEVER_RUN = (
    "; restaudit never runs code from a model's folder: it would run with your rights, and nobody "
    "can tell from its digest what it does"
)
KNOWN_TYPE = "give a model of a type that transformers knows"


@dataclass(frozen=True)
class Adapter:
    """A PEFT adapter that may be loaded: its folder, what it was trained on, its tensors'
    shapes.
    """

    folder: Path
    kind: Kind
    shapes: Mapping[str, tuple[int, ...]]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a whole weight of the base model that the adapter brings, say a head."""
        return self.shapes.get(f"base_model.model.{name}")


def check_folder(path: Path, what: str) -> None:
    """Raise BadInput, which begins with `what`, for code, pickles, and what cannot be merged."""
    if is_adapter(path):
        read_adapter(path, what)
        return
    refuse_own_code(path, what)
    _check_weights(path, what)


def refuse_own_code(path: Path, what: str) -> None:
    """Raise BadInput, which begins with `what`, for a folder with code, or a model that needs some.

    A class that the folder names (`auto_map`) is no reason where transformers knows the type of
    the model: its own class is then used.
    """
    if not path.is_dir():
        return
    config, words = read_json(path / "config.json"), read_json(path / "tokenizer_config.json")
    model_type = config.get("model_type")
    known = _transformers_knows(model_type, words.get("tokenizer_class"))
    files = sorted(str(p.relative_to(path)) for p in path.rglob("*.py"))
    if files:
        advice = KNOWN_TYPE
        if known:
            advice = f"transformers knows the type '{model_type}': delete these files and auto_map"
        raise BadInput(f"{what}: {path} holds code of its own ({some(files)}){NEVER_RUN}; {advice}")
    if ("auto_map" in config or "auto_map" in words) and not known:
        raise BadInput(
            f"{what}: {path} names code of its own (auto_map) for a model of type '{model_type}', "
            f"which transformers does not know{NEVER_RUN}; {KNOWN_TYPE}"
        )
    if kernels := sorted(_kernels(config)):
        raise BadInput(
            f"{what}: {path / 'config.json'} names code to compute attention with, which "
            f"transformers would fetch ({some(kernels)}){NEVER_RUN}; take that setting out"
        )


def read_adapter(folder: Path, what: str) -> Adapter:
    """What is known of an adapter without loading it.

    Raises BadInput, which begins with `what`, for code, for pickled or missing weights, for
    adapters that have nothing to merge or load further models, and for settings that PEFT would
    leave out.
    """
    from safetensors import SafetensorError, safe_open

    refuse_own_code(folder, what)
    config = read_json(folder / ADAPTER_CONFIG)
    _check_settings(folder, config, what)
    weights = folder / ADAPTER_WEIGHTS
    if not weights.is_file():
        _refuse_pickles(folder, what)
        raise BadInput(f"{what}: the adapter in {folder} has no weights ({ADAPTER_WEIGHTS})")
    try:
        with safe_open(weights, framework="pt") as tensors:
            names = list(tensors.keys())
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as e:
        raise BadInput(f"{what}: {weights} is not whole ({e}); save it again") from None
    return Adapter(folder, TASKS.get(str(config.get("task_type")), "encoder"), shapes)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is none: whoever loads the folder says what is wrong."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def some(names: Sequence[str]) -> str:
    """The first names of a list that may be long, for a message."""
    shown = ", ".join(names[:3])
    return f"{shown}, …" if len(names) > 3 else shown


def _check_settings(folder: Path, config: Mapping[str, Any], what: str) -> None:
    from peft.config import PromptLearningConfig
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    name = config.get("peft_type")
    adapter = f"{what}: the adapter in {folder} is of the type {name}"
    if name not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise BadInput(f"{adapter}, which this version of PEFT does not know; upgrade peft")
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[name]
    if issubclass(kind, PromptLearningConfig) or name == "ADAPTION_PROMPT":
        raise BadInput(
            f"{adapter}, which adds virtual tokens to every text and has nothing that could be "
            "merged into weights; train an adapter of weights, such as LoRA, or give a whole model"
        )
    merge_first = "merge it into its base with PEFT, and give the whole model that comes out"
    if name in LOADS_MORE or config.get("megatron_config"):
        elsewhere = "loads models or code from elsewhere, which no digest covers"
        raise BadInput(f"{adapter} and {elsewhere}; {merge_first}")
    # PEFT drops such settings with a warning, and would compute another adapter than was trained.
    known = {field.name for field in fields(kind)}
    if new := sorted(key for key, value in config.items() if key not in known and value):
        raise BadInput(
            f"{adapter} and has settings that this version of PEFT does not know and would leave "
            f"out ({some(new)}); upgrade peft, or {merge_first}"
        )


def _check_weights(folder: Path, what: str) -> None:
    """Raise BadInput where there are pickles only, and where an index names a file elsewhere."""
    if not folder.is_dir():
        return
    if not any(folder.glob("*.safetensors")):
        _refuse_pickles(folder, what)
    for index in folder.glob("*.safetensors.index.json"):
        weights = read_json(index).get("weight_map")
        names: set[str] = set()
        if isinstance(weights, dict):
            names = {str(name) for name in weights.values()}
        if outside := sorted(name for name in names if Path(name).name != name):
            raise BadInput(
                f"{what}: {index} names weights that are not in its folder ({some(outside)}), "
                "which no digest of the folder covers; put them into it"
            )


def _refuse_pickles(folder: Path, what: str) -> None:
    if pickles := sorted(p.name for pattern in PICKLES for p in folder.glob(pattern)):
        raise BadInput(
            f"{what}: the weights in {folder} are pickles ({some(pickles)}), which can run code "
            "when they are read and are not loaded; where you trust them, load them with the "
            "library that wrote them and save them as safetensors (save_pretrained)"
        )


def _transformers_knows(model_type: Any, tokenizer_class: Any) -> bool:
    """Whether transformers has its own class; a folder without a type holds a tokenizer alone."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    if model_type is not None:
        return model_type in CONFIG_MAPPING
    if not isinstance(tokenizer_class, str):
        return False
    return tokenizer_class_from_name(tokenizer_class) is not None


def _kernels(config: Mapping[str, Any]) -> set[str]:
    """Repositories of compute kernels that a configuration, or a part of it, names."""
    kernels: set[str] = set()
    for key, value in config.items():
        if isinstance(value, dict):
            kernels |= _kernels(value)
        elif key in ("attn_implementation", "_attn_implementation") and "/" in str(value):
            kernels.add(str(value))
    return kernels
