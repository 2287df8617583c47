"""Raters of unequal quality: their errors are found, their targets are better than the plain mean,
ties say nothing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from restaudit.errors import BadInput
from restaudit.reward.examples import examples, rated, voted
from tests.reward.test_trained import pairs, ratings

NOISE = {"a": 0.2, "b": 0.3, "c": 2.0, "d": 2.5}
BIAS = {"a": 0.5, "b": -0.5, "c": 0.0, "d": 0.0}
ACCURACY = {"a": 0.95, "b": 0.9, "c": 0.55, "d": 0.5, "e": 0.52}


def scores(items: int = 600, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(seed)
    truth = pd.Series(rng.normal(size=items), [f"i{k}" for k in range(items)])
    rows = [
        (i, r, t + BIAS[r] + NOISE[r] * rng.normal())
        for i, t in truth.items()
        for r in rng.permutation(list(NOISE))[:3]
    ]
    return pd.DataFrame(rows, columns=["item_id", "rater", "score"]), truth


def votes(items: int = 600, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(seed)
    truth = pd.Series(rng.integers(2, size=items).astype(float), [f"i{k}" for k in range(items)])
    rows = [
        (i, r, t if rng.random() < a else 1 - t)
        for i, t in truth.items()
        for r, a in ACCURACY.items()
    ]
    return pd.DataFrame(rows, columns=["item_id", "rater", "vote"]), truth


def test_noise_and_bias_of_every_rater_are_found() -> None:
    found = {r["rater"]: r for r in rated(scores()[0]).raters}
    for rater, noise in NOISE.items():
        assert found[rater]["noise_sd"] == pytest.approx(noise, abs=0.25)
        assert found[rater]["bias"] == pytest.approx(BIAS[rater], abs=0.2)


def test_precise_raters_count_for_more_than_in_the_mean() -> None:
    table, truth = scores()
    panel, mean = rated(table), table.groupby("item_id")["score"].mean()
    error = {
        name: float(((t - truth) ** 2).mean())
        for name, t in (("model", panel.target), ("mean", mean))
    }
    assert error["model"] < 0.4 * error["mean"]
    assert panel.weight.mean() == pytest.approx(1)
    both = table[table["rater"].isin(["a", "b"])].groupby("item_id").size()
    assert (
        panel.weight[both[both == 2].index].mean()
        > 1.02 * panel.weight[both[both == 1].index].mean()
    )


def test_a_rater_who_agrees_perfectly_does_not_take_over() -> None:
    table, _ = scores()
    copied = table[table["rater"] == "a"].assign(rater="z")
    found = {r["rater"]: r for r in rated(pd.concat([table, copied])).raters}
    assert found["z"]["noise_sd"] > 0.05


def test_the_accuracy_of_every_voter_is_found_and_careless_ones_do_not_outvote_careful_ones() -> (
    None
):
    table, truth = votes()
    panel = voted(table)
    found = {r["rater"]: r["accuracy"] for r in panel.raters}
    for rater, accuracy in ACCURACY.items():
        assert found[rater] == pytest.approx(accuracy, abs=0.06)
    majority = table.groupby("item_id")["vote"].mean().reindex(truth.index)
    wrong = {
        n: float(((t > 0.5) != (truth > 0.5)).mean())
        for n, t in (("model", panel.target), ("most", majority))
    }
    assert wrong["model"] < 0.6 * wrong["most"]


def test_reliability_needs_names_and_shared_items() -> None:
    table, _ = scores(items=20)
    with pytest.raises(BadInput, match="needs a named rater"):
        rated(table.assign(rater=None))
    with pytest.raises(BadInput, match="items that several raters judged; use mean"):
        rated(table.drop_duplicates("item_id"))
    with pytest.raises(BadInput, match="pairs that several raters judged; use mean"):
        voted(votes(items=20)[0].drop_duplicates("item_id"))


def test_examples_take_the_rater_model_and_record_what_it_found() -> None:
    plain, modelled = (
        examples("pairs", pairs(raters=3)),
        examples("pairs", pairs(raters=3), rater_model="reliability"),
    )
    assert plain.panel == ()
    assert [r["rater"] for r in modelled.panel] == ["0", "1", "2"]
    assert (
        modelled.panel[1]["accuracy"] < 0.1 < 0.9 < modelled.panel[0]["accuracy"]
    )  # rater 1 says the opposite
    assert (plain.table["target"].between(0.3, 0.7)).all()
    assert ((modelled.table["target"] - 0.5).abs() > 0.45).all()
    assert examples("ratings", ratings(), rater_model="reliability").table[
        "weight"
    ].mean() == pytest.approx(1, abs=0.1)


def test_a_tie_is_half_a_vote_for_each_side_and_decides_nothing() -> None:
    table = pairs(raters=1).drop(columns="tied")
    tied = table.assign(rater="9", tied=True)
    data = examples("pairs", pd.concat([table.assign(tied=False), tied]))
    assert set(data.table["target"]) == {0.25, 0.75}
    assert data.table["agreement"].isna().all()  # one decided vote each
    only = examples("pairs", table.assign(tied=table.index % 2 == 0))
    assert set(only.table["judged"]) == {0.0, 0.5, 1.0}
