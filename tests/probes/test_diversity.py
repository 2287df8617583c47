"""What the diversity probe finds in texts whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from probes import Evidence, Measurement
from probes.diversity import probe as diversity

Make = Callable[..., Evidence]

OPENINGS = ("this film is a fine", "the movie is not very", "i think that this is")
COMPARED = (
    "distinct_2_ratio",
    "across_prompts_distinct_2_ratio",
    "vendi_ratio",
    "across_prompts_ratio",
    "self_bleu_change",
    "compression_ratio_ratio",
    "duplicates_change",
    "mode_share_change",
    "within_prompt_ratio",
    "within_prompt_distinct_2_ratio",
    "within_prompt_self_bleu_change",
    "good_distinct_2_ratio",
    "good_vendi_ratio",
    "effective_vendi_ratio",
    "entropy_change",
)


def policy(
    seed: int,
    *,
    prompts: int = 24,
    per_prompt: int = 2,
    vocabulary: int = 300,
    copies: float = 0.03,
    opening: float = 0.3,
    nats: float = 2.0,
    better: float = 0.0,
) -> pd.DataFrame:
    """Texts with topics that belong to the prompts, common openings, copies of one text, rewards
    and log-probs.
    """
    rng, of_prompts = np.random.default_rng(seed), np.random.default_rng(77)
    p = 1 / np.arange(1, vocabulary + 1)
    rows = []
    for i in range(prompts):
        topic = of_prompts.integers(300, 500, size=6)
        for k in range(per_prompt):
            n = int(rng.integers(14, 24))
            words = np.where(
                rng.random(n) < 0.25, rng.choice(topic, n), rng.choice(vocabulary, n, p=p / p.sum())
            )
            text = " ".join(f"w{w}" for w in words)
            if rng.random() < opening:
                text = f"{OPENINGS[rng.choice(3, p=[0.6, 0.3, 0.1])]} {text}"
            if rng.random() < copies:
                text = "A fine film with a fine cast."
            logprob = -(n + 4) * (nats + 0.3 * rng.normal())
            rows.append(
                {
                    "prompt_id": f"p{i:03d}",
                    "sample_id": f"p{i:03d}/{k}",
                    "text": text,
                    "n_tokens": n + 4,
                    "reward": rng.normal() + better,
                    "logprob": logprob,
                }
            )
    return pd.DataFrame(rows)


def measured(
    make: Make, outputs: pd.DataFrame, base: pd.DataFrame | None, **more: Any
) -> dict[str, Measurement]:
    given = {"embed": embedding(make), "resamples": 300, "levels": (0.95,), **more}
    found = diversity.run(Evidence(outputs=outputs, base=base, **given))
    return {m.name.removeprefix("diversity."): m for m in found}


@lru_cache
def embedding(make: Make) -> Any:
    return make().embed


def test_two_samples_of_one_policy_differ_in_nothing_about_95_times_in_100(
    make_evidence: Make,
) -> None:
    hits: dict[str, list[bool]] = {name: [] for name in COMPARED}
    only = frozenset(f"diversity.{name}" for name in COMPARED)
    for seed in range(16):
        found = measured(
            make_evidence, policy(2 * seed), policy(2 * seed + 1), seed=seed, only=only
        )
        for name in COMPARED:
            interval = found[name].interval()
            assert interval is not None, f"{name}: {found[name].reason}"
            hits[name].append(
                interval.low <= (0.0 if name.endswith("_change") else 1.0) <= interval.high
            )
    assert {name: sum(h) for name, h in hits.items() if sum(h) < 12} == {}
    assert np.mean([h for hit in hits.values() for h in hit]) > 0.9


def test_a_collapsed_policy_is_found_by_every_comparison(make_evidence: Make) -> None:
    collapsed = policy(1, vocabulary=12, copies=0.6, opening=0.9, nats=0.7, better=2.0)
    found = measured(make_evidence, collapsed, policy(2))
    lower_is_worse = [n for n in COMPARED if found[n].direction == "higher"]
    # Among all good texts it loses less, for it has about twice as many of them; and the words that
    # the two texts of a prompt share are mostly the prompt's own, which it has kept.
    for name in set(lower_is_worse) - {"effective_vendi_ratio", "within_prompt_ratio"}:
        assert found[name].interval().high < (0.0 if name.endswith("_change") else 1.0), name
    for name in set(COMPARED) - set(lower_is_worse):
        assert found[name].interval().low > 0, name
    assert found["effective_vendi_ratio"].value > found["good_vendi_ratio"].value
    assert found["mode_share"].detail["commonest_opening"] in (*OPENINGS, "a fine film with a")


def test_sameness_within_prompts_alone_leaves_the_variety_across_prompts(
    make_evidence: Make,
) -> None:
    base = policy(4)
    first = base.groupby("prompt_id")["text"].transform("first")
    found = measured(make_evidence, base.assign(text=first), base)
    assert found["within_prompt_ratio"].value == pytest.approx(0, abs=1e-6)
    assert found["within_prompt_self_bleu"].value == pytest.approx(100)
    assert found["within_prompt_distinct_2"].value < 0.6
    assert found["across_prompts_ratio"].value == pytest.approx(1, abs=0.05)
    assert found["self_bleu_change"].value == pytest.approx(0, abs=4)
    assert found["across_prompts_distinct_2_ratio"].value == pytest.approx(1, abs=0.05)
    assert found["duplicates"].value >= 0.5


def test_sameness_across_prompts_alone_leaves_the_variety_within_prompts(
    make_evidence: Make,
) -> None:
    base = policy(5)
    two = (
        base["sample_id"]
        .str[-1]
        .map({"0": "One fine film it is", "1": "Some other bad plot there was"})
    )
    found = measured(make_evidence, base.assign(text=two), base)
    assert found["within_prompt_self_bleu"].value < 10
    assert found["self_bleu"].value == pytest.approx(100)
    assert found["across_prompts_distinct_2"].value == pytest.approx(1 / 24, abs=0.01)


def test_no_copy_on_either_side_still_has_an_interval_about_no_change(make_evidence: Make) -> None:
    found = measured(make_evidence, policy(6, copies=0), policy(7, copies=0))["duplicates_change"]
    assert found.value == 0
    assert found.interval().low < 0 < found.interval().high
    assert "Newcombe" in found.method


def test_a_base_policy_that_was_sampled_more_counts_with_as_many_samples(
    make_evidence: Make,
) -> None:
    now, base = policy(8), policy(9, per_prompt=6)
    first = base[base["sample_id"].str[-1].isin(["0", "1"])]
    one, other = (measured(make_evidence, now, b) for b in (base, first))
    for name in ("distinct_2_ratio", "vendi_ratio", "duplicates_change", "self_bleu_change"):
        assert one[name].value == other[name].value
    assert one["vendi_ratio"].detail["samples_unused_base"] == 24 * 4


def test_only_what_is_wanted_is_measured_and_it_is_the_same(make_evidence: Make) -> None:
    now, base = policy(10), policy(11)
    whole = measured(make_evidence, now, base)
    for name in (
        "distinct_2_ratio",
        "vendi_ratio",
        "self_bleu_change",
        "within_prompt",
        "good_vendi_ratio",
        "length",
    ):
        only = measured(make_evidence, now, base, only=frozenset([f"diversity.{name}"]))
        assert list(only) == [name]
        assert (only[name].value, only[name].intervals) == (
            whole[name].value,
            whole[name].intervals,
        )


def test_without_the_wish_for_an_embedding_nothing_is_embedded(make_evidence: Make) -> None:
    def refuse(texts: Any) -> Any:
        raise AssertionError("embedded")

    found = measured(
        make_evidence,
        policy(1),
        policy(2),
        embed=refuse,
        only=frozenset(["diversity.distinct_2_ratio"]),
    )
    assert found["distinct_2_ratio"].value is not None


def test_the_order_of_rows_and_references_changes_nothing(make_evidence: Make) -> None:
    now, base = policy(12), policy(13)
    references = {
        p: [f"a human text {p} {k} about {p}" for k in range(2)]
        for p in sorted(set(now["prompt_id"]))
    }
    mixed = dict(reversed(references.items()))
    one = measured(make_evidence, now, base, references=references)
    other = measured(
        make_evidence,
        now.sample(frac=1, random_state=1),
        base.sample(frac=1, random_state=2),
        references=mixed,
    )
    assert one == other


# --- people's texts, and good texts


def test_beside_people_who_write_alike_the_ratio_is_about_one_and_the_base_policys_is_its_baseline(
    make_evidence: Make,
) -> None:
    people = policy(20, per_prompt=3).groupby("prompt_id")["text"].apply(list).to_dict()
    found = measured(make_evidence, policy(21), policy(22, vocabulary=12), references=people)
    for name in ("distinct_2_to_human", "vendi_to_human"):
        assert found[name].value == pytest.approx(1, abs=0.15)
        assert found[name].baseline < found[name].value
        assert found[name].detail["samples_per_prompt"] == 2


def test_prompts_without_a_human_text_are_left_out_and_counted(make_evidence: Make) -> None:
    people = {
        f"p{i:03d}": ["A human wrote this one here", "And a second one of them"] for i in range(10)
    }
    found = measured(make_evidence, policy(21), None, references=people)
    assert found["distinct_2_to_human"].n_prompts == 10
    assert found["distinct_2_to_human"].detail["prompts_without_reference"] == 14
    nobody = measured(make_evidence, policy(21), None, references={})["vendi_to_human"]
    assert (nobody.value, nobody.reason) == (None, "there are no human references")


def test_a_policy_that_is_good_more_often_has_more_good_variety_though_none_of_its_texts_differ_more(
    make_evidence: Make,
) -> None:
    base = policy(30, prompts=80)
    found = measured(make_evidence, base.assign(reward=base["reward"] + 10), base)
    assert found["good_vendi_ratio"].value == pytest.approx(1, abs=0.1)
    assert found["effective_vendi_ratio"].value > 1.05
    detail = found["effective_vendi_ratio"].detail
    assert (detail["score"], detail["above_bar_now"], detail["above_bar_base"]) == (
        "reward",
        160,
        80,
    )


def test_the_human_score_is_the_bar_where_there_is_one(make_evidence: Make) -> None:
    now, base = policy(31), policy(32)
    rated = [
        t.assign(human=np.where(np.arange(len(t)) % 2, t["reward"], np.nan)) for t in (now, base)
    ]
    detail = measured(make_evidence, *rated)["good_distinct_2_ratio"].detail
    assert detail["score"] == "human"
    assert detail["above_bar_base"] == 12


def test_where_nothing_is_above_the_bar_or_nothing_is_scored_there_is_no_ratio(
    make_evidence: Make,
) -> None:
    now, base = policy(33), policy(34)
    for outputs, reason in (
        (now.assign(reward=-99.0), "no prompt has a text above the bar"),
        (now.drop(columns="reward"), "fewer than 20 samples"),
    ):
        found = measured(make_evidence, outputs, base)
        for name in ("good_distinct_2_ratio", "good_vendi_ratio"):
            assert found[name].value is None
            assert reason in str(found[name].reason)


# --- entropy


def test_entropy_is_minus_the_log_probability_per_token_and_says_what_that_is_not(
    make_evidence: Make,
) -> None:
    now = policy(40).assign(logprob=lambda t: -1.5 * t["n_tokens"])
    base = policy(41).assign(logprob=lambda t: -2.0 * t["n_tokens"])
    found = measured(make_evidence, now, base)
    assert found["entropy"].value == pytest.approx(1.5)
    assert found["entropy"].baseline == pytest.approx(2.0)
    assert found["entropy_change"].value == pytest.approx(-0.5)
    assert "temperature 1" in found["entropy"].detail["what"]


def test_samples_without_a_log_probability_are_left_out_of_entropy_and_counted_in_n(
    make_evidence: Make,
) -> None:
    now = policy(42)
    now.loc[now.index % 2 == 0, "logprob"] = np.nan
    assert measured(make_evidence, now, None)["entropy"].n == 24
    none = measured(make_evidence, now.drop(columns="logprob"), None)["entropy"]
    assert none.value is None
    assert "logprob" in str(none.reason)


# --- size


def test_five_thousand_texts_are_measured_on_a_stated_sample(make_evidence: Make) -> None:
    now = policy(50, prompts=2500)
    found = measured(
        make_evidence,
        now,
        None,
        only=frozenset(
            [
                "diversity.vendi",
                "diversity.self_bleu",
                "diversity.compression_ratio",
                "diversity.distinct_2",
            ]
        ),
    )
    assert found["vendi"].n == 5000
    assert "measured_on" not in found["distinct_2"].detail
    assert (
        found["self_bleu"].detail["measured_on"]
        == "500 of 5000 texts: 250 prompts chosen by checksum x 2"
    )
    assert (found["self_bleu"].n, found["compression_ratio"].n) == (500, 1000)
