"""Data in: feedback to train and judge with, prompts to sample from, and the splits that never
mix.
"""

from __future__ import annotations

from restaudit.data.feedback import Feedback, load_feedback
from restaudit.data.prompts import load_prompts
from restaudit.data.records import RowReport
from restaudit.data.splits import make_splits, overlap
from restaudit.evidence.chats import as_messages, as_text, normalise, prompt_id

__all__ = [
    "Feedback",
    "RowReport",
    "as_messages",
    "as_text",
    "load_feedback",
    "load_prompts",
    "make_splits",
    "normalise",
    "overlap",
    "prompt_id",
]
