"""HH-RLHF (Bai et al. 2022, arXiv 2204.05862): dialogues whose last reply people chose or rejected.
MIT licence.
"""

from __future__ import annotations

import re
from typing import Any

from restaudit.data.records import Dropped, Feedbacks, PairRecord, PromptRecord, Prompts
from restaudit.data.tables import OpenedSource
from restaudit.evidence.chats import Message, from_messages

_TURN = re.compile(r"\n\n(Human|Assistant): ?")
_ROLE = {"Human": "user", "Assistant": "assistant"}


def pairs(opened: OpenedSource) -> Feedbacks:
    """`chosen` and `rejected` dialogues; kept where they differ in the last assistant reply
    alone.
    """
    for row in opened.rows():
        # Pairs whose contexts differ compare two conversations, not two replies.
        chosen, rejected = dialogue(row.values.get("chosen")), dialogue(row.values.get("rejected"))
        if chosen is None or rejected is None:
            yield Dropped(row.where, "malformed")
        elif chosen[0] != rejected[0]:
            yield Dropped(row.where, "different contexts")
        elif chosen[0][-1]["role"] != "user":
            yield Dropped(row.where, "malformed")
        else:
            yield PairRecord(row.where, from_messages(chosen[0]), chosen[1], rejected[1], {None: 1})


def prompts(opened: OpenedSource) -> Prompts:
    """The contexts before the last reply. `options.turns`: `single` (default) or `all` (chats)."""
    turns = opened.option("turns", "single", ("single", "all"))
    for row in opened.rows():
        parsed = dialogue(row.values.get("chosen"))
        if parsed is None or parsed[0][-1]["role"] != "user":
            yield Dropped(row.where, "malformed")
        elif turns == "single" and len(parsed[0]) > 1:
            yield Dropped(row.where, "more than one turn")
        else:
            yield PromptRecord(row.where, from_messages(parsed[0]))


def dialogue(text: Any) -> tuple[list[Message], str] | None:
    r"""Split "\n\nHuman: …\n\nAssistant: …" into the messages before the last reply, and that
    reply.

    Turns of one speaker in a row are joined. None where the text does not start with a human turn
    or does not end with a reply; the messages may end with the assistant's where the reply goes on
    with its turn.
    """
    if not isinstance(text, str) or not text.startswith("\n\nHuman:"):
        return None
    context, separator, reply = text.rpartition("\n\nAssistant:")
    if not separator or "\n\nHuman:" in reply:
        return None
    messages: list[Message] = []
    parts = _TURN.split(context)
    for speaker, content in zip(parts[1::2], parts[2::2], strict=True):
        if messages and messages[-1]["role"] == _ROLE[speaker]:
            messages[-1]["content"] += f"\n\n{content.strip()}"
        else:
            messages.append({"role": _ROLE[speaker], "content": content.strip()})
    return messages, reply.strip()
