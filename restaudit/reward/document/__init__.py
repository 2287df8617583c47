"""The document of a reward model: its dossier, reports and declarations, field by field, nothing blank."""

from restaudit.reward.document.build import document_of
from restaudit.reward.document.model import Document, FieldAnswer
from restaudit.reward.document.render import Format, render

__all__ = ["Document", "FieldAnswer", "Format", "document_of", "render"]
