"""The forms in which people answer what no record can: one for each set of questions, and what a
filled one is about.

A form is bound to its subject (a run by its id and the hash of the event that sealed its plan, a
reward model by its digest), so that nobody's answers pass for answers about something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.frameworks.schema import AnswerKind, QuestionSet, reward_questions, run_questions
from reports.record.files import Records
from restaudit.errors import BadInput

# An answer that begins so is a person's word that the question does not apply.
N_A = "N-A:"
APPROVED = ("by", "role", "date", "decision")
MOST_BYTES = 2_000_000
# Where the declarations about a run are kept, below its folder.
RUN_FILE = "report/declarations.yaml"


@dataclass(frozen=True)
class Form:
    """How answers to one set of questions are given and kept.

    schema      what the first key of every file says
    thing       what a form is about, in a word; `command` is what writes one
    questions   the set
    bound_by    keys that bind a form to what it is about
    unbound     whether a form may leave those keys empty until it is kept
    keys        every key of a form, in order
    kept_lists  whether an answer that lists texts stays a list, or becomes one text
    by_topic    whether questions stand under their topic, with the clauses that they feed
    signs       how a declared "does not apply" names who said it
    most_bytes  of a form or a kept file
    width       of the comments in a form
    intro       comments before the first key; `notes` are those before a later one
    """

    schema: str
    thing: str
    command: str
    questions: Callable[[], QuestionSet]
    bound_by: tuple[str, ...]
    unbound: bool
    keys: tuple[str, ...]
    kept_lists: bool
    by_topic: bool
    signs: str
    most_bytes: int
    width: int
    intro: tuple[str, ...]
    notes: Mapping[str, str]


RUN_FORM = Form(
    schema="restaudit.declarations/1",
    thing="run",
    command="restaudit declare",
    questions=run_questions,
    bound_by=("run_id", "plan_event"),
    unbound=False,
    keys=(
        "schema",
        "run_id",
        "plan_event",
        "declared_by",
        "role",
        "date",
        "signature_file",
        "answers",
    ),
    kept_lists=False,
    by_topic=True,
    signs="{by}, {date}",
    most_bytes=MOST_BYTES,
    width=110,
    intro=(
        "What only people can say about this run. Leave empty what you do not know: it is shown "
        "as MISSING.",
        "An answer that begins with 'N-A:' says that the question does not apply, and why.",
        "Nobody checks what stands here; documents show it as DECLARED, with your name. Each "
        "question is asked once, and",
        "'feeds' names the clauses that the answer goes into.",
    ),
    notes={
        "run_id": "which run this form is about; do not change these two",
        "declared_by": "who answers, in which role, and on which day (for example 2026-01-31)",
        "signature_file": "name of the file with a DSSE signature over this form, if there will "
        "be one; it is named and not checked here",
    },
)
REWARD_FORM = Form(
    schema="restaudit.reward-declarations/1",
    thing="reward",
    command="restaudit reward declare",
    questions=reward_questions,
    bound_by=("reward_digest",),
    # A form may be written by hand, without the digest: it is filled in when the form is kept.
    unbound=True,
    keys=("schema", "declared_by", "date", "reward_digest", "instructions_file", "answers"),
    kept_lists=True,
    by_topic=False,
    signs="{by}",
    # The instructions to raters may take MOST_BYTES by themselves, and YAML writes a control
    # character as four: what was kept once must stay readable.
    most_bytes=5 * MOST_BYTES,
    width=100,
    intro=(
        "What only people can say about this reward model. Leave empty what you do not know: it "
        "is shown as MISSING.",
        "An answer that begins with 'N-A:' says that the question does not apply, and why.",
        "Nobody checks what stands here; the document shows it as DECLARED, with your name.",
    ),
    notes={
        "instructions_file": "a text file with the instructions to the raters; kept as text with "
        "its sha256"
    },
)
# What stands in a form where nobody has answered yet; every other kind begins as an empty text.
BLANKS: Mapping[AnswerKind, Any] = {"approval": dict.fromkeys(APPROVED, ""), "changes": []}
HINTS: Mapping[AnswerKind, str] = {"changes": "a list of {date: 2026-01-31, change: what changed}"}


@dataclass(frozen=True)
class FormSubject:
    """What declarations are about: the values of the keys that bind a form to it, and where they
    are kept: `file` below `folder`.
    """

    form: Form
    bound: Mapping[str, str]
    folder: Path
    file: str

    @property
    def path(self) -> Path:
        """Where its declarations are kept."""
        return self.folder / self.file


def run_subject(records: Records) -> FormSubject:
    """A run as what declarations are about. Raises BadInput for one whose plan is not sealed."""
    run = records.run
    if not run.events:
        raise BadInput(
            f"{run.path}: its plan is not sealed yet, so there is nothing to declare about"
        )
    bound = {"run_id": run.run_id, "plan_event": run.events[0].hash}
    return FormSubject(RUN_FORM, bound, run.path, RUN_FILE)
