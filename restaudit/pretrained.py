"""Models and tokenizers that others trained, loaded from folders that are here: weights and settings, never code.

Nothing else in the package calls `from_pretrained` on a model or a tokenizer. So this holds for the policy, the reward,
the judge, the encoder and what is probed:

- Code in the folder is not run (`trust_remote_code=False`), and a folder that has some is refused (`refuse_own_code`).
- Weights are safetensors (`use_safetensors=True`), never pickles, and lie in the folder that was digested.
- A PEFT adapter is loaded with the base model that its digest covers (`restaudit.artifacts`), never with what the name
  in adapter_config.json means to transformers on that day. It is merged, in float32, and each weight is then rounded
  once to the precision it had. That the merged model computes what PEFT's own does is checked on the spot.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from restaudit.artifacts import ADAPTER_CONFIG, bases_of
from restaudit.errors import BadInput
from restaudit.generators import restored

Kind = Literal["causal", "classifier", "encoder"]
CLASSES: Mapping[Kind, str] = {
    "causal": "AutoModelForCausalLM",
    "classifier": "AutoModelForSequenceClassification",
    "encoder": "AutoModel",
}
CALLED: Mapping[Kind, str] = {
    "causal": "a causal language model",
    "classifier": "a sequence-classification model",
    "encoder": "an encoder",
}
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
# A folder with one of these has a tokenizer of its own.
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.*", "*.model", "*.tiktoken", "tekken.json")
# Adapters that load further models, from places that no digest covers.
LOADS_MORE = ("XLORA", "SHADOW")
# As much as outputs may differ after merging, in units of the largest: rounding in float32 is far below it.
MERGED_DIFFERS = 1e-3
PROBE_TOKENS = 16


def read_tokenizer(path: Path, what: str, kind: Kind | None = None) -> Any:
    """The tokenizer of a model's folder or of a GGUF file; that of an adapter's base where the adapter has none.

    `what` begins every message, and `kind` says what was expected in it. Raises BadInput where there is no tokenizer
    that transformers can read, and for a folder with code of its own.
    """
    from transformers import AutoTokenizer

    folder = path
    if _is_adapter(path) and not _has_tokenizer(path):
        below = bases_of(path)
        folder = next((base for base in below if _has_tokenizer(base)), below[-1])
    refuse_own_code(folder, what)
    expected = CALLED[kind] if kind else "a model"
    with _errors(f"{what}: not {expected} with a tokenizer"), _place(folder) as (where, more):
        return AutoTokenizer.from_pretrained(where, trust_remote_code=False, local_files_only=True, **more)


def read_model(
    kind: Kind, path: Path, what: str, *, dtype: Any, base: Path | None = None, **settings: Any
) -> tuple[Any, dict[str, Any]]:
    """A model on the CPU in evaluation mode, and what transformers says of its loading (`missing_keys` and so on).

    `path` is a model's folder, a GGUF file, or the folder of a PEFT adapter, which comes back merged into its base: the
    one that `artifacts.bases_of` finds, or `base` where the caller knows it. Weights of the base that the adapter
    replaces are not missing. An adapter of a classifier says itself how many labels there are, unless `num_labels` is
    given. For an "encoder", adapters of classifiers and language models count by what is below their heads.

    `what` begins every message; `dtype` and the settings go to `from_pretrained`. Raises BadInput for what is no such
    model, for code and pickles, and for an adapter that does not fit its base or cannot be merged exactly.
    """
    if (gguf := settings.pop("gguf_file", None)) is not None:
        path = path / gguf
    below = () if not _is_adapter(path) else bases_of(path) if base is None else (base, *bases_of(base))
    *above, root = (path, *below)
    adapters = [_read_adapter(folder, what) for folder in above]
    for folder in below:
        refuse_own_code(folder, f"{what} (its base model)")
    refuse_own_code(root, what)
    _check_weights(root, what)
    loaded_as = kind if kind != "encoder" or not adapters else adapters[0].kind
    if adapters and loaded_as == "classifier":
        settings = _labels(adapters, root, settings, what)
    # A GGUF is always read in bfloat16: an adapter of one was trained on weights that were rounded to it.
    half = bool(adapters) and root.suffix == ".gguf"
    model, loading = _plain(loaded_as, root, what, dtype=_bfloat16() if half else dtype, **settings)
    if not adapters:
        return model, loading
    merged = _with_adapters(model, adapters, what, settings, _wanted(dtype) if half else None)
    missing = [n for n in loading["missing_keys"] if not any(_holds(a, n, merged) for a in adapters)]
    if loaded_as != kind:
        below_head = f"{merged.base_model_prefix}."
        missing = [n.removeprefix(below_head) for n in missing if n.startswith(below_head)]
        merged = merged.base_model
    return merged, {**loading, "missing_keys": missing}
