"""Text of unknown origin for elements of Streamlit that read Markdown."""

from __future__ import annotations

from restaudit.evidence.shown import MOST_IN_CELL, markdown_text

# Stands for a colon while everything else is escaped, so that no backslash of ours is escaped
# again.
COLON = "\ue000"


def escaped(text: str, most: int = MOST_IN_CELL) -> str:
    """A line of about `most` characters: every mark escaped, and the colons that begin Streamlit's
    own directives.
    """
    return markdown_text(text.replace(":", COLON), most).replace(COLON, "\\:")
