"""Sequence-classification models as the reward: scored in any order alike, and refused where they
have no head.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from restaudit.config import HfReward, RowRules
from restaudit.errors import BadInput
from restaudit.reward import Reward, build_reward, load_reward

PROMPTS = ["a film about a violin", "", "a film about a violin", "music"]
RESPONSES = [
    "wonderful music",
    "dull",
    "wonderful music",
    "the plot is a mess, the jokes are tired",
]


def classifier(encoder: Path, out: Path, *, labels: int, seed: int) -> Path:
    """A tiny BERT with a classification head, beside the tiny encoder's tokenizer."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    config = BertConfig.from_pretrained(encoder, num_labels=labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
        model.classifier.weight.data.normal_()
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def models(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("classifiers")
    return (
        classifier(tiny_encoder, folder / "one", labels=1, seed=1),
        classifier(tiny_encoder, folder / "three", labels=3, seed=2),
    )


def config(*folders: Path, **more: object) -> HfReward:
    return HfReward.model_validate(
        {"kind": "hf", "models": [str(f) for f in folders], "max_tokens": 64, **more}
    )


def build(given: HfReward, out: Path) -> Reward:
    return build_reward(given, out, rules=RowRules(), device="cpu", seed=0)


def test_each_model_is_a_member_and_reads_prompt_and_response_as_a_pair(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    import torch

    reward = build(config(*models), tmp_path)
    scores = reward.score(PROMPTS, RESPONSES)
    assert scores.shape == (4, 2)
    assert (scores[0] == scores[2]).all()
    one = reward.classifiers[0]  # type: ignore[attr-defined]
    with torch.inference_mode():
        expected = (
            one.model(**one.tokenizer(PROMPTS[3], RESPONSES[3], return_tensors="pt"))
            .logits[0, 0]
            .item()
        )
    assert scores[3, 0] == pytest.approx(expected, abs=1e-6)


def test_the_label_chooses_the_logit(models: tuple[Path, Path], tmp_path: Path) -> None:
    scores = [
        build(config(models[1], label=k), tmp_path / str(k)).score(PROMPTS, RESPONSES)
        for k in (0, 2)
    ]
    assert (scores[0] != scores[1]).any()


def test_it_reloads_to_the_same_scores_and_refuses_other_weights(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    given = config(models[0])
    built = build(given, tmp_path)
    loaded = load_reward(given, tmp_path, device="cpu")
    assert loaded.digest == built.digest
    assert np.array_equal(loaded.score(PROMPTS, RESPONSES), built.score(PROMPTS, RESPONSES))
    facts = json.loads((tmp_path / "dossier.json").read_text(encoding="utf-8"))
    assert facts["models"][0]["architecture"] == "BertForSequenceClassification"
    assert facts["data"] == facts["validation"] == facts["models"][0]["licence"] == "MISSING"
    with pytest.raises(BadInput, match=r"reward model .* is not the one"):
        load_reward(config(models[1]), tmp_path, device="cpu")
    with pytest.raises(BadInput, match="names 2 models; the dossier records 1"):
        load_reward(config(*models), tmp_path, device="cpu")
    with pytest.raises(BadInput, match="how the reward models are read"):
        load_reward(config(models[0], max_tokens=32), tmp_path, device="cpu")


def test_a_model_without_a_trained_head_is_refused(
    tiny_encoder: Path, tiny_policy: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        BadInput, match=r"no trained weights for classifier\.bias, classifier\.weight"
    ):
        build(config(tiny_encoder), tmp_path)
    with pytest.raises(BadInput, match=r"no trained weights for score\.weight"):
        build(config(tiny_policy), tmp_path)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a sequence-classification model"):
        build(config(tmp_path), tmp_path / "out")


def test_a_label_the_model_does_not_have_is_refused(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"reward\.label is 3, but the model has labels 0 to 2"):
        build(config(models[1], label=3), tmp_path)


def test_more_tokens_than_the_model_reads_are_refused(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="at most 128"):
        build(config(models[0], max_tokens=512), tmp_path)


def test_chat_without_a_template_is_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"reward\.chat is true"):
        build(config(models[0], chat=True), tmp_path)


def test_a_long_text_is_cut_and_a_logit_of_nan_names_the_row(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    reward = build(config(models[0], max_tokens=8), tmp_path)
    assert np.isfinite(reward.score(["film " * 90], ["music " * 90])).all()
    reward.classifiers[0].model.classifier.weight.data.fill_(float("nan"))  # type: ignore[attr-defined]
    with pytest.raises(BadInput, match=r"gave nan for row 0 \('wonderful music'"):
        reward.score(PROMPTS, RESPONSES)


@pytest.mark.parametrize("pad", [True, False])
def test_a_decoder_with_a_chat_template_scores_its_last_token(
    tiny_policy: Path, tmp_path: Path, pad: bool
) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    settings = LlamaConfig.from_pretrained(tiny_policy, num_labels=1)
    if not pad:
        settings.pad_token_id = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForSequenceClassification(settings)
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny_policy).save_pretrained(tmp_path / "model")
    reward = build(config(tmp_path / "model", chat=True, max_tokens=128), tmp_path / "out")
    scores = reward.score(PROMPTS, RESPONSES)
    alone = [reward.score([p], [r])[0, 0] for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    assert scores[:, 0] == pytest.approx(alone, abs=1e-5)
    one = reward.classifiers[0]  # type: ignore[attr-defined]
    text = f"<|user|>{PROMPTS[0]}</s><|assistant|>{RESPONSES[0]}</s>"
    ids = one.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        last = one.model.score(one.model.model(input_ids=ids).last_hidden_state[0, -1])
    assert scores[0, 0] == pytest.approx(last.item(), abs=1e-5)
