"""Code that comes with somebody else's model: none of it is run, and a folder that needs it, or
leads a library to it, is refused before that library is called.

A class that a folder names for its model or tokenizer (`auto_map`) is no reason to refuse it where
transformers knows the type of the model: its own class is then used, as trust_remote_code=False
says, and thousands of published models of known types still name the code that they began with.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from restaudit.errors import BadInput
from restaudit.models.settings import every_value, read_settings

NEVER_RUN = (
    "; restaudit never runs code from a model's folder: it would run with your rights, and nobody "
    "can tell from its digest what it does"
)
KNOWN_TYPE = "give a model of a type that transformers knows"
# What transformers and PEFT read of a folder to choose classes; other files are nobody's to them.
READ = (
    "config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "adapter_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "image_processor_config.json",
    "special_tokens_map.json",
)
# Keys that name classes by module, from the folder or from a repository.
MAPS = ("auto_map", "custom_pipelines", "custom_generate")
# Keys whose value is the name of a class of transformers, and of nothing else.
CLASSES = (
    "tokenizer_class",
    "slow_tokenizer_class",
    "fast_tokenizer_class",
    "processor_class",
    "image_processor_type",
    "feature_extractor_type",
    "video_processor_type",
)
# Keys that may hold a repository of compute kernels instead of a name that transformers knows.
KERNELS = (
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "experts_implementation",
    "_experts_implementation",
    "kernel_config",
)
# How libraries write down "make an object of this class from these arguments".
OBJECTS = ("_type", "_target_", "__class__", "class_path")
# PEFT imports this module where a model's class is not known by its task.
LIBRARIES = ("transformers", "peft")


def refuse_own_code(path: Path, what: str) -> None:
    """Raise BadInput, which begins with `what`, for a folder with code, or a model that needs some,
    and for what cannot be read without waiting (pipes, devices).
    """
    if not path.is_dir():
        return
    files = sorted(name for name in _names(path, what) if name.lower().endswith(".py"))
    config = read_settings(path / "config.json", what)
    words = read_settings(path / "tokenizer_config.json", what)
    model_type = config.get("model_type")
    known = _transformers_knows(model_type, words.get("tokenizer_class"))
    if files:
        advice = KNOWN_TYPE
        if known:
            advice = f"transformers knows the type '{model_type}': delete these files and auto_map"
        raise BadInput(f"{what}: {path} holds code of its own ({some(files)}){NEVER_RUN}; {advice}")
    for name in READ:
        settings = read_settings(path / name, what)
        _refuse_named(settings, path / name, what, model_type, known=known)


def some(names: list[str] | tuple[str, ...]) -> str:
    """The first names of a list that may be long, for a message."""
    shown = ", ".join(name[:200] for name in names[:3])
    return f"{shown}, …" if len(names) > 3 else shown


def _names(path: Path, what: str) -> Iterator[str]:
    """Every file below a folder.

    A file may be a link, as in the hub's cache; what a loader could wait for may not be there.
    """

    def stop(error: OSError) -> None:
        raise BadInput(f"{what}: {error.filename}: cannot be read ({error.strerror})")

    for folder, inner, files in os.walk(path, onerror=stop):
        for name in inner:
            if (Path(folder) / name).is_symlink():
                raise BadInput(
                    f"{what}: {Path(folder) / name} is a link to a folder, which no digest of "
                    f"{path} covers; put the folder itself there"
                )
        for name in files:
            file = Path(folder) / name
            if file.exists() and not stat.S_ISREG(file.stat().st_mode):
                raise BadInput(
                    f"{what}: {file} is no plain file (a pipe, a device or a socket), and reading "
                    "it might never end; take it away"
                )
            yield str(file.relative_to(path))


def _refuse_named(
    settings: Mapping[str, Any], file: Path, what: str, model_type: Any, *, known: bool
) -> None:
    for part in _objects(settings):
        for key in part.keys() & set(MAPS):
            if not known or not _type_is_known(part):
                raise BadInput(
                    f"{what}: {file.parent} names code of its own ({key}) for a model of type "
                    f"'{str(part.get('model_type', model_type))[:80]}', which transformers does not know"
                    f"{NEVER_RUN}; {KNOWN_TYPE}"
                )
    found = sorted({name for key in KERNELS for name in _below(settings, key) if "/" in name})
    if found:
        raise BadInput(
            f"{what}: {file} names code to compute attention with, which transformers would fetch "
            f"({some(found)}){NEVER_RUN}; take that setting out"
        )
    for key, value in every_value(settings):
        if _names_a_class(key, value):
            raise BadInput(
                f"{what}: {file} names a class or a module of code ({key}: {str(value)[:80]})"
                f"{NEVER_RUN}; take that setting out"
            )


def _objects(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (value for _, value in every_value(settings) if isinstance(value, dict))


def _below(settings: Mapping[str, Any], key: str) -> Iterator[str]:
    """Every text that stands below a key, at any depth."""
    for part in _objects(settings):
        if key in part:
            yield from (str(text) for _, text in every_value(part[key]) if isinstance(text, str))


def _names_a_class(key: str, value: Any) -> bool:
    if key in CLASSES:
        # "org/repository--module.Class", "module.Class"
        return isinstance(value, str) and not value.isidentifier()
    if key in OBJECTS:
        return True
    if key == "parent_library":
        return isinstance(value, str) and value.partition(".")[0] not in LIBRARIES
    return False


def _type_is_known(part: Mapping[str, Any]) -> bool:
    """Whether a part of a configuration (the text model in a larger one) is of a known type."""
    return "model_type" not in part or _transformers_knows(part["model_type"], None)


def _transformers_knows(model_type: Any, tokenizer_class: Any) -> bool:
    """Whether transformers has its own class; a folder without a type holds a tokenizer alone."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    if model_type is not None:
        return isinstance(model_type, str) and model_type in CONFIG_MAPPING
    if not isinstance(tokenizer_class, str) or not tokenizer_class.isidentifier():
        return False
    return tokenizer_class_from_name(tokenizer_class) is not None
