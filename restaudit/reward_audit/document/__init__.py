"""The document of a reward model: its dossier, reports and declarations, field by field, nothing
blank.

`reports.reward` draws it to be read; here it is a model card for the Hugging Face hub, and JSON.
"""

from restaudit.reward_audit.document.as_json import json_text
from restaudit.reward_audit.document.build import document_of
from restaudit.reward_audit.document.hub_card import hub_card
from restaudit.reward_audit.document.model import Document, FieldAnswer

__all__ = ["Document", "FieldAnswer", "document_of", "hub_card", "json_text"]
