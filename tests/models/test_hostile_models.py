"""Model folders of strangers: code is never run, nothing is waited for, no memory is taken before it
is compared with the weights, and whatever is wrong is one sentence.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fuzz_models, zoo
from restaudit.errors import BadInput
from restaudit.models.artifacts import digest_of, resolve
from restaudit.models.gguf_file import read_gguf
from restaudit.models.model_folder import check_folder
from restaudit.models.own_code import refuse_own_code
from restaudit.models.pretrained import check_vocabulary, read_model, read_tokenizer
from restaudit.models.tensors import NotWhole, header
from restaudit.trainers.watch.folder import checkpoint_lacks, find


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "llama"
    zoo.make("llama", folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "model")
    return tmp_path / "model"


def edit(file: Path, **changes: Any) -> None:
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**found, **changes}), encoding="utf-8")


def load(folder: Path) -> None:
    import torch

    read_tokenizer(folder, "policy")
    read_model("causal", folder, "policy", dtype=torch.float32)


# --- mutations


@pytest.mark.timeout(600)
def test_every_mutation_ends_with_a_model_or_a_sentence() -> None:
    tried, held, failures = fuzz_models.fuzz_models(18, 24)
    assert not failures
    assert tried == held == 24 * len(fuzz_models.READERS)


# --- code


CODE: dict[str, tuple[str, dict[str, Any]]] = {
    "a model's class": ("config.json", {"auto_map": {"AutoConfig": "x.C"}, "model_type": "mine"}),
    "of no type": ("config.json", {"auto_map": {"AutoConfig": "o/r--x.C"}, "model_type": None}),
    "of a type that is a list": ("config.json", {"auto_map": {}, "model_type": ["llama"]}),
    "in a part": ("config.json", {"text_config": {"model_type": "mine", "auto_map": {"A": "x.C"}}}),
    "a pipeline": ("config.json", {"custom_pipelines": {"p": {"impl": "x.P"}}, "model_type": "m"}),
    "attention": ("config.json", {"attn_implementation": "someone/fast"}),
    "attention of a part": ("config.json", {"_attn_implementation": {"": "someone/fast"}}),
    "attention of experts": ("config.json", {"experts_implementation": "someone/fast@v1:f"}),
    "quantisation": ("config.json", {"quantization_config": {"quant_type": {"_type": "x.Y"}}}),
    "a tokenizer's class": ("tokenizer_config.json", {"tokenizer_class": "tokens.Mine"}),
    "from a repository": ("tokenizer_config.json", {"tokenizer_class": "o/r--tokens.Mine"}),
    "a processor's class": ("processor_config.json", {"processor_class": "mine.P"}),
    "an image reader": ("preprocessor_config.json", {"image_processor_type": "o/r--x.I"}),
    "generation": ("generation_config.json", {"custom_generate": "o/r", "x": {"model_type": "m"}}),
    "peft's library": ("adapter_config.json", {"auto_mapping": {"parent_library": "mine.models"}}),
}


@pytest.mark.parametrize("name", CODE)
def test_a_folder_that_names_code_is_refused_with_the_reason(folder: Path, name: str) -> None:
    file, changes = CODE[name]
    if name == "generation":
        edit(folder / "config.json", model_type="m")
    edit(folder / file, **changes)
    with pytest.raises(BadInput, match=r"^policy: .*never runs code from a model's folder") as e:
        refuse_own_code(folder, "policy")
    assert str(folder) in str(e.value)


QUESTION = """
import sys
from pathlib import Path
from restaudit.errors import BadInput
from restaudit.models.pretrained import read_model, read_tokenizer
folder = Path(sys.argv[1])
for load in (
    lambda: read_tokenizer(folder, "policy"),
    lambda: read_model("causal", folder, "policy", dtype=None),
    lambda: read_model("classifier", folder, "policy", dtype=None),
):
    try:
        load()
    except BadInput as e:
        print("refused:", e)
"""


def test_no_question_is_asked_and_a_planted_module_does_not_run(
    folder: Path, tmp_path: Path
) -> None:
    """Whatever asked first would read yes, and whatever asked after it a closed input."""
    proof = tmp_path / "it-ran"
    module = f"open({str(proof)!r}, 'w').write('x')\nclass Mine: pass\n"
    (folder / "modeling_mine.py").write_text(module, encoding="utf-8")
    classes = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    edit(
        folder / "config.json",
        model_type="mine",
        auto_map=dict.fromkeys(classes, "modeling_mine.Mine"),
    )
    edit(
        folder / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["modeling_mine.Mine", None]},
        tokenizer_class="Mine",
    )
    done = subprocess.run(
        [sys.executable, "-c", QUESTION, str(folder)],
        input=b"y\n",
        capture_output=True,
        timeout=200,
        check=False,
    )
    said = done.stdout.decode()
    assert said.count("refused:") == 3, done.stderr.decode()
    assert "[y/N]" not in said + done.stderr.decode()
    assert not proof.exists()


# --- what could be waited for


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("plant", [pipe, endless])
@pytest.mark.parametrize(
    "name",
    ["config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors",
     "generation_config.json", "chat_template.jinja", "notes.txt"],
)  # fmt: skip
def test_a_pipe_or_a_device_is_refused_and_not_read(
    folder: Path, name: str, plant: Callable[[Path], None]
) -> None:
    plant(folder / name)
    with pytest.raises(BadInput, match=f"{name} is no plain file"):
        read_tokenizer(folder, "policy")
    with pytest.raises(BadInput, match=f"{name} is no plain file"):
        read_model("causal", folder, "policy", dtype=None)


def test_a_spec_that_is_a_pipe_or_a_device_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for path in (tmp_path / "pipe.gguf", Path("/dev/zero")):
        with pytest.raises(BadInput, match="plain files"):
            resolve(str(path))
    with pytest.raises(BadInput, match="plain files"):
        read_gguf(tmp_path / "pipe.gguf", "policy")


def test_links_to_files_are_read_and_links_to_folders_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for file in sorted(folder.iterdir()):  # as the hub's cache has them
        file.rename(blobs / file.name)
        file.symlink_to(blobs / file.name)
    load(folder)
    (folder / "more").symlink_to(blobs)
    with pytest.raises(BadInput, match="more is a link to a folder, which no digest"):
        load(folder)


def test_a_watched_folder_with_pipes_is_looked_through(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "step-1")
    os.mkfifo(tmp_path / "step-2.jsonl")
    found = find(tmp_path)
    assert found is not None
    assert list(found.steps) == [1]
    assert "no plain file" in found.others["step-2.jsonl"]
    for name in ("trainer_state.json", "config.json", "model.safetensors"):
        pipe(tmp_path / "step-1" / name)
        assert "named pipe" in str(checkpoint_lacks(tmp_path / "step-1", state=True))


# --- sizes


@pytest.mark.parametrize(
    "changes",
    [
        {"vocab_size": 10**12},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 60_000},
        {"intermediate_size": 10**10},
        {"num_labels": 10**9},
        {"num_attention_heads": 2**40},
        {"bos_token_id": 10**30},
        {"max_position_embeddings": 10**40},
    ],
    ids=str,
)
def test_settings_beyond_the_weights_take_no_memory(folder: Path, changes: dict[str, int]) -> None:
    import resource

    edit(folder / "config.json", **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        BadInput, match=r"fits no weight of the model|more layers than|more numbers"
    ):
        read_model("causal", folder, "policy", dtype=None)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


HEADERS: dict[str, tuple[Callable[[dict[str, Any], bytes], bytes], str]] = {}


def broken(message: str) -> Callable[[Any], Any]:
    def add(make: Callable[[dict[str, Any], bytes], bytes]) -> Any:
        HEADERS[make.__name__] = (make, message)
        return make

    return add


def whole(entries: dict[str, Any], data: bytes, length: int | None = None) -> bytes:
    head = json.dumps(entries).encode()
    return struct.pack("<Q", len(head) if length is None else length) + head + data


@broken("ends inside its header")
def length_beyond_the_file(e: dict[str, Any], data: bytes) -> bytes:
    return whole(e, data, 2**63)


@broken("ends inside its header")
def a_gigabyte_of_header(e: dict[str, Any], data: bytes) -> bytes:
    return whole(e, data, 2**30)


@broken("cannot be read")
def no_json(e: dict[str, Any], data: bytes) -> bytes:
    return struct.pack("<Q", 9) + b"{'a': 1}." + data


@broken("no JSON object")
def a_list(e: dict[str, Any], data: bytes) -> bytes:
    return whole([e], data)  # type: ignore[arg-type]


@broken("describes no tensor")
def a_negative_place(e: dict[str, Any], data: bytes) -> bytes:
    return whole({**e, "a": {**e["a"], "data_offsets": [-4, 0]}}, data)


@broken("describes no tensor")
def a_kind_of_number_that_nobody_knows(e: dict[str, Any], data: bytes) -> bytes:
    return whole({**e, "a": {**e["a"], "dtype": "F99"}}, data)


@broken("gap or an overlap")
def two_tensors_in_one_place(e: dict[str, Any], data: bytes) -> bytes:
    return whole({"a": e["a"], "c": e["a"], "b": e["b"]}, data)


@broken("do not fit its shape")
def a_shape_of_more(e: dict[str, Any], data: bytes) -> bytes:
    return whole({**e, "a": {**e["a"], "shape": [10**9]}}, data)


@broken("comes twice")
def a_name_twice(e: dict[str, Any], data: bytes) -> bytes:
    head = json.dumps(e).encode().replace(b'"b"', b'"a"')
    return struct.pack("<Q", len(head)) + head + data


@broken("of .* bytes")
def truncated(e: dict[str, Any], data: bytes) -> bytes:
    return whole(e, data[:-1])


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_lies_is_one_sentence(folder: Path, name: str) -> None:
    make, message = HEADERS[name]
    entries = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
    }
    file = folder / "model.safetensors"
    file.write_bytes(whole(entries, b"\0" * 16))
    assert header(file)["b"].shape == (2,)
    file.write_bytes(make(entries, b"\0" * 16))
    with pytest.raises(NotWhole, match=message):
        header(file)
    with pytest.raises(BadInput, match=rf"^policy: .*model\.safetensors: .*{message}"):
        check_folder(folder, "policy")
    assert "model.safetensors" in str(checkpoint_lacks(folder))


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (["model.safetensors"], "expected weight_map"),
        ({}, "expected weight_map"),
        ({"a": 3}, "are no safetensors"),
        ({"a": ["model.safetensors"]}, "are no safetensors"),
        ({"a": "pytorch_model.bin"}, "are no safetensors"),
        ({"a": "../model.safetensors"}, "not in its folder"),
        ({"a": "/tmp/model.safetensors"}, "not in its folder"),
        ({"a": "gone.safetensors"}, "not there"),
    ],
)
def test_an_index_of_the_wrong_kind_is_one_sentence(
    folder: Path, weight_map: Any, message: str
) -> None:
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")
    with pytest.raises(BadInput, match=message) as e:
        check_folder(folder, "policy")
    assert str(index) in str(e.value)
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    assert str(checkpoint_lacks(folder))


def test_a_configuration_cannot_name_pickles_as_its_weights(folder: Path) -> None:
    (folder / "evil.bin").write_bytes(b"x")
    for name in ("evil.bin", "../model.safetensors", 7):
        edit(folder / "config.json", transformers_weights=name)
        with pytest.raises(BadInput, match=r"transformers_weights\) names weights"):
            read_model("causal", folder, "policy", dtype=None)


# --- words


def test_tokens_beyond_the_model_s_embeddings_are_refused_for_every_kind(folder: Path) -> None:
    import torch

    from restaudit.models.encoder import load_encoder

    model, _ = read_model("causal", folder, "policy", dtype=torch.float32)
    words = folder / "tokenizer.json"
    found = json.loads(words.read_text(encoding="utf-8"))
    found["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [999_999], "tokens": ["<s>"]}},
    }  # fmt: skip
    words.write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(BadInput, match=r"gives the token 999999, but the model has"):
        check_vocabulary(model, read_tokenizer(folder, "policy"), "policy")
    with pytest.raises(BadInput, match=r"gives the token 999999"):
        load_encoder(folder)


TOKENIZERS: dict[str, tuple[dict[str, Any], str]] = {
    "an expression that tries everything": (
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"},
                           "behavior": "Isolated", "invert": False}},
        "give a tokenizer that ends",
    ),
    "a text that grows": (
        {"normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 40}] * 6}},
        "give a tokenizer that ends",
    ),
    "no model": ({"model": {"type": "Unheard"}}, "no tokenizer"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_that_does_not_end_is_refused(folder: Path, name: str) -> None:
    changes, message = TOKENIZERS[name]
    edit(folder / "tokenizer.json", **changes)
    with pytest.raises(BadInput, match=rf"^policy: .*tokenizer\.json: .*{message}"):
        read_tokenizer(folder, "policy")


def test_a_vocabulary_of_millions_and_many_added_tokens_are_refused(folder: Path) -> None:
    edit(folder / "added_tokens.json", **{f"t{i}": 1000 + i for i in range(60_000)})
    with pytest.raises(BadInput, match="60,000 added tokens; at most 50,000"):
        read_tokenizer(folder, "policy")
    (folder / "added_tokens.json").unlink()
    with (folder / "tokenizer.json").open("r+b") as f:
        f.truncate(65 << 20)
    with pytest.raises(BadInput, match=r"tokenizer\.json: 68,157,440 bytes"):
        read_tokenizer(folder, "policy")


def test_a_digest_waits_for_no_pipe(folder: Path) -> None:
    before = digest_of(folder)
    os.mkfifo(folder / "pipe")
    assert digest_of(folder) == before


def test_files_that_no_library_reads_may_be_anything(folder: Path) -> None:
    """sentence-transformers' data_config.json is a list."""
    (folder / "data_config.json").write_text('[{"a": 1, "a": 2}, NaN]', encoding="utf-8")
    load(folder)


@pytest.mark.parametrize("end", ["x", {}, [1, "x"], 0.5, [[1]], 10**30], ids=str)
def test_an_end_that_is_no_token_is_one_sentence(folder: Path, end: Any) -> None:
    from restaudit.config import PolicyConfig
    from restaudit.policy import load_policy

    edit(folder / "generation_config.json", eos_token_id=end)
    policy = load_policy(PolicyConfig(model=str(folder)), folder, device="cpu", seed=0)
    with pytest.raises(BadInput, match=r"eos_token_id of its generation_config\.json"):
        policy.prompt_tokens([{"role": "user", "content": "Well?"}])
