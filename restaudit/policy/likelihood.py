"""Log-likelihoods of given continuations: what they share is computed once, logits only where
used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from restaudit.policy.forward import Route, logits_at
from restaudit.policy.model import Policy
from restaudit.policy.packing import Row, TrainingExample, collate

CHUNK = 256
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class _Group:
    """Continuations (by their place in the request) of one context, and how many first tokens they
    all share.
    """

    context: Tokens
    shared: Tokens
    places: tuple[int, ...]
    row: Row


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
        for batch in _batches(_groups(pairs, packed=route.packed), limit):
            rows = collate(
                [g.row for g in batch],
                policy.tokenizer.pad_token_id,
                policy.device,
                packed=route.packed,
            )
            shared_places = [
                (k, len(g.context) - 1 + j, token)
                for k, g in enumerate(batch)
                for j, token in enumerate(g.shared)
            ]
            at = torch.tensor(
                [(k, column) for k, column, _ in shared_places], dtype=torch.long
            ).reshape(-1, 2)
            source_row = torch.cat([at[:, 0].to(rows.source_row.device), rows.source_row])
            source_column = torch.cat([at[:, 1].to(rows.source_row.device), rows.source_column])
            tokens = torch.cat(
                [rows.targets.new_tensor([t for _, _, t in shared_places]), rows.targets]
            )
            logits = logits_at(model, source_row, source_column, head=route.head, **rows.inputs)
            nats, greedy = [], []
            # In parts, since the same in float32 takes twice the memory of the logits in bfloat16.
            for start in range(0, len(tokens), CHUNK):
                part = logits[start : start + CHUNK].float()
                target = tokens[start : start + CHUNK]
                nats += (part.gather(1, target[:, None])[:, 0] - part.logsumexp(1)).tolist()
                greedy += (part.argmax(1) == target).tolist()
            _add_up(out, batch, nats, greedy)
            if progress is not None:
                progress(sum(len(g.places) for g in batch))
    return out


def _add_up(
    out: list[tuple[float, bool]],
    batch: Sequence[_Group],
    nats: Sequence[float],
    greedy: Sequence[bool],
) -> None:
    """Sums over the tokens of each continuation: first come the shared tokens of every group, then
    the others'.
    """
    first = sum(len(g.shared) for g in batch)
    shared_start = 0
    start = first
    for group in batch:
        shared = slice(shared_start, shared_start + len(group.shared))
        shared_start = shared.stop
        for place, response in zip(group.places, group.row.responses, strict=True):
            own = slice(start, start + len(response))
            start = own.stop
            total = sum(nats[shared]) + sum(nats[own])
            out[place] = (total, all(greedy[shared]) and all(greedy[own]))


def _groups(pairs: Sequence[tuple[Tokens, Tokens]], *, packed: bool) -> list[_Group]:
    by_context: dict[Tokens, list[int]] = {}
    for place, (context, continuation) in enumerate(pairs):
        if not context or not continuation:
            raise ValueError(f"pair {place}: context and continuation need at least one token each")
        by_context.setdefault(context, []).append(place)
    if not packed:
        return [
            _Group(c, (), (k,), Row(c, (TrainingExample(c, r),))) for k, (c, r) in enumerate(pairs)
        ]
    found = []
    for context, places in by_context.items():
        continuations = [pairs[k][1] for k in places]
        shared = continuations[0][: _common(continuations)] if len(places) > 1 else ()
        start = context + shared
        row = Row(start, tuple(TrainingExample(start, c[len(shared) :]) for c in continuations))
        found.append(_Group(context, shared, tuple(places), row))
    return found


def _common(continuations: Sequence[Tokens]) -> int:
    """How many first tokens all have in common, leaving each at least one of its own."""
    limit = min(len(c) for c in continuations) - 1
    for k in range(limit):
        if len({c[k] for c in continuations}) > 1:
            return k
    return limit


def _batches(groups: Sequence[_Group], limit: int) -> Iterator[list[_Group]]:
    batch: list[_Group] = []
    for group in sorted(groups, key=lambda g: (g.row.length, g.row.prompt, g.row.responses)):
        if batch and group.row.length * (len(batch) + 1) > limit:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch
