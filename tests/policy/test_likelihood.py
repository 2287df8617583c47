"""Log-likelihoods of given continuations are the model's own, however they are grouped, and equal
lm-eval's.
"""

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import processors

from restaudit.config import PolicyConfig
from restaudit.errors import BadInput
from restaudit.policy import load_policy
from restaudit.policy.likelihood import loglikelihoods
from restaudit.policy.model import Policy
from restaudit.tasks.harness import policy_model


@pytest.fixture(scope="module")
def policy(tiny_policy) -> Policy:
    policy = load_policy(
        PolicyConfig(model="tiny", dtype="float32"), tiny_policy, device="cpu", seed=0
    )
    for master in policy.masters.values():  # an adapter that does something
        master.add_(torch.randn(master.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
    policy.write_back()
    return policy


def one_by_one(
    policy: Policy, context: tuple[int, ...], continuation: tuple[int, ...]
) -> tuple[float, bool]:
    with policy.inference() as model, torch.inference_mode():
        logits = model(torch.tensor([[*context, *continuation]])).logits[0].double()
    at = logits[len(context) - 1 : -1]
    target = torch.tensor(continuation)
    nats = torch.log_softmax(at, dim=-1)[torch.arange(len(target)), target].sum()
    return float(nats), bool((at.argmax(-1) == target).all())


PAIRS = [
    ((5, 9, 30), (40, 41, 42, 43)),
    ((5, 9, 30), (40, 41, 50)),
    ((5, 9, 30), (40, 41, 42, 60, 61)),
    ((5,), (70, 71, 72, 73, 74, 75, 76, 77)),
    ((5, 9), (100,)),
    ((5, 9), (101,)),
    ((5, 9, 31), (12, 13)),
    ((5, 9, 31), (12, 13)),  # the same twice
]


@pytest.mark.parametrize("forward_tokens", [2048, 20, 1])
def test_a_likelihood_is_that_of_the_whole_continuation_after_its_context(policy, forward_tokens):
    found = loglikelihoods(policy, PAIRS, forward_tokens=forward_tokens)
    for (nats, greedy), pair in zip(found, PAIRS, strict=True):
        wanted, is_greedy = one_by_one(policy, *pair)
        assert nats == pytest.approx(wanted, abs=1e-4)
        assert greedy == is_greedy


def test_what_the_model_would_write_itself_is_greedy_and_nothing_else_is(policy):
    with policy.inference() as model, torch.inference_mode():
        first = int(model(torch.tensor([[5, 9]])).logits[0, -1].argmax())
        second = int(model(torch.tensor([[5, 9, first]])).logits[0, -1].argmax())
    found = loglikelihoods(
        policy, [((5, 9), (first, second)), ((5, 9), (first, (second + 1) % 300))]
    )
    assert [greedy for _, greedy in found] == [True, False]


def test_an_empty_context_or_continuation_is_refused(policy):
    with pytest.raises(ValueError, match="pair 1"):
        loglikelihoods(policy, [((1,), (2,)), ((1,), ())])
    with pytest.raises(ValueError, match="pair 0"):
        loglikelihoods(policy, [((), (2,))])


def test_likelihoods_are_those_of_lm_evals_own_code(policy):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from restaudit.tasks.harness import policy_model, undisturbed

    texts = [
        ("", "The film is good."),
        ("", "The film is bad."),
        ("The plot", " was thin"),
        ("The plot ", "was"),
    ]
    requests = [Instance("loglikelihood", {}, pair, k) for k, pair in enumerate(texts)]
    rolling = [Instance("loglikelihood_rolling", {}, ("A quiet film about the sea. " * 30,), 0)]
    with undisturbed(policy):
        ours = policy_model(policy)
        mine = ours.loglikelihood(requests), ours.loglikelihood_rolling(rolling)
        with policy.inference() as model:
            theirs = HFLM(pretrained=model, tokenizer=policy.tokenizer, batch_size=2)
            wanted = theirs.loglikelihood(requests), theirs.loglikelihood_rolling(rolling)
    for (nats, greedy), (other, is_greedy) in zip(mine[0], wanted[0], strict=True):
        assert nats == pytest.approx(other, abs=1e-3)
        assert greedy == is_greedy
    assert mine[1] == pytest.approx(wanted[1], abs=1e-2)


def instance(*args):
    return Instance(request_type="generate_until", doc={}, arguments=args, idx=0)


def test_greedy_replies_up_to_a_stop_string_are_those_of_lm_eval(tiny_policy):
    policy = load_policy(
        PolicyConfig(model="tiny", dtype="float32"), tiny_policy, device="cpu", seed=0
    )
    ours = policy_model(policy)
    theirs = HFLM(
        pretrained=policy.model.get_base_model(), tokenizer=policy.tokenizer, batch_size=1
    )
    contexts = ["A film about", "Two rival bakers and the last train home", "I"]
    whole = {"until": [], "do_sample": False, "max_gen_toks": 12}
    ends = [ours.generate_until([instance(c, whole)])[0][3:5] or "x" for c in contexts]
    for context, end in zip(contexts, ends, strict=True):
        asked = instance(context, {"until": [end, "\n\n"], "do_sample": False, "max_gen_toks": 12})
        assert ours.generate_until([asked]) == theirs.generate_until([asked], disable_tqdm=True)


def test_a_benchmark_that_samples_is_refused(tiny_policy):
    policy = load_policy(
        PolicyConfig(model="tiny", dtype="float32"), tiny_policy, device="cpu", seed=0
    )
    with pytest.raises(BadInput, match=r"temperature=0\.7.*only greedy decoding"):
        policy_model(policy).generate_until(
            [instance("A", {"until": ["."], "do_sample": True, "temperature": 0.7})]
        )


def test_a_context_is_not_ended_by_a_tokenizer_that_appends_its_end(tiny_policy):
    policy = load_policy(
        PolicyConfig(model="tiny", dtype="float32"), tiny_policy, device="cpu", seed=0
    )
    plain = policy_model(policy).tok_encode("A film")
    end = policy.tokenizer.eos_token_id
    policy.tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", end)]
    )
    assert policy.tokenizer("A film")["input_ids"][-1] == end
    assert policy_model(policy).tok_encode("A film") == plain
