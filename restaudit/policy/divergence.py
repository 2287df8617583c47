"""Kullback-Leibler divergence from the base policy, summed over the vocabulary at every token of a response."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.policy.model import Policy, hidden_states, logits_of
from restaudit.policy.packing import Row, TrainingExample, branch_rows, collate

if TYPE_CHECKING:
    import torch

CHUNK = 256


def token_kl(
    policy: Policy, examples: Sequence[TrainingExample], base: Path | None, current: Path, *, forward_tokens: int
) -> list[tuple[float, int]]:
    """(KL in nats summed over a response, its tokens) for each example, KL(policy at `current` ‖ policy at `base`).

    At every prefix the policy's own sample visits, the sum over the whole vocabulary is exact (temperature 1), which
    has far less variance than the log-ratio of the sampled token alone. The prefixes themselves come from however
    the examples were sampled. The policy is left at `current`.
    """
    import torch

    rows = [branch_rows([e])[0] for e in examples]
    order = sorted(range(len(rows)), key=lambda k: rows[k].length)
    groups = _groups(rows, order, forward_tokens)
    policy.become(base)
    base_hidden, base_head = _hidden(policy, rows, groups)
    policy.become(current)
    hidden, head = _hidden(policy, rows, groups)
    out: list[tuple[float, int]] = [(0.0, 0)] * len(rows)
    with torch.inference_mode():
        for k in range(len(rows)):
            total = 0.0
            for start in range(0, len(hidden[k]), CHUNK):
                p = _log_softmax(policy, hidden[k][start : start + CHUNK], head)
                q = _log_softmax(policy, base_hidden[k][start : start + CHUNK], base_head)
                total += float((p.exp() * (p - q)).sum())
            out[k] = (max(total, 0.0), len(hidden[k]))
    return out


def _groups(rows: Sequence[Row], order: Sequence[int], limit: int) -> list[list[int]]:
    groups: list[list[int]] = [[]]
    for k in order:
        if groups[-1] and rows[k].length * (len(groups[-1]) + 1) > limit:
            groups.append([])
        groups[-1].append(k)
    return groups


def _hidden(
    policy: Policy, rows: Sequence[Row], groups: Sequence[Sequence[int]]
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Last hidden states that predict each response token, and the output weights that turn them into logits."""
    import torch

    out: list[Any] = [None] * len(rows)
    with policy.merged() as model, torch.inference_mode():
        for group in groups:
            batch = collate([rows[k] for k in group], policy.tokenizer.pad_token_id, policy.device)
            states = hidden_states(
                model, input_ids=batch.tokens, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
            )
            for place, k in enumerate(group):
                mine = batch.source_row == place
                out[k] = states[place, batch.source_column[mine]]
        head = model.get_output_embeddings().weight
        return out, (head.clone() if policy.config.training == "full" else head)


def _log_softmax(policy: Policy, hidden: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.log_softmax(logits_of(policy.model, hidden, head).float(), dim=-1)
