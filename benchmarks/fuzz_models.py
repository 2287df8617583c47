"""Model folders of strangers, mutated: every reader of one ends with a model or with one sentence.

A mutation changes one file of a good folder: a setting becomes another type or size, a header or an
index says what is not so, bytes are cut, exchanged or put in. Held is what ends with a model that
computes, or with BadInput of one line, within SECONDS and MEMORY.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import random
import resource
import shutil
import struct
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from restaudit.errors import RestauditError
from restaudit.files.cache import CACHE

# Of one mutation, on a machine that may be busy.
SECONDS = 30.0
# For a process to import torch and transformers.
BEGINS = 180.0
# Of the process that reads, beyond what torch and transformers take in it: bytes of address space.
MEMORY = 1 << 30
WRONG: tuple[Any, ...] = (
    None, True, "x", "", [], [1, "x"], {}, {"a": None}, -1, 0, 1, 3, 0.5, -0.0, 2**31, 10**9,
    10**12, 10**30, 1e308, float("nan"), float("inf"), "a" * 5000, [[[]]], {"__float__": "NaN"},
)  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """A mutation that did not hold: the reader, what was changed, and how it ended."""

    reader: str
    mutation: str
    ended: str


def fuzz_models(
    seed: int, count: int, readers: tuple[str, ...] = ()
) -> tuple[int, int, list[Failure]]:
    """Try `count` mutations on every reader: how many were tried, how many held, and the others.

    Readers are those of READERS, or some of them. The same seed and count are the same mutations.
    They are read in one process apart, which is ended and begun anew where one takes too long.
    """
    failures: list[Failure] = []
    tried = 0
    with TemporaryDirectory() as folder, _Apart(Path(folder)) as apart:
        for name in readers or tuple(READERS):
            good = make_good(name, Path(folder))
            for k in range(count):
                failure = _tried(apart, name, good, f"{seed}/{name}/{k}")
                tried += 1
                failures += [failure] if failure is not None else []
    return tried, tried - len(failures), failures


# --- good folders


def make_good(reader: str, folder: Path) -> Path:
    """The folder, or the file, that a reader's mutations begin from."""
    from benchmarks import zoo

    base = folder / "base"
    if not base.is_dir():
        zoo.make("llama", base)
    if reader == "model":
        return base
    good = folder / reader
    if good.exists():
        return good
    if reader == "gguf":
        good.mkdir()
        write_gguf(base, good / "model.gguf")
        return good
    if reader == "encoder":
        _make_encoder(good)
        return good
    if reader == "checkpoint":
        shutil.copytree(base, good)
        _shard(good)
        return good
    zoo.adapted("lora", base).save_pretrained(good)
    config = json.loads((good / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(base)
    (good / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return good


def _make_encoder(folder: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    from benchmarks import zoo

    words = zoo.tokenizer()
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64, num_labels=2,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    words.save_pretrained(folder)


def _shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    from restaudit.models.tensors import header

    names = header(folder / "model-00001-of-00001.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def write_gguf(checkpoint: Path, path: Path) -> None:
    """A Llama checkpoint as a GGUF file, in float32."""
    from gguf import GGUFWriter
    from safetensors.numpy import load_file

    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    words = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = dict(words["model"]["vocab"])
    vocabulary |= {t["content"]: t["id"] for t in words["added_tokens"]}
    tokens = [token for token, _ in sorted(vocabulary.items(), key=lambda item: item[1])]
    writer = GGUFWriter(str(path), "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges([" ".join(pair) for pair in words["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(3)
    for name, tensor in load_file(checkpoint / "model.safetensors").items():
        writer.add_tensor(_gguf_name(name), tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_name(name: str) -> str:
    for long, short in (
        ("model.layers.", "blk."), ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"),
        ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output"),
    ):  # fmt: skip
        name = name.replace(long, short)
    return name


# --- readers


def _read_policy(path: Path) -> None:
    from restaudit.config import PolicyConfig
    from restaudit.models.pretrained import quiet_loading
    from restaudit.policy import load_policy

    config = PolicyConfig(model=str(path), max_prompt_tokens=64)
    with quiet_loading():
        policy = load_policy(config, path, device="cpu", seed=0, longest=80)
        policy.prompt_tokens([{"role": "user", "content": "How was the film?"}])


def _read_encoder(path: Path) -> None:
    from restaudit.models.artifacts import Artifact
    from restaudit.models.classifier import load_classifier
    from restaudit.models.encoder import load_encoder

    load_encoder(path)
    given = Artifact(path, str(path), "")
    load_classifier(given, "cpu", max_tokens=16, section="reward", expected="a reward model")


def _read_checkpoint(path: Path) -> None:
    from restaudit.models.artifacts import is_adapter
    from restaudit.models.model_folder import check_folder
    from restaudit.trainers.watch.checkpoints import digest_of_checkpoint
    from restaudit.trainers.watch.folder import checkpoint_lacks, signature

    signature(path)
    if checkpoint_lacks(path, state=True) is None:
        is_adapter(path)
        check_folder(path, str(path))
        digest_of_checkpoint(path)


def _read_gguf(path: Path) -> None:
    _read_policy(path / "model.gguf")


READERS: dict[str, Callable[[Path], None]] = {
    "model": _read_policy,
    "encoder": _read_encoder,
    "adapter": _read_policy,
    "checkpoint": _read_checkpoint,
    "gguf": _read_gguf,
}


# --- mutations


def mutate(folder: Path, draw: random.Random) -> str:
    """Change one file of a folder, and say what was done."""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    file = draw.choice(files)
    if file.suffix == ".json" and draw.random() < 0.75:
        return _change_json(file, draw)
    if file.suffix == ".safetensors" and draw.random() < 0.6:
        return _change_header(file, draw)
    return _change_bytes(file, draw)


def _change_json(file: Path, draw: random.Random) -> str:
    document = json.loads(file.read_text(encoding="utf-8"))
    places = list(_places(document))
    holder, key = draw.choice(places[:400] if draw.random() < 0.7 else places)
    value = draw.choice(WRONG)
    said = f"{file.name}: {str(key)[:40]} = {str(value)[:40]}"
    if draw.random() < 0.1 and isinstance(holder, dict):
        del holder[key]
        said = f"{file.name}: {str(key)[:40]} taken out"
    else:
        holder[key] = value
    file.write_text(json.dumps(document), encoding="utf-8")
    return said


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(inner):
        yield document, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _change_header(file: Path, draw: random.Random) -> str:
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    found = json.loads(data[8 : 8 + length])
    places = list(_places(found))
    holder, key = draw.choice(places)
    holder[key] = draw.choice([*WRONG, "F64", "I8", [0, 10**15], [-5, 10], [4, 4, 4]])
    head = json.dumps(found).encode()
    said = f"{file.name}: header, {str(key)[:40]} = {str(holder[key])[:40]}"
    size = len(head)
    if draw.random() < 0.2:
        size = draw.choice([0, 7, 2**30, 2**62, 2**64 - 1, len(data)])
        said += f", length {size}"
    file.write_bytes(struct.pack("<Q", size) + head + data[8 + length :])
    return said


def _change_bytes(file: Path, draw: random.Random) -> str:
    data = bytearray(file.read_bytes())
    # What decides stands in front.
    place = draw.randrange(max(min(len(data), draw.choice([32, 300, 4000, len(data)])), 1))
    how = draw.choice(["cut", "bytes", "number", "more", "empty", "text"])
    if how == "cut":
        del data[place:]
    elif how == "bytes":
        data[place : place + 4] = draw.randbytes(4)
    elif how == "number":
        data[place : place + 8] = struct.pack(
            "<Q", draw.choice([0, 2**31, 2**40, 2**63, 2**64 - 1])
        )
    elif how == "more":
        data[place:place] = draw.randbytes(draw.choice([1, 100, 10_000]))
    elif how == "text":
        data = bytearray(draw.choice([b"[", b"[" * 100_000, b"{}", b"null", b"\xff\xfe", b'"x"']))
    else:
        data.clear()
    file.write_bytes(data)
    return f"{file.name}: {how} at {place}"


# --- the process apart


def _tried(apart: _Apart, reader: str, good: Path, draw: str) -> Failure | None:
    copy = apart.folder / "mutated"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(good, copy)
    said = mutate(copy, random.Random(draw))
    ended = apart.ask(reader, copy)
    return None if ended is None else Failure(reader, f"{draw}: {said}", ended)


class _Apart:
    """A process that reads; another one is begun where it did not end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun: tuple[Any, Any] | None = None

    def __enter__(self) -> _Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, reader: str, path: Path) -> str | None:
        """How the reader ended; None where it held."""
        if self.begun is None:
            self.begun = self._begin()
        pipe = self.begun[1]
        pipe.send((reader, str(path)))
        if not pipe.poll(SECONDS):
            self._end()
            return "took too long"
        try:
            answer: str | None = pipe.recv()
        except EOFError:
            self._end()
            return "its process ended"
        return answer

    def _begin(self) -> tuple[Any, Any]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.folder), daemon=True)
        process.start()
        theirs.close()
        assert ours.poll(BEGINS)
        assert ours.recv() == "begun"
        return process, ours

    def _end(self) -> None:
        if self.begun is not None:
            self.begun[0].kill()
            self.begun[0].join()
            self.begun = None


def _serve(pipe: Any, folder: Path) -> None:
    # What is made of GGUF files, and the key that seals it, are kept nowhere else.
    os.environ |= {CACHE: str(folder / "cache"), "XDG_STATE_HOME": str(folder)}
    import peft  # noqa: F401 - before memory is limited
    import torch
    import transformers

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    pipe.send("begun")
    with contextlib.suppress(EOFError):
        while True:
            reader, path = pipe.recv()
            pipe.send(how_it_ends(reader, Path(path)))


def how_it_ends(reader: str, path: Path) -> str | None:
    """None where a reader holds: it reads, or says in one line what is wrong."""
    start = time.monotonic()
    try:
        READERS[reader](path)
    except RestauditError as e:
        if "\n" in str(e) or len(str(e)) > 1500:
            return f"more than a sentence: {str(e)[:300]!r}"
    except BaseException as e:  # noqa: BLE001 - what gets here is what is looked for
        where = traceback.extract_tb(e.__traceback__)[-1]
        return f"{type(e).__name__}: {str(e)[:200]!r} at {where.filename}:{where.lineno}"
    took = time.monotonic() - start
    return None if took < SECONDS else f"took {took:.0f} s"


if __name__ == "__main__":
    import sys

    everything = functools.partial(fuzz_models, int(sys.argv[1]), int(sys.argv[2]))
    tried, held, failures = everything(tuple(sys.argv[3:]))
    print(f"{tried} tried, {held} held")
    for failure in failures:
        print(f"{failure.reader} {failure.mutation}: {failure.ended}")
