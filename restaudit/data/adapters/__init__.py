"""Public data sets, as published. To add one: one file with one function, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from restaudit.data.adapters import (
    d2t,
    hh,
    llmbar,
    pandalm,
    reviews,
    self_instruct,
    table,
    vader,
    xstest,
)
from restaudit.data.records import Feedbacks, Prompts
from restaudit.data.tables import OpenedSource

__all__ = ["EXTRA_FILES", "FEEDBACK", "PROMPTS"]

# What people said about texts: ratings or preferences.
FEEDBACK: Mapping[str, Callable[[OpenedSource], Feedbacks]] = {
    "table": table.feedback,
    "vader_lexicon": vader.lexicon,
    "vader_snippets": vader.snippets,
    "hh": hh.pairs,
    "llmbar": llmbar.pairs,
    "pandalm": pandalm.pairs,
    "d2t": d2t.ratings,
}

# What the policy is asked.
PROMPTS: Mapping[str, Callable[[OpenedSource], Prompts]] = {
    "table": table.prompts,
    "hh": hh.prompts,
    "xstest": xstest.prompts,
    "pandalm": pandalm.prompts,
    "self_instruct": self_instruct.prompts,
    "d2t": d2t.prompts,
    "reviews": reviews.prompts,
}

# Options that name further files: `more` (read after the first) for all, `ratings` where a set
# comes in two files.
EXTRA_FILES: Mapping[str, tuple[str, ...]] = {"vader_snippets": ("ratings",), "d2t": ("more",)}
