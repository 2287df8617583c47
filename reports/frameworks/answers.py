"""From a question to its answer: the record first, then what a person declared, then MISSING with
the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports.document.model import Chart, Status, Table
from reports.frameworks.declared import Declarations
from reports.frameworks.forms import N_A, REWARD_FORM, RUN_FORM, Form
from reports.frameworks.readings import READINGS, REWARD_READINGS
from reports.frameworks.readings.material import (
    Reading,
    absent,
    config,
    not_applicable,
    sealed,
    without_folder,
)
from reports.frameworks.reward_records import RewardRecords
from reports.frameworks.schema import Question, run_questions
from reports.record.files import Records, Source
from restaudit.errors import BadInput
from restaudit.reward.dossier import MISSING

NOBODY = "not provided"
# What a reading raises where a file of the record is not shaped as this version writes it.
MISSHAPEN = (KeyError, TypeError, IndexError, AttributeError, ValueError)


@dataclass(frozen=True)
class Answer:
    """One question answered, or not; never blank: where nothing is known, `reason` says why.

    value     a text or plain JSON; None where tables say it all, or nothing is known
    reason    why it is MISSING or N-A; "" elsewhere
    declared  what a person said besides a record that answers, or None
    """

    question: Question
    status: Status
    value: Any = None
    sources: tuple[Source, ...] = ()
    tables: tuple[Table | Chart, ...] = ()
    reason: str = ""
    declared: Any = None

    @property
    def answered(self) -> bool:
        """Whether the record or a person says something; N-A and MISSING do not."""
        return self.status not in ("MISSING", "N-A")


def run_answer(question: Question, records: Records, declared: Declarations | None) -> Answer:
    """The answer to a question about a run.

    Raises VerificationFailed where a file is not as it was recorded.
    """
    return _answer(question, _read_run(question, records), declared, RUN_FORM)


def reward_answer(question: Question, records: RewardRecords) -> Answer:
    """The answer to a question about a reward model.

    Raises BadInput where a report that was read is not shaped as restaudit writes it.
    """
    return _answer(question, _read_reward(question, records), records.declared, REWARD_FORM)


def by_record(records: Records) -> frozenset[str]:
    """Questions of the form that a run's record answers by itself: what is declared stands beside
    that answer.
    """
    # What people cannot answer does not stand in the form, and need not be read.
    asked = [q for q in run_questions().declarable if q.reading is not None]
    # Asked without declarations: a person's answer must not count as the record's.
    return frozenset(q.key for q in asked if run_answer(q, records, None).answered)


def _answer(
    question: Question, reading: Reading, declared: Declarations | None, form: Form
) -> Answer:
    """A declaration answers where the record does not, and stands beside it where it does.

    An answer that begins with "N-A:" is a person's word that the question does not apply.
    """
    said = None
    if declared is not None and question.declare:
        said = declared.answers.get(question.key)
    # The record before a person's word: only the first can be checked.
    if reading.says:
        assert question.status is not None
        return Answer(
            question, question.status, reading.value, reading.sources, reading.tables, declared=said
        )
    if said is not None and declared is not None:
        sources = (declared.source(f"answers.{question.key}"),)
        if isinstance(said, str) and said.startswith(N_A):
            signed = form.signs.format(by=declared.declared_by, date=declared.date)
            why = said.removeprefix(N_A).strip() or "no reason given"
            reason = f"{why} (declared by {signed})"
            return Answer(question, "N-A", sources=sources, reason=reason)
        return Answer(question, "DECLARED", said, sources)
    status: Status = "MISSING"
    if reading.not_applicable:
        status = "N-A"
    return Answer(question, status, sources=reading.sources, reason=reading.absent or NOBODY)


def _read_run(question: Question, records: Records) -> Reading:
    kind = str(config(records, "human").get("kind", "none"))
    if kind in question.not_for:
        return not_applicable(question.not_for[kind], sealed(records, "config.human.kind"))
    if question.reading is None:
        return Reading()
    # One damaged part of a record leaves its own question open: the other answers still stand.
    try:
        return READINGS[question.reading](records)
    except BadInput as e:
        return absent(f"the record cannot be read here: {without_folder(str(e), records)}")
    except MISSHAPEN as e:
        return absent(
            f"the record is not shaped as this version reads it ({type(e).__name__}: {e})"
        )


def _read_reward(question: Question, records: RewardRecords) -> Reading:
    kind = str(records.facts.get("kind", ""))
    if kind in question.not_for:
        return not_applicable(question.not_for[kind])
    if question.reading is None:
        return _read_facts(question, records)
    # Reports beside a reward can be made anew, so a damaged one is refused and not passed over.
    try:
        return REWARD_READINGS[question.reading](records)
    except MISSHAPEN as e:
        raise BadInput(
            f"{records.folder}: {question.key} cannot be read from its dossier and reports "
            f"({type(e).__name__}: {e}); "
            "make the reports anew with restaudit reward stress and restaudit reward validate"
        ) from None


def _read_facts(question: Question, records: RewardRecords) -> Reading:
    """Facts by path; a fact that says why it has no value makes the question N-A, for its reason."""
    values = {label: records.value(path) for label, path in question.facts.items()}
    known = {label: value for label, value in values.items() if not _empty(value)}
    if not known and question.facts:
        return absent("the record does not say")
    if not known:
        return absent("")
    # A single fact has no label: its value is the answer, not a mapping with one entry.
    value = known.get("", known)
    if value == "N-A":
        return not_applicable("does not apply to this kind of data")
    if isinstance(value, Mapping) and "reason" in value:
        others = [part for key, part in value.items() if key != "reason"]
        if all(part is None for part in others):
            return not_applicable(str(value["reason"]))
    return Reading(value, tuple(records.fact(question.facts[label]) for label in known))


def _empty(value: Any) -> bool:
    """Whether a fact says nothing: absent, MISSING, empty, or all of its parts say nothing."""
    if isinstance(value, Mapping) and value:
        return all(_empty(part) for part in value.values())
    return value is None or value == MISSING or value == "" or value == [] or value == {}
