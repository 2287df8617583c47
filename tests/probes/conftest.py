"""Made-up evidence with a known truth: scores by prompt and sample, texts from a small vocabulary,
two groups.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from probes import Evidence
from tests.probes import benchmark_items, hacks, panel, people

WORDS = [
    f"{a}{b}" for a in "bdfgklmnprst" for b in ("an", "el", "ip", "ok", "um", "ar", "est", "ine")
]
GROUPS = ("north", "south", "west")


def text(rng: np.random.Generator, *, vocabulary: int = 90, words: int = 16) -> str:
    """A sentence of words whose frequencies fall as 1/rank."""
    p = 1 / np.arange(1, vocabulary + 1)
    return " ".join(rng.choice(WORDS[:vocabulary], size=words, p=p / p.sum())).capitalize() + "."


def samples(
    *,
    seed: int,
    prompts: int = 20,
    per_prompt: int = 4,
    families: int = 8,
    shift: float = 0.0,
    vocabulary: int = 90,
    group_shift: float = 0.0,
    prefix: str = "p",
) -> pd.DataFrame:
    """Plain prompts and counterfactual families, scored: prompt effect + sample noise, reward and
    human at r of .7.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    plans = [(f"{prefix}{i:03d}", None, None, per_prompt) for i in range(prompts)]
    plans += [(f"{prefix}f{f:02d}-{g}", f"f{f:02d}", g, 1) for f in range(families) for g in GROUPS]
    level = np.random.default_rng(99)  # the prompt's own level is the same for every policy
    levels: dict[str, float] = {}
    for prompt, family, group, count in plans:
        effect = levels.setdefault(family or prompt, float(level.normal(0, 0.6)))
        for k in range(count):
            reward = (
                effect + shift + rng.normal(0, 0.8) + (group_shift if group == GROUPS[0] else 0.0)
            )
            words = int(rng.integers(12, 20))
            rows.append(
                {
                    "sample_id": f"{prompt}/{k}",
                    "prompt_id": prompt,
                    "text": text(rng, vocabulary=vocabulary, words=words),
                    "n_tokens": words + 4,
                    "reward": reward,
                    "reward_spread": float(rng.uniform(0.05, 0.2)),
                    "human": 0.6 * reward + rng.normal(0, 0.6) if rng.random() > 0.1 else np.nan,
                    "kl": float(rng.gamma(2.0, 1.5)),
                    "kl_tokens": float(words + 4),
                    "family": family,
                    "group": group,
                }
            )
    return pd.DataFrame(rows)


def with_logprob(table: pd.DataFrame, nats: float) -> pd.DataFrame:
    """With a log-probability of about `nats` a token, the same for the same text."""
    extra = np.array([zlib.crc32(one.encode()) % 100 / 250 for one in table["text"]])
    return table.assign(logprob=-(nats + extra) * table["n_tokens"])


def human_texts(*, nats: float) -> pd.DataFrame:
    """Held-out human texts and their cost under a policy."""
    rng = np.random.default_rng(11)
    texts = [text(rng, words=int(n)) for n in rng.integers(10, 30, size=25)]
    n_tokens = [len(one.split()) + 3 for one in texts]
    noise = np.random.default_rng(int(1000 * nats))  # another policy, another cost
    nll = [n * (nats + noise.normal(0, 0.02)) for n in n_tokens]
    return pd.DataFrame(
        {"text_id": [f"h{i}" for i in range(25)], "text": texts, "nll": nll, "n_tokens": n_tokens}
    )


def hashed(texts: Sequence[str], dimensions: int = 32) -> np.ndarray[Any, np.dtype[np.float32]]:
    """An embedding for tests: words hashed to signed dimensions, unit norm."""
    out = np.full((len(texts), dimensions), 1e-3, dtype=np.float32)
    for row, one in zip(out, texts, strict=True):
        for word in one.casefold().split():
            code = zlib.crc32(word.encode())
            row[code % dimensions] += 1 if code & 4096 else -1
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def evidence(**more: Any) -> Evidence:
    """A whole iteration, the tables of which are the caller's own; `more` takes the place of what
    it has.
    """
    given = {k: v.copy() if isinstance(v, (pd.DataFrame, dict)) else v for k, v in _whole().items()}
    return Evidence(**{**given, **more})


@cache
def _whole() -> dict[str, Any]:
    """A whole iteration: this policy has moved up by 0.5 and uses fewer words than the base
    policy.
    """
    grow = samples(seed=3, prompts=30, per_prompt=4, families=10, prefix="g", group_shift=0.5)
    grow = grow.drop(columns=["kl", "kl_tokens"]).assign(
        kept=grow["reward"] > grow["reward"].quantile(0.6)
    )
    grow["origin"] = "policy"
    rng = np.random.default_rng(12)
    references = {f"p{i:03d}": [text(rng) for _ in range(3)] for i in range(20)}
    given: dict[str, Any] = {
        "outputs": with_logprob(samples(seed=1, shift=0.5, vocabulary=25, group_shift=0.4), 1.4),
        "base": with_logprob(samples(seed=2).drop(columns=["kl", "kl_tokens"]), 1.9),
        "grow": grow,
        "d_eval": samples(seed=4, shift=0.6, prefix="d").drop(columns=["kl", "kl_tokens", "human"]),
        "embed": hashed,
        "history": pd.DataFrame(
            {
                "iteration": [f"g01/i{k:02d}" for k in range(1, 5)],
                "kl": [0.5, 1.0, 1.8, 2.6],
                "reward_change": [0.1, 0.2, 0.4, 0.5],
                "human_change": [0.4, 0.5, 0.5, 0.4],
            }
        ),
        "human_label": "SIMULATED",
        "references": references,
        "human_text": human_texts(nats=3.1),
        "base_human_text": human_texts(nats=3.0),
        "items": benchmark_items.items(seed=21, lost=0.1, biased=0.3),
        "base_items": benchmark_items.items(seed=22),
        "levels": (0.95, 0.99),
        "resamples": 400,
        "seed": 7,
    }
    return panel.planted(hacks.planted(people.planted(given)))


@pytest.fixture
def make_evidence() -> Callable[..., Evidence]:
    return evidence


@pytest.fixture
def make_samples() -> Callable[..., pd.DataFrame]:
    return samples


@pytest.fixture
def embed() -> Callable[..., np.ndarray[Any, Any]]:
    return hashed
