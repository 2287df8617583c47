"""Sampling: the same name always draws the same text, whatever the batch; the log-probability is
the model's own.
"""

import sys

import numpy as np
import pytest
import torch

from restaudit.config import PolicyConfig, SamplingConfig
from restaudit.errors import BadInput
from restaudit.policy import SampleRequest, TrainingExample, load_policy, sample
from restaudit.policy.finetune import response_logprobs
from restaudit.policy.model import Policy
from restaudit.policy.packing import branch_rows, collate
from restaudit.policy.sample import uniforms

CONFIG = SamplingConfig(temperature=0.8, top_k=20, max_tokens=12, batch=8)


@pytest.fixture(scope="module")
def policy(tiny_policy) -> Policy:
    return load_policy(
        PolicyConfig(model="tiny", dtype="float32"), tiny_policy, device="cpu", seed=0
    )


def requests(
    policy, prompts=("a quiet film", "the plot", "music and a long line of words here"), n=3
):
    return [
        SampleRequest(
            f"p{k}",
            tuple(policy.prompt_tokens([{"role": "user", "content": p}])),
            tuple(f"p{k}/{j}" for j in range(n)),
        )
        for k, p in enumerate(prompts)
    ]


def tokens(samples):
    return {s.name: s.tokens for s in samples}


def test_the_same_seed_draws_the_same_samples_and_another_seed_does_not(policy):
    one = tokens(sample(policy, requests(policy), CONFIG, seed=1))
    assert one == tokens(sample(policy, requests(policy), CONFIG, seed=1))
    assert one != tokens(sample(policy, requests(policy), CONFIG, seed=2))


@pytest.mark.parametrize("batch", [1, 2, 5, 64])
def test_batch_size_and_order_do_not_change_what_is_drawn(policy, batch):
    wanted = tokens(sample(policy, requests(policy), CONFIG, seed=1))
    small = CONFIG.model_copy(update={"batch": batch})
    assert tokens(sample(policy, list(reversed(requests(policy))), small, seed=1)) == wanted


def test_results_come_in_the_order_asked_for(policy):
    asked = list(reversed(requests(policy)))
    assert [s.name for s in sample(policy, asked, CONFIG, seed=1)] == [
        n for r in asked for n in r.names
    ]


def test_log_probability_is_that_of_the_model_at_temperature_one(policy):
    for s in sample(policy, requests(policy), CONFIG, seed=3):
        prompt = next(r.tokens for r in requests(policy) if r.prompt_id == s.prompt_id)
        batch = collate(branch_rows([TrainingExample(prompt, s.tokens)]), 0, "cpu")
        with torch.no_grad():
            again = response_logprobs(policy.model.get_base_model(), batch).sum()
        assert s.logprob == pytest.approx(float(again), abs=1e-3)


def test_a_finished_response_ends_with_a_stop_token_and_an_unfinished_one_has_none(policy):
    hot = CONFIG.model_copy(update={"max_tokens": 40, "temperature": 8.0, "top_k": 0})
    samples = sample(policy, requests(policy, n=40), hot, seed=4)
    stops = set(policy.stop_tokens)
    assert {s.finished for s in samples} == {True, False}
    for s in samples:
        assert (s.tokens[-1] in stops) == s.finished
        assert not stops & set(s.tokens[:-1])
        assert s.finished or len(s.tokens) == 40


def test_frequencies_follow_the_tempered_top_k_distribution(policy):
    one = CONFIG.model_copy(update={"max_tokens": 1, "top_k": 4, "batch": 4000})
    request = requests(policy, ("a quiet film",), n=4000)
    drawn = np.array([s.tokens[0] for s in sample(policy, request, one, seed=5)])
    with torch.no_grad():
        logits = policy.model(torch.tensor([request[0].tokens])).logits[0, -1]
    best, index = torch.topk(logits, 4)
    expected = torch.softmax(best / 0.8, -1).numpy()
    seen = np.array([(drawn == int(i)).mean() for i in index])
    assert seen.sum() == 1
    assert np.abs(seen - expected).max() < 4 * np.sqrt(0.25 / 4000)


def test_uniforms_depend_on_seed_and_name_only():
    assert (uniforms(1, "a", 5) == uniforms(1, "a", 5)).all()
    assert not (uniforms(1, "a", 5) == uniforms(1, "b", 5)).any()


def test_what_all_prompts_begin_with_is_computed_once_and_changes_nothing(policy, monkeypatch):
    module = sys.modules["restaudit.policy.sample"]
    assert module._common_prefix([r.tokens for r in requests(policy)]) >= 1
    shared = tokens(sample(policy, requests(policy), CONFIG, seed=1))
    monkeypatch.setattr(module, "_common_prefix", lambda _: 0)
    assert tokens(sample(policy, requests(policy), CONFIG, seed=1)) == shared


def test_a_common_prefix_leaves_every_prompt_a_token_of_its_own():
    common = sys.modules["restaudit.policy.sample"]._common_prefix
    assert common([(1, 2, 3), (1, 2, 4)]) == 2
    assert common([(1, 2, 3), (1, 2)]) == 1
    assert common([(1, 2), (1, 2)]) == 1
    assert common([(1,), (2,)]) == 0


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you "
            "tried to …"
        ),
        MemoryError(),
    ],
)
def test_running_out_of_memory_halves_the_batch_says_so_and_draws_the_same(
    policy, monkeypatch, error
):
    wanted = tokens(sample(policy, requests(policy), CONFIG, seed=1))
    module = sys.modules["restaudit.policy.sample"]
    real = module._DRAW_BATCH["shared"]

    def small_memory(settings, model, batch):
        if sum(len(r.names) for r in batch) > 3:
            raise error
        return real(settings, model, batch)

    monkeypatch.setitem(module._DRAW_BATCH, "shared", small_memory)
    notices: list[str] = []
    assert tokens(sample(policy, requests(policy), CONFIG, seed=1, notice=notices.append)) == wanted
    assert notices == ["out of memory while sampling: going on with batches of 4"]


def test_an_error_that_is_not_about_memory_is_not_swallowed(policy, monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes differ")

    module = sys.modules["restaudit.policy.sample"]
    monkeypatch.setitem(module._DRAW_BATCH, "shared", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        sample(policy, requests(policy), CONFIG, seed=1)


def test_a_prompt_that_is_too_long_is_refused_by_its_first_words(tiny_policy):
    short = load_policy(
        PolicyConfig(model="tiny", dtype="float32", max_prompt_tokens=3),
        tiny_policy,
        device="cpu",
        seed=0,
    )
    with pytest.raises(BadInput, match=r"a long prompt.*max_prompt_tokens is 3"):
        short.prompt_tokens([{"role": "user", "content": "a long prompt about nothing"}])
