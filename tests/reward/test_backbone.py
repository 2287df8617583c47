"""Encoders and decoders with a scalar head, full and LoRA: they learn, reload bit for bit, and
disturb nothing.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restaudit.config import BackboneConfig, EnsembleConfig, RowRules, TableSource, TrainedReward
from restaudit.errors import BadInput
from restaudit.reward import build_reward, load_reward
from restaudit.reward.dossier import read_any
from tests.reward.test_trained import pairs, ratings

QUICK = BackboneConfig(learning_rate=3e-3, epochs=6, batch=16, patience=100, rank=8)


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rated") / "ratings.csv"
    wide = (
        ratings(n=300)
        .pivot(index=["item_id", "response"], columns="rater", values="score")
        .reset_index()
    )
    wide.rename(columns={"response": "text"}).drop_duplicates("text").to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compared") / "pairs.jsonl"
    pairs(n=300, prompts=40)[["prompt", "chosen", "rejected"]].to_json(
        path, orient="records", lines=True
    )
    return path


@pytest.fixture(scope="module")
def tiny_decoder(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny_decoder")
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    tokenizer.eos_token, tokenizer.pad_token = "[SEP]", None
    given = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(given).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def config(model: Path, data: Path, **more: Any) -> TrainedReward:
    options = {"rater_columns": ["0", "1", "2", "3"]} if data.suffix == ".csv" else {}
    given = {"ensemble": EnsembleConfig(size=1), "max_tokens": 64, "backbone": QUICK, **more}
    return TrainedReward(
        kind="trained",
        encoder=str(model),
        data=TableSource(source=str(data), options=options),
        **given,
    )


def value(folder: Path, name: str) -> float:
    found = {
        m["name"].removeprefix("validation."): m["value"] for m in read_any(folder)["validation"]
    }
    return float(found[name])


@pytest.mark.parametrize("training", ["full", "lora"])
def test_an_encoder_learns_ratings_in_rating_units_and_reloads_bit_for_bit(
    tiny_encoder: Path, rated: Path, tmp_path: Path, training: str
) -> None:
    given = config(tiny_encoder, rated, training=training, train_raters=(0, 1))
    import sklearn.cluster
    import sklearn.feature_extraction.text
    import sklearn.linear_model  # noqa: F401  the first import of scikit-learn draws a random number itself

    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    built = build_reward(given, tmp_path / "a", rules=RowRules(), device="cpu", seed=1)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index, union-attr]
    assert value(tmp_path / "a", "pearson") > 0.7
    texts = [
        "a wonderful brave film",
        "the plot is a mess and dull",
        "wonderful wonderful",
        "tired mess mess",
        "",
    ]
    scores = built.score([""] * 5, texts)
    assert (
        scores[2] - scores[3] > 2
    )  # the truth differs by 9 rating units: the scale is that of the ratings
    loaded = load_reward(given, tmp_path / "a", device="cpu")
    assert np.array_equal(loaded.score([""] * 5, texts), scores)
    assert np.array_equal(loaded.score([""], texts[1:2])[0], scores[1])
    again = build_reward(given, tmp_path / "b", rules=RowRules(), device="cpu", seed=1)
    assert (tmp_path / "a" / "dossier.json").read_bytes() == (
        tmp_path / "b" / "dossier.json"
    ).read_bytes()
    assert again.digest == built.digest == loaded.digest
    files = {p.name for p in (tmp_path / "a" / "member_0").iterdir()}
    assert ("model.safetensors" in files) == (training == "full")
    assert ("adapter_model.safetensors" in files) == (training == "lora")


@pytest.mark.parametrize("training", ["full", "lora"])
def test_a_decoder_learns_pairs_and_members_differ(
    tiny_decoder: Path, compared: Path, tmp_path: Path, training: str
) -> None:
    given = config(tiny_decoder, compared, training=training, ensemble=EnsembleConfig(size=2))
    built = build_reward(given, tmp_path / "a", rules=RowRules(), device="cpu", seed=1)
    # Chance is 0.5. On Python 3.13 it is 0.75, on 3.11 more.
    assert value(tmp_path / "a", "pair_accuracy") > 0.7
    scores = built.score(["", ""], ["wonderful brave film", "dull mess tired"])
    assert (scores[0] > scores[1]).all()
    assert scores[0, 0] != scores[0, 1]
    facts = read_any(tmp_path / "a")
    assert (facts["training"][0]["trained_parameters"] < facts["encoder"]["parameters"]) == (
        training == "lora"
    )
    assert facts["training"][0]["best_step"] <= facts["training"][0]["steps"]


def test_a_full_member_is_a_reward_model_of_its_own(
    tiny_encoder: Path, rated: Path, tmp_path: Path
) -> None:
    from restaudit.config import HfReward

    built = build_reward(
        config(tiny_encoder, rated, training="full"),
        tmp_path / "a",
        rules=RowRules(),
        device="cpu",
        seed=1,
    )
    published = HfReward(kind="hf", models=(str(tmp_path / "a" / "member_0"),), max_tokens=64)
    other = build_reward(published, tmp_path / "b", rules=RowRules(), device="cpu", seed=0)
    texts = ["a wonderful film", "a mess", "music and plot"]
    one, two = built.score([""] * 3, texts)[:, 0], other.score([""] * 3, texts)[:, 0]
    assert np.corrcoef(one, two)[0, 1] > 0.999999


@pytest.mark.parametrize("training", ["full", "lora"])
def test_changed_weights_and_settings_are_refused(
    tiny_encoder: Path, rated: Path, tmp_path: Path, training: str
) -> None:
    given = config(
        tiny_encoder, rated, training=training, backbone=QUICK.model_copy(update={"epochs": 1})
    )
    build_reward(given, tmp_path / "a", rules=RowRules(), device="cpu", seed=1)
    weights = next((tmp_path / "a" / "member_0").glob("*.safetensors"))
    was = weights.read_bytes()
    raw = bytearray(was)
    raw[-3] ^= 1
    weights.write_bytes(bytes(raw))
    with pytest.raises(BadInput, match="not the one the reward's dossier records"):
        load_reward(given, tmp_path / "a", device="cpu")
    weights.write_bytes(was)
    load_reward(given, tmp_path / "a", device="cpu")
    settings = (
        tmp_path
        / "a"
        / "member_0"
        / ("config.json" if training == "full" else "adapter_config.json")
    )
    changed = {"full": ("layer_norm_eps", 0.5), "lora": ("lora_alpha", 99)}[training]
    settings.write_text(
        json.dumps({**json.loads(settings.read_text("utf-8")), changed[0]: changed[1]}), "utf-8"
    )
    with pytest.raises(BadInput, match="not the one the reward's dossier records"):
        load_reward(given, tmp_path / "a", device="cpu")


def test_a_loss_that_is_no_number_ends_in_one_message(
    tiny_encoder: Path, rated: Path, tmp_path: Path
) -> None:
    # Past what a configuration may ask for: less breaks a small model only sometimes.
    wild = BackboneConfig(epochs=1, batch=16).model_copy(update={"learning_rate": 1e30})
    with pytest.raises(
        BadInput, match=r"not a number at step .* Lower reward\.backbone\.learning_rate"
    ):
        build_reward(
            config(tiny_encoder, rated, training="full", backbone=wild),
            tmp_path / "a",
            rules=RowRules(),
            device="cpu",
            seed=1,
        )


def test_a_folder_without_a_model_that_takes_a_scalar_head_is_refused(
    rated: Path, tmp_path: Path
) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(BadInput, match="no scalar head can be put on it"):
        build_reward(
            config(tmp_path / "nothing", rated, training="full"),
            tmp_path / "a",
            rules=RowRules(),
            device="cpu",
            seed=1,
        )


def test_texts_that_were_cut_are_said(tiny_encoder: Path, rated: Path, tmp_path: Path) -> None:
    given = config(
        tiny_encoder,
        rated,
        training="full",
        max_tokens=6,
        backbone=QUICK.model_copy(update={"epochs": 1}),
    )
    build_reward(given, tmp_path / "a", rules=RowRules(), device="cpu", seed=1)
    assert any("texts fill all 6 tokens" in line for line in read_any(tmp_path / "a")["limits"])
