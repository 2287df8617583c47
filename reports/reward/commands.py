"""`restaudit reward declare` and `restaudit reward dossier`: what people say of a reward model, and
its document.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restaudit.console import say
from restaudit.errors import BadInput
from restaudit.files import plain

if TYPE_CHECKING:
    from reports.reward.answers import RewardAnswers


class DossierFormat(StrEnum):
    """How a dossier is shown."""

    MARKDOWN = "md"
    HTML = "html"
    PDF = "pdf"
    DOCX = "docx"
    CARD = "card"
    JSON = "json"


FILES_ONLY = (DossierFormat.PDF, DossierFormat.DOCX)
RewardFolder = Annotated[
    Path,
    typer.Argument(metavar="RUN|DIR", help="A run folder, or what `restaudit reward train` wrote."),
]


def declare(
    folder: RewardFolder,
    given: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A filled template to check and keep."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the template goes (default: printed)."),
    ] = None,
) -> None:
    """What only people can say (raters, pay, approval …): print a template to fill, or keep a
    filled one.
    """
    from reports.frameworks.declared import keep
    from reports.frameworks.reward_records import reward_subject
    from restaudit.reward.dossier import read_any
    from restaudit.reward_audit.standalone import opened

    # Opening it first refuses a folder that holds no reward, before anything is asked about it.
    _, where = opened(folder)
    if given is None:
        if out is not None and os.path.lexists(out):
            raise BadInput(
                f"{out}: is there already, perhaps with answers; name another file with --out"
            )
        _written(to_fill(folder, where).encode("utf-8"), out, "template", folder)
        return
    if out is not None:
        raise BadInput(
            "--out names where a template goes; declarations given by --from have their own place"
        )
    subject = reward_subject(folder, str(read_any(where).get("digest", "")))
    kept = keep(subject, given)
    say(
        f"declared by {kept.declared_by or 'nobody'}: {len(kept.answers)} answers, kept in "
        f"{subject.path}"
    )
    say(f"next: restaudit reward dossier {folder}")


def dossier(
    folder: RewardFolder,
    output: Annotated[
        DossierFormat,
        typer.Option(
            "--format",
            help="md, html, pdf, docx: to read; card: for the Hugging Face hub; json: fields.",
        ),
    ] = DossierFormat.MARKDOWN,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to (default: printed; pdf and docx need it)."),
    ] = None,
    refit: Annotated[
        str | None,
        typer.Option(
            metavar="GROW", help="The reward as it was fitted again before this Grow, e.g. g02."
        ),
    ] = None,
) -> None:
    """The dossier, failures first: what it was made from, how it predicts people, where it breaks,
    what nobody said.
    """
    if out is None and output in FILES_ONLY:
        raise BadInput(f"--format {output.value} is a file: name it with --out FILE")
    _written(rendered(answers(folder, refit or ""), output), out, "dossier", folder)


def to_fill(folder: Path, where: Path) -> str:
    """YAML with every question that a person may answer, and what was declared before.

    Raises BadInput as `reward_answers` does.
    """
    from reports.frameworks.declared import template
    from reports.frameworks.reward_records import gather
    from reports.reward.answers import assembled

    records = gather(folder, where)
    # What only a person said before is not on record: the form asks it again, filled in.
    by_record = []
    for answer in assembled(records).answers:
        if answer.answered and answer.status != "DECLARED":
            by_record.append(answer.question.key)
    return template(records.subject, by_record, records.declared)


def answers(folder: Path, grow: str = "") -> RewardAnswers:
    """The answers about the reward of a folder or, of a run, about the one fitted again before a
    Grow step ("g02").

    Raises BadInput where a file of it cannot be read or is about another reward.
    """
    from reports.reward.answers import reward_answers
    from restaudit.reward_audit.standalone import opened, refitted

    if grow:
        return reward_answers(folder, refitted(folder, grow))
    _, where = opened(folder)
    return reward_answers(folder, where)


def rendered(of: RewardAnswers, form: DossierFormat) -> bytes:
    """The document in a format; the same answers give the same bytes."""
    from reports.document.render import formats, render
    from reports.reward.answers import json_text
    from reports.reward.document import reward_document
    from reports.reward.hub_card import hub_card

    if form is DossierFormat.CARD:
        return hub_card(of).encode("utf-8")
    if form is DossierFormat.JSON:
        return json_text(of).encode("utf-8")
    return render(reward_document(of), formats(form.value)[0])


def _written(data: bytes, out: Path | None, what: str, folder: Path) -> None:
    """Write `data` to a file, perhaps in this folder, or print it (UTF-8 text) where none is
    named.
    """
    if out is None:
        say(data.decode("utf-8"), nl=False)
        return
    try:
        plain.write_out(out, data, run=folder)
    except OSError as e:
        raise BadInput(f"{out}: cannot be written: {e.strerror}") from None
    say(f"{what}: {out}")
