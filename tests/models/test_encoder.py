"""Embeddings that do not depend on company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restaudit.errors import BadInput
from restaudit.models import encoder as module
from restaudit.models.encoder import load_encoder

TEXTS = [
    "a quiet film",
    "",
    "wonderful music and brave performances",
    "dull",
    "a quiet film",
    "the plot is a mess",
]


def test_vectors_have_length_one_and_the_order_of_the_texts(tiny_encoder: Path) -> None:
    encoder = load_encoder(tiny_encoder)
    vectors = encoder.embed(TEXTS)
    assert vectors.shape == (6, 32)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert (vectors[0] == vectors[4]).all()


def test_a_vector_is_the_same_bit_for_bit_whatever_is_embedded_beside_it(
    tiny_encoder: Path,
) -> None:
    together = load_encoder(tiny_encoder).embed(TEXTS)
    alone = [load_encoder(tiny_encoder).embed([t])[0] for t in TEXTS]
    assert np.array_equal(together, np.stack(alone))
    many = load_encoder(tiny_encoder).embed([f"film number {i}" for i in range(200)] + TEXTS[::-1])
    assert np.array_equal(many[-6:][::-1], together)


def test_pooling_is_the_mean_over_all_tokens(tiny_encoder: Path) -> None:
    import torch

    encoder = load_encoder(tiny_encoder)
    inputs = encoder.tokenizer("a quiet film", return_tensors="pt")
    with torch.inference_mode():
        mean = encoder.model(**inputs).last_hidden_state[0].mean(0)
    expected = (mean / mean.norm()).numpy()
    assert encoder.embed(["a quiet film"])[0] == pytest.approx(expected, abs=1e-5)


def test_cut_texts_are_counted_once_each(tiny_encoder: Path) -> None:
    encoder = load_encoder(tiny_encoder, max_tokens=8)
    long = "film " * 50
    vectors = encoder.embed([long, "film", long])
    assert encoder.truncated == 1
    assert np.isfinite(vectors).all()
    encoder.embed([long])
    assert encoder.truncated == 1


def test_vectors_are_remembered_up_to_the_stated_bound(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHE_BYTES", 3 * 4 * 32)
    encoder = load_encoder(tiny_encoder)
    first = encoder.embed(TEXTS)
    assert len(encoder._known) == 3
    assert np.array_equal(encoder.embed(TEXTS), first)


def test_no_text_gives_an_empty_array(tiny_encoder: Path) -> None:
    assert load_encoder(tiny_encoder).embed([]).shape == (0, 32)


def test_a_decoder_works_and_an_empty_text_is_its_first_special_token(tiny_policy: Path) -> None:
    vectors = load_encoder(tiny_policy).embed(["", "a film"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_value_that_is_not_text_is_named(tiny_encoder: Path) -> None:
    odd: list[Any] = ["film", None]
    with pytest.raises(BadInput, match=r"text 1 .* None"):
        load_encoder(tiny_encoder).embed(odd)


def test_max_tokens_over_the_limit_of_the_encoder_is_refused_with_the_limit(
    tiny_encoder: Path,
) -> None:
    with pytest.raises(BadInput, match="at most 128"):
        load_encoder(tiny_encoder, max_tokens=129)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not an encoder"):
        load_encoder(tmp_path)


def test_a_checkpoint_that_lacks_encoder_weights_is_refused(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny_encoder, broken)
    weights = load_file(broken / "model.safetensors")
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match="lacks weights"):
        load_encoder(broken)


def test_weights_that_give_nan_are_a_clear_stop(tiny_encoder: Path) -> None:
    encoder = load_encoder(tiny_encoder)
    encoder.model.embeddings.word_embeddings.weight.data.fill_(float("nan"))
    with pytest.raises(BadInput, match="not finite"):
        encoder.embed(["film"])
