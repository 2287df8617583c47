"""Which samples people rate, and in which order they see them: pure functions of keys that the run
fixes.

Every sample gets one pseudo-random number (HMAC-SHA256 of its prompt and its place among that
prompt's samples); the n smallest are drawn. For each iteration by itself that is simple random
sampling without replacement (Ohlsson 1995, "Coordination of samples using permanent random
numbers", in Business Survey Methods). Between iterations the draws are coordinated: the numbers do
not depend on the iteration, so the same prompts are rated, as far as both have them, and a smaller
sample is part of a larger one. Comparisons with the base policy are paired by prompt; this makes
them sharper.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

CHECK_SHARE = 0.1
LEAST_CHECKS = 2
ENOUGH_FOR_CHECKS = 8


def number(key: bytes, *parts: object) -> float:
    """A number in [0, 1) that depends on nothing but the key and the parts."""
    return int.from_bytes(_mac(key, *parts)[:6], "big") / 2**48


def name(key: bytes, *parts: object) -> str:
    """16 hex digits that tell nothing about the parts to whoever lacks the key."""
    return _mac(key, *parts).hex()[:16]


def derive(key: bytes, *parts: object) -> bytes:
    """Another key."""
    return _mac(key, *parts)


def drawn(samples: Sequence[tuple[str, str]], n: int, key: bytes) -> list[int]:
    """Positions of `n` of the samples (sample_id, prompt_id), a simple random sample, in the order
    of the draw.

    Does not depend on the order of the rows. Asking for more than there are gives all of them.
    """
    by_id = sorted(range(len(samples)), key=lambda i: samples[i])
    place: dict[str, int] = {}
    numbers: list[tuple[float, int]] = []
    for i in by_id:
        prompt = samples[i][1]
        place[prompt] = place.get(prompt, -1) + 1
        numbers.append((number(key, prompt, place[prompt]), i))
    return [i for _, i in sorted(numbers)[:n]]


def default_checks(items: int) -> int:
    """How many items are shown twice: a tenth, at least two; none among fewer than eight."""
    return max(LEAST_CHECKS, round(CHECK_SHARE * items)) if items >= ENOUGH_FOR_CHECKS else 0


def shown_order(items: Sequence[str], repeats: Sequence[tuple[str, str]], key: bytes) -> list[str]:
    """The order in which names are shown: shuffled, with each repeat (its name, what it repeats)
    well after the first.

    What is repeated comes somewhere in the first half, its repeat in the last third.
    """
    repeated = {original for _, original in repeats}
    at = {i: number(key, "place", i) / (2 if i in repeated else 1) for i in items}
    at |= {r: 2 / 3 + number(key, "place", r) / 3 for r, _ in repeats}
    return sorted(at, key=lambda i: (at[i], i))


def _mac(key: bytes, *parts: object) -> bytes:
    return hmac.new(key, "\0".join(str(p) for p in parts).encode(), hashlib.sha256).digest()
