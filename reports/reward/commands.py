"""`restaudit reward dossier`: the document of a reward model, in a format of reports or one for
machines.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restaudit.commands.reward import Folder, written
from restaudit.errors import BadInput

if TYPE_CHECKING:
    from restaudit.reward_audit.document import Document


class Format(StrEnum):
    """How a dossier is shown."""

    MARKDOWN = "md"
    HTML = "html"
    PDF = "pdf"
    DOCX = "docx"
    CARD = "card"
    JSON = "json"


FILES_ONLY = (Format.PDF, Format.DOCX)


def dossier(
    folder: Folder,
    output: Annotated[
        Format,
        typer.Option(
            "--format",
            help="md, html, pdf, docx: to read; card: for the Hugging Face hub; json: fields.",
        ),
    ] = Format.MARKDOWN,
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
    written(rendered(answers(folder, refit or ""), output), out, "dossier")


def answers(folder: Path, grow: str = "") -> Document:
    """The answers about the reward of a folder or, of a run, about the one fitted again before a
    Grow step ("g02").

    Raises BadInput where a file of it cannot be read or is about another reward.
    """
    from restaudit.reward_audit.document import document_of
    from restaudit.reward_audit.standalone import opened, refitted

    return document_of(folder, refitted(folder, grow) if grow else opened(folder)[1])


def rendered(of: Document, form: Format) -> bytes:
    """The document in a format; the same answers give the same bytes."""
    from reports.document.render import formats, render
    from reports.reward.build import reward_document
    from restaudit.reward_audit.document import hub_card, json_text

    if form is Format.CARD:
        return hub_card(of).encode("utf-8")
    if form is Format.JSON:
        return json_text(of).encode("utf-8")
    return render(reward_document(of), formats(form.value)[0])
