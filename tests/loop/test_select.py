"""The kept set is what Algorithm 1 says: strictly above τ, this Grow's rows only, D filtered like
the rest.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restaudit.config import LoopConfig
from restaudit.config.loop import apply_method
from restaudit.errors import BadInput
from restaudit.loop.select import kept_set, learned_weights, thresholds


def grow(rewards, prompts=None, origin="policy"):
    n = len(rewards)
    return pd.DataFrame(
        {
            "sample_id": [f"s{k:03d}" for k in range(n)],
            "prompt_id": prompts or ["p"] * n,
            "reward_01": np.asarray(rewards, dtype=float),
            "origin": origin,
        }
    )


def loop(kind, values=None, improve_steps=1, **more):
    more_thresholds = {k: more.pop(k) for k in ("per", "keep") if k in more}
    t = {"kind": kind, **({"values": values} if values is not None else {}), **more_thresholds}
    return LoopConfig.model_validate({"improve_steps": improve_steps, "thresholds": t, **more})


def kept(config, table, improve=1):
    return kept_set(config, table, improve)["sample_id"].tolist()


def test_a_reward_equal_to_the_threshold_is_not_kept():
    assert kept(loop("fixed", [0.5]), grow([0.5, 0.5000001, 0.4])) == ["s001"]


def test_the_first_fixed_threshold_of_zero_keeps_every_positive_reward():
    config = LoopConfig.model_validate({"improve_steps": 6, "thresholds": {"kind": "fixed"}})
    assert config.thresholds.values == (0.0, 0.7, 0.8, 0.9, 0.95, 0.99)
    assert len(kept(config, grow([0.1, 0.2, 0.999]), 1)) == 3
    assert kept(config, grow([0.1, 0.2, 0.999]), 6) == ["s002"]


def test_the_last_percentile_is_reached():
    table = grow(np.linspace(0, 1, 101))
    config = loop("percentile", [50, 70, 90], improve_steps=3)
    assert [len(kept(config, table, i)) for i in (1, 2, 3)] == [50, 30, 10]


def test_percentiles_per_prompt_ignore_other_prompts():
    table = grow([0.1, 0.2, 0.3, 0.7, 0.8, 0.9], ["a"] * 3 + ["b"] * 3)
    assert kept(loop("percentile", [50], per="prompt"), table) == ["s002", "s005"]
    assert kept(loop("percentile", [50], per="all"), table) == ["s003", "s004", "s005"]


def test_per_prompt_thresholds_are_not_clipped_by_other_prompts():
    low = [0.1, 0.2, 0.3]
    alone = thresholds(loop("interpolated", [0.5]).thresholds, grow(low), 1)
    beside = thresholds(
        loop("interpolated", [0.5]).thresholds, grow([*low, 5.0, 6.0], ["p"] * 3 + ["q"] * 2), 1
    )
    assert alone.tolist() == beside[:3].tolist() == pytest.approx([0.25] * 3)


def test_interpolation_runs_from_the_mean_to_the_maximum():
    table = grow([0.0, 0.5, 1.0])
    assert thresholds(loop("interpolated", [0.0]).thresholds, table, 1)[0] == pytest.approx(0.5)
    assert thresholds(loop("interpolated", [1.0]).thresholds, table, 1)[0] == pytest.approx(1.0)


def test_rows_of_d_are_filtered_by_the_threshold_too():
    table = pd.concat(
        [grow([0.2, 0.9]), grow([0.1, 0.8], origin="reference").assign(sample_id=["r0", "r1"])]
    )
    assert kept(loop("fixed", [0.5]), table.reset_index(drop=True)) == ["s001", "r1"]


def test_raft_keeps_the_best_of_each_prompt_and_one_of_equals():
    raw = apply_method({"loop": {"method": "raft"}})["loop"]
    config = LoopConfig.model_validate(raw)
    table = grow([0.1, 0.9, 0.9, 0.2, 0.3], ["a"] * 3 + ["b"] * 2)
    assert kept(config, table) == ["s001", "s004"]


def test_rest_em_is_binary_with_at_most_ten_a_prompt():
    config = LoopConfig.model_validate(apply_method({"loop": {"method": "rest_em"}})["loop"])
    assert (config.start_from, config.include_references, config.sampling.top_k) == (
        "base",
        False,
        40,
    )
    table = grow([0.6] * 14 + [0.4] * 3 + [0.9], ["a"] * 17 + ["b"])
    chosen = kept_set(config, table, 1)
    assert len(chosen) == 11
    assert set(chosen["reward_01"]) == {1.0}


def test_under_topr_weights_of_a_prompt_sum_to_zero_and_a_prompt_without_a_contrast_teaches_nothing():
    table = grow([0.1, 0.2, 0.3, 0.9, 0.5, 0.6, 0.1, 0.2], ["p"] * 4 + ["all"] * 2 + ["none"] * 2)
    config = loop("fixed", [0.25], train={"loss": {"kind": "topr"}})
    weights = learned_weights(config, table, kept_set(config, table, 1))
    assert weights.to_dict() == {"s000": -0.5, "s001": -0.5, "s002": 0.5, "s003": 0.5}
    plain = loop("fixed", [0.25])
    assert set(learned_weights(plain, table, kept_set(plain, table, 1))) == {1.0}


def test_under_topr_a_reference_is_learned_and_never_unlearned():
    table = pd.concat(
        [grow([0.1, 0.9]), grow([0.1, 0.9], origin="reference").assign(sample_id=["r0", "r1"])],
        ignore_index=True,
    )
    config = loop("fixed", [0.5], train={"loss": {"kind": "topr"}})
    weights = learned_weights(config, table, kept_set(config, table, 1))
    assert weights.to_dict() == {"s000": -0.5, "s001": 0.5, "r1": 0.5}


def test_thresholds_that_do_not_rise_are_refused():
    with pytest.raises(ValueError, match="must rise"):
        loop("percentile", [70, 70], improve_steps=2)


def test_too_few_thresholds_are_refused():
    with pytest.raises(ValueError, match="one rising value per Improve step"):
        loop("percentile", [70], improve_steps=2)


def test_a_reward_that_is_not_a_number_selects_nothing_and_says_so():
    with pytest.raises(BadInput, match="not numbers"):
        kept_set(loop("fixed", [0.5]), grow([0.1, np.nan]), 1)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40), st.integers(1, 98))
def test_later_improve_steps_keep_a_subset(rewards, low):
    config = loop("percentile", [low, low + 1], improve_steps=2)
    assert set(kept(config, grow(rewards), 2)) <= set(kept(config, grow(rewards), 1))
