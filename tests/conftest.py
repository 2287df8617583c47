"""What every test shares: no network, one thread, tiny models built on the fly, and a small
recorded run folder.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

# Before anything imports transformers or torch: they read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Two workers on two cores: a thread pool each would only make them wait for one another.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import pytest
from hypothesis import HealthCheck, settings

from tests.recorded import SENTENCES, build_run


def _later(kind: str, text: str) -> bool:
    del sys.modules["rfc3987_syntax"]
    from rfc3987_syntax import is_valid_syntax

    sys.modules["jsonschema._format"].__dict__["_rfc3987_is_valid_syntax"] = is_valid_syntax
    return bool(is_valid_syntax(kind, text))


# jsonschema, which Altair imports, compiles 38 grammars of this package at its import: 5 s in every
# process. Here they are compiled when the first IRI is checked.
sys.modules["rfc3987_syntax"] = ModuleType("rfc3987_syntax")
sys.modules["rfc3987_syntax"].is_valid_syntax = _later  # type: ignore[attr-defined]

settings.register_profile(
    "dev", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

_modules_when_frozen = 0


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Spare every test what libraries would do again for it, with the same result.

    Trainers ask for a full collection before every training; it looked at the million objects of
    torch, transformers and trl each time, 0.3 s. What imports have made is taken out of its sight.

    AppTest reads what every installed package says of itself to find those with Streamlit
    components, 0.2 s for each app. Here it reads them once.
    """
    global _modules_when_frozen
    if len(sys.modules) > _modules_when_frozen + 100:
        gc.collect()  # what is garbage already is freed, and complains, as it would have
        gc.freeze()
        _modules_when_frozen = len(sys.modules)
    if "streamlit.testing.v1" in sys.modules:
        from streamlit.components.v2 import manifest_scanner as scanner

        if not hasattr(scanner.scan_component_manifests, "cache_info"):
            scanner.scan_component_manifests = cache(scanner.scan_component_manifests)


CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data next to the checkout; tests that need it are marked `realdata`."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data: the folder ../shared/data is not there")
    return folder


# --- tiny models


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with a byte-level tokenizer (any text encodes), a chat template, eos and
    pad, saved to disk.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    specials = ["<pad>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(SENTENCES, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=specials[3:],
        padding_side="left",
        model_max_length=256,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    folder = tmp_path_factory.mktemp("tiny_policy")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT with a word-piece tokenizer trained on a few sentences, saved to disk."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny_encoder")
    pieces = BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(SENTENCES, vocab_size=300, min_frequency=1, show_progress=False)
    pieces.save_model(str(folder))
    tokenizer = BertTokenizerFast(
        vocab=str(folder / "vocab.txt"), do_lower_case=True, model_max_length=128
    )
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# --- a recorded run


@pytest.fixture
def recorded_run(tmp_path: Path) -> Path:
    """A finished run folder that verifies."""
    return build_run(tmp_path / "runs" / "small")


@pytest.fixture
def make_recorded_run(tmp_path: Path) -> Callable[..., Path]:
    """`make_recorded_run(name, finished=True, halted=False)`: another run folder beside the
    others.
    """

    def make(name: str, *, finished: bool = True, halted: bool = False) -> Path:
        return build_run(tmp_path / "runs" / name, finished=finished, halted=halted, name=name)

    return make
