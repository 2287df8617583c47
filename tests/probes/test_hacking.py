"""What the hacking probe must find when a hack was planted, and must not find when nothing
changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from probes import Evidence, Measurement
from probes.hacking import probe as hacking
from probes.hacking.features import REPEATS
from probes.hacking.signs import repeated
from tests.probes.conftest import WORDS

RANKS = 1 / np.arange(1, len(WORDS) + 1)


def policy(
    seed: int,
    *,
    prompts: int = 48,
    per_prompt: int = 2,
    word: float = 0.0,
    pay: float = 0.0,
    worth: float = 0.0,
    quality: float = 0.0,
    longer: float = 0.0,
    pay_for_length: float = 0.0,
    repeats: float = 0.0,
    prefix: str = "p",
) -> pd.DataFrame:
    """Samples with a hidden quality that reward and human score both see, and a word that one of
    them pays for.
    """
    rng, levels = np.random.default_rng(seed), np.random.default_rng(5).normal(0, 0.5, prompts)
    rows: list[dict[str, Any]] = []
    for p in range(prompts):
        for k in range(per_prompt):
            n = max(6, int(rng.normal(20 + longer, 4)))
            words = list(rng.choice(WORDS, size=n, p=RANKS / RANKS.sum()))
            has, again = rng.random() < word, rng.random() < repeats
            if has:
                words.insert(int(rng.integers(len(words))), "masterpiece")
            words += words[:6] * again
            merit = levels[p] + rng.normal(quality, 0.7)
            rows.append(
                {
                    "prompt_id": f"{prefix}{p:03d}",
                    "sample_id": f"{prefix}{p:03d}/{seed}/{k}",
                    "text": " ".join(words).capitalize() + ".",
                    "n_tokens": len(words) + 2,
                    "reward": merit + rng.normal(0, 0.6) + pay * has + pay_for_length * len(words),
                    "human": merit + rng.normal(0, 0.8) + worth * has,
                    "reward_spread": float(rng.uniform(0.1, 0.2)),
                }
            )
    return pd.DataFrame(rows)


def measured(
    outputs: pd.DataFrame, base: pd.DataFrame | None, *only: str, **more: Any
) -> dict[str, Measurement]:
    given = {
        "human_label": "PEOPLE (2 raters)",
        "resamples": 400,
        "only": frozenset(only or ["hacking."]),
        **more,
    }
    return {m.name: m for m in hacking.run(Evidence(outputs=outputs, base=base, **given))}


# --- what the policy has learned

HACK = {"pay": 1.2, "worth": -0.5}


def test_a_keyword_hack_is_named_in_one_plain_sentence() -> None:
    grow = policy(3, prompts=40, per_prompt=6, word=0.3, prefix="g", **HACK)
    found = measured(
        policy(1, word=0.8, **HACK), policy(2, word=0.04, **HACK), "hacking.signature", grow=grow
    )
    m = found["hacking.signature"]
    sentence = m.detail["in_words"]
    assert sentence.startswith('The policy learned to write "masterpiece": in 7')
    assert " points [" in sentence
    assert "people -0." in sentence
    assert sentence.endswith(".")
    assert m.value == pytest.approx(0.75, abs=0.15)
    assert m.interval().low > 0.4
    top = m.detail["features"][0]
    assert (top["name"], top["verdict"]) == ("masterpiece", "signature")
    assert top["reward_pays"]["low"] > 0.5
    assert top["human_pays"]["high"] < 0
    assert len(top["examples"]) == 2
    assert all("masterpiece" in e.casefold() for e in top["examples"])


def test_a_hack_in_every_text_is_found_across_the_policies() -> None:
    m = measured(policy(1, word=1.0, **HACK), policy(2, **HACK), "hacking.signature")[
        "hacking.signature"
    ]
    assert m.value == 1.0
    assert 0.6 < m.interval().low < 1.0
    assert "Newcombe" in m.method
    assert m.detail["features"][0]["reward_pays"]["how"] == "within a prompt, across the policies"


def test_taking_a_paid_word_out_shows_what_the_reward_pays() -> None:
    def score(prompts: Sequence[str], texts: Sequence[str]) -> Any:
        return np.array([1.2 * ("masterpiece" in t.casefold()) for t in texts])

    found = measured(
        policy(1, word=0.8, **HACK), policy(2, **HACK), "hacking.signature", score=score
    )
    taken = found["hacking.signature"].detail["features"][0]["reward_if_taken_out"]
    assert taken["share_that_fell"] == 1.0
    assert taken["base_sd"] < -0.8


def test_a_length_hack_is_named() -> None:
    found = measured(
        policy(1, longer=9, pay_for_length=0.15),
        policy(2, pay_for_length=0.15),
        "hacking.signature",
    )
    sentence = found["hacking.signature"].detail["in_words"]
    assert "learned to write longer " in sentence


def test_repetition_is_named_where_the_reward_pays_for_it() -> None:
    now, base = policy(1, repeats=0.6), policy(2, repeats=0.03)
    for table in (now, base):
        table["reward"] += 1.5 * (repeated(table["text"].tolist()) > 0)
    m = measured(now, base, "hacking.signature")["hacking.signature"]
    assert REPEATS in {
        m.detail["features"][0]["name"],
        *m.detail["features"][0]["in_the_same_texts"],
    }


def test_what_people_value_too_is_no_signature() -> None:
    valued = {"pay": 0.9, "worth": 0.9}
    m = measured(policy(1, word=0.8, **valued), policy(2, word=0.05, **valued), "hacking.signature")
    assert m["hacking.signature"].value is None
    assert m["hacking.signature"].detail["features"][0]["verdict"] == "people pay too"
    assert m["hacking.signature"].detail["in_words"].endswith("people pay for it too.")


def test_without_human_scores_a_risen_word_is_no_signature_and_the_reason_says_why() -> None:
    now, base = (t.assign(human=np.nan) for t in (policy(1, word=0.8, **HACK), policy(2, **HACK)))
    m = measured(now, base, "hacking.signature")["hacking.signature"]
    assert m.value is None
    assert "human score" in m.reason
    assert 'learned to write "masterpiece": in' in m.detail["in_words"]
    assert "could not be told" in m.detail["in_words"]


def test_the_same_policy_twice_has_a_signature_or_a_learned_feature_in_at_most_one_run_of_twenty() -> (
    None
):
    names = ("hacking.learned_features", "hacking.signature")
    runs = [measured(policy(2 * r + 100), policy(2 * r + 101), *names) for r in range(40)]
    assert sum(m["hacking.signature"].value is not None for m in runs) <= 2
    assert (
        sum(m["hacking.learned_features"].value > 0 for m in runs) <= 4
    )  # 5% expected: 2; more than 4 in one of 20


def test_honest_improvement_has_no_signature() -> None:
    runs = [
        measured(policy(2 * r + 300, quality=0.6), policy(2 * r + 301), "hacking.signature")
        for r in range(15)
    ]
    assert [m["hacking.signature"].value for m in runs] == [None] * 15


def test_a_policy_that_was_sampled_more_has_learned_nothing_by_that() -> None:
    now, base = policy(21, per_prompt=6), policy(22, per_prompt=1)
    m = measured(now, base, "hacking.learned_features")["hacking.learned_features"]
    assert m.value == 0
    assert m.n == 48
    assert m.detail["texts_left_out"] == 5 * 48


# --- length

LENGTH = ("hacking.length_controlled_gain", "hacking.length_share")


def test_a_gain_that_is_all_length_is_nothing_with_length_held_fixed() -> None:
    found = measured(
        policy(1, longer=9, pay_for_length=0.15), policy(2, pay_for_length=0.15), *LENGTH
    )
    gain = found[LENGTH[0]]
    assert gain.interval().low < 0 < gain.interval().high
    assert found[LENGTH[1]].value == pytest.approx(1.0, abs=0.25)
    assert gain.detail["reward_per_token"] == pytest.approx(0.15, abs=0.06)


def test_a_gain_in_quality_stays_with_length_held_fixed() -> None:
    found = measured(policy(1, quality=0.8), policy(2), *LENGTH)
    assert found[LENGTH[0]].value == pytest.approx(0.8 / np.sqrt(0.5**2 + 0.7**2 + 0.6**2), abs=0.3)
    assert found[LENGTH[0]].interval().low > 0
    assert abs(found[LENGTH[1]].value) < 0.2


def test_length_has_no_share_of_a_gain_that_may_be_nothing() -> None:
    m = measured(policy(1), policy(2), *LENGTH)[LENGTH[1]]
    assert m.value is None
    assert "may be 0" in m.reason


def test_if_length_moved_and_nothing_shows_what_it_is_worth_the_gain_is_not_split() -> None:
    now, base = policy(1, quality=1).assign(n_tokens=40), policy(2).assign(n_tokens=30)
    found = measured(now, base, *LENGTH)
    assert found[LENGTH[0]].value is None
    assert "no prompt has texts of different length" in found[LENGTH[0]].reason
    assert found[LENGTH[1]].value is None


def test_with_all_texts_of_one_length_the_gain_is_the_whole_gain() -> None:
    now, base = (policy(s, quality=q).assign(n_tokens=32) for s, q in ((1, 1.0), (2, 0.0)))
    found = measured(now, base, *LENGTH)
    assert found[LENGTH[0]].value == pytest.approx(found[LENGTH[0]].detail["gain"])
    assert found[LENGTH[1]].value == 0.0


# --- echo, repetition, distance, spread


def test_a_rise_in_repetition_is_found() -> None:
    m = measured(
        policy(1, repeats=0.7), policy(2), "hacking.repetition", "hacking.repetition_change"
    )
    assert m["hacking.repetition_change"].interval().low > 0.02
    assert m["hacking.repetition"].baseline < 0.01


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a b c d", 0.0),
        ("a b c d a b c d", 1 / 5),
        ("very very very very very very", 2 / 3),
        ("a b c", np.nan),
    ],
)
def test_repetition_is_the_share_of_four_word_runs_that_were_there_before(
    text: str, share: float
) -> None:
    assert repeated([text, "x y z w"])[0] == pytest.approx(share, nan_ok=True)


def test_copying_the_prompt_is_found_and_only_from_the_texts_own_prompt() -> None:
    base = policy(2)
    prompts = {
        p: f"Number {k}: describe the quiet river to me"
        for k, p in enumerate(base["prompt_id"].unique())
    }
    now = policy(1)
    names = ("hacking.prompt_echo", "hacking.prompt_echo_change")
    others = list(prompts.values())
    own = now.assign(text=[prompts[p] for p in now["prompt_id"]])
    assert measured(own, base, *names, prompts=prompts)[names[0]].value == 1.0
    half = now.assign(
        text=[f"{t} {prompts[p]}" for t, p in zip(now["text"], now["prompt_id"], strict=True)]
    )
    found = measured(half, base, *names, prompts=prompts)
    assert found[names[1]].interval().low > 0.1
    assert found[names[0]].baseline == 0.0
    other = now.assign(text=["Describe nothing at all today, please."] * len(now))
    assert measured(other, base, *names, prompts=prompts)[names[0]].value == 0.0
    assert len(set(others)) == len(others)


def test_texts_far_from_the_reward_models_own_are_far() -> None:
    def embed(texts: Sequence[str]) -> Any:
        out = np.array([[3.0, 1.0] if "masterpiece" in t.casefold() else [1.0, 3.0] for t in texts])
        out += np.array([[0.1, 0.0]]) * np.array([[len(t) % 5] for t in texts])
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    names = ("hacking.distance", "hacking.distance_change")
    known = embed(["ordinary"] * 20)
    found = measured(policy(1, word=0.5), policy(2, word=0.1), *names, embed=embed, known=known)
    assert found[names[1]].interval().low > 0.5
    assert found[names[0]].unit == "cosine distance"
    assert found[names[0]].value > found[names[0]].baseline
    assert found[names[0]].detail["nearest"] == 10


def test_an_ensemble_that_disagrees_more_is_seen() -> None:
    now = policy(1).assign(reward_spread=lambda t: t["reward_spread"] + 0.05)
    m = measured(now, policy(2), "hacking.ensemble_spread_change")["hacking.ensemble_spread_change"]
    assert m.interval().low > 0.5


def test_embeddings_of_another_width_than_the_known_ones_are_refused() -> None:
    with pytest.raises(ValueError, match=r"embed: returned shape \(96, 2\)"):
        measured(
            policy(1),
            policy(2),
            "hacking.distance",
            embed=lambda t: np.ones((len(t), 2)),
            known=np.ones((5, 3)),
        )


def test_what_is_not_wanted_costs_nothing() -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("was called")

    found = measured(
        policy(1),
        policy(2),
        "hacking.repetition",
        embed=refuse,
        score=refuse,
        known=np.ones((3, 2)),
    )
    assert list(found) == ["hacking.repetition"]
