"""Loading other people's models: what a digest covers, what is never run, and adapters merged into
their bases.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import zoo
from benchmarks.fuzz_models import write_gguf
from restaudit.config import HfReward, PolicyConfig, RowRules
from restaudit.errors import BadInput
from restaudit.models.artifacts import resolve
from restaudit.models.encoder import load_encoder
from restaudit.models.own_code import refuse_own_code
from restaudit.models.pretrained import put_adapter, read_model, read_tokenizer
from restaudit.reward import Reward, build_reward, load_reward

TEXTS = ["wonderful music", "dull", "the plot is a mess, the jokes are tired"]
IDS = [[5, 17, 33, 80, 120, 6, 44, 210, 9, 71]]


def copied(folder: Path, out: Path) -> Path:
    shutil.copytree(folder, out)
    return out


def adapter(base: Path, out: Path, kind: str = "causal", **settings: Any) -> Path:
    """A LoRA adapter of a base, as PEFT saves it, whose weights do something."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    loader, task, targets = {
        "causal": ("AutoModelForCausalLM", "CAUSAL_LM", ["q_proj", "v_proj"]),
        "classifier": ("AutoModelForSequenceClassification", "SEQ_CLS", ["query", "value"]),
        "encoder": ("AutoModel", "FEATURE_EXTRACTION", ["query", "value"]),
    }[kind]
    labels = {"num_labels": 3} if kind == "classifier" else {}
    given = {"r": 2, "target_modules": targets, "task_type": task, **settings}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of tied weights
        torch.manual_seed(0)
        model = get_peft_model(
            getattr(transformers, loader).from_pretrained(base, **labels), LoraConfig(**given)
        )
        for p in (p for p in model.parameters() if p.requires_grad):
            p.data += 0.3 * torch.randn(p.shape)
        model.save_pretrained(out)
    return out


def nudge(folder: Path, weight: str, file: str = "model.safetensors") -> None:
    """Change one weight that a folder holds."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / file)
    tensors[weight] = tensors[weight] + 0.5
    save_file(tensors, folder / file, {"format": "pt"})


def edit(file: Path, **changes: Any) -> None:
    """Change what a JSON file says; a change to None takes the key out."""
    found = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    file.write_text(json.dumps({k: v for k, v in found.items() if v is not None}), encoding="utf-8")


def logits(model: Any) -> np.ndarray:
    import torch

    with torch.inference_mode():
        out = model(input_ids=torch.tensor(IDS))
    return np.asarray((out.logits if "logits" in out else out.last_hidden_state).float())


def peft_alone(base: Path, folder: Path, loader: str, **settings: Any) -> Any:
    """What PEFT itself computes, with the adapter beside its base."""
    import transformers
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, loader).from_pretrained(base, **settings)
        return PeftModel.from_pretrained(model, folder).eval()


def float32() -> Any:
    import torch

    return torch.float32


def reward(folder: Path, out: Path) -> Reward:
    given = HfReward.model_validate({"kind": "hf", "models": [str(folder)], "max_tokens": 64})
    return build_reward(given, out, rules=RowRules(), device="cpu", seed=0)


# --- what a digest covers


def test_a_reward_adapter_s_base_is_in_its_digest_and_a_changed_one_is_not_loaded(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    base = copied(tiny_encoder, tmp_path / "base")
    folder = adapter(base, tmp_path / "adapter", "classifier")
    given = HfReward.model_validate({"kind": "hf", "models": [str(folder)], "max_tokens": 64})
    built = build_reward(given, tmp_path / "out", rules=RowRules(), device="cpu", seed=0)
    facts = json.loads((tmp_path / "out" / "dossier.json").read_text(encoding="utf-8"))["models"][0]
    before = resolve(str(folder))
    assert before.base is not None
    assert (facts["sha256"], facts["base"]["sha256"]) == (before.sha256, before.base.sha256)
    again = load_reward(given, tmp_path / "out", device="cpu")
    assert np.array_equal(again.score([""] * 3, TEXTS), built.score([""] * 3, TEXTS))

    nudge(base, "embeddings.word_embeddings.weight")
    assert resolve(str(folder)).sha256 != before.sha256
    with pytest.raises(
        BadInput, match=r"reward model .* is not the one the reward's dossier records"
    ):
        load_reward(given, tmp_path / "out", device="cpu")


def test_a_policy_adapter_s_pin_covers_its_base(tiny_policy: Path, tmp_path: Path) -> None:
    base = copied(tiny_policy, tmp_path / "base")
    folder = adapter(base, tmp_path / "adapter")
    config = PolicyConfig(model=str(folder), sha256=resolve(str(folder)).sha256)
    assert resolve(config.model, sha256=config.sha256).sha256 == config.sha256
    nudge(base, "model.embed_tokens.weight")
    with pytest.raises(BadInput, match="sha256 differs"):
        resolve(config.model, sha256=config.sha256)


@pytest.mark.parametrize("training", ["head", "lora"])
def test_a_trained_reward_on_an_adapter_refuses_another_base(
    tiny_encoder: Path, tmp_path: Path, training: str
) -> None:
    from restaudit.config import (
        BackboneConfig,
        EnsembleConfig,
        HeadConfig,
        TableSource,
        TrainedReward,
    )
    from tests.reward.test_trained import ratings

    wide = (
        ratings(n=120)
        .pivot(index=["item_id", "response"], columns="rater", values="score")
        .reset_index()
    )
    table = wide.rename(columns={"response": "text"}).drop_duplicates("text")
    table.to_csv(tmp_path / "ratings.csv", index=False)
    base = copied(tiny_encoder, tmp_path / "base")
    given = TrainedReward(
        kind="trained",
        encoder=str(adapter(base, tmp_path / "adapter", "encoder")),
        data=TableSource(
            source=str(tmp_path / "ratings.csv"), options={"rater_columns": ["0", "1", "2", "3"]}
        ),
        training=training,  # type: ignore[arg-type]
        ensemble=EnsembleConfig(size=1),
        max_tokens=64,
        head=HeadConfig(epochs=1),
        backbone=BackboneConfig(epochs=1, batch=64, rank=2),
    )
    built = build_reward(given, tmp_path / "out", rules=RowRules(), device="cpu", seed=0)
    loaded = load_reward(given, tmp_path / "out", device="cpu")
    assert np.array_equal(loaded.score([""] * 3, TEXTS), built.score([""] * 3, TEXTS))
    nudge(base, "embeddings.word_embeddings.weight")
    with pytest.raises(
        BadInput, match=r"the encoder .* is not the one the reward's dossier records"
    ):
        load_reward(given, tmp_path / "out", device="cpu")


def test_the_base_is_the_one_that_was_digested_wherever_the_program_runs(
    tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is a folder beside the adapter; transformers would take the one below the working
    directory.
    """
    folder = adapter(tiny_policy, tmp_path / "adapter")
    copied(tiny_policy, folder / "models" / "base")
    edit(folder / "adapter_config.json", base_model_name_or_path="models/base")
    other = copied(tiny_policy, tmp_path / "elsewhere" / "models" / "base")
    nudge(other, "model.embed_tokens.weight")
    monkeypatch.chdir(tmp_path / "elsewhere")
    model, _ = read_model("causal", folder, "policy", dtype=float32())
    expected = peft_alone(folder / "models" / "base", folder, "AutoModelForCausalLM")
    assert logits(model) == pytest.approx(logits(expected), abs=1e-4)


def test_weights_that_an_index_finds_elsewhere_are_refused(
    tiny_policy: Path, tmp_path: Path
) -> None:
    folder = copied(tiny_policy, tmp_path / "model")
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(BadInput, match="not in its folder"):
        read_model("causal", folder, "policy", dtype=float32())


def test_a_gguf_is_read_without_the_files_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    zoo.make("llama", tmp_path / "base")
    write_gguf(tmp_path / "base", tmp_path / "model.gguf")
    (tmp_path / "generation_config.json").write_text("{}", encoding="utf-8")
    seen = []

    def loader(where: str, **settings: Any) -> Any:
        seen.append(([p.name for p in Path(where).iterdir()], settings))
        raise ValueError("no more")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", loader)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", loader)
    for path, more in ((tmp_path / "model.gguf", {}), (tmp_path, {"gguf_file": "model.gguf"})):
        with pytest.raises(BadInput, match=r"policy: not a causal language model .*no more"):
            read_model("causal", path, "policy", dtype=float32(), **more)
    with pytest.raises(BadInput, match="policy: not a model with a tokenizer: no more"):
        read_tokenizer(tmp_path / "model.gguf", "policy")
    assert [names for names, _ in seen] == [["model.gguf"]] * 3
    assert all(s["gguf_file"] == "model.gguf" and s["trust_remote_code"] is False for _, s in seen)


# --- code and pickles


def with_code(folder: Path, out: Path) -> Path:
    copied(folder, out)
    (out / "modeling_mine.py").write_text("raise SystemExit('this ran')\n", encoding="utf-8")
    return out


def test_a_folder_with_code_is_refused_as_tokenizer_model_reward_and_encoder(
    tiny_policy: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    policy, encoder = (
        with_code(tiny_policy, tmp_path / "policy"),
        with_code(tiny_encoder, tmp_path / "encoder"),
    )
    refused: list[Callable[[], object]] = [
        lambda: read_tokenizer(policy, "policy"),
        lambda: read_model("causal", policy, "policy", dtype=float32()),
        lambda: read_model("classifier", encoder, "policy", dtype=float32()),
        lambda: reward(encoder, tmp_path / "out"),
        lambda: load_encoder(encoder),
    ]
    for load in refused:
        with pytest.raises(BadInput) as e:
            load()
        said = str(e.value)
        assert (
            "code of its own (modeling_mine.py); restaudit never runs code from a model's folder"
            in said
        )
        assert "it would run with your rights" in said
        assert "delete these files" in said


def test_code_in_the_base_of_an_adapter_is_refused(tiny_policy: Path, tmp_path: Path) -> None:
    base = copied(tiny_policy, tmp_path / "base")
    folder = adapter(base, tmp_path / "adapter")
    (base / "custom.py").write_text("", encoding="utf-8")
    for load in (
        lambda: read_tokenizer(folder, "policy"),
        lambda: read_model("causal", folder, "policy", dtype=None),
    ):
        with pytest.raises(BadInput, match=r"base holds code of its own \(custom\.py\)"):
            load()


def test_a_type_that_is_nothing_without_code_is_refused_and_a_known_one_loads_without_it(
    tiny_policy: Path, tmp_path: Path
) -> None:
    folder = copied(tiny_policy, tmp_path / "model")
    own = {
        "AutoModelForCausalLM": "org/code--modeling_mine.Mine",
        "AutoConfig": "org/code--modeling_mine.Config",
    }
    edit(folder / "config.json", auto_map=own)
    edit(
        folder / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["org/code--tokens.Mine", None]},
    )
    model, _ = read_model("causal", folder, "policy", dtype=float32())
    assert type(model).__name__ == "LlamaForCausalLM"
    assert read_tokenizer(folder, "policy")("a film")["input_ids"]
    edit(folder / "config.json", model_type="mine")
    for load in (
        lambda: read_model("causal", folder, "policy", dtype=None),
        lambda: read_tokenizer(folder, "policy"),
    ):
        with pytest.raises(
            BadInput,
            match="type 'mine', which transformers does not know; restaudit never runs code",
        ):
            load()


def test_attention_from_a_repository_is_code_too(tiny_policy: Path, tmp_path: Path) -> None:
    folder = copied(tiny_policy, tmp_path / "model")
    edit(folder / "config.json", attn_implementation="someone/fast-attention")
    with pytest.raises(BadInput, match=r"would fetch \(someone/fast-attention\)"):
        refuse_own_code(folder, "policy")


def test_pickles_are_not_loaded(tiny_policy: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    policy, encoder = (
        copied(tiny_policy, tmp_path / "policy"),
        copied(tiny_encoder, tmp_path / "encoder"),
    )
    folder = adapter(tiny_policy, tmp_path / "adapter")
    for model in (policy, encoder):
        (model / "model.safetensors").rename(model / "pytorch_model.bin")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    for path, name in ((policy, "pytorch_model"), (folder, "adapter_model")):
        with pytest.raises(BadInput, match=rf"are pickles \({name}\.bin\), which can run code"):
            read_model("causal", path, "policy", dtype=float32())
    with pytest.raises(BadInput, match="are pickles"):
        reward(encoder, tmp_path / "out")
    with pytest.raises(BadInput, match="are pickles"):
        load_encoder(encoder)


# --- adapters


def test_a_classifier_adapter_scores_as_peft_s_own_model_does(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    """Its head has three labels and is the adapter's own: the base is an encoder without any."""
    folder = adapter(tiny_encoder, tmp_path / "adapter", "classifier")
    model, loading = read_model("classifier", folder, "reward", dtype=float32())
    assert not loading["missing_keys"]
    assert (type(model).__name__, model.config.num_labels) == ("BertForSequenceClassification", 3)
    assert all(p.requires_grad for p in model.parameters())
    expected = logits(
        peft_alone(tiny_encoder, folder, "AutoModelForSequenceClassification", num_labels=3)
    )
    assert logits(model) == pytest.approx(expected, abs=1e-5)
    assert reward(folder, tmp_path / "out").score([""], TEXTS[:1]).shape == (1, 1)


def test_a_head_that_neither_base_nor_adapter_has_is_missing(
    tiny_policy: Path, tmp_path: Path
) -> None:
    folder = adapter(tiny_policy, tmp_path / "adapter")
    _, loading = read_model("classifier", folder, "reward", dtype=float32())
    assert loading["missing_keys"] == ["score.weight"]
    with pytest.raises(BadInput, match=r"no trained weights for score\.weight"):
        reward(folder, tmp_path / "out")


def test_an_encoder_is_what_lies_below_the_head_of_an_adapter(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    for kind, loader, more in (
        ("encoder", "AutoModel", {}),
        ("classifier", "AutoModelForSequenceClassification", {"num_labels": 3}),
    ):
        folder = adapter(tiny_encoder, tmp_path / kind, kind)
        expected = peft_alone(tiny_encoder, folder, loader, **more).get_base_model()
        expected = expected if kind == "encoder" else expected.bert
        encoder = load_encoder(folder)
        assert logits(encoder.model) == pytest.approx(logits(expected), abs=1e-5)
        assert encoder.embed(TEXTS).shape == (3, 32)


def test_an_adapter_s_own_tokenizer_comes_before_its_base_s(
    tiny_policy: Path, tmp_path: Path
) -> None:
    folder = adapter(tiny_policy, tmp_path / "adapter")
    plain = read_tokenizer(folder, "policy")
    assert (
        plain("a film")["input_ids"] == read_tokenizer(tiny_policy, "policy")("a film")["input_ids"]
    )
    plain.add_tokens(["a film"])
    plain.save_pretrained(folder)
    assert len(read_tokenizer(folder, "policy")("a film")["input_ids"]) == 1


def test_an_adapter_of_an_adapter_is_put_on_both(tiny_policy: Path, tmp_path: Path) -> None:
    inner = adapter(tiny_policy, tmp_path / "inner")
    whole, _ = read_model("causal", inner, "policy", dtype=float32())
    whole.save_pretrained(tmp_path / "whole")
    outer = adapter(tmp_path / "whole", tmp_path / "outer", target_modules=["o_proj"])
    expected = logits(peft_alone(tmp_path / "whole", outer, "AutoModelForCausalLM"))
    edit(outer / "adapter_config.json", base_model_name_or_path="../inner")
    model, _ = read_model("causal", outer, "policy", dtype=float32())
    assert logits(model) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"use_rslora": True, "modules_to_save": ["norm"]},
        {"bias": "lora_only", "lora_bias": True},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["lm_head", "v_proj"]},
        {"trainable_token_indices": [5, 17]},
    ],
    ids=["dora", "norms", "bias", "tied-embedding", "tied-head", "tokens"],
)
def test_adapters_of_many_kinds_are_merged_into_what_peft_computes(
    tiny_policy: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = adapter(tiny_policy, tmp_path / "adapter", **settings)
    model, _ = read_model("causal", folder, "policy", dtype=float32())
    assert logits(model) == pytest.approx(
        logits(peft_alone(tiny_policy, folder, "AutoModelForCausalLM")), abs=1e-4
    )
    assert not hasattr(model, "peft_config")
    assert not any("lora" in name for name, _ in model.named_modules())


def test_merged_weights_are_rounded_once(tiny_policy: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    half = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    folder = adapter(tmp_path / "half", tmp_path / "adapter")
    exact = dict(read_model("causal", folder, "policy", dtype=torch.float32)[0].named_parameters())
    model, _ = read_model("causal", folder, "policy", dtype="auto", attn_implementation="eager")
    assert model.config._attn_implementation == "eager"
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32
    for name, p in model.named_parameters():
        assert p.dtype == torch.bfloat16
        assert torch.equal(p, exact[name].to(torch.bfloat16)), name


def test_what_merging_would_change_is_refused_by_name(tiny_policy: Path, tmp_path: Path) -> None:
    activated = adapter(tiny_policy, tmp_path / "activated", alora_invocation_tokens=[3])
    with pytest.raises(
        BadInput, match=r"cannot be merged into its base model \(aLoRA .*give a whole model"
    ):
        read_model("causal", activated, "policy", dtype=float32())
    repeated = adapter(tiny_policy, tmp_path / "repeated", layer_replication=[[0, 2], [1, 2]])
    with pytest.raises(BadInput, match=r"cannot be merged into its base model \("):
        read_model("causal", repeated, "policy", dtype=float32())


def test_virtual_tokens_are_refused_by_name(tiny_policy: Path, tmp_path: Path) -> None:
    from peft import PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    how = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_policy), how).save_pretrained(
        tmp_path / "adapter"
    )
    with pytest.raises(
        BadInput,
        match=r"is of the type PROMPT_TUNING, which adds virtual tokens .*train an adapter",
    ):
        read_model("causal", tmp_path / "adapter", "policy", dtype=float32())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "NEWLORA"}, "type NEWLORA, which this version of PEFT does not know"),
        ({"peft_type": "XLORA"}, "loads models or code from elsewhere"),
        ({"lora_of_tomorrow": 3}, r"would leave out \(lora_of_tomorrow\)"),
        (
            {"target_modules": ["q_proj", "v_proj", "o_proj"]},
            "has none for .*o_proj.*save the adapter again",
        ),
        ({"target_modules": ["q_proj"]}, r"there is no place in it for .*v_proj\.lora_A"),
    ],
)
def test_an_adapter_that_peft_would_load_in_part_is_refused(
    tiny_policy: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = adapter(tiny_policy, tmp_path / "adapter")
    edit(folder / "adapter_config.json", **changes)
    with pytest.raises(BadInput, match=f"^policy: .*{message}"):
        read_model("causal", folder, "policy", dtype=float32())
    if "target_modules" in changes:
        model, _ = read_model("causal", tiny_policy, "policy", dtype=float32())
        with pytest.raises(BadInput, match=message):
            put_adapter(model, folder, "policy")


def test_an_adapter_of_another_model_and_one_without_weights_are_refused(
    tiny_policy: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    folder = adapter(tiny_encoder, tmp_path / "adapter", "encoder")
    with pytest.raises(BadInput, match="does not fit its base model"):
        read_model("causal", folder, "policy", dtype=float32(), base=tiny_policy)
    (folder / "adapter_model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(BadInput, match=r"adapter_model\.safetensors: ends inside its header"):
        read_model("encoder", folder, "encoder", dtype=float32())
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"has no weights \(adapter_model\.safetensors\)"):
        read_model("encoder", folder, "encoder", dtype=float32())
