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
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.errors import BadInput
from restaudit.files import plain
from restaudit.people.rating.store import locked, read_text, write_text

if TYPE_CHECKING:
    from restaudit.evidence.record import Run

# What a set may be called: its name is part of file names.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Of the items this share is shown twice: few, since each costs a rating; at least two, since one
# agreement may be luck; and none in a set so small that raters would remember them.
CHECK_SHARE = 0.1
LEAST_CHECKS = 2
ENOUGH_FOR_CHECKS = 8


def number(key: bytes, *parts: object) -> float:
    """A number in [0, 1) that depends on nothing but the key and the parts."""
    # 48 bits: exact in a float, and two equal numbers are as good as impossible.
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
        # Of the prompt and the place, not of the sample's id, which holds the iteration.
        numbers.append((number(key, prompt, place[prompt]), i))
    return [i for _, i in sorted(numbers)[:n]]


def default_checks(items: int) -> int:
    """How many items are shown twice: a tenth, at least two; none among fewer than eight."""
    if items < ENOUGH_FOR_CHECKS:
        return 0
    return max(LEAST_CHECKS, round(CHECK_SHARE * items))


def shown_order(items: Sequence[str], repeats: Sequence[tuple[str, str]], key: bytes) -> list[str]:
    """The order in which names are shown: shuffled, with each repeat (its name, what it repeats)
    well after the first.

    What is repeated comes somewhere in the first half, its repeat in the last third.
    """
    repeated = {original for _, original in repeats}
    places: dict[str, float] = {}
    for item in items:
        place = number(key, "place", item)
        places[item] = place / 2 if item in repeated else place
    # Far behind the first time, so that nobody gives a score from memory.
    for repeat, _ in repeats:
        places[repeat] = 2 / 3 + number(key, "place", repeat) / 3
    return sorted(places, key=lambda item: (places[item], item))


def _mac(key: bytes, *parts: object) -> bytes:
    # Separated, so that ("ab", "c") and ("a", "bc") differ.
    message = "\0".join(str(p) for p in parts).encode()
    return hmac.new(key, message, hashlib.sha256).digest()


# --- what a set of single texts and a set of pairs have in common

# What must hold of an argument: its name, whether it does, and what to say where it does not.
Requirement = tuple[str, bool, str]


def require(where: str, requirements: Iterable[Requirement]) -> None:
    """Raise BadInput for the first requirement that does not hold."""
    for argument, holds, problem in requirements:
        if not holds:
            raise BadInput(f"{where}: {argument}: {problem}")


def checked_name(name: str) -> list[Requirement]:
    """What must hold of a set's name, which becomes part of file names."""
    fits = NAME.fullmatch(name) is not None
    return [("name", fits, f"{name!r} may hold letters, digits, '.', '_' and '-'")]


def checked_words(dimension: str, instructions: str) -> list[Requirement]:
    """What must hold of the words that raters read."""
    empty = "are empty; say what raters shall judge, and how"
    return [
        ("dimension", bool(dimension.strip()), "is empty"),
        ("instructions", bool(instructions.strip()), empty),
    ]


def drawing_key(record: Run, seed: str) -> bytes:
    """The key of a draw: of the plan and not of the run's secret, so that two runs of one plan draw
    the same prompts, for single texts and for pairs.
    """
    plan = record.events[0].outputs.get("plan.json")
    return derive((plan.sha256 if plan else "").encode(), "restaudit rating draw", seed)


def write_set(
    folder: Path,
    tasks_path: Path,
    tasks_text: str,
    key_path: Path,
    key: Mapping[str, Any],
    *,
    other_key: Path,
    called: tuple[str, str],
) -> None:
    """Write what raters see and its key, or write again what is missing of the same draw.

    `called` says what the set is, and what a set of the other kind is, whose key would be
    `other_key`. Raises BadInput where another draw, or the other kind, has the name.
    """
    name, (this_kind, other_kind) = key["name"], called
    key_text = json.dumps(key, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    with locked(folder):
        if plain.is_file(folder, other_key.name):
            raise BadInput(f"{folder}: {other_kind} is named {name!r}; choose another name")
        if plain.is_file(folder, key_path.name) and read_text(key_path) != key_text:
            raise BadInput(
                f"{key_path}: {this_kind} named {name!r} is there and was drawn differently; "
                "choose another name, or the same arguments"
            )
        # The tasks go first: a key without tasks would look like a finished draw.
        for path, text in ((tasks_path, tasks_text), (key_path, key_text)):
            if not plain.is_file(folder, path.name) or read_text(path) != text:
                write_text(path, text)


def key_names(folder: Path, prefix: str) -> list[str]:
    """The names of the sets whose keys lie in human/, sorted."""
    # By their own names: a look's first stage comes before its second.
    return sorted(
        name.removeprefix(prefix).removesuffix(".json")
        for name in plain.names(folder)
        if name.startswith(prefix) and name.endswith(".json") and "/" not in name
    )
