"""Fine-tuning: it learns what it is given, exactly the same way twice, and stops clearly when the
loss breaks.
"""

import math

import pytest
import torch

from restaudit.config import (
    BcLoss,
    GoldLoss,
    LoraConfig,
    PolicyConfig,
    SamplingConfig,
    ToprLoss,
    TrainConfig,
)
from restaudit.errors import BadInput
from restaudit.policy import (
    SampleRequest,
    TrainingExample,
    fine_tune,
    load_policy,
    sample,
    token_kl,
)
from restaudit.policy.finetune import (
    TrainingDiverged,
    _forward_groups,
    _schedule,
    behaviour_cloning,
    gold,
    make_loss,
    response_logprobs,
    topr,
)
from restaudit.policy.packing import branch_rows, collate

CONFIG = TrainConfig(batch=4, forward_tokens=64)
EXAMPLES = [TrainingExample((10 + k % 3, 11, 12), (40 + k % 3, 41, 42, 2)) for k in range(12)]


def fresh(path, training="lora", **more):
    return load_policy(
        PolicyConfig(model="tiny", dtype="float32", training=training, **more),
        path,
        device="cpu",
        seed=0,
    )


def train(policy, *, epochs=3, rate=1e-2, config=CONFIG, seed=1):
    return [
        r
        for log in fine_tune(policy, EXAMPLES, config, learning_rate=rate, epochs=epochs, seed=seed)
        for r in log
    ]


@pytest.mark.parametrize("training", ["lora", "full"])
@pytest.mark.parametrize("loss", [BcLoss(), GoldLoss(kind="gold", floor=0.5)])
def test_what_is_trained_on_becomes_likelier(tiny_policy, training, loss):
    policy = fresh(tiny_policy, training)

    def nll():
        model = policy.model.get_base_model() if training == "lora" else policy.model
        with torch.no_grad():
            return -float(response_logprobs(model, collate(branch_rows(EXAMPLES), 0, "cpu")).mean())

    before = nll()
    train(policy, epochs=8, config=CONFIG.model_copy(update={"loss": loss}))
    assert nll() < 0.8 * before


def test_the_same_seed_trains_the_same_weights_bit_for_bit(tiny_policy):
    one, two = fresh(tiny_policy), fresh(tiny_policy)
    torch.rand(7)  # the global generator's position must not matter
    assert train(one) == train(two)
    assert all(torch.equal(one.masters[n], two.masters[n]) for n in one.masters)


def test_training_leaves_the_global_generator_where_it_was(tiny_policy):
    policy = fresh(tiny_policy)
    before = torch.random.get_rng_state()
    train(policy, epochs=1)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("training", ["lora", "full"])
def test_saved_weights_come_back_exactly(tiny_policy, tmp_path, training):
    policy = fresh(tiny_policy, training)
    train(policy, epochs=1)
    policy.save(tmp_path / "a")
    wanted = {n: v.clone() for n, v in policy.masters.items()}
    policy.become(None)
    assert any(not torch.equal(wanted[n], policy.masters[n]) for n in wanted)
    policy.become(tmp_path / "a")
    assert all(torch.equal(wanted[n], policy.masters[n]) for n in wanted)


def test_weights_of_another_adapter_are_refused(tiny_policy, tmp_path):
    fresh(tiny_policy, lora=LoraConfig(targets=("q_proj",))).save(tmp_path / "a")
    with pytest.raises(BadInput, match="do not belong to this policy"):
        fresh(tiny_policy).become(tmp_path / "a")


def test_merging_for_sampling_changes_no_weight_of_the_checkpoint(tiny_policy):
    policy = fresh(tiny_policy)
    train(policy)
    before = {n: p.clone() for n, p in policy.model.named_parameters()}
    ids = torch.tensor([[10, 11, 12, 40]])
    with torch.no_grad():
        unmerged = policy.model(ids).logits
        with policy.inference() as model:
            merged = model(ids).logits
    torch.testing.assert_close(merged, unmerged, atol=1e-4, rtol=1e-3)
    assert all(torch.equal(before[n], p) for n, p in policy.model.named_parameters())


def test_an_infinite_loss_stops_with_the_rate_to_lower(tiny_policy):
    with pytest.raises(TrainingDiverged, match=r"lower loop.train.learning_rate"):
        train(
            fresh(tiny_policy),
            epochs=30,
            rate=1e30,
            config=CONFIG.model_copy(update={"max_grad_norm": 1e30}),
        )


def test_kl_is_zero_at_the_base_and_grows_with_training(tiny_policy, tmp_path):
    policy = fresh(tiny_policy)
    policy.save(tmp_path / "base")
    train(policy, epochs=1)
    policy.save(tmp_path / "one")
    train(policy, epochs=5)
    policy.save(tmp_path / "six")

    def kl(current):
        return sum(
            v
            for v, _ in token_kl(policy, EXAMPLES[:3], None, tmp_path / current, forward_tokens=64)
        )

    assert kl("base") == pytest.approx(0, abs=1e-5)
    assert 0 < kl("one") < kl("six")


def test_token_kl_is_the_sum_over_the_vocabulary(tiny_policy, tmp_path):
    policy = fresh(tiny_policy)
    e = EXAMPLES[0]
    ids = torch.tensor([[*e.prompt, *e.response]])
    with torch.no_grad():
        q = torch.log_softmax(policy.model(ids).logits[0, len(e.prompt) - 1 : -1], -1)
    train(policy, epochs=2)
    policy.save(tmp_path / "a")
    with torch.no_grad(), policy.inference() as model:
        p = torch.log_softmax(model(ids).logits[0, len(e.prompt) - 1 : -1], -1)
    expected = float((p.exp() * (p - q)).sum())
    assert token_kl(policy, [e], None, tmp_path / "a", forward_tokens=64) == [
        (pytest.approx(expected, rel=1e-3), 4)
    ]


def test_gold_with_a_floor_of_one_and_a_certain_future_is_weighted_by_that_future():
    logp = torch.log(torch.tensor([0.5, 0.5, 0.25, 1.0]))
    sequence = torch.tensor([0, 0, 1, 1])
    loss = gold(logp, sequence, window=2, floor=0.999999)
    future = torch.tensor([0.5, 0.5, 0.625, 1.0])
    torch.testing.assert_close(loss, -logp * torch.tensor([0.999999] * 3 + [1.0]) * future)


def test_gold_gives_no_gradient_through_its_weights():
    logp = torch.log(torch.tensor([0.5, 0.2])).requires_grad_()
    gold(logp, torch.tensor([0, 0]), window=5, floor=0.1).sum().backward()
    torch.testing.assert_close(logp.grad, -torch.tensor([0.5, 0.2]) * torch.tensor([0.35, 0.2]))


def test_bc_is_the_negative_log_likelihood():
    logp = torch.tensor([-1.0, -2.0])
    assert make_loss(BcLoss()) is behaviour_cloning
    assert behaviour_cloning(logp, None).tolist() == [1.0, 2.0]


def test_topr_learns_what_is_above_and_unlearns_the_rest_less_the_rarer_it_has_become():
    logp = torch.tensor([-1.0, -2.0, -1.0, -0.5, -4.0]).requires_grad_()
    sequence, weight = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0.75, -0.25, -0.25])
    topr(logp, sequence, weight, torch.tensor([-9.0, -2.0, -1.5])).sum().backward()
    # Above: in full, however likely it has become. Then: now likelier than when it was drawn, at
    # most once. Last: e^-3.
    expected = [-0.75, -0.75, 0.25, 0.25 * math.exp(-3), 0.25 * math.exp(-3)]
    torch.testing.assert_close(logp.grad, torch.tensor(expected))


def test_topr_makes_likely_what_is_above_and_rare_what_is_not(tiny_policy):
    policy = fresh(tiny_policy)
    model, prompt = policy.model.get_base_model(), (10, 11, 12)
    above, below = (40, 41, 42, 2), (50, 51, 52, 2)

    def nats():
        with torch.no_grad():
            rows = collate(
                branch_rows([TrainingExample(prompt, r) for r in (above, below)]), 0, "cpu"
            )
            return response_logprobs(model, rows).reshape(2, 4).sum(1).tolist()

    before = nats()
    rows = [
        TrainingExample(prompt, above, 0.5, before[0]),
        TrainingExample(prompt, below, -0.5, before[1]),
    ] * 4
    config = CONFIG.model_copy(update={"loss": ToprLoss(kind="topr")})
    for _ in fine_tune(policy, rows, config, learning_rate=1e-2, epochs=6, seed=0):
        pass
    after = nats()
    assert after[0] > before[0] + 1
    assert after[1] < before[1] - 0.5


def test_the_rate_warms_up_and_falls_to_almost_zero():
    rates = [_schedule(k, 20, 0.1) for k in range(20)]
    assert rates[0] == 0.5
    assert max(rates) == 1.0
    assert rates[-1] < 0.06
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_a_forward_pass_stays_within_its_token_budget():
    rows = branch_rows([TrainingExample((k,) * (5 + k % 7), (1,) * (3 + k % 5)) for k in range(40)])
    groups = list(_forward_groups(rows, 48))
    assert sum(len(g) for g in groups) == len(rows)
    assert all(len(g) * max(r.length for r in g) <= 48 for g in groups)


def test_a_model_that_learned_one_answer_samples_it(tiny_policy):
    policy = fresh(tiny_policy)
    prompt = (10, 11, 12)
    only = [TrainingExample(prompt, (40, 41, 42, policy.stop_tokens[0]))] * 8
    for _ in fine_tune(policy, only, CONFIG, learning_rate=3e-2, epochs=25, seed=0):
        pass
    drawn = sample(
        policy,
        [SampleRequest("p", prompt, tuple(f"p/{k}" for k in range(8)))],
        SamplingConfig(max_tokens=8, top_k=0, temperature=0.5),
        seed=1,
    )
    assert sum(s.tokens == only[0].response for s in drawn) >= 6
