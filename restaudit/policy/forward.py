"""The model's own forward pass, asked only for what is needed, and the ways to compute it faster.

`model(input_ids).logits` is the truth: what a model does after its last hidden state (scaling,
caps, a bias, an adapter on the head) happens inside it. Everything that is faster is a choice in a
`Route`, taken only where `restaudit.policy.exactness` proved it on the very model that is loaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

    from restaudit.policy.growing import GrowingCache

# How sampling remembers what was computed, from the fastest way to the plainest:
# shared    our cache; what all prompts of a batch begin with is computed once
# growing   our cache; whole prompts
# padded    the model's own cache, through `generate`
# equal     the same, but only prompts of one length share a batch, so that nothing is padded
# none      every token is a whole forward pass over what came before it; prompts of one length
# The first three pad prompts on the left, so that the next token stands at the end of every row.
Cache = Literal["shared", "growing", "padded", "equal", "none"]


@dataclass(frozen=True)
class Route:
    """How something is computed.

    The default is the fastest way; PLAIN is the model's own forward pass and no more.

    merged  adapters are added into the weights for as long as it takes
    packed  responses to one prompt share a row, under a mask of our own, instead of a row each
    head    the output layer is computed at the places that are needed only
    cache   how sampling remembers; see Cache
    """

    merged: bool = True
    packed: bool = True
    head: bool = True
    cache: Cache = "shared"


PLAIN = Route(merged=False, packed=False, head=False, cache="none")


@dataclass(frozen=True)
class Routes:
    """The route of each use, and the longest sequence (prompt and response, in tokens) that they
    were proved for.
    """

    sampling: Route = Route()
    training: Route = Route(merged=False)
    likelihood: Route = Route()
    kl: Route = Route()
    reach: int | None = None


class HeadPassedBy(RuntimeError):
    """The model does not call its output layer as a module, so it cannot be asked at chosen places
    only.
    """


def logits_at(
    model: Any, rows: torch.Tensor, columns: torch.Tensor, *, head: bool, **inputs: torch.Tensor
) -> torch.Tensor:
    """The model's own logits at chosen places of a batch: (places, vocabulary), in the dtype that
    the model gives.

    `rows` and `columns`, (places,), name them in `inputs["input_ids"]`, (rows, length). With `head`
    a hook hands the output layer just these places; what the model does to its logits afterwards
    then applies to them alone. Raises HeadPassedBy where the hook is not called.
    """
    length = inputs["input_ids"].shape[1]

    def choose(states: torch.Tensor) -> torch.Tensor:
        # Counted from the end: prompt tuning puts virtual tokens in front.
        return states[rows, columns + (states.shape[1] - length)]

    return _forward(model, choose, head=head, **inputs, use_cache=False)


def last_logits(
    model: Any, *, head: bool = True, cache: GrowingCache | None = None, **inputs: Any
) -> torch.Tensor:
    """The model's own logits after the last token of every row: (rows, vocabulary).

    A `cache` is read and grown by what `inputs` hold.
    """
    if cache is not None:
        inputs |= {cache.argument: cache, "use_cache": True}
    # Contiguous, since torch copies the output layer once a row for a strided slice.
    return _forward(model, lambda states: states[:, -1].contiguous(), head=head, **inputs)


def _forward(model: Any, choose: Any, *, head: bool, **inputs: Any) -> torch.Tensor:
    """Logits at the places that `choose` takes, of the logits or (`head`) of the last states."""
    if not head:
        all_places: torch.Tensor = choose(model(**inputs).logits)
        return all_places
    # Not the product of last states and output weights, which is 16 nats off for Granite and Cohere
    # and forgets Phi's bias; and not `logits_to_keep`, which differs between models and versions.
    places: list[int] = []

    def hook(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if not arguments:  # handed over by name: the check below refuses it
            return arguments
        states = choose(arguments[0])
        places.append(len(states))
        return (states, *arguments[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(hook)
    try:
        logits: torch.Tensor = model(**inputs).logits
    finally:
        handle.remove()
    # Called twice, or on parts of the places, the logits would not be those of what was chosen.
    if len(places) != 1 or logits.shape[:-1] != (places[0],):
        raise HeadPassedBy(
            f"{type(model).__name__} does not call its output layer once, on all places"
        )
    return logits


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The model in evaluation mode, and then in the mode of each of its modules as before."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        # Not `model.train()`: a trainer may hold some modules in evaluation mode on purpose.
        for module, training in modes:
            module.training = training
