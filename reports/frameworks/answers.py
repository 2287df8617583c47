"""From a question to its answer: the record first, then what a person declared, then MISSING with
the reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from reports.document.model import Table
from reports.frameworks.declared import Declarations
from reports.frameworks.reading import Reading, config, sealed, without_folder
from reports.frameworks.readings import READINGS
from reports.frameworks.schema import Question
from reports.record.files import Records, Source
from restaudit.errors import BadInput
from restaudit.evidence.statuses import Status

NOBODY = "nobody said it"
N_A = "N-A:"


@dataclass(frozen=True)
class Answer:
    """One question answered, or not. `value` is never blank: where nothing is known it says why.

    declared  what a person said besides a record that answers, or None
    """

    question: Question
    status: Status
    value: str
    sources: tuple[Source, ...] = ()
    table: Table | None = None
    declared: str | None = None

    @property
    def answered(self) -> bool:
        """Whether the record or a person says something; N-A and MISSING do not."""
        return self.status not in ("MISSING", "N-A")


def answer(asked: Question, records: Records, declared: Declarations | None) -> Answer:
    """The answer to one question.

    A declaration answers where the record does not, and stands beside it where it does. "N-A:
    reason" is a person's word that the question does not apply. Raises VerificationFailed where a
    file is not as it was recorded.
    """
    found = _recorded(asked, records)
    said = declared.answers.get(asked.key) if declared is not None and asked.declare else None
    if found.value:
        assert asked.status is not None
        return Answer(asked, asked.status, found.value, found.sources, found.table, said)
    if said is not None and declared is not None:
        source = (declared.source(f"answers.{asked.key}"),)
        if said.startswith(N_A):
            reason = said.removeprefix(N_A).strip() or "no reason given"
            return Answer(
                asked,
                "N-A",
                f"{reason} (declared by {declared.declared_by}, {declared.date})",
                source,
            )
        return Answer(asked, "DECLARED", said, source)
    if found.not_applicable:
        return Answer(asked, "N-A", found.absent, found.sources)
    return Answer(asked, "MISSING", found.absent or NOBODY, found.sources)


def _recorded(asked: Question, records: Records) -> Reading:
    kind = str(config(records, "human").get("kind", "none"))
    if kind in asked.not_for:
        return Reading(
            absent=asked.not_for[kind],
            not_applicable=True,
            sources=(sealed(records, "config.human.kind"),),
        )
    if asked.reading is None:
        return Reading()
    try:
        return READINGS[asked.reading](records)
    except BadInput as e:
        return Reading(absent=f"the record cannot be read here: {without_folder(str(e), records)}")
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as e:
        return Reading(
            absent=f"the record is not shaped as this version reads it ({type(e).__name__}: {e})"
        )
