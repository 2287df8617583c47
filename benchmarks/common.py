"""What the benchmarks share: the demo's policy and prompts, the machine's matrix peak, and paired
ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from restaudit.config import Config
from restaudit.config.reading import load
from restaudit.data.prompts import load_prompts
from restaudit.evidence.chats import as_messages
from restaudit.models.artifacts import resolve
from restaudit.policy import Policy, load_policy


def demo_policy() -> tuple[Config, Policy]:
    config = load("reviews")
    artifact = resolve(config.policy.model, sha256=config.policy.sha256)
    return config, load_policy(config.policy, artifact.path, device=config.device, seed=1)


def demo_prompts(config: Config, policy: Policy, count: int) -> list[tuple[int, ...]]:
    table, _ = load_prompts(config.data)
    plain = table[table["family"].isna()].head(count)
    return [tuple(policy.prompt_tokens(as_messages(p))) for p in plain["prompt"]]


def matrix_peak(dtype: torch.dtype, device: str, size: int = 2048) -> float:
    """GFLOP/s of a square matrix product, best of ten."""
    a = torch.randn(size, size, dtype=dtype, device=device)
    best = 0.0
    for _ in range(10):
        began = time.perf_counter()
        a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - began) / 1e9)
    return best


def paired(
    ours: Callable[[], float], theirs: Callable[[], float], rounds: int
) -> tuple[list[float], list[float]]:
    """Rates of the two in turn, A B A B …, after one round that does not count."""
    a, b = [], []
    for k in range(rounds + 1):
        x, y = ours(), theirs()
        if k:
            a.append(x)
            b.append(y)
    return a, b


def report(name: str, ours: list[float], theirs: list[float], bar: float) -> None:
    ratios = [x / y for x, y in zip(ours, theirs, strict=True)]
    rounds = ", ".join(f"{r:.2f}" for r in ratios)
    print(
        f"{name}: ours {statistics.median(ours):,.0f}, theirs {statistics.median(theirs):,.0f} "
        "tokens/s"
    )
    print(f"{name}: ratio {statistics.median(ratios):.2f} (bar {bar}; each round: {rounds})")


def parameters(model: Any) -> int:
    return sum(p.numel() for p in model.parameters() if not p.requires_grad)
