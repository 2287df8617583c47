"""What may lie in the folder of somebody else's model: weights and settings.

Code, pickles, and adapters that have nothing to merge are refused here, before anything is loaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from restaudit.errors import BadInput
from restaudit.models.artifacts import ADAPTER_CONFIG, is_adapter
from restaudit.models.gguf_file import read_gguf
from restaudit.models.own_code import refuse_own_code, some
from restaudit.models.settings import LARGEST_INDEX, every_value, read_settings
from restaudit.models.sizes import Room, check_settings, room_of
from restaudit.models.tensors import Tensor, header

Kind = Literal["causal", "classifier", "encoder"]
# What PEFT calls the model that an adapter was trained on; everything else counts as an encoder.
TASKS: Mapping[str, Kind] = {"SEQ_CLS": "classifier", "CAUSAL_LM": "causal"}
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
# Adapters that load further models, from places that no digest covers.
LOADS_MORE = ("XLORA", "SHADOW")
INDEX = ".safetensors.index.json"
# The setting of a configuration that names a file of weights otherwise than usual.
FILE_OF_WEIGHTS = "transformers_weights"


@dataclass(frozen=True)
class Adapter:
    """A PEFT adapter that may be loaded: its folder, what it was trained on, its tensors'
    shapes.
    """

    folder: Path
    kind: Kind
    tensors: Mapping[str, Tensor]

    @property
    def room(self) -> Room:
        """How much a model may grow by it."""
        return room_of(self.tensors, packed=False)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a whole weight of the base model that the adapter brings, say a head."""
        found = self.tensors.get(f"base_model.model.{name}")
        return None if found is None else found.shape


def check_folder(path: Path, what: str) -> None:
    """Raise BadInput, which begins with `what`, for code, pickles, and what cannot be merged."""
    if is_adapter(path):
        read_adapter(path, what)
    else:
        check_root(path, what)


def check_root(path: Path, what: str) -> Room:
    """What a whole model, a folder or a GGUF file, may take: as much as its weights.

    Raises BadInput, which begins with `what`, for code, pickles, weights that are not whole, an
    index that names files elsewhere, and settings that no weight is as large as.
    """
    if not path.is_dir():
        return read_gguf(path, what)
    refuse_own_code(path, what)
    return _check_model(path, what)


def _check_model(folder: Path, what: str) -> Room:
    config = read_settings(folder / "config.json", what)
    room = room_of(read_tensors(folder, config, what), packed="quantization_config" in config)
    check_settings(config, room, _known(config), folder / "config.json", what)
    return room


def read_tensors(folder: Path, config: Mapping[str, Any], what: str) -> dict[str, Tensor]:
    """The tensors of a model's weights by name, without loading any.

    Raises BadInput, which begins with `what`, as `check_root` does for weights.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        _refuse_pickles(folder, what)
    given = config.get(FILE_OF_WEIGHTS)
    if given is not None:
        _check_names([given], folder, f"{folder / 'config.json'} ({FILE_OF_WEIGHTS})", what)
    for index in sorted(folder.glob(f"*{INDEX}")):
        weights = read_settings(index, what, LARGEST_INDEX).get("weight_map")
        if not isinstance(weights, dict) or not weights:
            raise BadInput(f"{what}: {index}: expected weight_map, an object of names of files")
        _check_names(list(weights.values()), folder, str(index), what)
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= _header(file, what)
    return tensors


def _header(file: Path, what: str) -> dict[str, Tensor]:
    try:
        return header(file)
    except (BadInput, OSError) as e:
        raise BadInput(f"{what}: the weights are not whole ({e}); save them again") from None


def _check_names(names: list[Any], folder: Path, source: str, what: str) -> None:
    """Weights that something names are safetensors, or an index of some, and lie in the folder."""
    strange = sorted({str(name)[:80] for name in names if not _is_of_weights(name)})
    if strange:
        raise BadInput(
            f"{what}: {source} names weights that are no safetensors ({some(strange)}); expected "
            "names that end in .safetensors"
        )
    if outside := sorted({name for name in names if Path(name).name != name}):
        raise BadInput(
            f"{what}: {source} names weights that are not in its folder ({some(outside)}), "
            "which no digest of the folder covers; put them into it"
        )
    if gone := sorted({name for name in names if not (folder / name).is_file()}):
        raise BadInput(f"{what}: {source} names weights that are not there ({some(gone)})")


def _is_of_weights(name: Any) -> bool:
    return isinstance(name, str) and name.endswith((".safetensors", INDEX)) and "\0" not in name


def _known(config: Mapping[str, Any]) -> set[str]:
    """Names of settings that transformers reads for a model, or a part of one."""
    from transformers import CONFIG_MAPPING, PretrainedConfig

    known = {"num_labels", *_fields(PretrainedConfig)}
    for key, value in every_value(config):
        if key == "model_type" and isinstance(value, str) and value in CONFIG_MAPPING:
            known |= _fields(CONFIG_MAPPING[value])
    return known


def _fields(kind: Any) -> set[str]:
    # Configurations are dataclasses in later versions of transformers only.
    names = set(inspect.signature(kind.__init__).parameters) | set(kind.attribute_map)
    return names | ({field.name for field in fields(kind)} if is_dataclass(kind) else set())


def read_adapter(folder: Path, what: str) -> Adapter:
    """What is known of an adapter without loading it.

    Raises BadInput, which begins with `what`, for code, for pickled or missing weights, for
    adapters that have nothing to merge or load further models, and for settings that PEFT would
    leave out.
    """
    refuse_own_code(folder, what)
    config = read_settings(folder / ADAPTER_CONFIG, what)
    _check_settings(folder, config, what)
    weights = folder / ADAPTER_WEIGHTS
    if not weights.is_file():
        _refuse_pickles(folder, what)
        raise BadInput(f"{what}: the adapter in {folder} has no weights ({ADAPTER_WEIGHTS})")
    try:
        tensors = header(weights)
    except (BadInput, OSError) as e:
        raise BadInput(
            f"{what}: the adapter's weights are not whole ({e}); save it again"
        ) from None
    return Adapter(folder, TASKS.get(str(config.get("task_type")), "encoder"), tensors)


def _check_settings(folder: Path, config: Mapping[str, Any], what: str) -> None:
    from peft.config import PromptLearningConfig
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    name = config.get("peft_type")
    adapter = f"{what}: the adapter in {folder} is of the type {str(name)[:80]}"
    if not isinstance(name, str) or name not in PEFT_TYPE_TO_CONFIG_MAPPING:
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


def _refuse_pickles(folder: Path, what: str) -> None:
    if pickles := sorted(p.name for pattern in PICKLES for p in folder.glob(pattern)):
        raise BadInput(
            f"{what}: the weights in {folder} are pickles ({some(pickles)}), which can run code "
            "when they are read and are not loaded; where you trust them, load them with the "
            "library that wrote them and save them as safetensors (save_pretrained)"
        )
