"""From the one document to text in a format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from restaudit.reward.document.as_json import json_text
from restaudit.reward.document.hub_card import hub_card
from restaudit.reward.document.markdown import markdown
from restaudit.reward.document.model import Document
from restaudit.reward.document.page import html

Format = Literal["md", "html", "card", "json"]
FORMATS: Mapping[Format, Callable[[Document], str]] = {
    "md": markdown, "html": html, "card": hub_card, "json": json_text,
}  # fmt: skip


def render(document: Document, form: Format) -> str:
    """The document as Markdown, one HTML file, a Hugging Face model card, or JSON; no clock, host or random order."""
    return FORMATS[form](document)
