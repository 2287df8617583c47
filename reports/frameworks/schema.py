"""The questions and the clauses that need them: their shape, checked when data/*.yaml is read.

There are two sets of questions: those about a run (run_questions.yaml), which clauses of frameworks
lead to, and those about a reward model (reward_questions.yaml), which are a document by themselves.
"""

from __future__ import annotations

import datetime
from functools import cache, cached_property
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from reports.document.model import Status
from restaudit.errors import BadInput
from restaudit.files.strict import parse_yaml

Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Key = Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)+$")]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
# Files of data/ that are no framework.
SHARED = ("run_questions", "reward_questions", "dates", "scope")
# How a person's answer is checked and kept:
#   text          words; a list of texts becomes one text or stays a list, as the form says
#   number        a positive number
#   approval      who, in which role, on which day, decided what
#   changes       a list of days with what changed
#   instructions  a text that is kept with its SHA-256, so that a later change shows
AnswerKind = Literal["text", "number", "approval", "changes", "instructions"]


class StrictData(BaseModel):
    """A mapping of a data file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Question(StrictData):
    """One question, asked once however many clauses need it.

    reading   the name of a reading that answers it from the record, or None
    facts     label -> path into the dossier's facts that answers it; one path alone has no label
    status    what the answer is when the reading or the facts give one
    declare   whether a person may answer
    kind      how a person's answer is checked and kept
    who       who could answer where nobody has
    not_for   kind of human score (of a run) or of reward -> why the question does not apply there
    """

    key: Key
    asks: Text
    reading: str | None = None
    facts: dict[str, Text] = {}
    status: Status | None = None
    declare: bool = False
    kind: AnswerKind = "text"
    who: Text
    not_for: dict[str, Text] = {}

    @field_validator("facts", mode="before")
    @classmethod
    def _one_path_has_no_label(cls, given: Any) -> Any:
        return {"": given} if isinstance(given, str) else given

    @field_validator("who", mode="after")
    @classmethod
    def _on_one_line(cls, who: str) -> str:
        return " ".join(who.split())

    @model_validator(mode="after")
    def _answerable(self) -> Question:
        if self.reading is not None and self.facts:
            raise ValueError(f"{self.key}: a reading or facts answer it, not both")
        # An answer without a status would look like a person's word.
        by_record = self.reading is not None or bool(self.facts)
        if by_record != (self.status is not None):
            raise ValueError(f"{self.key}: reading and status go together")
        if self.status in ("DECLARED", "MISSING", "N-A"):
            raise ValueError(
                f"{self.key}: a reading gives MEASURED, RECORDED or COMPUTED, not {self.status}"
            )
        if not by_record and not self.declare:
            raise ValueError(f"{self.key}: neither the record nor a person can answer it")
        return self


class Topic(StrictData):
    """Questions about one thing, and the parts of each paper that they answer."""

    key: str = ""
    title: Text
    parts: dict[str, tuple[str, ...]] = {}
    fields: tuple[Question, ...]


class Paper(StrictData):
    """A published list of what should be disclosed: its source, and its parts in our words."""

    title: Text
    parts: dict[str, Text]


class QuestionSet(StrictData):
    """Questions by topic, in the order in which people are asked, and the papers they follow."""

    papers: dict[str, Paper] = {}
    topics: tuple[Topic, ...]

    @model_validator(mode="after")
    def _papers_hold_the_parts(self) -> QuestionSet:
        for topic in self.topics:
            for name, parts in topic.parts.items():
                known: dict[str, str] = {}
                if name in self.papers:
                    known = self.papers[name].parts
                # A typing error in the data would leave a part of a paper out without a word.
                unknown = [part for part in parts if part not in known]
                if unknown:
                    raise ValueError(f"{topic.title}: {name} has no part {', '.join(unknown)}")
        return self

    @cached_property
    def questions(self) -> dict[str, Question]:
        """Every question by key."""
        return {q.key: q for topic in self.topics for q in topic.fields}

    @cached_property
    def declarable(self) -> tuple[Question, ...]:
        """The questions that a person may answer, in order."""
        return tuple(q for q in self.questions.values() if q.declare)


class Clause(StrictData):
    """A clause: what it asks, in our words, and the keys of the fields that answer it."""

    id: Text
    asks: Text
    answer: Annotated[tuple[Key, ...], Field(min_length=1)]
    note: str = ""


class Part(StrictData):
    """Clauses under one heading."""

    key: Slug
    title: Text
    clauses: Annotated[tuple[Clause, ...], Field(min_length=1)]


class Framework(StrictData):
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
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"{self.id}: clause id used twice: {', '.join(twice)}")
        return self

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """All clauses in order."""
        return tuple(c for p in self.parts for c in p.clauses)

    @property
    def keys(self) -> tuple[str, ...]:
        """The fields it needs, each once, in order of first mention."""
        keys: dict[str, None] = {}  # in order of first mention
        for clause in self.clauses:
            keys |= dict.fromkeys(clause.answer)
        return tuple(keys)


class Date(StrictData):
    """A date from which something applies, with where that is said."""

    says: Text
    date: datetime.date
    source: Text
    as_of: datetime.date
    for_: Annotated[tuple[Slug, ...], Field(alias="for", min_length=1)]
    check: bool = False


class Threshold(StrictData):
    """A number of the scope screen.

    `check` says that it was not read in its source: check before quoting.
    """

    flop: Annotated[float, Field(gt=0, le=1e40)]
    says: Text
    source: Text
    as_of: datetime.date
    check: bool = False


class Scope(StrictData):
    """The scope screen for general-purpose models.

    `near` is the factor within which a lower bound tells nothing.
    """

    share: Annotated[float, Field(gt=0, le=1)]
    share_says: Text
    source: Text
    as_of: datetime.date
    near: Annotated[float, Field(gt=1, le=1e6)]
    near_says: Text
    general_purpose: Threshold
    systemic: Threshold


@cache
def run_questions() -> QuestionSet:
    """The questions about a run, over all frameworks."""
    return QuestionSet.model_validate(_raw("run_questions"))


@cache
def reward_questions() -> QuestionSet:
    """The questions about a reward model."""
    return QuestionSet.model_validate(_raw("reward_questions"))


@cache
def dates() -> tuple[Date, ...]:
    """Dates of application, in order."""
    listed = (Date.model_validate(d) for d in _raw("dates")["dates"])
    return tuple(sorted(listed, key=lambda d: (d.date, d.says)))


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
    """Key of a question about a run -> the clauses that it feeds, as "framework-id clause"."""
    clauses: dict[str, list[str]] = {}
    for of in _all().values():
        for clause in of.clauses:
            for key in clause.answer:
                clauses.setdefault(key, []).append(f"{of.id} {clause.id}")
    return {key: tuple(names) for key, names in clauses.items()}


@cache
def _all() -> dict[str, Framework]:
    # A framework is added by adding its file: there is no list to keep.
    files = (resources.files("reports.frameworks") / "data").iterdir()
    names = sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))
    return {name: Framework.model_validate(_raw(name)) for name in names if name not in SHARED}


def _raw(name: str) -> Any:
    file = resources.files("reports.frameworks") / "data" / f"{name}.yaml"
    return parse_yaml(file.read_bytes())
