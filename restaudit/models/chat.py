"""Conversations in a model's own words: its chat template, rendered within limits.

A template is a program by a stranger. transformers' sandbox keeps it from files and network, not
from running for ever or writing gigabytes, and what it does may depend on the messages: so every
rendering is done by the helper of `restaudit.models.limited`, many conversations at a time.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from restaudit.errors import BadInput
from restaudit.models import limited

# Seconds for one rendering of BATCH conversations; a thousandth of it is usual.
SECONDS = 10.0
BATCH = 64
# In characters: what is remembered of renderings, since the same prompts come back in every Grow.
REMEMBERED = 1 << 25
# A template that asks for it says another thing tomorrow.
CLOCK = "strftime_now"

_known: dict[str, str] = {}
_known_size = 0
_lock = threading.Lock()


def render(
    tokenizer: Any,
    conversations: Sequence[Sequence[Any]],
    what: str,
    *,
    opened: bool,
    **arguments: Any,
) -> list[str]:
    """What `tokenizer.apply_chat_template(tokenize=False)` writes of each conversation.

    `opened` adds what begins the assistant's turn; `arguments` are the template's own. Raises
    limited.Refused where the template refuses a conversation, ValueError where there is none, and
    BadInput, which calls the model `what`, where it does not end or takes too much room.
    """
    from transformers import PreTrainedTokenizerBase

    method = getattr(type(tokenizer), "apply_chat_template", None)
    if method is not PreTrainedTokenizerBase.apply_chat_template:
        # A tokenizer that writes conversations by code of its library has no template to run.
        return [
            tokenizer.apply_chat_template(
                list(each), tokenize=False, add_generation_prompt=opened, **arguments
            )
            for each in conversations
        ]
    template = tokenizer.get_chat_template(
        arguments.pop("chat_template", None), arguments.get("tools")
    )
    given = {"add_generation_prompt": opened, **tokenizer.special_tokens_map, **arguments}
    rest = json.dumps([template, given], default=str)
    # As transformers does: templates write "None" for a key that is there without a value.
    chats = [[{k: v for k, v in m.items() if v is not None} for m in c] for c in conversations]
    keys = [f"{json.dumps(chat, default=str)}{rest}" for chat in chats]
    found = {key: _known[key] for key in keys if key in _known}
    new = {key: chat for key, chat in zip(keys, chats, strict=True) if key not in found}
    try:
        found |= _rendered(template, given, new)
    except limited.TooMuch as e:
        raise BadInput(
            f"the chat template of {what} {e}; give a model whose template ends, or set chat: false"
        ) from None
    return [found[key] for key in keys]


def _rendered(
    template: str, given: Mapping[str, Any], new: Mapping[str, Sequence[Any]]
) -> dict[str, str]:
    global _known_size
    names = list(new)
    found: dict[str, str] = {}
    for start in range(0, len(names), BATCH):
        some = names[start : start + BATCH]
        texts = limited.do(
            "render",
            seconds=SECONDS,
            conversations=[new[name] for name in some],
            arguments={"chat_template": template, **given},
        )
        found.update(zip(some, texts, strict=True))
    if CLOCK not in template:
        with _lock:
            size = sum(len(key) + len(text) for key, text in found.items())
            if _known_size + size > REMEMBERED:
                _known.clear()
                _known_size = 0
            _known_size += size
            _known.update(found)
    return found
