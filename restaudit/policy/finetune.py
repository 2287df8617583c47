"""Fine-tune on the kept set: the loss on response tokens only, and a prompt computed once where
that is proved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np

from restaudit.config import BcLoss, GoldLoss, LossConfig, ToprLoss, TrainConfig
from restaudit.errors import RestauditError
from restaudit.policy.forward import Route, logits_at
from restaudit.policy.model import Policy
from restaudit.policy.packing import (
    Branches,
    PackedRow,
    TrainingExample,
    bounded,
    branch_rows,
    collate,
)

if TYPE_CHECKING:
    import torch

# (log-probabilities of response tokens (n,), the batch they belong to) -> losses (n,)
TokenLosses = Callable[["torch.Tensor", Branches], "torch.Tensor"]


class TrainingDiverged(RestauditError):
    """The loss or a gradient stopped being a number; the run is intact up to the step before."""


@dataclass(frozen=True)
class EpochResult:
    """One optimiser step of a log: loss in nats per response token, `tokens` response tokens
    trained on.
    """

    epoch: int
    step: int
    loss: float
    learning_rate: float
    tokens: int
    grad_norm: float


def fine_tune(
    policy: Policy,
    examples: Sequence[TrainingExample],
    config: TrainConfig,
    *,
    learning_rate: float,
    epochs: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Iterator[list[EpochResult]]:
    """Train in place; yields the log of each epoch when it ends, so that the caller can stop or
    keep the best.

    AdamW on float32 masters of what is trained, linear warm-up, then linear decay to zero over all
    epochs. The loss of a step is the mean over its response tokens. `progress` gets the number of
    tokens (prompt and response) just seen. Raises TrainingDiverged at the first loss or gradient
    that is not finite.
    """
    import torch

    rng = np.random.Generator(np.random.PCG64(seed))
    names = list(policy.masters)
    params = dict(policy.model.named_parameters())
    # The optimiser sees float32 copies: in bfloat16 a step smaller than about a 256th of a
    # weight would be rounded away.
    masters = [torch.nn.Parameter(policy.masters[n]) for n in names]
    optimiser = torch.optim.AdamW(masters, lr=learning_rate, weight_decay=config.weight_decay)
    loss_of = make_loss(config.loss)
    per_epoch = math.ceil(len(examples) / config.batch)
    total = per_epoch * epochs
    step = 0
    policy.model.train()
    try:
        # Dropout draws from the global generator, which is the caller's outside of this block.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for epoch in range(1, epochs + 1):
                log: list[EpochResult] = []
                for batch in _steps(examples, config.batch, rng):
                    rate = learning_rate * _schedule(step, total, config.warmup_share)
                    for group in optimiser.param_groups:
                        group["lr"] = rate
                    loss, tokens = _accumulate(policy, batch, loss_of, config, progress)
                    for name, master in zip(names, masters, strict=True):
                        grad = params[name].grad
                        master.grad = None if grad is None else grad.float()
                        params[name].grad = None
                    norm = float(torch.nn.utils.clip_grad_norm_(masters, config.max_grad_norm))
                    if not (math.isfinite(loss) and math.isfinite(norm)):
                        raise TrainingDiverged(
                            f"the loss became {loss} (gradient norm {norm}) at epoch {epoch}, "
                            f"step {step}, learning rate {rate:.3g}: lower "
                            "loop.train.learning_rate; nothing of this step was recorded"
                        )
                    optimiser.step()
                    policy.write_back()
                    step += 1
                    log.append(EpochResult(epoch, step, loss, rate, tokens, norm))
                # The caller may measure between epochs, and must not measure with dropout.
                policy.model.eval()
                yield log
                policy.model.train()
    finally:
        policy.model.eval()


def response_logprobs(model: Any, rows: Branches, *, head: bool = True) -> torch.Tensor:
    """Log-probability of every response token in nats, (tokens,), float32; `head` as in `Route`."""
    import torch

    logits = logits_at(model, rows.source_row, rows.source_column, head=head, **rows.inputs)
    return -torch.nn.functional.cross_entropy(logits.float(), rows.targets, reduction="none")


def training_logprobs(
    policy: Policy,
    examples: Sequence[TrainingExample],
    *,
    route: Route | None = None,
    forward_tokens: int | None = None,
) -> list[float]:
    """Log-probability of each response in nats, computed just as the training loss is, with the
    weights as they are.

    `route` is the policy's own unless another is given, `forward_tokens` bounds a forward pass as
    in TrainConfig.
    """
    import torch

    if route is None:
        route = policy.routes_for(max(len(e.prompt) + len(e.response) for e in examples)).training
    # By identity: the same prompt and response may be asked for twice.
    places = {id(e): k for k, e in enumerate(examples)}
    totals = [0.0] * len(examples)
    limit = forward_tokens or TrainConfig().forward_tokens
    with torch.inference_mode():
        for group in _forward_groups(branch_rows(examples, packed=route.packed), limit):
            rows = collate(group, policy.tokenizer.pad_token_id, policy.device, packed=route.packed)
            logp = response_logprobs(policy.model, rows, head=route.head)
            sums = logp.new_zeros(len(rows.weight)).index_add(0, rows.sequence, logp).tolist()
            in_order = (e for row in group for e in row.examples)
            for example, total in zip(in_order, sums, strict=True):
                totals[places[id(example)]] = total
    return totals


def _accumulate(
    policy: Policy,
    batch: Sequence[TrainingExample],
    loss_of: TokenLosses,
    config: TrainConfig,
    progress: Callable[[int], None] | None,
) -> tuple[float, int]:
    """Gradients of one step, in as many forward passes as it takes; its loss and its tokens."""
    # The mean over the tokens of the whole step, so that neither packing nor the size of a forward
    # pass changes what is learned.
    tokens = sum(len(e.response) for e in batch)
    total = 0.0
    route = policy.routes_for(max(len(e.prompt) + len(e.response) for e in batch)).training
    for group in _forward_groups(branch_rows(batch, packed=route.packed), config.forward_tokens):
        rows = collate(group, policy.tokenizer.pad_token_id, policy.device, packed=route.packed)
        logp = response_logprobs(policy.model, rows, head=route.head)
        loss = loss_of(logp, rows).sum() / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
        if progress:
            progress(sum(row.length for row in group))
    return total, tokens


def _steps(
    examples: Sequence[TrainingExample], size: int, rng: np.random.Generator
) -> Iterator[list[TrainingExample]]:
    """Batches of `size` responses in random order of prompts; responses to one prompt stay
    together.
    """
    by_prompt: dict[tuple[int, ...], list[TrainingExample]] = {}
    for e in examples:
        by_prompt.setdefault(e.prompt, []).append(e)
    prompts = list(by_prompt.values())
    ordered = [e for k in rng.permutation(len(prompts)) for e in prompts[k]]
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _forward_groups(rows: list[PackedRow], limit: int) -> Iterator[list[PackedRow]]:
    """Rows of similar length together, at most `limit` padded tokens for a forward pass."""
    return bounded(sorted(rows, key=lambda r: r.length), limit, length=lambda r: r.length)


def _schedule(step: int, total: int, warmup_share: float) -> float:
    """The share of the learning rate at a step (from 0): linear up to 1, then linear towards 0."""
    warmup = max(1, round(total * warmup_share))
    return min((step + 1) / warmup, (total - step) / max(total - warmup + 1, 1))


# --- losses of the Improve step


def make_loss(config: LossConfig) -> TokenLosses:
    """The loss the configuration names."""
    match config:
        case BcLoss():
            return behaviour_cloning
        case GoldLoss(window=window, floor=floor):
            return lambda logp, rows: gold(logp, rows.sequence, window=window, floor=floor)
        case ToprLoss():
            return lambda logp, rows: topr(logp, rows.sequence, rows.weight, rows.logprob)
        case _:
            assert_never(config)


def behaviour_cloning(logp: torch.Tensor, _rows: Branches) -> torch.Tensor:
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

    # Of whole responses and not of tokens: it was the response that was sampled.
    now = torch.zeros_like(drawn).index_add(0, sequence, logp.detach())
    ratio = (now - drawn).clamp(max=0).exp()
    return -logp * torch.where(weight < 0, weight * ratio, weight)[sequence]
