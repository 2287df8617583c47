"""The files of an exported model: an adapter for PEFT, or whole weights for transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.errors import BadInput
from restaudit.files import given, plain
from restaudit.files.signs import printable
from restaudit.files.strict import NotStrict, parse_json
from restaudit.policy.model import ADAPTER_CONFIG, ADAPTER_WEIGHTS

if TYPE_CHECKING:
    from restaudit.policy import Policy

CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer_config.json"
LICENCE = "LICENSE"
MISSING = "MISSING"
# A whole repository of the hub; with a file behind it ("!model.gguf") from_pretrained cannot take
# it.
HUB = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)")
# What a configuration says of the machine that wrote it, of weights as they were stored before, and
# of code that is not in the folder.
OF_A_MACHINE = ("_name_or_path", "name_or_path", "is_local", "local_files_only")
NOT_OF_A_MODEL = (*OF_A_MACHINE, "quantization_config", "auto_map")
# The files of a tokenizer, in all the ways in which they are kept.
OF_A_TOKENIZER = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "chat_template*",
    "*.tiktoken",
    "*.spm",
    "sentencepiece*",
    "spiece.model",
)
# Names of the one setting that is about the weights: now, and before transformers 5.
DTYPES = ("dtype", "torch_dtype")


def base_for_adapter(spec: str, folder: Path, *, pushed: bool) -> tuple[str, str | None]:
    """What adapter_config.json calls the base model, and its revision, for `from_pretrained`.

    `folder` is where the base model lies on this machine, a GGUF as it was converted. It is named
    where the spec is not a repository of the hub; what is `pushed` leaves this machine and gets the
    spec as it is.
    """
    if (hub := HUB.fullmatch(spec)) is not None:
        return hub["repo"], hub["revision"]
    return (spec, None) if pushed else (str(folder.resolve()), None)


def write_adapter(policy: Policy, recorded: Path, out: Path, base: tuple[str, str | None]) -> None:
    """Write adapter and configuration as the run recorded them, but for what the base is called.

    An adapter that was kept by the names of its parameters (an older run) is written as PEFT names
    them. Raises BadInput where PEFT would not load it again.
    """
    if plain.is_file(recorded, ADAPTER_WEIGHTS):
        with plain.opened(recorded, ADAPTER_WEIGHTS) as weights:
            plain.copy(weights, out, ADAPTER_WEIGHTS)
        config = _read_json(recorded / ADAPTER_CONFIG)
    else:
        policy.save(out)
        if not (out / ADAPTER_WEIGHTS).is_file():
            raise BadInput(
                f"{recorded}: PEFT cannot load this adapter again for "
                f"{type(policy.model.get_base_model()).__name__} "
                "under the names that it saves; use --format checkpoint"
            )
        config = _read_json(out / ADAPTER_CONFIG)
    config |= {"base_model_name_or_path": base[0], "revision": base[1]}
    _write_json(config, out / ADAPTER_CONFIG)


def write_checkpoint(model: Any, out: Path, base: Path) -> None:
    """Write weights as `save_pretrained` does, and config.json as the base model's folder has it.

    The base model's own configuration is what every reader of the base model reads. What
    `save_pretrained` writes takes its place only where there is none, or it names another class.
    Raises BadInput where transformers cannot save the model.
    """
    from transformers import GenerationConfig

    # It refuses settings of sampling that contradict one another; write_words writes them as they
    # are.
    own, model.generation_config = model.generation_config, GenerationConfig()
    # Where a quantised base was turned into plain weights on loading, it refuses to save these.
    model.hf_quantizer = None
    model.config.__dict__.pop("quantization_config", None)
    try:
        model.save_pretrained(out)
    except (OSError, ValueError, RuntimeError, NotImplementedError) as e:
        first = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise BadInput(f"transformers cannot save this {type(model).__name__}: {first}") from None
    finally:
        model.generation_config = own
    saved = _read_json(out / CONFIG)
    of_base = _read_json(base / CONFIG) if (base / CONFIG).is_file() else {}
    same = of_base.get("architectures") == saved["architectures"]
    config = _stripped(of_base if same else saved, NOT_OF_A_MODEL)
    _write_json(_with_dtype(_with_old_positions(config), str(saved["dtype"])), out / CONFIG)


def write_words(policy: Policy, out: Path, base: Path) -> None:
    """Write tokenizer, chat template and generation config, which stops where the audit stopped.

    The tokenizer's files are those of the base model, in its folder `base`.
    """
    own: set[Path] = set()
    for pattern in OF_A_TOKENIZER:
        own |= {path for path in base.glob(pattern) if path.is_file()}
    # Copied where they are complete: what `save_pretrained` writes, older transformers may not read.
    if base / TOKENIZER in own:
        for path in sorted(own):
            with given.opened(path) as file:
                plain.copy(file, out, path.name)
    else:
        policy.tokenizer.save_pretrained(out)
    words = _stripped(_read_json(out / TOKENIZER), (*OF_A_MACHINE, "auto_map"))
    _write_json(_with_old_names(words), out / TOKENIZER)
    settings = json.loads(policy.model.generation_config.to_json_string())
    settings.pop("_from_model_config", None)
    padding = int(policy.tokenizer.pad_token_id)
    settings |= {"eos_token_id": policy.stop_tokens, "pad_token_id": padding}
    _write_json(settings, out / GENERATION)


def write_licence(spec: str, licence: str | None, out: Path) -> None:
    """Write what is known of licences: the base model's by name, and none of the trained
    weights.
    """
    name = printable(licence or MISSING)
    lines = [
        f"Licence of the base model, as the plan of the run records it: {name}",
        f"Base model: {printable(spec)}",
        "This is the licence's name and not its text, which the base model's publisher has.",
        f"Licence of the trained weights: {MISSING}. Whoever holds rights in them can state it.",
    ]
    plain.write(out, LICENCE, ("\n".join(lines) + "\n").encode())


def _with_old_positions(config: dict[str, Any]) -> dict[str, Any]:
    """With the names that rotary positions had before transformers 5.

    An older reader passes over the new ones without a word, and computes another model. Settings
    that differ by layer had no older names.
    """
    out = {k: _with_old_positions(v) if isinstance(v, dict) else v for k, v in config.items()}
    positions = config.get("rope_parameters")
    if not isinstance(positions, dict) or "rope_theta" not in positions or "rope_theta" in config:
        return out
    out["rope_theta"] = positions["rope_theta"]
    scaling = {k: v for k, v in positions.items() if k != "rope_theta"}
    if scaling.get("rope_type", "default") != "default":
        out["rope_scaling"] = scaling
    return out


def _with_old_names(words: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer's settings under names that transformers 4 knows too; it refuses newer ones."""
    out = dict(words)
    if out.get("tokenizer_class") == "TokenizersBackend":
        out["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(out.get("extra_special_tokens"), list):
        out["additional_special_tokens"] = out.pop("extra_special_tokens")
    return out


def _with_dtype(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The configuration of a model whose weights have this dtype, under all names it ever had."""
    out = {k: _with_dtype(v, dtype) if isinstance(v, dict) else v for k, v in config.items()}
    return out | dict.fromkeys(DTYPES, dtype) if "model_type" in config else out


def _stripped(value: Any, keys: tuple[str, ...]) -> Any:
    """Plain JSON without these keys, at any depth."""
    if isinstance(value, dict):
        return {k: _stripped(v, keys) for k, v in value.items() if k not in keys}
    if isinstance(value, list):
        return [_stripped(v, keys) for v in value]
    return value


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = parse_json(given.whole(path))
    except NotStrict as e:
        raise BadInput(f"{path}: {e}") from None
    return content


def _write_json(value: Mapping[str, Any], path: Path) -> None:
    plain.write_out(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())
