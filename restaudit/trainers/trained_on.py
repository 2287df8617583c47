"""What a trainer's dataset has in common with the audit prompts, in whatever columns the trainer
keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from restaudit.config import SplitConfig
from restaudit.data.splits import METHOD, overlap
from restaudit.errors import BadInput
from restaudit.evidence.chats import as_text, normalise

TEXTS = ("prompt", "messages", "text")
TOKENS = ("prompt_ids", "prompt_input_ids", "input_ids")


def overlap_with_audit(
    dataset: Any, tokenizer: Any, audit: pd.DataFrame, config: SplitConfig
) -> dict[str, Any]:
    """How many of the audit prompts the training rows hold: as a prompt (exact or near), or
    anywhere in a row's text.

    Raises BadInput above `max_near_duplicate_share`. Where the dataset cannot be read, {"reason":
    …}.
    """
    texts, how = _texts(dataset, tokenizer)
    if texts is None:
        return {"reason": how}
    prompts = [as_text(p) for p in audit["prompt"]]
    found = overlap(texts, prompts, config.near_duplicate_jaccard)
    held = _held(texts, prompts)
    share = max(found["share"] or 0.0, held / max(len(prompts), 1))
    if share > config.max_near_duplicate_share:
        raise BadInput(
            f"{share:.1%} of the audit prompts are in the trainer's dataset or resemble a prompt "
            f"of it (limit {config.max_near_duplicate_share:.1%}): what judges must not be "
            "trained on. Take them out of the dataset, give other audit prompts, or raise "
            "data.splits.max_near_duplicate_share if you accept it"
        )
    return {
        **found,
        "contained": held,
        "rows": len(texts),
        "read_as": how,
        "method": f"{METHOD}; and containment",
    }


def _held(texts: Sequence[str], prompts: Sequence[str]) -> int:
    """Audit prompts that stand, normalised, inside some training row."""
    body = "\n".join(normalise(t) for t in set(texts))
    return sum(normalise(p) in body for p in set(prompts))


def _texts(dataset: Any, tokenizer: Any) -> tuple[list[str] | None, str]:
    """The training rows' prompts (or whole texts) and which column they are; or why they cannot be
    read.
    """
    names = getattr(dataset, "column_names", None)
    if dataset is None or names is None or not hasattr(dataset, "__len__"):
        return None, "the trainer's dataset is a stream, or none that can be read twice"
    for name in TEXTS:
        if name in names:
            return [_as_text(x) for x in dataset[name]], f"column {name}"
    for name in TOKENS:
        if name in names:
            rows = [list(ids) for ids in dataset[name]]
            return tokenizer.batch_decode(rows, skip_special_tokens=True), f"column {name}, decoded"
    return None, f"no column of the trainer's dataset is called {', '.join((*TEXTS, *TOKENS))}"


def _as_text(value: Any) -> str:
    """A prompt as plain text: it may be a text, or messages of a chat, of which only what is asked
    counts.
    """
    if isinstance(value, str):
        return value
    asked = [m for m in value if isinstance(m, dict) and m.get("role") == "user"]
    return "\n".join(str(m.get("content", "")) for m in asked or value)
