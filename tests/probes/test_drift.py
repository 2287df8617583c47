"""What the drift probe finds in texts whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from probes import Evidence, Measurement
from probes.drift import probe as drift
from probes.drift.probe import human_text

POWER = 1 / np.arange(1, 1201)


def policy(
    seed: int,
    *,
    prompts: int = 30,
    per_prompt: int = 2,
    vocabulary: int = 1200,
    prefix: str = "p",
    words: int = 24,
) -> pd.DataFrame:
    """Texts whose words fall in frequency as 1/rank, with a topic for each prompt."""
    rng, topics = np.random.default_rng(seed), np.random.default_rng(8)
    p = POWER[:vocabulary] / POWER[:vocabulary].sum()
    rows = []
    for i in range(prompts):
        topic = topics.integers(0, vocabulary, size=8)
        for k in range(per_prompt):
            n = int(rng.integers(words - 6, words + 6))
            drawn = np.where(
                rng.random(n) < 0.2, rng.choice(topic, n), rng.choice(vocabulary, n, p=p)
            )
            rows.append(
                {
                    "prompt_id": f"{prefix}{i:03d}",
                    "sample_id": f"{prefix}{i:03d}/{k}",
                    "n_tokens": n + 4,
                    "text": " ".join(f"w{w}" for w in drawn),
                }
            )
    return pd.DataFrame(rows)


def grown(seed: int, **more: Any) -> pd.DataFrame:
    table = policy(seed, prefix="g", per_prompt=4)
    kept = np.arange(len(table)) % 2 == 0
    return table.assign(kept=kept, origin="policy", **more)


def measured(
    outputs: pd.DataFrame, base: pd.DataFrame | None, **more: Any
) -> dict[str, Measurement]:
    given = {"grow": grown(90), "resamples": 400, "levels": (0.95,), **more}
    return {
        m.name.removeprefix("drift."): m
        for m in drift.run(Evidence(outputs=outputs, base=base, **given))
    }


# --- words


@pytest.mark.parametrize("per_prompt", [2, 4])  # the base policy may have been sampled more
def test_a_fresh_sample_of_the_base_policy_has_lost_no_words_about_95_times_in_100(
    per_prompt: int,
) -> None:
    names = ("vocabulary", "rare_words")
    only = frozenset(f"drift.{n}" for n in names)
    hits, values = [], []
    for seed in range(30):
        found = measured(
            policy(2 * seed),
            policy(2 * seed + 1, per_prompt=per_prompt),
            seed=seed,
            only=only,
            grow=None,
        )
        hits.append([found[n].interval().low <= 1 <= found[n].interval().high for n in names])
        values.append([found[n].value for n in names])
    assert (np.mean(hits, axis=0) >= 0.83).all()
    np.testing.assert_allclose(np.mean(values, axis=0), 1, atol=0.03)


def test_rare_in_the_texts_that_are_counted_would_find_a_loss_where_there_is_none() -> None:
    """Why folds: words that are rare in one sample by chance are more common in the next."""
    now, base = policy(1), policy(2)
    words = [[t.split() for t in table["text"]] for table in (now, base)]
    used = pd.Series([w for text in words[1] for w in set(text)]).value_counts()
    rare = set(used[used <= 1].index)
    shares = [np.mean([w in rare for text in table for w in text]) for table in words]
    assert shares[0] / shares[1] < 0.9


def test_a_policy_that_stopped_using_rare_words_is_found() -> None:
    found = measured(policy(3, vocabulary=150), policy(4))
    assert found["rare_words"].interval().high < 0.8
    assert found["vocabulary"].interval().high < 0.9
    detail = found["rare_words"].detail
    assert detail["rare_share"] / detail["rare_share_base"] == pytest.approx(
        found["rare_words"].value
    )


def test_no_rare_word_at_all_is_0_with_an_upper_end() -> None:
    common = policy(4).assign(text="w0 w1 w2 w0 w1 w2 w0 w0")
    found = measured(common, policy(4))["rare_words"]
    assert found.value == 0
    assert 0 < found.interval().high < 0.3
    assert "Poisson" in found.method


def test_a_shorter_policy_has_not_lost_words_by_that() -> None:
    found = measured(policy(5, words=14), policy(6, words=28))
    for name in ("vocabulary", "rare_words"):
        assert found[name].value == pytest.approx(1, abs=0.12)


# --- copying


def test_copies_of_kept_texts_are_found_and_of_texts_not_kept_are_not() -> None:
    now, grow = policy(7), grown(90)
    kept, unkept = (
        grow.loc[grow["kept"] == is_kept, "text"].to_numpy() for is_kept in (True, False)
    )
    for texts, expected in ((kept, 0.5), (unkept, 0.0)):
        half = np.where(np.arange(len(now)) % 2, now["text"], texts[: len(now)])
        found = measured(now.assign(text=half), policy(8), grow=grow)
        assert found["copying"].value == pytest.approx(expected, abs=0.06)
        assert found["copying"].baseline == 0
        assert found["copying_change"].value == found["copying"].value
        assert (found["copying_change"].interval().low > 0) == (expected > 0)
        assert found["copying"].detail["words_in_an_n_gram"] == 8


def test_no_copying_on_either_side_has_an_interval_about_no_change() -> None:
    found = measured(policy(9), policy(10))
    assert found["copying"].value == found["copying_change"].value == 0
    assert found["copying_change"].interval().low < 0 < found["copying_change"].interval().high


def test_what_the_base_policy_says_anyway_is_no_copying_of_the_kept_texts() -> None:
    line = "this is what everybody always says about every film they see "
    now, base, grow = (t.assign(text=line + t["text"]) for t in (policy(11), policy(12), grown(90)))
    found = measured(now, base, grow=grow)
    assert found["copying"].value > 0.1
    assert found["copying_change"].value == pytest.approx(0, abs=0.03)


def test_short_texts_are_compared_by_shorter_n_grams_which_is_said() -> None:
    found = measured(policy(13, words=12), policy(14, words=12))
    assert found["copying"].detail["words_in_an_n_gram"] == 4
    few = policy(13).assign(text="w1 w2")
    assert measured(few, policy(14))["copying"].value is None


# --- synthetic rows


def test_the_synthetic_share_counts_kept_rows_only() -> None:
    grow = grown(15)
    grow["origin"] = np.where(np.arange(len(grow)) % 8 < 2, "reference", "policy")
    found = measured(policy(1), policy(2), grow=grow)["synthetic_share"]
    assert (found.value, found.n) == (0.75, 60)
    assert found.detail["share_before_the_filter"] == 0.75
    whole = measured(policy(1), policy(2))["synthetic_share"]
    assert whole.value == 1
    assert 0.8 < whole.interval().low < whole.interval().high == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda g: None, "no Grow set"),
        (lambda g: g.drop(columns="kept"), "what was kept"),
        (lambda g: g.assign(kept=False), "nothing was kept"),
        (lambda g: g.drop(columns="origin"), "which rows"),
    ],
)
def test_without_kept_rows_there_is_no_synthetic_share(change: Any, reason: str) -> None:
    found = measured(policy(1), policy(2), grow=change(grown(15)))["synthetic_share"]
    assert found.value is None
    assert reason in str(found.reason)


# --- human text


def human(nats: float, *, texts: int = 40, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = rng.integers(10, 60, size=texts)
    hard = rng.normal(0, 0.5, size=texts)  # a text is as hard for one policy as for the other
    noise = np.random.default_rng(seed).normal(0, 0.05, size=texts)
    return pd.DataFrame(
        {
            "text_id": [f"h{i}" for i in range(texts)],
            "text": "…",
            "n_tokens": n,
            "nll": n * (nats + hard + noise),
        }
    )


def test_human_text_that_got_dearer_is_measured_text_by_text() -> None:
    now, base = human(3.2, seed=1), human(3.0, seed=2)
    found = measured(
        policy(1), policy(2), human_text=now.sample(frac=1, random_state=0), base_human_text=base
    )["human_text_nll"]
    interval = found.interval()
    assert interval.low < 0.2 < interval.high
    assert interval.high - interval.low < 0.1  # the texts' own difficulty cancels
    assert found.detail["perplexity_ratio"] == pytest.approx(np.exp(found.value))
    assert found.n == 40


def test_the_same_policy_finds_human_text_no_dearer_about_95_times_in_100() -> None:
    hits = 0
    now, base = policy(1, prompts=2), policy(2, prompts=2)
    for seed in range(100):
        given = Evidence(
            outputs=now,
            base=base,
            human_text=human(3.0, seed=2 * seed),
            base_human_text=human(3.0, seed=2 * seed + 1),
            resamples=300,
            seed=seed,
        )
        (found,) = human_text(given, "1")
        hits += found.interval().low <= 0 <= found.interval().high
    assert 88 <= hits <= 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="nll"), r"human_text: lacks the column\(s\) nll"),
        (lambda t: t.assign(text_id="same"), "text_id 'same' names more"),
        (lambda t: t.assign(nll="many"), "row 0, column nll is 'many'"),
        (lambda t: t.assign(n_tokens=t["n_tokens"] + 1), "only with one tokenizer"),
    ],
)
def test_human_text_that_is_not_what_it_says_is_refused(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured(policy(1), policy(2), human_text=change(human(3.0)), base_human_text=human(3.0))


def test_human_texts_that_one_policy_lacks_are_left_out_and_counted() -> None:
    found = measured(
        policy(1), policy(2), human_text=human(3.1), base_human_text=human(3.0).head(30)
    )
    assert found["human_text_nll"].n == 30
    assert found["human_text_nll"].detail["texts_left_out"] == 10


# --- all of it


def test_the_order_of_rows_changes_nothing() -> None:
    tables = {"outputs": policy(16), "base": policy(17)}
    mixed = {k: t.sample(frac=1, random_state=5) for k, t in tables.items()}
    shuffled = grown(90).sample(frac=1, random_state=6)
    assert measured(**tables) == measured(**mixed, grow=shuffled)


def test_the_base_policy_has_nothing_to_drift_from() -> None:
    found = measured(policy(18), None, grow=None)
    assert {name: m.value for name, m in found.items()} == dict.fromkeys(found)
    assert all("base policy" in str(m.reason) for m in found.values())
