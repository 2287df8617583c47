"""A prompt is plain text, or a chat held as a JSON list of messages; both have one text form and
one identity.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, str]
ROLES = ("system", "user", "assistant")
_SPEAKER = {"system": "System", "user": "Human", "assistant": "Assistant"}


def from_messages(messages: Sequence[Mapping[str, Any]]) -> str:
    """The prompt column's form of a chat: plain text for a single user message, a JSON list
    otherwise.

    Raises ValueError (what is wrong, without the place) when a message lacks a role or textual
    content.
    """
    clean: list[Message] = []
    for number, message in enumerate(messages, start=1):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES or not isinstance(content, str):
            raise ValueError(
                f"message {number} must have a role ({', '.join(ROLES)}) and a text as content"
            )
        clean.append({"role": str(role), "content": content})
    if len(clean) == 1 and clean[0]["role"] == "user":
        return clean[0]["content"]
    return json.dumps(clean, ensure_ascii=False)


def as_messages(prompt: str) -> list[Message]:
    """The prompt as chat messages; plain text becomes one user message."""
    if prompt.startswith("[{"):
        try:
            raw = json.loads(prompt)
        except (ValueError, RecursionError):
            return [{"role": "user", "content": prompt}]
        if isinstance(raw, list) and all(
            isinstance(m, dict) and set(m) == {"role", "content"} for m in raw
        ):
            return [{"role": str(m["role"]), "content": str(m["content"])} for m in raw]
    return [{"role": "user", "content": prompt}]


def asked(messages: Sequence[Message], *, chat: bool, system: str | None) -> list[Message] | str:
    """What is put to a model: the system prompt and the messages, or one text where the model does
    not chat.
    """
    if chat:
        return [*([{"role": "system", "content": system}] if system else []), *messages]
    return (f"{system}\n" if system else "") + "\n".join(m["content"] for m in messages)


def as_text(prompt: str) -> str:
    """The prompt as plain text; the turns of a chat are marked "Human:", "Assistant:" and
    "System:".

    The one form of a chat outside of chat templates: what people read (raters, the reports, the
    app), what a reward is given, and what a prompt is recognised by. So whoever rates or reads
    sees what was scored. The marks are those of the preference data that reward
    models are trained on (Bai et al. 2022, arXiv 2204.05862), and since a prompt's identity hangs
    on them they cannot change: a run of before would no longer find its prompts.
    """
    messages = as_messages(prompt)
    # A prompt that is nothing but a question is not a dialogue, and needs no mark.
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    return "\n\n".join(f"{_SPEAKER.get(m['role'], m['role'])}: {m['content']}" for m in messages)


def normalise(prompt: str) -> str:
    """What two prompts share when they count as the same: NFKC, case-folded, white space
    collapsed.
    """
    return " ".join(unicodedata.normalize("NFKC", as_text(prompt)).casefold().split())


def prompt_id(prompt: str) -> str:
    """16 hex digits of the SHA-256 of the normalised prompt."""
    return digest(normalise(prompt))[:16]


def first_turn(prompt: str) -> str:
    """The normalised first user message: dialogues that begin alike are kept on one side of any
    division.
    """
    return normalise(
        next((m["content"] for m in as_messages(prompt) if m["role"] == "user"), as_text(prompt))
    )


def digest(text: str) -> str:
    """SHA-256 of a text, in hex; lone surrogates (undecodable bytes) are hashed as the bytes they
    stand for, or, where they stand for none, as they are.
    """
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()


def fraction(text: str, salt: str) -> float:
    """A number in [0, 1) that depends on nothing but the text and the salt."""
    return int(digest(f"{salt}\0{text}")[:13], 16) / 16**13
