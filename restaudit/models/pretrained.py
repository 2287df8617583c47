"""Other people's models and tokenizers, loaded from folders: weights and settings, never code.

Nothing else in the package calls `from_pretrained` on somebody else's model or tokenizer. So this
holds for the policy, the reward, the judge, the encoder, the toxicity scorer and what is probed:

- Code in the folder is not run (`trust_remote_code=False`), and a folder that has some is refused
  (`restaudit.models.model_folder`).
- Weights are safetensors (`use_safetensors=True`), never pickles, in the folder that was digested.
- A PEFT adapter is loaded with the base model that its digest covers
  (`restaudit.models.artifacts`), not with what the name in adapter_config.json means to
  transformers on that day. It is merged, in float32, and each weight is then rounded once to the
  precision it had. That the merged model computes what PEFT computes with the adapter beside its
  base is checked on the spot.
"""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from restaudit.errors import BadInput
from restaudit.models import limited
from restaudit.models.artifacts import ADAPTER_CONFIG, bases_of, check_unchanged, is_adapter
from restaudit.models.devices import restored
from restaudit.models.gguf_file import read_gguf
from restaudit.models.model_folder import ADAPTER_WEIGHTS, Adapter, Kind, check_root, read_adapter
from restaudit.models.own_code import refuse_own_code, some
from restaudit.models.settings import read_settings
from restaudit.models.sizes import Room, within

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
# A folder with one of these has a tokenizer of its own.
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.*",
    "*.model",
    "*.tiktoken",
    "tekken.json",
)
TEMPLATES = ("chat_template*", "additional_chat_templates/*")
# In bytes. The largest published vocabularies take 35 MB.
LARGEST_WORDS = 64 << 20
MOST_ADDED = 50_000
# Seconds for reading a tokenizer.json and cutting these texts: one kind of letter over and over is
# what regular expressions that try everything stumble over. Usual ones need a hundredth.
TRIED_SECONDS = 30.0
TRIED_TEXTS = tuple(
    (part * 3000)[:3000] + "!" for part in ("a", " ", "1", "\n", "ab ", "a1.-", "\u00e9", "\u4e2d")
)
# As much as outputs may differ after merging, in units of the largest: rounding is far below it.
MERGED_DIFFERS = 1e-3
TRIED_TOKENS = 16
# In characters, of what a library says of a stranger's files.
LONGEST_MESSAGE = 400


def read_tokenizer(path: Path, what: str, kind: Kind | None = None) -> Any:
    """The tokenizer of a model's folder or a GGUF file; its base's for an adapter without one.

    `what` begins every message, and `kind` says in it what was expected. Raises BadInput where
    there is no tokenizer that transformers can read, and for a folder with code of its own.
    """
    from transformers import AutoTokenizer

    folder = path
    if is_adapter(path) and not _has_tokenizer(path):
        below = bases_of(path)
        folder = below[-1]
        for base in below:
            if _has_tokenizer(base):
                folder = base
                break
    refuse_own_code(folder, what)
    if folder.is_dir():
        _try_tokenizer(folder, what)
    else:
        read_gguf(folder, what)
    expected = "a model" if kind is None else CALLED[kind]
    with (
        in_one_sentence(f"{what}: not {expected} with a tokenizer: "),
        _place(folder) as (where, more),
    ):
        tokenizer = AutoTokenizer.from_pretrained(
            where, trust_remote_code=False, local_files_only=True, **more
        )
    check_unchanged(folder, what, weights=False)
    # Of a GGUF file it would be the temporary folder that it was read from.
    tokenizer.name_or_path = str(folder)
    return tokenizer


def read_model(
    kind: Kind, path: Path, what: str, *, dtype: Any, base: Path | None = None, **settings: Any
) -> tuple[Any, dict[str, Any]]:
    """A model on the CPU in evaluation mode, and what transformers says of its loading.

    `path` is a model's folder, a GGUF file (or its folder, with `gguf_file`), or the folder of a
    PEFT adapter. An adapter comes back merged into its base: the one that `artifacts.bases_of`
    finds, or `base` where the caller knows it. The loading info has `missing_keys`, the weights
    that are random because no file has them; those of a base that its adapter brings are not among
    them. The adapter of a classifier says how many labels there are, unless `num_labels` is given.
    As an "encoder", the adapter of a classifier or a language model counts by what lies below the
    head.

    `what` begins every message; `dtype` and the settings go to `from_pretrained`. Raises BadInput
    for what is no such model, for code and pickles, and for an adapter that does not fit its base
    or cannot be merged exactly.
    """
    if (gguf := settings.pop("gguf_file", None)) is not None:
        path = path / gguf
    above, root = _chain(path, base)
    adapters = [read_adapter(folder, what) for folder in above]
    room = check_root(root, what)
    if not adapters:
        loaded = _plain(kind, root, what, room, dtype=dtype, **settings)
        check_unchanged(root, what)
        return loaded

    trained_as = adapters[0].kind if kind == "encoder" else kind
    if trained_as == "classifier" and "num_labels" not in settings:
        settings |= _labels(adapters, root, what, room)
    model, loading = _with_adapters(trained_as, root, adapters, what, room, dtype, settings)
    for folder in (*above, root):
        check_unchanged(folder, what)
    if trained_as == kind:
        return model, loading
    head = f"{model.base_model_prefix}."
    missing = [n.removeprefix(head) for n in loading["missing_keys"] if n.startswith(head)]
    return model.base_model, {**loading, "missing_keys": missing}


def put_adapter(
    model: Any, folder: Path, what: str, *, trainable: bool = False, cast: bool = True
) -> Any:
    """PEFT's model of an adapter's folder on a loaded model, not merged.

    `cast`: an adapter of half precision computes in float32. Raises BadInput, which begins with
    `what`, for pickled weights, for settings that PEFT does not know, and where a tensor of the
    adapter has no place in the model or a place has no tensor: PEFT would go on with another
    adapter.
    """
    return _put(model, read_adapter(folder, what), what, trainable=trainable, cast=cast)


def check_vocabulary(model: Any, tokenizer: Any, what: str) -> None:
    """Raise BadInput where the tokenizer has tokens that the model has no embedding for, or adds
    ids to texts that are none of its tokens.
    """
    embedding = model.get_input_embeddings()
    size = int(getattr(embedding, "num_embeddings", None) or embedding.weight.shape[0])
    beyond = sorted((i, t) for t, i in tokenizer.get_vocab().items() if i >= size)
    if beyond:
        names = ", ".join(repr(t)[:80] for _, t in beyond[:3])
        raise BadInput(
            f"{what}: its tokenizer has {len(beyond)} tokens that the model has no embedding for "
            f"({names}; the model has {size} embeddings); give the tokenizer that the model was "
            "trained with, or resize the embeddings"
        )
    # What is put around a text and a pair of texts stands in tokenizer.json by number.
    with in_one_sentence(f"{what}: its tokenizer cannot cut a text: "):
        ids = [*tokenizer("a")["input_ids"], *tokenizer("a", "b")["input_ids"]]
    if wrong := sorted(i for i in ids if not 0 <= i < size):
        raise BadInput(
            f"{what}: its tokenizer gives the token {wrong[0]}, but the model has {size} "
            "embeddings; give the tokenizer that the model was trained with"
        )


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Without the loader's progress bar and its table of weights: callers read the loading info."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


# --- tokenizers


def _try_tokenizer(folder: Path, what: str) -> None:
    """Raise BadInput where a tokenizer's files are too large, or it takes too long over a text."""
    for pattern in (*TOKENIZERS, *TEMPLATES):
        for file in folder.glob(pattern):
            if (size := file.stat().st_size) > LARGEST_WORDS:
                raise BadInput(
                    f"{what}: {file}: {size:,} bytes; a tokenizer's file has at most "
                    f"{LARGEST_WORDS:,}"
                )
    words = read_settings(folder / "tokenizer_config.json", what).get("added_tokens_decoder")
    more = read_settings(folder / "added_tokens.json", what)
    _check_added(folder, max(len(more), len(words) if isinstance(words, dict) else 0), what)
    file = folder / "tokenizer.json"
    if not file.is_file():
        return
    try:
        added = limited.do(
            "try_tokenizer", seconds=TRIED_SECONDS, path=str(file), texts=TRIED_TEXTS
        )
    except limited.TooMuch as e:
        raise BadInput(
            f"{what}: {file}: reading it and cutting {len(TRIED_TEXTS[0]):,} characters into tokens "
            f"{e}; give a tokenizer that ends"
        ) from None
    except limited.Refused as e:
        raise BadInput(f"{what}: {file}: no tokenizer ({_first_line(e)})") from None
    _check_added(file, added, what)


def _check_added(path: Path, count: int, what: str) -> None:
    if count > MOST_ADDED:
        raise BadInput(
            f"{what}: {path}: {count:,} added tokens; at most {MOST_ADDED:,} are read, since each "
            "is looked for in every text"
        )


# --- one folder ----------------------------------------------------------------------------------


def _plain(
    kind: Kind, root: Path, what: str, room: Room, **settings: Any
) -> tuple[Any, dict[str, Any]]:
    import transformers

    loader = getattr(transformers, CLASSES[kind])
    expected = f"{what}: not {CALLED[kind]} with a tokenizer and safetensors weights: "
    if root.is_dir():
        _check_config(root, what)
    with in_one_sentence(expected), _place(root) as (where, more), within(room, expected):
        model, loading = loader.from_pretrained(
            where,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **more,
            **settings,
        )
    model.config.name_or_path = str(root)
    return model.eval(), loading


def _check_config(root: Path, what: str) -> None:
    """Read a configuration by itself, so that its file is named where it is wrong."""
    from transformers import AutoConfig

    with in_one_sentence(f"{what}: {root / 'config.json'} is no configuration of a model: "):
        AutoConfig.from_pretrained(str(root), trust_remote_code=False, local_files_only=True)


def _has_tokenizer(path: Path) -> bool:
    return path.is_file() or any(any(path.glob(name)) for name in TOKENIZERS)


@contextlib.contextmanager
def _place(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What to give to `from_pretrained`.

    A GGUF is put where it is alone: no digest has its neighbours.
    """
    if path.is_dir():
        yield str(path), {}
        return
    # The converter's bars go straight to stderr, whatever transformers is told; errors are raised.
    with TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        (Path(folder) / path.name).symlink_to(path.resolve())
        yield folder, {"gguf_file": path.name}


@contextlib.contextmanager
def in_one_sentence(beginning: str, advice: str = "") -> Iterator[None]:
    """Whatever goes wrong with a stranger's files is one BadInput: `beginning`, its first line,
    `advice`.
    """
    try:
        with quiet_loading():
            yield
    except BadInput:
        raise
    except KeyError as e:
        raise BadInput(f"{beginning}there is no {_first_line(e)}{advice}") from None
    except Exception as e:  # noqa: BLE001 - tokenizers raises plain Exception, others many kinds
        raise BadInput(f"{beginning}{_first_line(e)}{advice}") from None


def _first_line(error: Exception) -> str:
    """The first line of a library's message, no longer than a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    return first[:LONGEST_MESSAGE].rstrip(".")


# --- adapters ------------------------------------------------------------------------------------


def _chain(path: Path, base: Path | None) -> tuple[tuple[Path, ...], Path]:
    """The folders of adapters, outermost first, and where the model below them all lies."""
    if not is_adapter(path):
        return (), path
    below = bases_of(path) if base is None else (base, *bases_of(base))
    return (path, *below[:-1]), below[-1]


def _labels(adapters: Sequence[Adapter], root: Path, what: str, room: Room) -> dict[str, Any]:
    """How many labels the head has that an adapter brings, if one does: its base need not know."""
    import torch
    import transformers

    shapes: list[dict[str, tuple[int, ...]]] = []
    beginning = f"{what}: its base model {root} is not {CALLED['classifier']}: "
    loader = getattr(transformers, CLASSES["classifier"])
    with in_one_sentence(beginning), _place(root) as (where, more), within(room, beginning):
        config = transformers.AutoConfig.from_pretrained(
            where, trust_remote_code=False, local_files_only=True, **more
        )
        for count in (1, 2):
            config = copy.deepcopy(config)
            config.num_labels = count
            # Shapes without numbers: nothing is allocated, and no random draw is used up.
            with torch.device("meta"), restored():
                model = loader.from_config(config, trust_remote_code=False)
            shapes.append({name: tuple(p.shape) for name, p in model.named_parameters()})
    one_label, two_labels = shapes
    for adapter, name in itertools.product(adapters, one_label):
        brought = adapter.shape(name)
        one, two = one_label[name], two_labels[name]
        # What grows with the number of labels is the head, whatever the architecture calls it.
        grows = [axis for axis in range(len(one)) if one[axis] != two[axis]]
        if grows and brought is not None and len(brought) == len(one):
            # A head that the base model has, for other labels, is not the one that will be used.
            return {"num_labels": brought[grows[0]], "ignore_mismatched_sizes": True}
    return {}


def _with_adapters(
    kind: Kind,
    root: Path,
    adapters: Sequence[Adapter],
    what: str,
    room: Room,
    dtype: Any,
    settings: Mapping[str, Any],
) -> tuple[Any, dict[str, Any]]:
    """The base model with all adapters merged into it, the innermost first."""
    import torch

    settings = dict(settings)
    # Merging is tried out in float32, which not every way of computing attention can.
    attention = settings.pop("attn_implementation", None)
    # A policy from a GGUF is rounded to bfloat16, and so was the base of an adapter of one.
    gguf = root.suffix == ".gguf"
    below = f"{what} (its base model {root})"
    first_dtype = torch.bfloat16 if gguf else dtype
    model, loading = _plain(kind, root, below, room, dtype=first_dtype, **settings)
    plain = (torch.float32, torch.bfloat16, torch.float16)
    if any(p.dtype not in plain for p in model.parameters()):
        raise BadInput(
            f"{what}: the base model {root} is quantised, and what an adapter adds would be "
            "rounded away in it; write where the unquantised model is into "
            f"base_model_name_or_path of {ADAPTER_CONFIG}"
        )
    wanted = dtype if gguf and dtype != "auto" else model.dtype
    dtypes = {name: wanted if gguf else tensor.dtype for name, tensor in _numbers(model)}
    # Merged in float32 and rounded once: in half precision a small adapter is rounded away.
    for _, tensor in _numbers(model):
        tensor.data = tensor.data.float()
    for adapter in reversed(adapters):
        model = _merged(kind, model, adapter, what, bool(settings.get("ignore_mismatched_sizes")))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    # A head that the adapter brings whole is not missing, though the base has none.
    brought = {n for n, shape in shapes.items() if any(a.shape(n) == shape for a in adapters)}
    missing = [name for name in loading["missing_keys"] if name not in brought]
    for name, tensor in _numbers(model):
        tensor.data = tensor.data.to(dtypes.get(name, wanted))
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    if attention is not None:
        with in_one_sentence(f"{what}: cannot compute attention by {attention}: "):
            model.set_attn_implementation(attention)
    return model.eval(), {**loading, "missing_keys": missing}


def _numbers(model: Any) -> list[tuple[str, Any]]:
    """Parameters and buffers that are floating-point numbers, by name."""
    both = itertools.chain(model.named_parameters(), model.named_buffers())
    return [(name, tensor) for name, tensor in both if tensor.is_floating_point()]


def _merged(kind: Kind, model: Any, adapter: Adapter, what: str, ignore_sizes: bool) -> Any:
    """A float32 model with the adapter in its weights.

    Raises BadInput where it then computes something else than with the adapter beside it.
    """
    import torch

    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    tokens = torch.arange(1, TRIED_TOKENS + 1) * vocabulary // (TRIED_TOKENS + 1)
    end = model.config.get_text_config().eos_token_id
    if isinstance(end, int) and 0 <= end < vocabulary:
        tokens[-1] = end  # some classifiers read the state of this token
    peft = _put(model, adapter, what, kind=kind, ignore_sizes=ignore_sizes)
    beginning = f"{what}: the adapter in {adapter.folder} cannot be merged into its base model ("
    advice = "); give a whole model instead"
    with in_one_sentence(beginning, advice), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what merging may change: that is looked at below
        unmerged = _output(peft, tokens)
        _make_room(peft)
        plain = peft.merge_and_unload()
        difference = (_output(plain, tokens) - unmerged).abs().max().item()
        largest = unmerged.abs().max().item()
    if not difference <= MERGED_DIFFERS * largest:  # also where either is no number
        raise BadInput(
            f"{beginning}outputs of up to {largest:.3g} then differ by up to {difference:.3g} from "
            f"those with the adapter beside it{advice}"
        )
    return plain


def _make_room(peft: Any) -> None:
    """Give adapted layers what merging needs: a bias, and a matrix that no other layer uses."""
    import torch

    for layer in peft.modules():
        bias = getattr(layer, "lora_bias", None)
        if isinstance(bias, dict) and any(bias.values()) and layer.base_layer.bias is None:
            weight = layer.base_layer.weight
            layer.base_layer.bias = torch.nn.Parameter(weight.new_zeros(weight.shape[0]))
    model = peft.get_base_model()
    words, head = model.get_input_embeddings(), model.get_output_embeddings()
    if not hasattr(words, "base_layer") and not hasattr(head, "base_layer"):
        return
    rows, output = getattr(words, "base_layer", words), getattr(head, "base_layer", head)
    # One matrix for words and output: an adapter of one would change the other with it.
    if output is not None and rows.weight is output.weight:
        output.weight = torch.nn.Parameter(output.weight.detach().clone())
        model.config.get_text_config().tie_word_embeddings = False


def _output(model: Any, tokens: Any) -> Any:
    import torch

    with torch.inference_mode():
        outputs = model(input_ids=tokens[None], attention_mask=torch.ones_like(tokens[None]))
    if "logits" in outputs:
        return outputs.logits
    return outputs.last_hidden_state


def _put(
    model: Any,
    adapter: Adapter,
    what: str,
    *,
    trainable: bool = False,
    cast: bool = True,
    kind: Kind | None = None,
    ignore_sizes: bool = False,
) -> Any:
    from peft import PeftConfig, PeftModel

    folder = str(adapter.folder)
    arguments = {
        "is_trainable": trainable,
        "autocast_adapter_dtype": cast,
        "torch_device": str(model.device),
        "ignore_mismatched_sizes": ignore_sizes,
    }
    if kind is not None and kind != adapter.kind and adapter.kind == "encoder":
        # What was the whole model to the adapter is the part below the head of this one.
        arguments["key_mapping"] = {"^": f"{model.base_model_prefix}."}
    beginning = f"{what}: the adapter in {folder} does not fit its base model: "
    # PEFT only warns where it goes on with another adapter than the folder's. That is refused:
    # here where weights are missing, in model_folder for what it does not know.
    limits = within(adapter.room, beginning)
    with (
        in_one_sentence(beginning),
        limits,
        restored(),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        config = PeftConfig.from_pretrained(folder)
        if kind is not None and kind != adapter.kind:
            config.task_type = None  # PEFT would look for the head of what it was trained on
        peft = PeftModel.from_pretrained(model, folder, config=config, **arguments)
        # A second time, since only this tells what had no place in the model.
        lost = peft.load_adapter(folder, peft.active_adapter, **arguments)
    if lost.unexpected_keys:
        raise BadInput(
            f"{beginning}there is no place in it for {some(sorted(lost.unexpected_keys))}; give the "
            "model that the adapter was trained on"
        )
    absent = [str(w.message) for w in warned if "missing adapter keys" in str(w.message)]
    if absent:
        names = absent[0].partition("[")[2].rstrip("].").replace("'", "").split(", ")
        raise BadInput(
            f"{beginning}{ADAPTER_WEIGHTS} has none for {some(names)}; save the adapter again"
        )
    return peft
