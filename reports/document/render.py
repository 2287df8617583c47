"""From the one document to bytes in a format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from reports.document.model import Document
from restaudit.errors import BadInput

Format = Literal["html", "md", "json", "pdf", "docx"]
FORMATS: tuple[Format, ...] = get_args(Format)


def render(document: Document, form: Format) -> bytes:
    """The document in a format; no clock, host or random order, so the same document gives the same
    bytes.

    Raises BadInput where a library that the format needs is not installed.
    """
    return _drawer(form)(document)


def formats(words: str) -> tuple[Format, ...]:
    """ "html,pdf" as formats, each once.

    Raises BadInput for another word, naming the valid ones.
    """
    expected = f"expected one or more of {', '.join(FORMATS)}, separated by commas"
    chosen: list[Format] = []
    for word in filter(None, map(str.strip, words.split(","))):
        form = next((f for f in FORMATS if f == word), None)
        if form is None:
            raise BadInput(f"--format {word}: {expected}")
        chosen.append(form)
    if not chosen:
        raise BadInput(f"--format: {expected}")
    return tuple(dict.fromkeys(chosen))


def folder_of(out: Path, what: str) -> Path:
    """The folder that `--out` names, for several documents or those that have names of their own.

    Raises BadInput where it is a file, or is called like one: `what` says what goes there.
    """
    if out.is_dir():
        return out
    if out.exists() or out.suffix.removeprefix(".") in FORMATS:
        raise BadInput(f"--out {out}: names a file, and {what}; name a folder")
    return out


def _drawer(form: Format) -> Callable[[Document], bytes]:
    # Each is imported when it is asked for: jinja2, typst and python-docx may be missing where nobody
    # asks for their format.
    if form == "html":
        from reports.document.html import html

        return html
    if form == "md":
        from reports.document.markdown import markdown

        return markdown
    if form == "json":
        from reports.document.as_json import as_json

        return as_json
    if form == "pdf":
        from reports.document.pdf import pdf

        return pdf
    from reports.document.docx import docx

    return docx
