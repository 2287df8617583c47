"""The clause data: its shape, checked when it is read, and where it lies (data/*.yaml)."""

from __future__ import annotations

import datetime
from functools import cache
from importlib import resources
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from restaudit.errors import BadInput
from restaudit.evidence.statuses import Status

Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Key = Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)+$")]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
SHARED = ("fields", "dates", "scope")


class Data(BaseModel):
    """A mapping of a data file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Question(Data):
    """One field, asked once however many clauses need it.

    reading   the name of a reading that answers it from the record, or None
    status    what the answer is when the reading gives one
    declare   whether a person may answer
    who       who could fill it where nobody has
    not_for   kind of human score (config.human.kind) -> why the question does not apply there
    """

    key: Key
    asks: Text
    reading: str | None = None
    status: Status | None = None
    declare: bool = False
    who: Text
    not_for: dict[str, Text] = {}

    @model_validator(mode="after")
    def _answerable(self) -> Question:
        if (self.reading is None) != (self.status is None):
            raise ValueError(f"{self.key}: reading and status go together")
        if self.status in ("DECLARED", "MISSING", "N-A"):
            raise ValueError(
                f"{self.key}: a reading gives MEASURED, RECORDED or COMPUTED, not {self.status}"
            )
        if self.reading is None and not self.declare:
            raise ValueError(f"{self.key}: neither the record nor a person can answer it")
        return self


class Topic(Data):
    """Questions about one thing."""

    title: Text
    fields: tuple[Question, ...]


class Clause(Data):
    """A clause: what it asks, in our words, and the keys of the fields that answer it."""

    id: Text
    asks: Text
    answer: Annotated[tuple[Key, ...], Field(min_length=1)]
    note: str = ""


class Part(Data):
    """Clauses under one heading."""

    key: Slug
    title: Text
    clauses: Annotated[tuple[Clause, ...], Field(min_length=1)]


class Framework(Data):
    """A published list of what is to be documented.

    version   of the text that was read; `source` says where it is, `as_of` when it was looked at
    limits    what an answer to it does not show
    screen    whether the scope screen for general-purpose models belongs to it
    """

    id: Slug
    title: Text
    version: Text
    source: Text
    as_of: datetime.date
    limits: Annotated[tuple[Text, ...], Field(min_length=1)]
    screen: bool = False
    parts: Annotated[tuple[Part, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _once(self) -> Framework:
        ids = [c.id for c in self.clauses]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"{self.id}: clause id used twice: {', '.join(twice)}")
        return self

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """All clauses in order."""
        return tuple(c for p in self.parts for c in p.clauses)

    @property
    def keys(self) -> tuple[str, ...]:
        """The fields it needs, each once, in order of first mention."""
        return tuple(dict.fromkeys(k for c in self.clauses for k in c.answer))


class Date(Data):
    """A date from which something applies, with where that is said."""

    says: Text
    date: datetime.date
    source: Text
    as_of: datetime.date
    for_: Annotated[tuple[Slug, ...], Field(alias="for", min_length=1)]
    check: bool = False


class Threshold(Data):
    """A number of the scope screen.

    `check` says that it was not read in its source: check before quoting.
    """

    flop: Annotated[float, Field(gt=0)]
    says: Text
    source: Text
    as_of: datetime.date
    check: bool = False


class Scope(Data):
    """The scope screen for general-purpose models.

    `near` is the factor within which a lower bound tells nothing.
    """

    share: Annotated[float, Field(gt=0, le=1)]
    share_says: Text
    source: Text
    as_of: datetime.date
    near: Annotated[float, Field(gt=1)]
    near_says: Text
    general_purpose: Threshold
    systemic: Threshold


@cache
def topics() -> tuple[Topic, ...]:
    """Every question by topic, in the order in which people are asked."""
    return tuple(Topic.model_validate(t) for t in _raw("fields")["topics"])


@cache
def questions() -> dict[str, Question]:
    """Every question by key."""
    return {f.key: f for t in topics() for f in t.fields}


@cache
def dates() -> tuple[Date, ...]:
    """Dates of application, in order."""
    return tuple(
        sorted(
            (Date.model_validate(d) for d in _raw("dates")["dates"]), key=lambda d: (d.date, d.says)
        )
    )


@cache
def scope() -> Scope:
    """The numbers of the scope screen."""
    return Scope.model_validate(_raw("scope"))


@cache
def frameworks() -> dict[str, str]:
    """Every framework: id -> title, in a stable order."""
    return {f.id: f.title for f in _all().values()}


def framework(name: str) -> Framework:
    """One framework. Raises BadInput for a name that is none."""
    if name not in _all():
        import difflib

        near = difflib.get_close_matches(name, list(_all()), n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BadInput(f"framework {name!r}: not known{hint} There are: {', '.join(_all())}")
    return _all()[name]


@cache
def feeds() -> dict[str, tuple[str, ...]]:
    """Key of a field -> the clauses that it feeds, as "framework-id clause"."""
    found: dict[str, list[str]] = {}
    for f in _all().values():
        for c in f.clauses:
            for key in c.answer:
                found.setdefault(key, []).append(f"{f.id} {c.id}")
    return {k: tuple(v) for k, v in found.items()}


@cache
def _all() -> dict[str, Framework]:
    folder = resources.files("reports.frameworks") / "data"
    names = sorted(
        p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")
    )
    return {n: Framework.model_validate(_raw(n)) for n in names if n not in SHARED}


def _raw(name: str) -> Any:
    text = (resources.files("reports.frameworks") / "data" / f"{name}.yaml").read_text(
        encoding="utf-8"
    )
    return yaml.safe_load(text)
