"""Log-likelihoods of given continuations: what they share is computed once, logits only where
used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from restaudit.policy.forward import Route, logits_at
from restaudit.policy.model import Policy
from restaudit.policy.packing import Branches, PackedRow, TrainingExample, bounded, collate

if TYPE_CHECKING:
    import torch

# Tokens whose logits are turned into float32 at a time, which takes twice the memory they take in
# bfloat16.
CHUNK = 256
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class _ContextRow:
    """Continuations (by their place in the request) of one context, and the first tokens that they
    all share.

    The answers of a multiple-choice task often begin alike: what they share stands in the row's
    prompt and is computed once.
    """

    context: Tokens
    shared: Tokens
    places: tuple[int, ...]
    row: PackedRow


def loglikelihoods(
    policy: Policy,
    pairs: Sequence[tuple[Tokens, Tokens]],
    *,
    forward_tokens: int | None = None,
    progress: Callable[[int], None] | None = None,
    route: Route | None = None,
) -> list[tuple[float, bool]]:
    """For each (context, continuation): log p(continuation | context) in nats, and whether greedy
    decoding gives it.

    Both need at least one token; probabilities are computed in float32 at temperature 1, with the
    policy's weights as they are now. `forward_tokens` (512 on a CPU, 8192 on a GPU) bounds the
    tokens of one forward pass, `progress` is called with the continuations done. `route` is the
    policy's own unless another is given.
    """
    import torch

    if not pairs:
        return []
    if route is None:
        route = policy.routes_for(max(len(context) + len(c) for context, c in pairs)).likelihood

    out: list[tuple[float, bool]] = [(0.0, True)] * len(pairs)
    limit = forward_tokens or (8192 if policy.device == "cuda" else 512)
    with policy.inference(merged=route.merged) as model, torch.inference_mode():
        for batch in _batches(_context_rows(pairs, packed=route.packed), limit):
            rows = collate(
                [one.row for one in batch],
                policy.tokenizer.pad_token_id,
                policy.device,
                packed=route.packed,
            )
            source_row, source_column, tokens = _with_shared(batch, rows)
            logits = logits_at(model, source_row, source_column, head=route.head, **rows.inputs)
            nats, greedy = [], []
            for start in range(0, len(tokens), CHUNK):
                part = logits[start : start + CHUNK].float()
                target = tokens[start : start + CHUNK]
                nats += (part.gather(1, target[:, None])[:, 0] - part.logsumexp(1)).tolist()
                greedy += (part.argmax(1) == target).tolist()
            _add_up(out, batch, nats, greedy)
            if progress is not None:
                progress(sum(len(one.places) for one in batch))
    return out


def _with_shared(
    batch: Sequence[_ContextRow], rows: Branches
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows, columns and tokens to score: first what continuations share, then what `collate` names.

    To `collate` the shared tokens are part of the prompt, and it scores none of those.
    """
    import torch

    shared_rows: list[int] = []
    shared_columns: list[int] = []
    shared_tokens: list[int] = []
    for k, one in enumerate(batch):
        shared_rows += [k] * len(one.shared)
        first = len(one.context) - 1  # the context's last token predicts the first one after it
        shared_columns += list(range(first, first + len(one.shared)))
        shared_tokens += one.shared
    # Typed by what they join, as an empty list would make a tensor of floats.
    return (
        torch.cat([rows.source_row.new_tensor(shared_rows), rows.source_row]),
        torch.cat([rows.source_column.new_tensor(shared_columns), rows.source_column]),
        torch.cat([rows.targets.new_tensor(shared_tokens), rows.targets]),
    )


def _add_up(
    out: list[tuple[float, bool]],
    batch: Sequence[_ContextRow],
    nats: Sequence[float],
    greedy: Sequence[bool],
) -> None:
    """Sums over the tokens of each continuation, in the order of `_with_shared`."""
    start = sum(len(one.shared) for one in batch)
    shared_start = 0
    for one in batch:
        shared = slice(shared_start, shared_start + len(one.shared))
        shared_start = shared.stop
        for place, response in zip(one.places, one.row.responses, strict=True):
            own = slice(start, start + len(response))
            start = own.stop
            total = sum(nats[shared]) + sum(nats[own])
            out[place] = (total, all(greedy[shared]) and all(greedy[own]))


def _context_rows(pairs: Sequence[tuple[Tokens, Tokens]], *, packed: bool) -> list[_ContextRow]:
    by_context: dict[Tokens, list[int]] = {}
    for place, (context, continuation) in enumerate(pairs):
        if not context or not continuation:
            raise ValueError(f"pair {place}: context and continuation need at least one token each")
        by_context.setdefault(context, []).append(place)
    if not packed:
        return [
            _ContextRow(c, (), (k,), PackedRow(c, (TrainingExample(c, r),)))
            for k, (c, r) in enumerate(pairs)
        ]
    context_rows = []
    for context, places in by_context.items():
        continuations = [pairs[k][1] for k in places]
        shared = continuations[0][: _common(continuations)] if len(places) > 1 else ()
        start = context + shared
        own = tuple(TrainingExample(start, c[len(shared) :]) for c in continuations)
        context_rows.append(_ContextRow(context, shared, tuple(places), PackedRow(start, own)))
    return context_rows


def _common(continuations: Sequence[Tokens]) -> int:
    """How many first tokens all have in common, leaving each at least one of its own."""
    limit = min(len(c) for c in continuations) - 1
    for k in range(limit):
        if len({c[k] for c in continuations}) > 1:
            return k
    return limit


def _batches(rows: Sequence[_ContextRow], limit: int) -> Iterator[list[_ContextRow]]:
    """In an order of the texts' own, so that the order of the request decides no last digit."""
    in_order = sorted(rows, key=lambda one: (one.row.length, one.row.prompt, one.row.responses))
    return bounded(in_order, limit, length=lambda one: one.row.length)
