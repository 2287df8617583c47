"""Losses of the Improve step behind one interface: log-probabilities of response tokens in, a loss a token out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from restaudit.config import GoldLoss, LossConfig

if TYPE_CHECKING:
    import torch

# (log-probabilities of response tokens (n,), number of the response each belongs to (n,), sorted) -> losses (n,)
TokenLosses = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]


def make_loss(config: LossConfig) -> TokenLosses:
    """The loss the configuration names."""
    if isinstance(config, GoldLoss):
        return lambda logp, sequence: gold(logp, sequence, window=config.window, floor=config.floor)
    return behaviour_cloning


def behaviour_cloning(logp: torch.Tensor, sequence: torch.Tensor) -> torch.Tensor:  # noqa: ARG001 - one interface
    """Negative log-likelihood in nats (BC, the loss that won every comparison of the ReST paper)."""
    return -logp


def gold(logp: torch.Tensor, sequence: torch.Tensor, *, window: int, floor: float) -> torch.Tensor:
    """GOLD (Pang and He 2020, arXiv 2009.07839) with a window of k tokens, as the ReST paper uses it (k = 5).

    Each token's NLL is weighted, without gradient, by the importance weight max(π(token), floor) and by the return of
    the next k tokens of its response, the reward of a token being its probability under the policy (GOLD-s),
    averaged over the window so that the weight stays in (0, 1].
    """
    import torch

    probability = logp.detach().exp()
    total = torch.zeros_like(probability)
    count = torch.zeros_like(probability)
    size = len(probability)
    for shift in range(min(window, size)):
        same = sequence[: size - shift] == sequence[shift:]
        total[: size - shift] += probability[shift:] * same
        count[: size - shift] += same
    return -logp * probability.clamp(min=floor) * (total / count)
