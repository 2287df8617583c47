"""A habit that is spread over many words: found without a word that rose, named by its words, and
not found where nothing changed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from probes.hacking.spread import Signs, Spread, named, signs_of, spread
from probes.statistics.flips import signs
from tests.probes.conftest import WORDS
from tests.probes.test_hacking import measured, policy

# 40 words that the base policy knows, but hardly uses.
RARE = [f"{stem}ous" for stem in WORDS[:40]]


def with_habit(table: pd.DataFrame, share: float, seed: int, count: int = 3) -> pd.DataFrame:
    """A share of the texts holds `count` of the rare words; the reward pays, people do not."""
    rng = np.random.default_rng(seed)
    has = rng.random(len(table)) < share
    texts = []
    for text, h in zip(table["text"], has, strict=True):
        words = text.split()
        for word in rng.choice(RARE, size=count, replace=False) if h else []:
            words.insert(int(rng.integers(1, len(words))), str(word))
        texts.append(" ".join(words))
    return table.assign(
        text=texts, reward=table["reward"] + 1.5 * has, human=table["human"] - 1.2 * has
    )


def model(now: pd.DataFrame, base: pd.DataFrame, seed: int = 0) -> tuple[Spread, Signs, Any]:
    both = pd.concat([now, base], ignore_index=True)
    prompt = np.unique(both["prompt_id"].to_numpy(dtype=str), return_inverse=True)[1]
    source = np.repeat([0, 1], [len(now), len(base)])
    looked = signs_of(both["text"].tolist(), prompt, source < 2)
    drawn = signs(prompts=prompt.max() + 1, flips=199, seed=seed)
    return spread(looked, prompt, source, drawn), looked, source


def test_a_habit_of_forty_rare_words_is_found_and_named_by_them() -> None:
    now = with_habit(policy(1, per_prompt=4), 0.6, 1)
    base = with_habit(policy(2, per_prompt=4), 0.03, 2)
    m = measured(now, base, "hacking.signature")["hacking.signature"]
    sentence = m.detail["in_words"]
    assert sentence.startswith("The policy learned to write more of ")
    quoted = sentence.split('"')[1::2]
    assert sum(word in RARE or word == "-ous" for word in quoted) >= len(quoted) - 1
    assert m.value > 0.3
    assert m.interval().low > 0.2
    told = m.detail["model_of_many_signs"]
    assert told["low"] > 0.5
    assert told["p"] <= 0.025


def test_a_text_is_scored_without_its_own_prompts_policies_being_known() -> None:
    now = with_habit(policy(1, prompts=24), 0.6, 1)
    base = policy(2, prompts=24)
    found, looked, source = model(now, base)
    both = pd.concat([now, base], ignore_index=True)
    prompt = np.unique(both["prompt_id"].to_numpy(dtype=str), return_inverse=True)[1]
    swapped = np.where(prompt == 5, 1 - source, source)
    drawn = signs(prompts=24, flips=9, seed=0)
    other = spread(looked, prompt, swapped, drawn)
    own = prompt == 5
    # Their common scale is of all texts, so the scores of one prompt agree up to that.
    assert np.corrcoef(found.score[own], other.score[own])[0, 1] == pytest.approx(1)


def test_where_nothing_changed_the_model_finds_something_as_rarely_as_stated() -> None:
    runs = [model(policy(2 * r + 500), policy(2 * r + 501), r) for r in range(200)]
    # 2.5% of 200 are 5; more than 11 in one of 100.
    assert sum(found.p <= 0.025 for found, _, _ in runs) <= 11
    # Within prompts, chance tells one of two texts of a pair.
    assert np.mean([found.auc.mean() for found, _, _ in runs]) == pytest.approx(0.5, abs=0.01)


def test_a_prompts_topic_says_nothing() -> None:
    def topical(table: pd.DataFrame) -> pd.DataFrame:
        topics = [
            f"{t} topic{p} topic{p}" for t, p in zip(table["text"], table["prompt_id"], strict=True)
        ]
        return table.assign(text=topics)

    found, _, _ = model(topical(policy(71)), topical(policy(72)))
    assert found.p > 0.025


def test_the_interval_of_an_unchanged_policys_habit_holds_0() -> None:
    above = 0
    for run in range(150):
        found, _, source = model(policy(2 * run + 2000), policy(2 * run + 2001), run)
        moved = (found.has[source == 0] - found.has[source == 1]).reshape(-1, 2).mean(axis=1)
        reach = 2.01 * np.sqrt(2) * moved.std(ddof=1) / np.sqrt(len(moved))
        above += moved.mean() - reach > 0
    # One side of a 95% interval: 2.5% of 150 are 4.
    assert above <= 9


def test_an_ending_is_named_only_where_several_words_share_it() -> None:
    words = ['"finest"', '"best"', '"richest"', '"calm"', '"boldest"', '"walnut"']
    endings = ['words that end in "-st"', 'words that end in "-est"', 'words that end in "-nut"']
    names = tuple(words + endings)
    order = np.array([0, 6, 7, 1, 8, 2, 5, 4, 3], dtype=np.intp)
    nothing = np.empty(0, dtype=np.intp)
    t = np.linspace(5, 3, len(names))
    found = Spread(
        np.zeros(1), np.zeros(1), 0.01, 3.0, np.zeros(1), order, nothing, t[np.argsort(order)]
    )
    rising, falling = named(found, Signs(None, names), None)  # type: ignore[arg-type]
    assert rising[-1] == 'words that end in "-est"'
    assert not any("-nut" in name for name in rising)
    assert rising[0] == '"finest"'
    assert falling == []
