"""Losses of the Improve step behind one interface: log-probabilities of response tokens in, a loss
a token out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from restaudit.config import GoldLoss, LossConfig, ToprLoss
from restaudit.policy.packing import Branches

if TYPE_CHECKING:
    import torch

# (log-probabilities of response tokens (n,), the batch they belong to) -> losses (n,)
TokenLosses = Callable[["torch.Tensor", Branches], "torch.Tensor"]


def make_loss(config: LossConfig) -> TokenLosses:
    """The loss the configuration names."""
    if isinstance(config, GoldLoss):
        return lambda logp, rows: gold(
            logp, rows.sequence, window=config.window, floor=config.floor
        )
    if isinstance(config, ToprLoss):
        return lambda logp, rows: topr(logp, rows.sequence, rows.weight, rows.logprob)
    return behaviour_cloning


def behaviour_cloning(logp: torch.Tensor, rows: Branches) -> torch.Tensor:  # noqa: ARG001 - one interface
    """Negative log-likelihood in nats (BC, the loss that won every comparison of the ReST
    paper).
    """
    return -logp


def gold(logp: torch.Tensor, sequence: torch.Tensor, *, window: int, floor: float) -> torch.Tensor:
    """GOLD (Pang and He 2020, arXiv 2009.07839) with a window of k tokens, as the ReST paper uses
    it (k = 5).

    Each token's NLL is weighted, without gradient, by the importance weight max(π(token), floor)
    and by the return of the next k tokens of its response, the reward of a token being its
    probability under the policy (GOLD-s), averaged over the window so that the weight stays in (0,
    1].
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


def topr(
    logp: torch.Tensor, sequence: torch.Tensor, weight: torch.Tensor, drawn: torch.Tensor
) -> torch.Tensor:
    """Tapered off-policy REINFORCE (Le Roux et al. 2025, arXiv 2503.14286): learn from both sides
    of the filter.

    `weight` (responses,) is above zero for responses to make likelier and below it for others;
    `drawn` (responses,) is the log probability under the policy that wrote each. The former count
    fully, as in behaviour cloning. The latter are weighted, without gradient, by their importance
    ratio, at most 1: what has become unlikely is left alone, so the loss cannot run away.
    """
    import torch

    now = torch.zeros_like(drawn).index_add(0, sequence, logp.detach())
    ratio = (now - drawn).clamp(max=0).exp()
    return -logp * torch.where(weight < 0, weight * ratio, weight)[sequence]
