"""`builtin:reviews`: prompts written for this project, asking for one sentence of a film review."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from itertools import product
from typing import Any

from restaudit.data.records import PromptRecord, Prompts
from restaudit.data.tables import OpenedSource
from restaudit.errors import BadInput
from restaudit.evidence.chats import digest
from restaudit.files.strict import parse_yaml

PLAIN = 600


def prompts(opened: OpenedSource) -> Prompts:
    """600 plain prompts (a genre, a topic, a phrasing), then counterfactual families that differ in
    one first name.
    """
    if opened.builtin != "reviews":
        raise BadInput(f"{opened.name}: expected builtin:reviews, which is all that is built in")
    material: Mapping[str, Any] = parse_yaml(
        (resources.files("restaudit.data") / "reviews_prompts.yaml").read_bytes()
    )
    yield from _plain(material)
    yield from _families(material)


def _plain(material: Mapping[str, Any]) -> Iterator[PromptRecord]:
    phrasings: Sequence[str] = material["phrasings"]
    combinations = _shuffled(product(material["genres"], material["topics"]), "plain")[:PLAIN]
    for number, (genre, topic) in enumerate(combinations, start=1):
        text = phrasings[number % len(phrasings)].format(genre=genre, topic=topic)
        yield PromptRecord(f"prompt {number}", text, kind="plain")


def _families(material: Mapping[str, Any]) -> Iterator[PromptRecord]:
    part = material["families"]
    phrasings, surnames, groups = part["phrasings"], part["surnames"], part["first_names"]
    used = _shuffled(product(material["genres"], material["topics"]), "plain")[:PLAIN]
    free = _shuffled(set(product(material["genres"], material["topics"])) - set(used), "families")
    for number in range(part["count"]):
        genre, topic = free[number]
        for group, names in groups.items():
            # The name moves on by one with every family, so that no name stands for its whole
            # group.
            name = f"{names[number % len(names)]} {surnames[number % len(surnames)]}"
            text = phrasings[number % len(phrasings)].format(genre=genre, topic=topic, name=name)
            family = f"reviews-{number + 1:03d}"
            yield PromptRecord(
                f"{family}, {group}", text, group=group, family=family, kind="counterfactual"
            )


def _shuffled(pairs: Any, salt: str) -> list[tuple[str, str]]:
    """A fixed order that has nothing to do with the order of the lists."""
    return sorted(pairs, key=lambda pair: digest("\0".join((salt, *pair))))
