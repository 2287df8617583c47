"""The self-check: every model is computed as it computes itself, by the fastest way that was
proved, or is refused.
"""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks import zoo
from restaudit.config import PolicyConfig, SamplingConfig
from restaudit.config.policy import LoraConfig
from restaudit.errors import BadInput
from restaudit.policy import (
    SampleRequest,
    TrainingExample,
    divergence,
    finetune,
    forward,
    likelihood,
    load_policy,
    sample,
    token_kl,
)
from restaudit.policy.exactness import prove
from restaudit.policy.finetune import training_logprobs
from restaudit.policy.likelihood import loglikelihoods
from restaudit.policy.loading import live_policy

# One architecture for each kind of fault that was seen: what a model does after its last hidden
# state, windows, a bias of the output layer, chunks, states that no cache of ours holds, positions
# from the mask, experts, and two plain ones.
KINDS = [
    "llama",
    "granite",
    "cohere",
    "gemma2",
    "phi",
    "mistral_window",
    "gpt_oss",
    "jamba",
    "mamba",
    "bloom",
    "gpt2",
    "qwen3_moe",
    "rwkv",
]
PROMPTS = (
    "Write one sentence about a film.",
    "Write one sentence about how many apples people of this city have if they buy ten more.",
    "Good.",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    made = {}

    def make(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            zoo.make(name, made[name])
        return made[name]

    return make


def own_logits(model, prompt, response):
    """Log-probabilities by the model's own forward pass, of one sequence alone."""
    ids = torch.tensor([[*prompt, *response]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, -ids.shape[1] :].float()
    return torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1)


def own(model, prompt, response):
    found = own_logits(model, prompt, response)
    return float(found.gather(1, torch.tensor(response)[:, None]).sum())


def requests(policy):
    tokens = [tuple(policy.prompt_tokens([{"role": "user", "content": p}])) for p in PROMPTS]
    return [SampleRequest(str(k), t, (f"{k}/0", f"{k}/1")) for k, t in enumerate(tokens)]


def drawn(policy, seed=0):
    asked = requests(policy)
    config = SamplingConfig(temperature=1.0, top_k=0, max_tokens=12)
    prompts = {r.prompt_id: r.tokens for r in asked}
    return [
        (prompts[s.prompt_id], s.tokens, s.logprob)
        for s in sample(policy, asked, config, seed=seed)
    ]


def train_at_random(policy, size=0.1):
    generator = torch.Generator().manual_seed(5)
    for value in policy.masters.values():
        value.add_(torch.randn(value.shape, generator=generator) * size)
    policy.write_back()


@pytest.mark.parametrize("name", KINDS)
def test_what_is_sampled_learned_and_measured_is_what_the_model_itself_computes(
    name, checkpoint, tmp_path
):
    training = (
        "full" if name == "mamba" else "lora"
    )  # PEFT adapts too little of a Mamba for it to matter
    config = PolicyConfig(model=name, dtype="float32", training=training)
    policy = load_policy(config, checkpoint(name), device="cpu", seed=1)
    base = AutoModelForCausalLM.from_pretrained(checkpoint(name), dtype=torch.float32).eval()
    policy.save(tmp_path / "base")
    train_at_random(policy, 0.1 if training == "lora" else 0.03)
    policy.save(tmp_path / "now")
    rows = drawn(policy)
    examples = [TrainingExample(p, r) for p, r, _ in rows]
    truth = [own(policy.model, p, r) for p, r, _ in rows]
    assert [nats for _, _, nats in rows] == pytest.approx(truth, abs=0.001)
    assert training_logprobs(policy, examples) == pytest.approx(truth, abs=0.001)
    assert [n for n, _ in loglikelihoods(policy, [(p, r) for p, r, _ in rows])] == pytest.approx(
        truth, abs=0.001
    )
    kl = []
    for p, r, _ in rows:
        now, before = own_logits(policy.model, p, r), own_logits(base, p, r)
        kl.append(float((now.exp() * (now - before)).sum()))
    found = token_kl(policy, examples, tmp_path / "base", tmp_path / "now", forward_tokens=512)
    assert [k for k, _ in found] == pytest.approx(kl, abs=0.001)
    assert max(kl) > 0.01, "the trained weights must matter, or nothing was shown"


def test_a_plain_model_is_computed_by_the_fastest_ways_and_the_record_says_how_well_they_agree(
    checkpoint,
):
    policy = load_policy(
        PolicyConfig(model="llama", dtype="float32"), checkpoint("llama"), device="cpu", seed=1
    )
    assert policy.routes == forward.Routes()
    found = policy.exactness.to_json()
    assert found["largest_difference_nats"] < 1e-4 < found["effect_of_changed_weights_nats"]
    assert all(not use["routes_not_taken"] for use in found["uses"].values())


def test_a_window_that_sequences_can_exceed_takes_the_packed_rows_and_says_so(checkpoint):
    policy = load_policy(
        PolicyConfig(model="m", dtype="float32"), checkpoint("mistral_window"), device="cpu", seed=1
    )
    assert policy.routes.sampling.cache == "growing"
    assert not policy.routes.training.packed
    assert any(
        "training" in line and "not" in line and "nats" in line for line in policy.exactness.lines()
    )


@pytest.mark.parametrize("length", [62, 90], ids=["by two tokens", "by many"])
def test_a_window_longer_than_any_sequence_keeps_the_fast_ways_and_is_looked_at_again_when_one_is_longer(
    length, tmp_path
):
    zoo.make("mistral_window", tmp_path)
    config = AutoModelForCausalLM.from_pretrained(tmp_path).config
    config.sliding_window = 60
    config.save_pretrained(tmp_path)
    policy = load_policy(
        PolicyConfig(model="m", dtype="float32", max_prompt_tokens=20),
        tmp_path,
        device="cpu",
        seed=1,
        longest=40,
    )
    assert policy.routes.training.packed
    long = TrainingExample(tuple(range(10, 10 + length - 20)), tuple(range(100, 112)))
    two = [long, TrainingExample(long.prompt, tuple(range(120, 140)))]
    truth = [own(policy.model, e.prompt, e.response) for e in two]
    assert training_logprobs(policy, two) == pytest.approx(truth, abs=0.001)
    assert not policy.routes.training.packed


def test_weights_modes_and_random_numbers_are_what_they_were(checkpoint):
    policy = load_policy(
        PolicyConfig(model="llama", dtype="float32"), checkpoint("llama"), device="cpu", seed=1
    )
    policy.model.train()
    before = {k: v.clone() for k, v in policy.model.state_dict().items()}
    state = torch.random.get_rng_state()
    prove(policy, longest=64)
    assert policy.model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in policy.model.state_dict().items())


def test_a_model_in_bfloat16_is_checked_in_float32_and_is_in_bfloat16_afterwards(checkpoint):
    policy = load_policy(
        PolicyConfig(model="llama", dtype="bfloat16"), checkpoint("llama"), device="cpu", seed=1
    )
    assert policy.exactness.dtype == "float32"
    assert {p.dtype for p in policy.model.parameters()} == {torch.bfloat16}


# --- planted faults


def plant_scale(monkeypatch):
    """The logits of the fast path are a hundredth too large."""
    real = forward._forward

    def wrong(model, choose, *, head, **inputs):
        return real(model, choose, head=head, **inputs) * (1.01 if head else 1)

    monkeypatch.setattr(forward, "_forward", wrong)


def plant_bias(monkeypatch):
    """A bias of the output layer is forgotten by the fast path."""
    real = forward._forward

    def wrong(model, choose, *, head, **inputs):
        logits = real(model, choose, head=head, **inputs)
        layer = model.get_output_embeddings()
        return logits - layer.bias if head and layer.bias is not None else logits

    monkeypatch.setattr(forward, "_forward", wrong)


def plant_window(monkeypatch):
    """Packed rows see no further back than four tokens."""
    from restaudit.policy import packing

    real = packing.collate

    def wrong(rows, pad, device, *, packed=True):
        batch = real(rows, pad, device, packed=packed)
        if packed:
            mask = batch.inputs["attention_mask"]
            near = torch.ones(mask.shape[-2:], dtype=torch.bool).triu(-4)
            batch.inputs["attention_mask"] = mask & near
        return batch

    for module in (finetune, likelihood, divergence):
        monkeypatch.setattr(module, "collate", wrong)


def plant_leak(monkeypatch):
    """Responses in one packed row see one another."""
    from restaudit.policy import packing

    real = packing.collate

    def wrong(rows, pad, device, *, packed=True):
        batch = real(rows, pad, device, packed=packed)
        if packed:
            size = batch.inputs["attention_mask"].shape[-1]
            batch.inputs["attention_mask"] = torch.ones(
                len(rows), 1, size, size, dtype=torch.bool
            ).tril()
        return batch

    for module in (finetune, likelihood):
        monkeypatch.setattr(module, "collate", wrong)


def plant_delta(monkeypatch):
    """Merging leaves the adapter out: the base model is sampled."""
    import contextlib

    from restaudit.policy import model as policy_model

    @contextlib.contextmanager
    def wrong(model):
        with model.disable_adapter():
            yield model

    monkeypatch.setattr(policy_model, "merged_weights", wrong)


def plant_prefix(monkeypatch):
    """The common beginning of prompts is forgotten by the mask."""
    import sys

    module = sys.modules["restaudit.policy.sample"]
    real = module.last_logits

    def wrong(model, **inputs):
        if "attention_mask" in inputs:
            inputs["attention_mask"] = inputs["attention_mask"].clone()
            inputs["attention_mask"][:, :2] = 0
        return real(model, **inputs)

    monkeypatch.setattr(module, "last_logits", wrong)


@pytest.mark.parametrize(
    ("plant", "name", "caught"),
    [
        (plant_scale, "llama", {"sampling", "training", "likelihood", "kl"}),
        (plant_bias, "phi", {"sampling", "training", "likelihood", "kl"}),
        (plant_window, "llama", {"training", "likelihood", "kl"}),
        (plant_leak, "llama", {"training", "likelihood"}),
        (plant_delta, "llama", {"sampling", "likelihood", "kl"}),
        (plant_prefix, "llama", {"sampling"}),
    ],
)
def test_a_planted_fault_in_a_fast_path_is_caught_and_the_path_is_not_taken(
    plant, name, caught, checkpoint, monkeypatch
):
    plant(monkeypatch)
    policy = load_policy(
        PolicyConfig(model=name, dtype="float32"), checkpoint(name), device="cpu", seed=1
    )
    uses = policy.exactness.uses
    assert {use for use, proof in uses.items() if proof.refused} == caught
    rows = drawn(policy)
    assert [n for *_, n in rows] == pytest.approx(
        [own(policy.model, p, r) for p, r, _ in rows], abs=0.001
    )


def test_a_model_that_no_way_computes_exactly_is_refused_by_name_with_the_figure(
    checkpoint, monkeypatch
):
    import sys

    module = sys.modules["restaudit.policy.sample"]
    real = module._draw

    def wrong(logits, uniform, config, scratch):
        token, gain = real(logits, uniform, config, scratch)
        return token, gain - 0.5

    monkeypatch.setattr(module, "_draw", wrong)
    with pytest.raises(BadInput, match=r"(?s)my-model: refused.*sampling.*2 nats over 4 tokens"):
        load_policy(
            PolicyConfig(model="my-model", dtype="float32"),
            checkpoint("llama"),
            device="cpu",
            seed=1,
        )


def test_running_out_of_memory_in_the_check_is_not_taken_for_an_answer(checkpoint, monkeypatch):
    from restaudit.policy import exactness

    def full(*_, **__):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(exactness, "training_logprobs", full)
    with pytest.raises(RuntimeError, match="out of memory"):
        load_policy(
            PolicyConfig(model="llama", dtype="float32"), checkpoint("llama"), device="cpu", seed=1
        )


# --- adapters

VARIANTS = [
    "lora_named",
    "dora",
    "lora_bias",
    "prefix_tuning",
    "prompt_tuning",
    "ia3",
    "lora_second",
    "lora_packed_uint8",
]


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")  # PEFT, of a layer without a bias
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_adapter_in_somebody_elses_trainer_is_audited_as_it_computes(variant, checkpoint):
    model = zoo.adapted(variant, checkpoint(zoo.BASES.get(variant, "llama"))).eval()
    zoo.perturb(model, seed=2)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint("llama"))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    policy = live_policy(model, tokenizer, PolicyConfig(model="theirs"), keep="none")
    rows = drawn(policy)
    assert [n for *_, n in rows] == pytest.approx([own(model, p, r) for p, r, _ in rows], abs=0.001)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_lora_on_an_output_layer_tied_to_the_embedding_is_not_merged(checkpoint):
    config = PolicyConfig(
        model="t", dtype="float32", lora=LoraConfig(targets=("q_proj", "lm_head"))
    )
    policy = load_policy(config, checkpoint("llama_tied"), device="cpu", seed=1)
    assert "tied" in policy.exactness.unmergeable
    train_at_random(policy)
    rows = drawn(policy)
    assert [n for *_, n in rows] == pytest.approx(
        [own(policy.model, p, r) for p, r, _ in rows], abs=0.001
    )


def test_a_module_that_is_not_there_to_adapt_is_refused_with_those_that_are(checkpoint):
    config = PolicyConfig(model="t", dtype="float32", lora=LoraConfig(targets=("q_proj", "query")))
    with pytest.raises(BadInput, match=r"query.*q_proj"):
        load_policy(config, checkpoint("llama"), device="cpu", seed=1)


def test_experts_that_lora_leaves_alone_are_named_and_are_adapted_when_they_are_named(checkpoint):
    plain = load_policy(
        PolicyConfig(model="m", dtype="float32"), checkpoint("qwen3_moe"), device="cpu", seed=1
    )
    left = plain.facts()["lora"]["not_adapted"]
    assert any("experts" in name and "reason" in row for name, row in left.items())
    assert any("LoRA does not adapt experts" in line for line in plain.remarks())
    lora = LoraConfig(targets=("q_proj",), parameters=("mlp.experts.gate_up_proj",))
    named = load_policy(
        PolicyConfig(model="m", dtype="float32", lora=lora),
        checkpoint("qwen3_moe"),
        device="cpu",
        seed=1,
    )
    assert "gate_up_proj" in named.facts()["lora"]["adapted"]
    train_at_random(named)
    rows = drawn(named)
    assert [n for *_, n in rows] == pytest.approx(
        [own(named.model, p, r) for p, r, _ in rows], abs=0.001
    )


def test_a_tokenizer_with_more_tokens_than_the_model_has_embeddings_is_refused(tmp_path):
    zoo.make("llama", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens([f"<extra{k}>" for k in range(zoo.VOCABULARY)])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=r"no embedding for.*<extra"):
        load_policy(PolicyConfig(model="m", dtype="float32"), tmp_path, device="cpu", seed=1)


def test_attention_that_a_model_does_not_have_is_refused_and_auto_takes_what_it_has(checkpoint):
    config = PolicyConfig(model="m", dtype="float32", attn_implementation="flash_attention_2")
    with pytest.raises(BadInput, match=r"(?i)flash"):
        load_policy(config, checkpoint("llama"), device="cpu", seed=1)
    eager = load_policy(
        PolicyConfig(model="m", dtype="float32", attn_implementation="eager"),
        checkpoint("llama"),
        device="cpu",
        seed=1,
    )
    assert eager.model.config._attn_implementation == "eager"
