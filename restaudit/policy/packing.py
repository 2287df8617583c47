"""Rows for a forward pass: a prompt and its responses in one packed row, or a plain row for each
response.

In a packed row each response attends to the prompt and to itself, with positions that go on from
the prompt. For attention without a window the mathematics is that of separate sequences, while the
prompt is computed once. Where that was not proved of a model, each response gets a row of its own,
and the model is asked as anybody would ask it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


@dataclass(frozen=True)
class TrainingExample:
    """Token ids of a prompt and of the response to learn (with its end token where the response has
    one).

    `weight` is above zero for what is to become likelier and below it for the contrary; `logprob`
    is the response's log probability (nats) under the policy that wrote it. Losses that learn from
    both use them.
    """

    prompt: tuple[int, ...]
    response: tuple[int, ...]
    weight: float = 1.0
    logprob: float = 0.0


@dataclass(frozen=True)
class PackedRow:
    """A prompt and the responses that branch off it."""

    prompt: tuple[int, ...]
    examples: tuple[TrainingExample, ...]

    @property
    def responses(self) -> tuple[tuple[int, ...], ...]:
        """Their token ids."""
        return tuple(e.response for e in self.examples)

    @property
    def length(self) -> int:
        """Tokens of the row.

        A response's last token is only a target, never an input, but is counted.
        """
        return len(self.prompt) + sum(len(r) for r in self.responses)


@dataclass(frozen=True)
class Branches:
    """A batch of rows as tensors.

    `inputs` is what the model is given: `input_ids` (rows, length) and, for packed rows,
    `position_ids` and `attention_mask` (rows, 1, length, length), True where attention is allowed.
    For each response token: `targets` its id, `source_row` and `source_column` the place whose
    output predicts it, `sequence` the number of the response it belongs to. Of each response: its
    `weight` and its `logprob`, as the example has them.
    """

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor
    source_row: torch.Tensor
    source_column: torch.Tensor
    sequence: torch.Tensor
    weight: torch.Tensor
    logprob: torch.Tensor


def bounded(items: Iterable[T], limit: int, *, length: Callable[[T], int]) -> Iterator[list[T]]:
    """Groups of at most `limit` padded tokens, for a forward pass each; one item alone may exceed
    it.

    `items` come in rising `length` (tokens), so that the last of a group is as long as its rows
    will be padded to.
    """
    group: list[T] = []
    for item in items:
        if group and length(item) * (len(group) + 1) > limit:
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def branch_rows(examples: Sequence[TrainingExample], *, packed: bool = True) -> list[PackedRow]:
    """Rows of the examples that have a response: grouped by prompt, in order of first appearance,
    or one for each.
    """
    if not packed:
        return [PackedRow(e.prompt, (e,)) for e in examples if e.response]
    by_prompt: dict[tuple[int, ...], list[TrainingExample]] = {}
    for e in examples:
        if e.response:
            by_prompt.setdefault(e.prompt, []).append(e)
    return [PackedRow(prompt, tuple(branches)) for prompt, branches in by_prompt.items()]


def collate(rows: Sequence[PackedRow], pad: int, device: str, *, packed: bool = True) -> Branches:
    """Tensors for a batch of rows, padded on the right.

    Without `packed` every row must hold one response. It then needs neither mask nor positions:
    nothing that a causal model computes for a token depends on the padding that comes after it.
    """
    import torch

    width = max(r.length for r in rows)
    tokens = torch.full((len(rows), width), pad, dtype=torch.long)
    positions = torch.zeros((len(rows), width), dtype=torch.long)
    # Which branch a token is of: 0 the prompt, 1.. the responses, -1 padding.
    branch = torch.full((len(rows), width), -1, dtype=torch.long)
    targets: list[int] = []
    source_row: list[int] = []
    source_column: list[int] = []
    sequence: list[int] = []
    number = 0
    for k, row in enumerate(rows):
        size = len(row.prompt)
        tokens[k, :size] = torch.tensor(row.prompt)
        positions[k, :size] = torch.arange(size)
        branch[k, :size] = 0
        start = size
        for b, response in enumerate(row.responses, start=1):
            end = start + len(response)
            tokens[k, start:end] = torch.tensor(response)
            # Every response goes on from the prompt, whatever stands between them in the row.
            positions[k, start:end] = torch.arange(size, size + len(response))
            branch[k, start:end] = b
            targets += response
            source_row += [k] * len(response)
            # A token is predicted by the one before it: the first one by the prompt's last.
            source_column += [size - 1, *range(start, end - 1)]
            sequence += [number] * len(response)
            number += 1
            start = end
    inputs = {"input_ids": tokens.to(device)}
    if packed:
        seen, looking = branch[:, None, :], branch[:, :, None]
        mask = ((seen == 0) | (seen == looking)) & torch.ones(width, width, dtype=torch.bool).tril()
        # Padding looks at itself: a row of no attention at all gives NaN.
        mask |= torch.eye(width, dtype=torch.bool)
        inputs |= {"attention_mask": mask[:, None].to(device), "position_ids": positions.to(device)}
    return Branches(
        inputs,
        torch.tensor(targets, device=device),
        torch.tensor(source_row, device=device),
        torch.tensor(source_column, device=device),
        torch.tensor(sequence, device=device),
        torch.tensor([e.weight for row in rows for e in row.examples], device=device),
        torch.tensor([e.logprob for row in rows for e in row.examples], device=device),
    )
