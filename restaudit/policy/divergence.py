"""Kullback-Leibler divergence from the base policy, summed over the vocabulary at every token of a
response.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from restaudit.policy.forward import Route, logits_at
from restaudit.policy.model import Policy
from restaudit.policy.packing import PackedRow, TrainingExample, bounded, branch_rows, collate

if TYPE_CHECKING:
    import torch

# Tokens whose distributions are compared at a time: two tables of float32 over the vocabulary.
CHUNK = 256
# The logits of one policy wait in memory for those of the other: this share of what is free, and at
# least so much.
SHARE_OF_MEMORY, LEAST_MEMORY = 8, 512 * 2**20


def token_kl(
    policy: Policy,
    examples: Sequence[TrainingExample],
    base: Path | None,
    current: Path,
    *,
    forward_tokens: int,
) -> list[tuple[float, int]]:
    """(KL in nats summed over a response, its tokens) for each example, KL(policy at `current` ‖
    policy at `base`).

    At every prefix the policy's own sample visits, the sum over the whole vocabulary is exact
    (temperature 1), which has far less variance than the log-ratio of the sampled token alone. The
    prefixes themselves come from however the examples were sampled. The policy is left at
    `current`.
    """
    return kl_between(
        policy,
        examples,
        lambda: policy.become(base),
        lambda: policy.become(current),
        forward_tokens=forward_tokens,
    )


def kl_between(
    policy: Policy,
    examples: Sequence[TrainingExample],
    to_base: Callable[[], None],
    to_current: Callable[[], None],
    *,
    forward_tokens: int,
    route: Route | None = None,
) -> list[tuple[float, int]]:
    """`token_kl` between any two states of the policy's weights, which the two functions bring
    about.

    `route` is the policy's own unless another is given.
    """
    import torch

    if not examples:
        return []
    if route is None:
        route = policy.routes_for(max(len(e.prompt) + len(e.response) for e in examples)).kl
    rows = [branch_rows([e])[0] for e in examples]
    divergences: list[tuple[float, int]] = [(0.0, 0)] * len(rows)
    for block in _blocks(policy, rows, forward_tokens):
        to_base()
        base = [_logits(policy, [rows[k] for k in group], route) for group in block]
        to_current()
        for group, base_logits in zip(block, base, strict=True):
            logits = _logits(policy, [rows[k] for k in group], route)
            with torch.inference_mode():
                for k, of_current, of_base in zip(group, logits, base_logits, strict=True):
                    # Never below 0 but for rounding.
                    nats = max(_summed_kl(of_current, of_base), 0.0)
                    divergences[k] = (nats, len(of_current))
    return divergences


def _summed_kl(now: torch.Tensor, before: torch.Tensor) -> float:
    """Σ over places and vocabulary of p (log p − log q), in nats, from logits (places,
    vocabulary).
    """
    import torch

    total = 0.0
    for start in range(0, len(now), CHUNK):
        p = torch.log_softmax(now[start : start + CHUNK].float(), dim=-1)
        q = torch.log_softmax(before[start : start + CHUNK].float(), dim=-1)
        total += float((p.exp() * (p - q)).sum())
    return total


def _blocks(policy: Policy, rows: Sequence[PackedRow], limit: int) -> Iterator[list[list[int]]]:
    """Groups of rows (by number) for one forward pass each, in blocks whose logits fit into memory
    together.

    Between the two policies the weights are exchanged once a block, so few and large blocks are
    quick.
    """
    room = max(LEAST_MEMORY, free_memory() // SHARE_OF_MEMORY)
    token_bytes = policy.model.config.get_text_config().vocab_size * policy.model.dtype.itemsize
    by_length = sorted(range(len(rows)), key=lambda k: rows[k].length)
    block: list[list[int]] = []
    used = 0
    for group in bounded(by_length, limit, length=lambda k: rows[k].length):
        size = token_bytes * sum(len(rows[k].responses[0]) for k in group)
        if block and used + size > room:
            yield block
            block, used = [], 0
        block.append(group)
        used += size
    if block:
        yield block


def _logits(policy: Policy, rows: Sequence[PackedRow], route: Route) -> list[torch.Tensor]:
    """For each row the logits that predict its response, (tokens, vocabulary), on the CPU, in the
    model's dtype.
    """
    import torch

    with policy.inference(merged=route.merged) as model, torch.inference_mode():
        batch = collate(rows, policy.tokenizer.pad_token_id, policy.device, packed=route.packed)
        logits = logits_at(
            model, batch.source_row, batch.source_column, head=route.head, **batch.inputs
        )
        parts: Sequence[torch.Tensor] = torch.split(logits, [len(row.responses[0]) for row in rows])
        return [part.cpu() for part in parts]


def free_memory() -> int:
    """Bytes of the machine's memory that can be had, files that are only cached included; half of
    it where not said.
    """
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except OSError:  # not Linux
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
