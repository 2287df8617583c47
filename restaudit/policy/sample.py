"""Draw responses: several a prompt, one uniform number a token, by the fastest way that was proved
exact.

Every sample's randomness comes from (seed, its name) alone, so neither the order of prompts nor the
batch size decides what is drawn (up to floating point); running out of memory halves the batch and
goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from restaudit.config import SamplingConfig
from restaudit.policy.forward import Cache, Route, last_logits
from restaudit.policy.model import Policy

if TYPE_CHECKING:
    import torch

    from restaudit.policy.growing import GrowingCache

# Rows whose response has ended are dropped when this share of a batch has: dropping copies the
# cache, and keeping them computes tokens that nobody reads.
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

    `tokens` includes the token that ended it (when `finished`); `logprob` is the sum over these
    tokens of the log probability at temperature 1 over the whole vocabulary, in nats.
    """

    name: str
    prompt_id: str
    tokens: tuple[int, ...]
    finished: bool
    logprob: float


@dataclass(frozen=True)
class _Settings:
    """What every batch of one call has in common."""

    policy: Policy
    config: SamplingConfig
    route: Route
    stops: tuple[int, ...]
    seed: int
    progress: Callable[[int], None] | None

    @property
    def device(self) -> str:
        return self.policy.device

    @property
    def pad(self) -> int:
        """The token that fills rows up; masked, so that it decides nothing."""
        return int(self.policy.tokenizer.pad_token_id)


_DrawBatch = Callable[["_Settings", Any, Sequence[SampleRequest]], "Iterator[Samples]"]


def sample(
    policy: Policy,
    requests: Sequence[SampleRequest],
    config: SamplingConfig,
    *,
    seed: int,
    progress: Callable[[int], None] | None = None,
    notice: Callable[[str], None] | None = None,
    route: Route | None = None,
    stops: Sequence[int] | None = None,
) -> list[Samples]:
    """Sample every request; the result is in the order of the requests and their names.

    `progress` is called with the number of tokens just drawn, `notice` with a line when memory ran
    out. `route` and `stops` (token ids that end a response) are the policy's own unless others are
    given.
    """
    import torch

    if not requests:
        return []
    if route is None:
        route = policy.routes_for(max(len(r.tokens) for r in requests) + config.max_tokens).sampling
    end_tokens = policy.stop_tokens if stops is None else stops
    settings = _Settings(policy, config, route, tuple(end_tokens), seed, progress)
    draw_batch = _DRAW_BATCH[route.cache]
    equal_length = route.cache in ("equal", "none")
    by_name: dict[str, Samples] = {}
    size = config.batch
    # Prompts of similar length share a batch, so that little is padded.
    queue = sorted(requests, key=lambda r: (len(r.tokens), r.prompt_id))
    with policy.inference(merged=route.merged) as model, torch.inference_mode():
        model.eval()
        while queue:
            batch, rest = _next_batch(queue, size, equal_length=equal_length)
            try:
                drawn = list(draw_batch(settings, model, batch))
            except (RuntimeError, MemoryError) as e:
                # Drawn again in smaller batches the samples are the same ones: their random numbers
                # follow from seed and name.
                if size <= 1 or not _out_of_memory(e):
                    raise
                size = max(size // 2, 1)
                if policy.device == "cuda":
                    torch.cuda.empty_cache()
                if notice:
                    notice(f"out of memory while sampling: going on with batches of {size}")
                continue
            by_name.update((s.name, s) for s in drawn)
            queue = rest
    return [by_name[name] for r in requests for name in r.names]


def uniforms(seed: int, name: str, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The random numbers of one sample, in [0, 1): a function of the seed and its name only."""
    # A hash and not Python's own `hash`, which differs from process to process; Philox takes any key.
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key)).random(count)


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: torch says so with a class of its own on a GPU, and only in words on
    a CPU.
    """
    import torch

    return isinstance(
        error, torch.OutOfMemoryError | MemoryError
    ) or "can't allocate memory" in str(error)


def _next_batch(
    queue: list[SampleRequest], size: int, *, equal_length: bool
) -> tuple[list[SampleRequest], list[SampleRequest]]:
    """As many whole prompts as fit in `size` rows, and the rest; a prompt that wants more rows than
    that is cut in two.

    With `equal_length` only prompts as long as the first one.
    """
    batch: list[SampleRequest] = []
    room = size
    for k, request in enumerate(queue):
        if equal_length and len(request.tokens) != len(queue[0].tokens):
            return batch, queue[k:]
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


class _Record:
    """What was drawn for a batch so far, a row a sample: tokens, their number, whether one ended
    it, and nats.
    """

    def __init__(self, settings: _Settings, batch: Sequence[SampleRequest]) -> None:
        import torch

        self.settings = settings
        self.owners = [(r.prompt_id, name) for r in batch for name in r.names]
        device, steps = settings.device, settings.config.max_tokens
        count = len(self.owners)
        # One number a token is drawn beforehand, used or not: where others end decides nothing.
        noise = np.stack([uniforms(settings.seed, name, steps) for _, name in self.owners])
        self.noise = torch.tensor(noise, dtype=torch.float32).to(device)
        self.stop = torch.tensor(settings.stops, dtype=torch.long, device=device)
        self.tokens = torch.zeros((count, steps), dtype=torch.long, device=device)
        self.lengths = torch.zeros(count, dtype=torch.long, device=device)
        self.finished = torch.zeros(count, dtype=torch.bool, device=device)
        # A sum of float32 numbers over a long response would lose digits that are recorded.
        self.logprob = torch.zeros(count, dtype=torch.float64, device=device)
        self.scratch: torch.Tensor | None = None

    def draw(self, step: int, rows: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """The next token of these rows from their logits, (rows, vocabulary); of finished rows it
        is not recorded.
        """
        import torch

        if self.scratch is None:
            self.scratch = torch.empty(logits.shape, dtype=torch.float32, device=logits.device)
        live = ~self.finished[rows]
        token, gain = _draw(
            logits, self.noise[rows, step], self.settings.config, self.scratch[: len(rows)]
        )
        self.tokens[rows[live], step] = token[live]
        self.lengths[rows[live]] += 1
        self.logprob[rows[live]] += gain[live].double()
        self.finished[rows] |= torch.isin(token, self.stop)
        if self.settings.progress:
            self.settings.progress(int(live.sum()))
        return token

    def samples(self) -> Iterator[Samples]:
        """The samples, in the order of the batch."""
        tokens, sizes = self.tokens.tolist(), self.lengths.tolist()
        ended, nats = self.finished.tolist(), self.logprob.tolist()
        for k, (prompt_id, name) in enumerate(self.owners):
            yield Samples(name, prompt_id, tuple(tokens[k][: sizes[k]]), ended[k], nats[k])


# --- with a cache of our own


def _cached_batch(
    settings: _Settings, model: Any, batch: Sequence[SampleRequest]
) -> Iterator[Samples]:
    """Prompts computed once for all their samples; rows whose response has ended are dropped."""
    import torch

    from restaudit.policy.growing import GrowingCache

    device, steps = settings.device, settings.config.max_tokens
    cache = GrowingCache(model.config, room=steps)
    logits, mask, position = _prefill(settings, model, cache, [r.tokens for r in batch])
    # From here on a row is a sample and no longer a prompt.
    repeat = torch.tensor([len(r.names) for r in batch], device=device)
    row_of = torch.arange(len(batch), device=device).repeat_interleave(repeat)
    cache.select(row_of, room=steps)
    logits, mask, position = logits[row_of], mask[row_of], position[row_of]

    record = _Record(settings, batch)
    rows = torch.arange(len(row_of), device=device)  # live rows, by their place in the results
    for step in range(steps):
        token = record.draw(step, rows, logits)
        live = ~record.finished[rows]
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
        logits = last_logits(model, head=settings.route.head, cache=cache, **inputs)
    return record.samples()


def _prefill(
    settings: _Settings, model: Any, cache: GrowingCache, prompts: Sequence[tuple[int, ...]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Fill the cache with the prompts, padded on the left; what all of them begin with may be
    computed once.

    Returns the logits of the next token (n, vocabulary), the mask (n, width) and the last position
    (n, 1).
    """
    import torch

    device, pad, head = settings.device, settings.pad, settings.route.head
    shared = 0
    # A system prompt and the template's opening are the same for all prompts. Going on from them is
    # a route of its own: a model with a window may compute it otherwise.
    if settings.route.cache == "shared" and len(prompts) > 1:
        shared = _common_prefix(prompts)
    if shared:
        ids = torch.tensor([prompts[0][:shared]], device=device)
        last_logits(model, head=head, cache=cache, input_ids=ids)
        cache.select(
            torch.zeros(len(prompts), dtype=torch.long, device=device),
            room=max(map(len, prompts)) - shared,
        )
    rest = [p[shared:] for p in prompts]
    width = max(map(len, rest))
    ids = torch.tensor([[pad] * (width - len(r)) + list(r) for r in rest], device=device)
    mask = torch.tensor(
        [[1] * shared + [0] * (width - len(r)) + [1] * len(r) for r in rest], device=device
    )
    # Padding takes no position: a padded prompt is computed as it would be alone.
    position = (mask.cumsum(1) - 1).clamp(min=0)
    logits = last_logits(
        model,
        head=head,
        cache=cache,
        input_ids=ids,
        attention_mask=mask,
        position_ids=position[:, shared:],
    )
    return logits, mask, position[:, -1:]


def _common_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all prompts begin with; every prompt keeps at least one of its own."""
    # What the first and the last in order have in common, all between them have too.
    first, last = min(prompts), max(prompts)
    limit = min(map(len, prompts)) - 1
    for k in range(limit):
        if first[k] != last[k]:
            return k
    return limit


# --- through the model's own generation


def _generate_batch(
    settings: _Settings, model: Any, batch: Sequence[SampleRequest]
) -> Iterator[Samples]:
    """transformers' own `generate`, which knows every kind of cache; only the choice of the token
    is ours.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

    record = _Record(settings, batch)
    prompts = [r.tokens for r in batch for _ in r.names]
    width, pad, device = max(map(len, prompts)), settings.pad, settings.device
    every_row = torch.arange(len(prompts), device=device)

    class Drawing(LogitsProcessor):  # type: ignore[misc]
        """Draws the token and leaves nothing but it to be chosen."""

        step = 0

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
            token = record.draw(self.step, every_row, scores)
            self.step += 1
            return torch.full_like(scores, -torch.inf).scatter_(1, token[:, None], 0.0)

    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=settings.config.max_tokens,
        eos_token_id=list(settings.stops) or None,
        pad_token_id=pad,
        use_cache=True,
    )
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    with _no_generation_config(model), warnings.catch_warnings():
        # PEFT's virtual tokens move every position, and it counts them itself.
        warnings.filterwarnings("ignore", message="Position ids are not supported")
        model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=greedy,
            logits_processor=LogitsProcessorList([Drawing()]),
        )
    return record.samples()


@contextlib.contextmanager
def _no_generation_config(model: Any) -> Iterator[None]:
    """The model without a generation config of its own.

    `generate` would take a repetition penalty from it, and sample another policy.
    """
    from transformers import GenerationConfig

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    holders = list({id(m): m for m in (model, inner)}.values())
    before = [m.generation_config for m in holders]
    for holder in holders:
        holder.generation_config = GenerationConfig()
    try:
        yield
    finally:
        for holder, own in zip(holders, before, strict=True):
            holder.generation_config = own


# --- by nothing but the forward pass


def _plain_batch(
    settings: _Settings, model: Any, batch: Sequence[SampleRequest]
) -> Iterator[Samples]:
    """Every token by a whole forward pass over the tokens so far; prompts of one length, so that
    nothing is padded.

    For models whose cache does not compute what their forward pass does (RWKV, Nemotron-H).
    """
    import torch

    record = _Record(settings, batch)
    prompts = [r.tokens for r in batch for _ in r.names]
    ids = torch.tensor(prompts, device=settings.device)
    every_row = torch.arange(len(prompts), device=settings.device)
    for step in range(settings.config.max_tokens):
        logits = last_logits(model, head=settings.route.head, input_ids=ids)
        token = record.draw(step, every_row, logits)
        if bool(record.finished.all()):
            break
        ids = torch.cat([ids, token[:, None]], 1)
    return record.samples()


_DRAW_BATCH: dict[Cache, _DrawBatch] = {
    "shared": _cached_batch,
    "growing": _cached_batch,
    "padded": _generate_batch,
    "equal": _generate_batch,
    "none": _plain_batch,
}


# --- one token


def _draw(
    logits: torch.Tensor, uniform: torch.Tensor, config: SamplingConfig, scratch: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row by inverting the distribution at `uniform`, and its log-probability at
    temperature 1.

    Restricting to the top k first makes this far cheaper than torch.multinomial over the
    vocabulary.
    """
    import torch

    k = logits.shape[-1]
    if config.top_k:
        k = min(config.top_k, k)
    best, index = torch.topk(logits, k, dim=-1)
    best = best.float()
    # logsumexp over the whole vocabulary in float32, also for a model in bfloat16, and in one
    # buffer for all tokens: at this width memory is what a step costs.
    torch.sub(logits, best[:, :1], out=scratch)
    total = scratch.exp_().sum(1).log() + best[:, 0]
    cumulative = torch.softmax(best / config.temperature, dim=-1).cumsum(-1)
    # The last sum is 1 but for rounding; what is drawn is scaled to it, so that no token lies beyond.
    reached = cumulative < uniform[:, None] * cumulative[:, -1:]
    choice = reached.sum(1, keepdim=True).clamp(max=k - 1)
    return index.gather(1, choice)[:, 0], best.gather(1, choice)[:, 0] - total
