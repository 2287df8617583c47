"""What is said of training data: planted label noise is estimated; balance, duplicates,
contradictions are counted.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from restaudit.reward.data_checks import care, label_noise
from restaudit.reward.examples import Examples, Raters


def judged(
    noise: float, *, n: int = 800, sure: float = 3.0, seed: int = 0
) -> tuple[np.ndarray, ...]:
    """Reward differences and judgements by the same scale, of which a share is flipped; eight pairs
    a prompt.
    """
    rng = np.random.default_rng(seed)
    difference = rng.normal(0, sure, n)
    wins = rng.random(n) < 1 / (1 + np.exp(-difference))
    flipped = rng.random(n) < noise
    return difference, np.where(flipped, ~wins, wins).astype(float), np.arange(n) // 8


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.25])
def test_planted_label_noise_is_inside_the_interval_and_the_estimate_follows(noise: float) -> None:
    found = [label_noise(*judged(noise, seed=k), seed=k) for k in range(6)]
    inside = sum(e.intervals[0].low - 1e-9 <= noise <= e.intervals[0].high for e in found)
    assert inside >= 5
    assert np.mean([e.value for e in found]) == pytest.approx(noise, abs=0.04)  # type: ignore[misc]


def test_a_model_that_is_never_sure_gives_a_wide_interval() -> None:
    sure, unsure = (label_noise(*judged(0.1, sure=s), seed=1).intervals[0] for s in (4.0, 0.5))
    assert unsure.high - unsure.low > 2 * (sure.high - sure.low)


def test_too_few_pairs_or_a_reward_that_tells_nothing_apart_is_null_with_a_reason() -> None:
    difference, wins, unit = judged(0.1)
    assert "49 held-out pairs" in str(
        label_noise(difference[:49], wins[:49], unit[:49], seed=0).reason
    )
    assert "the same for every" in str(label_noise(difference * 0, wins, unit, seed=0).reason)


def pairs() -> Examples:
    rng = np.random.default_rng(3)
    rows = []
    for k in range(200):
        left, right = (" ".join(f"w{rng.integers(500)}" for _ in range(n)) for n in (12, 6))
        split = "held_out" if k % 2 else "train"
        rows.append(
            {
                "item_id": str(k),
                "prompt": f"p{k // 4}",
                "left": left,
                "right": right,
                "split": split,
                "unit": f"p{k // 4}",
                "target": 1.0,
                "judged": float(rng.random() < 0.9),
                "agreement": [np.nan, 1.0, 0.5][k % 3],
            }
        )
    table = pd.DataFrame(rows)
    table.loc[1, ["left", "right"]] = table.loc[0, ["left", "right"]].to_list()
    return Examples("bradley_terry", table, Raters((), (), chosen=False), "prompt")


def test_length_duplicates_and_contradictions_are_counted() -> None:
    found = care(pairs(), np.ones(200), np.zeros(200), seed=0)
    assert found["length"]["the_longer_response_won"] == 1.0
    assert (found["length"]["mean_words_of_winners"], found["length"]["mean_words_of_losers"]) == (
        12,
        6,
    )
    assert found["near_duplicates_across_the_split"]["items"] == 1
    assert found["contradictions"] == {"share": 0.5, "pairs": 66, "judged_by_two_or_more": 133} or (
        found["contradictions"]["share"] == pytest.approx(0.5, abs=0.01)
    )
    assert found["label_noise"]["value"] is None
    assert "the same for every" in found["label_noise"]["reason"]


def test_for_ratings_what_cannot_be_told_says_why() -> None:
    table = pairs().table.assign(right=None, target=np.arange(200) / 50, judged=np.arange(200) / 50)
    found = care(
        Examples("regression", table, Raters((), (), chosen=False), "item"),
        np.ones(200),
        None,
        seed=0,
    )
    assert found["contradictions"]["share"] is None
    assert found["label_noise"]["value"] is None
    assert found["length"]["reason"] == "all texts are as long, or all rated alike"
