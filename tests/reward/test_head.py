"""The trained part alone: planted functions are recovered, and every number can be had again."""

from __future__ import annotations

import numpy as np
import pytest

from restaudit.config import HeadConfig
from restaudit.errors import BadInput
from restaudit.reward.head import Problem, predict, train_members

HEAD = HeadConfig(hidden=0, learning_rate=0.02, weight_decay=0, epochs=80, batch=32)


def linear_problem(n: int = 400, pairs_of: bool = False) -> tuple[Problem, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 8)).astype(np.float32)
    truth = x @ np.arange(8) / 4 + 1.5
    if not pairs_of:
        return Problem(
            x, np.arange(n), None, truth.astype(np.float64), np.arange(n), np.ones(n)
        ), truth
    left, right = rng.integers(n, size=(2, 3 * n))
    share = 1 / (1 + np.exp(-(truth[left] - truth[right])))
    return Problem(x, left, right, share, np.arange(3 * n), np.ones(3 * n)), truth


def split(problem: Problem) -> tuple[Problem, Problem]:
    rows = np.arange(len(problem.target))
    return problem.take(rows[rows % 5 != 0]), problem.take(rows[rows % 5 == 0])


def test_a_linear_rating_is_recovered_in_rating_units() -> None:
    problem, truth = linear_problem()
    (head,) = train_members(*split(problem), HEAD, members=1, seed=0)
    assert predict(head.weights, problem.features) == pytest.approx(truth, abs=0.05)


def test_bradley_terry_recovers_differences_and_is_centred() -> None:
    problem, truth = linear_problem(pairs_of=True)
    (head,) = train_members(*split(problem), HEAD, members=1, seed=0)
    found = predict(head.weights, problem.features)
    seen = np.unique(
        np.concatenate([problem.left[problem.unit % 5 != 0], problem.right[problem.unit % 5 != 0]])
    )
    assert found[seen].mean() == pytest.approx(0, abs=1e-5)
    assert found - found.mean() == pytest.approx(truth - truth.mean(), abs=0.15)


@pytest.mark.parametrize("hidden", [0, 16])
def test_a_seed_gives_the_same_weights_bit_for_bit_and_members_differ(hidden: int) -> None:
    problem, _ = linear_problem()
    settings = HEAD.model_copy(update={"hidden": hidden, "epochs": 5})
    one, again = (train_members(*split(problem), settings, members=2, seed=4) for _ in range(2))
    other = train_members(*split(problem), settings, members=2, seed=5)
    for a, b in zip(one, again, strict=True):
        assert all((a.weights[k] == b.weights[k]).all() for k in a.weights)
    assert (one[0].weights["out.weight"] != one[1].weights["out.weight"]).any()
    assert (one[0].weights["out.weight"] != other[0].weights["out.weight"]).any()


def test_training_leaves_the_global_random_state_alone() -> None:
    import torch

    problem, _ = linear_problem()
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    train_members(*split(problem), HEAD.model_copy(update={"epochs": 2}), members=2, seed=0)
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()


def test_training_stops_when_the_stop_split_no_longer_gains_and_keeps_the_best_epoch() -> None:
    rng = np.random.default_rng(0)
    noise = Problem(
        rng.normal(size=(60, 30)).astype(np.float32),
        np.arange(60),
        None,
        rng.normal(size=60),
        np.arange(60),
        np.ones(60),
    )
    settings = HeadConfig(hidden=64, learning_rate=0.01, epochs=300, batch=16, patience=4)
    (head,) = train_members(*split(noise), settings, members=1, seed=0)
    assert head.epochs == head.best_epoch + 4


def test_a_loss_that_is_not_a_number_is_a_clear_stop() -> None:
    problem, _ = linear_problem()
    target = problem.target.copy()
    target[7] = np.nan
    broken = Problem(problem.features, problem.left, None, target, problem.unit, problem.weight)
    with pytest.raises(BadInput, match=r"member 0: the loss became nan in epoch 1.*learning_rate"):
        train_members(*split(broken), HEAD, members=1, seed=0)


def test_a_rows_score_does_not_depend_on_the_rows_beside_it() -> None:
    problem, _ = linear_problem(n=600)
    (head,) = train_members(
        *split(problem), HEAD.model_copy(update={"hidden": 16}), members=1, seed=0
    )
    together = predict(head.weights, problem.features)
    assert predict(head.weights, problem.features[313:314])[0] == together[313]
