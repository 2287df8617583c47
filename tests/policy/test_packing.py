"""Branches share a prompt without seeing each other, and only response tokens are targets."""

import pytest
import torch

from restaudit.config import PolicyConfig
from restaudit.policy import Policy, load_policy
from restaudit.policy.finetune import response_logprobs
from restaudit.policy.packing import TrainingExample, branch_rows, collate

EXAMPLES = [
    TrainingExample((5, 6, 7, 8), (20, 21, 22)),
    TrainingExample((5, 6, 7, 8), (30, 31)),
    TrainingExample((9, 10), (40, 41, 42, 43, 2)),
    TrainingExample((5, 6, 7, 8), (50,)),
]


@pytest.fixture(scope="module")
def policy(tiny_policy) -> Policy:
    return load_policy(
        PolicyConfig(model="tiny", dtype="float32"), tiny_policy, device="cpu", seed=0
    )


def test_a_prompt_appears_once_with_all_its_responses():
    rows = branch_rows(EXAMPLES)
    assert [len(r.responses) for r in rows] == [3, 1]
    assert rows[0].length == 4 + 3 + 2 + 1


def test_only_response_tokens_are_targets():
    batch = collate(branch_rows(EXAMPLES), 0, "cpu")
    assert batch.targets.tolist() == [20, 21, 22, 30, 31, 50, 40, 41, 42, 43, 2]
    assert batch.sequence.tolist() == [0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 3]


def test_packed_rows_give_the_log_probabilities_of_separate_sequences(policy):
    model = policy.model.get_base_model()
    with torch.no_grad():
        packed = response_logprobs(model, collate(branch_rows(EXAMPLES), 0, "cpu"))
        plain = []
        for e in (EXAMPLES[0], EXAMPLES[1], EXAMPLES[3], EXAMPLES[2]):
            ids = torch.tensor([[*e.prompt, *e.response]])
            logp = torch.log_softmax(model(ids).logits[0].float(), -1)
            plain += [logp[len(e.prompt) - 1 + k, t] for k, t in enumerate(e.response)]
    torch.testing.assert_close(packed, torch.stack(plain), atol=1e-5, rtol=1e-4)


def test_packed_rows_give_the_gradient_of_separate_sequences(policy):
    model = policy.model.get_base_model()
    name, weight = next((n, p) for n, p in policy.model.named_parameters() if "lora_B" in n)

    def gradient(groups):
        weight.grad = None
        for group in groups:
            (-response_logprobs(model, collate(branch_rows(group), 0, "cpu")).sum()).backward()
        return weight.grad.clone()

    torch.testing.assert_close(
        gradient([EXAMPLES]), gradient([[e] for e in EXAMPLES]), atol=1e-5, rtol=1e-3
    )
    weight.grad = None


def test_a_changed_prompt_token_does_not_become_a_target(policy):
    other = TrainingExample((11, 12, 13, 14), EXAMPLES[0].response)
    a = collate(branch_rows([EXAMPLES[0]]), 0, "cpu")
    b = collate(branch_rows([other]), 0, "cpu")
    assert a.targets.tolist() == b.targets.tolist()
    assert len(a.targets) == len(EXAMPLES[0].response)
