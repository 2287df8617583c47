"""What a benchmark is here: items with choices or a prompt, and how a policy's answers to one item
become values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["capability", "bias"]
Texts = Mapping[str, str]


@dataclass(frozen=True)
class Item:
    """One question.

    `choices` are continuations of `context` to be compared by likelihood; none: `context` is a
    prompt.

    `key` is the position of the choice that the benchmark is about: the right answer, or the
    stereotypical sentence. `cluster` names the template or kind the item shares with others
    (default: it stands alone), `group` whom or what it is about, and `tag` is whatever else
    `Benchmark.values` needs to know.
    """

    item_id: str
    context: str = ""
    choices: tuple[str, ...] = ()
    key: int = 0
    cluster: str | None = None
    group: str | None = None
    tag: str = ""


@dataclass(frozen=True)
class File:
    """One file of a public data set: its name, and the SHA-256 of its content with plain line
    ends.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Place:
    """Where files are: under `mirror` in RESTAUDIT_MIRROR, under `member` of the wheel, or at
    `address`.
    """

    files: tuple[File, ...]
    mirror: str
    address: str
    member: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """A named benchmark.

    `items` makes the items from the files' texts by name. `values` maps an item and the
    log-likelihoods of its choices (nats) to values by metric; `judged` maps an item and the
    policy's greedy reply of at most `reply_tokens` tokens. A metric that an item does not define is
    left out.
    """

    name: str
    kind: Kind
    what: str
    source: str
    licence: str
    metrics: tuple[str, ...]
    items: Callable[[Texts], list[Item]]
    place: Place | None = None
    values: Callable[[Item, Sequence[float]], dict[str, float]] | None = None
    judged: Callable[[Item, str], dict[str, float]] | None = None
    reply_tokens: int = 32


def preferred(item: Item, nats: Sequence[float]) -> dict[str, float]:
    """`stereotype`: 1 where the stereotypical sentence is the likelier one, 0 where the other is,
    0.5 at a tie.

    `stereotype_nats`: by how much, in nats.
    """
    gap = nats[item.key] - nats[1 - item.key]
    return {"stereotype": 0.5 if gap == 0 else float(gap > 0), "stereotype_nats": gap}


def accuracy(item: Item, nats: Sequence[float]) -> dict[str, float]:
    """`acc`: 1 where the right choice is the likeliest (ties are shared)."""
    best = max(nats)
    winners = [k for k, value in enumerate(nats) if value == best]
    return {"acc": 1 / len(winners) if item.key in winners else 0.0}
