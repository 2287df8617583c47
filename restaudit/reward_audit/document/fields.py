"""The field map: what the document asks in which section, and where each answer comes from (data:
fields.yaml).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from restaudit.evidence.statuses import Status


@dataclass(frozen=True)
class Field:
    """One question.

    facts     label -> path into the dossier's facts; one path under "" gives the fact itself
    reading   the name of a function of (material) that gives the answer, or None
    status    what the answer is where facts or reading give one; None where only a person can
              answer
    declare   whether a person may answer
    who       who could fill it
    not_for   kind of reward -> why the question does not apply to it
    """

    key: str
    asks: str
    facts: Mapping[str, str]
    reading: str | None
    status: Status | None
    declare: bool
    who: str
    not_for: Mapping[str, str]


@dataclass(frozen=True)
class Topic:
    """A section of the document, and the parts of the two frameworks it answers."""

    key: str
    title: str
    casper: tuple[str, ...]
    reward_reports: tuple[str, ...]
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Framework:
    """A published list of what should be disclosed: its source, and its parts by number in our
    words.
    """

    title: str
    parts: Mapping[str, str]


@cache
def topics() -> tuple[Topic, ...]:
    """The sections in order."""
    return tuple(
        Topic(
            s["key"],
            s["title"],
            tuple(s["casper"]),
            tuple(s["reward_reports"]),
            tuple(map(_field, s["fields"])),
        )
        for s in _raw()["sections"]
    )


@cache
def frameworks() -> Mapping[str, Framework]:
    """The frameworks that sections refer to: "casper" and "reward_reports"."""
    return {k: Framework(f["title"], f["parts"]) for k, f in _raw()["frameworks"].items()}


def all_fields() -> tuple[Field, ...]:
    """Every field, in the order of the document."""
    return tuple(f for topic in topics() for f in topic.fields)


def declarable() -> tuple[Field, ...]:
    """Fields that a person may answer, in the order of the document."""
    return tuple(f for f in all_fields() if f.declare)


@cache
def _raw() -> Any:
    text = (resources.files("restaudit.reward_audit.document") / "fields.yaml").read_text(
        encoding="utf-8"
    )
    return yaml.safe_load(text)


def _field(raw: Mapping[str, Any]) -> Field:
    facts = raw.get("facts", {})
    return Field(
        key=raw["key"],
        asks=raw["asks"],
        facts={"": facts} if isinstance(facts, str) else facts,
        reading=raw.get("reading"),
        status=raw.get("status"),
        declare=raw.get("declare", False),
        who=" ".join(raw["who"].split()),
        not_for=raw.get("not_for", {}),
    )
