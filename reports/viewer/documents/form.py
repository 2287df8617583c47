"""The declarations form: its questions in groups, and what was typed as the file that `restaudit
declare` reads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from reports.frameworks.answers import by_record
from reports.frameworks.declared import Declarations, keep, read
from reports.frameworks.forms import MOST_BYTES, FormSubject, run_subject
from reports.frameworks.schema import Question, feeds, run_questions
from reports.record.files import Records
from restaudit.errors import BadInput
from restaudit.evidence.record import Run
from restaudit.files import plain

NAME = "form.yaml"
_Use = Callable[[Path], Declarations]


@dataclass(frozen=True)
class Group:
    """Questions about one thing, in the order in which people are asked."""

    title: str
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Given:
    """What a person typed; nothing of it is checked yet."""

    declared_by: str
    role: str
    date: str
    signature_file: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)


def groups() -> tuple[Group, ...]:
    """Every question that a person may answer, each once, grouped as in the template."""
    asked = []
    for topic in run_questions().topics:
        questions = tuple(question for question in topic.fields if question.declare)
        if questions:
            asked.append(Group(topic.title, questions))
    return tuple(asked)


def owner(question: Question) -> str:
    """Who could know the answer, in a few words."""
    return question.who.partition(":")[0]


def frameworks(question: Question) -> tuple[str, ...]:
    """The documents that an answer goes into."""
    return tuple(dict.fromkeys(c.partition(" ")[0] for c in feeds().get(question.key, ())))


def by_owner(questions: Iterable[Question]) -> dict[str, list[Question]]:
    """Questions by who could know the answer; whoever is asked most comes first."""
    owned: dict[str, list[Question]] = {}
    for question in questions:
        owned.setdefault(owner(question), []).append(question)
    return dict(sorted(owned.items(), key=lambda item: -len(item[1])))


def fed(question: Question) -> str:
    """The clauses that an answer goes into, and who could know it."""
    return (
        f"Feeds {', '.join(feeds().get(question.key, ())) or 'no clause'}. Who could say: "
        f"{question.who}."
    )


def recorded(run: Run) -> frozenset[str]:
    """Questions of the form that the record answers by itself: a declaration stands beside that
    answer.
    """
    return by_record(Records(run))


def as_yaml(about: FormSubject, given: Given) -> bytes:
    """What was typed, as a form for `restaudit declare --from`."""
    whole = {
        "schema": about.form.schema,
        **about.bound,
        "declared_by": given.declared_by,
        "role": given.role,
        "date": given.date,
        "signature_file": given.signature_file,
        # An empty field is no answer; stored as one it would be shown as DECLARED.
        "answers": {k: v for k, v in given.answers.items() if v.strip()},
    }
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=100).encode("utf-8")


def checked(records: Records, data: bytes) -> Declarations:
    """A filled form, read as strictly as `restaudit declare` reads it.

    Raises BadInput that names what is wrong.
    """
    about = run_subject(records)
    return _with_file(data, lambda path: read(path, about.form, about))


def kept(records: Records, data: bytes) -> Declarations:
    """Check a filled form and keep it beside the run's reports.

    Raises BadInput that names what is wrong.
    """
    return _with_file(data, lambda path: keep(run_subject(records), path))


def question_of(message: str) -> tuple[str, Question] | None:
    """The group and the question that a message is about, where it names one."""
    for group in groups():
        for question in group.questions:
            if f"answers.{question.key}:" in message:
                return group.title, question
    return None


def _with_file(data: bytes, use: _Use) -> Declarations:
    # An upload is anybody's, and YAML takes many times its size in memory.
    if len(data) > MOST_BYTES:
        raise BadInput(f"the form takes {len(data):,} bytes; expected at most {MOST_BYTES:,}")
    # Through a file, so that it is read by the very code of `restaudit declare`.
    with tempfile.TemporaryDirectory(prefix="restaudit-") as folder:
        path = plain.write(Path(folder), NAME, data)
        try:
            return use(path)
        except BadInput as e:
            said = str(e)
            # The name of a temporary file means nothing to who typed.
            raise BadInput(said.removeprefix(f"{path}: ").replace(str(path), NAME)) from None
