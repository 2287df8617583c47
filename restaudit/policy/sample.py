"""Draw responses: several a prompt from one prefill, finished rows dropped, one uniform number a token.

Every sample's randomness comes from (seed, its name) alone, so neither the order of prompts nor the batch size decides
what is drawn (up to floating point); running out of memory halves the batch and goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from restaudit.config import SamplingConfig
from restaudit.policy.kv import GrowingCache
from restaudit.policy.model import Policy, hidden_states, logits_of

if TYPE_CHECKING:
    import torch

DROP_SHARE = 0.2


@dataclass(frozen=True)
class SampleRequest:
    """A prompt, and the names of the samples wanted from it."""

    prompt_id: str
    tokens: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Samples:
    """One response.

    `tokens` includes the token that ended it (when `finished`); `logprob` is the sum over these tokens of the log
    probability at temperature 1 over the whole vocabulary, in nats.
    """

    name: str
    prompt_id: str
    tokens: tuple[int, ...]
    finished: bool
    logprob: float


def sample(
    policy: Policy,
    requests: Sequence[SampleRequest],
    config: SamplingConfig,
    *,
    seed: int,
    progress: Callable[[int], None] | None = None,
    notice: Callable[[str], None] | None = None,
) -> list[Samples]:
    """Sample every request; the result is in the order of the requests and their names.

    `progress` is called with the number of tokens just drawn, `notice` with a line when memory ran out.
    """
    import torch

    out: dict[str, Samples] = {}
    size = config.batch
    queue = sorted(requests, key=lambda r: (len(r.tokens), r.prompt_id))
    with policy.merged() as model, torch.inference_mode():
        model.eval()
        while queue:
            batch, rest = _take(queue, size)
            try:
                done = list(_sample_batch(policy, model, batch, config, seed, progress))
            except (RuntimeError, MemoryError) as e:
                if size <= 1 or not _out_of_memory(e):
                    raise
                size = max(size // 2, 1)
                if policy.device == "cuda":
                    torch.cuda.empty_cache()
                if notice:
                    notice(f"out of memory while sampling: going on with batches of {size}")
                continue
            out.update((s.name, s) for s in done)
            queue = rest
    return [out[name] for r in requests for name in r.names]


def uniforms(seed: int, name: str, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The random numbers of one sample, in [0, 1): a function of the seed and its name only."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key)).random(count)


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: torch says so with a class of its own on a GPU, and only in words on a CPU."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _take(queue: list[SampleRequest], size: int) -> tuple[list[SampleRequest], list[SampleRequest]]:
    """As many whole prompts as fit in `size` rows; a prompt that wants more rows than that is cut in two."""
    batch: list[SampleRequest] = []
    room = size
    for k, request in enumerate(queue):
        if len(request.names) <= room:
            batch.append(request)
            room -= len(request.names)
            continue
        if batch:
            return batch, queue[k:]
        head = SampleRequest(request.prompt_id, request.tokens, request.names[:room])
        tail = SampleRequest(request.prompt_id, request.tokens, request.names[room:])
        return [head], [tail, *queue[k + 1 :]]
    return batch, []


def _sample_batch(
    policy: Policy,
    model: Any,
    batch: Sequence[SampleRequest],
    config: SamplingConfig,
    seed: int,
    progress: Callable[[int], None] | None,
) -> Iterator[Samples]:
    import torch

    device, steps = policy.device, config.max_tokens
    pad = policy.tokenizer.pad_token_id
    cache = GrowingCache(model.config, room=steps)
    logits, mask, position = _prefill(model, cache, [r.tokens for r in batch], pad, device)

    owners = [(r.prompt_id, name) for r in batch for name in r.names]
    repeat = torch.tensor([len(r.names) for r in batch], device=device)
    row_of = torch.arange(len(batch), device=device).repeat_interleave(repeat)
    cache.select(row_of, room=steps)
    logits, mask, position = logits[row_of], mask[row_of], position[row_of]

    noise = torch.tensor(np.stack([uniforms(seed, name, steps) for _, name in owners]), dtype=torch.float32)
    noise = noise.to(device)
    stop = torch.tensor(policy.stop_tokens, device=device)
    drawn = torch.full((len(owners), steps), pad, dtype=torch.long, device=device)
    lengths = torch.zeros(len(owners), dtype=torch.long, device=device)
    finished = torch.zeros(len(owners), dtype=torch.bool, device=device)
    logprob = torch.zeros(len(owners), dtype=torch.float64, device=device)
    rows = torch.arange(len(owners), device=device)  # live rows, by their place in the results
    scratch = torch.empty(logits.shape, dtype=torch.float32, device=device)

    for step in range(steps):
        live = ~finished[rows]
        token, gain = _draw(logits, noise[rows, step], config, scratch[: len(rows)])
        drawn[rows[live], step] = token[live]
        lengths[rows[live]] += 1
        logprob[rows[live]] += gain[live].double()
        finished[rows] |= torch.isin(token, stop)
        if progress:
            progress(int(live.sum()))
        live = ~finished[rows]
        count = int(live.sum())
        if count == 0 or step == steps - 1:
            break
        if count <= (1 - DROP_SHARE) * len(rows):
            keep = live.nonzero()[:, 0]
            cache.select(keep, room=steps - step)
            rows, token, mask, position = rows[keep], token[keep], mask[keep], position[keep]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
        position = position + 1
        inputs = {"input_ids": token[:, None], "attention_mask": mask, "position_ids": position}
        hidden = hidden_states(model, **inputs, past_key_values=cache, use_cache=True)
        logits = logits_of(model, hidden[:, -1])

    tokens, sizes, ended, score = drawn.tolist(), lengths.tolist(), finished.tolist(), logprob.tolist()
    for k, (prompt_id, name) in enumerate(owners):
        yield Samples(name, prompt_id, tuple(tokens[k][: sizes[k]]), ended[k], score[k])


def _prefill(
    model: Any, cache: GrowingCache, prompts: Sequence[tuple[int, ...]], pad: int, device: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Fill the cache with the prompts, padded on the left; what all of them begin with is computed once.

    Returns the logits of the next token (n, vocabulary), the mask (n, width) and the last position (n, 1).
    """
    import torch

    shared = _common_prefix(prompts)
    if shared and len(prompts) > 1:
        ids = torch.tensor([prompts[0][:shared]], device=device)
        hidden_states(model, input_ids=ids, past_key_values=cache, use_cache=True)
        cache.select(torch.zeros(len(prompts), dtype=torch.long, device=device), room=max(map(len, prompts)) - shared)
    else:
        shared = 0
    rest = [p[shared:] for p in prompts]
    width = max(map(len, rest))
    ids = torch.tensor([[pad] * (width - len(r)) + list(r) for r in rest], device=device)
    mask = torch.tensor([[1] * shared + [0] * (width - len(r)) + [1] * len(r) for r in rest], device=device)
    position = (mask.cumsum(1) - 1).clamp(min=0)
    hidden = hidden_states(
        model,
        input_ids=ids,
        attention_mask=mask,
        position_ids=position[:, shared:],
        past_key_values=cache,
        use_cache=True,
    )
    return logits_of(model, hidden[:, -1]), mask, position[:, -1:]


def _common_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all prompts begin with; every prompt keeps at least one of its own."""
    first, last = min(prompts), max(prompts)
    limit = min(map(len, prompts)) - 1
    return next((k for k in range(limit) if first[k] != last[k]), limit)


def _draw(
    logits: torch.Tensor, uniform: torch.Tensor, config: SamplingConfig, scratch: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row by inverting the distribution at `uniform`, and its log-probability at temperature 1.

    Restricting to the top k first makes this far cheaper than torch.multinomial over the vocabulary.
    """
    import torch

    k = min(config.top_k, logits.shape[-1]) if config.top_k else logits.shape[-1]
    best, index = torch.topk(logits, k, dim=-1)
    best = best.float()
    torch.sub(logits, best[:, :1], out=scratch)
    total = scratch.exp_().sum(1).log() + best[:, 0]
    cumulative = torch.softmax(best / config.temperature, dim=-1).cumsum(-1)
    choice = (cumulative < uniform[:, None] * cumulative[:, -1:]).sum(1, keepdim=True).clamp(max=k - 1)
    return index.gather(1, choice)[:, 0], best.gather(1, choice)[:, 0] - total
