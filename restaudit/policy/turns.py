"""How a prompt is put to a model in its own words, and where a turn ends: found by rendering the
chat template.
"""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Sequence
from typing import Any

from restaudit.config import PolicyConfig
from restaudit.errors import BadInput
from restaudit.evidence.chats import Message, asked
from restaudit.models import chat
from restaudit.models.limited import Refused

# No vocabulary has as many.
MOST_TOKENS = 1 << 31
# What stands in for an answer while the template is looked at.
ANSWER = "answer"


def render(
    tokenizer: Any, messages: Sequence[Message], config: PolicyConfig, *, opened: bool
) -> str:
    """Messages as the template writes them; `opened` adds what begins the assistant's turn.

    Raises BadInput where there is no template, or it refuses these messages (many refuse a system
    message).
    """
    if not tokenizer.chat_template:
        raise BadInput(
            f"policy.chat is true, but {config.model} has no chat template; set policy.chat: false"
        )
    try:
        (text,) = chat.render(
            tokenizer, [messages], config.model, opened=opened, **config.template_arguments
        )
    except (Refused, TypeError, ValueError, KeyError) as e:
        roles = ", ".join(m["role"] for m in messages)
        hint = ""
        if messages and messages[0]["role"] == "system":
            hint = "; set policy.system_prompt: null and leave system messages out of the prompts"
        raise BadInput(
            f"the chat template of {config.model} refuses messages of these roles: {roles} "
            f"({e}){hint}"
        ) from None
    return text


def prompt_tokens(
    tokenizer: Any, messages: Sequence[Message], config: PolicyConfig, stops: Sequence[int]
) -> list[int]:
    """Token ids of one prompt, ready for the response to follow; `stops` are the ids that end a
    response.

    Raises BadInput when the prompt is longer than `max_prompt_tokens`, and for what `render`
    refuses.
    """
    prompt = asked(messages, chat=config.chat, system=config.system_prompt)
    if isinstance(prompt, str):
        ids = unended(tokenizer, prompt, tokenizer(prompt)["input_ids"], stops)
    else:
        text = render(tokenizer, prompt, config, opened=True)
        # The template has written all special tokens; the tokenizer would add a second beginning.
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) > config.max_prompt_tokens:
        start = messages[-1]["content"][:60]
        raise BadInput(
            f"prompt '{start}…' has {len(ids)} tokens; policy.max_prompt_tokens is "
            f"{config.max_prompt_tokens}"
        )
    if not ids:
        raise BadInput("a prompt has no tokens at all")
    return [int(i) for i in ids]


def write_ahead(tokenizer: Any, prompts: Sequence[Sequence[Message]], config: PolicyConfig) -> None:
    """Have the chat template write many prompts at once, for `prompt_tokens` of each of them.

    What it refuses is said there. Raises BadInput where it does not end.
    """
    asked_as = [asked(each, chat=config.chat, system=config.system_prompt) for each in prompts]
    chats = [each for each in asked_as if not isinstance(each, str)]
    if chats and tokenizer.chat_template:
        with contextlib.suppress(Refused, TypeError, ValueError, KeyError):
            chat.render(tokenizer, chats, config.model, opened=True, **config.template_arguments)


def unended(tokenizer: Any, text: str, ids: Sequence[int], stops: Sequence[int]) -> list[int]:
    """The tokens of a text without the end of sequence that its tokenizer may have appended.

    A model that reads an end goes on with another text, and not with an answer. An end that stands
    in the text stays.
    """
    kept = list(ids)
    own = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    while kept and kept[-1] in stops and kept[-len(own) :] != own:
        kept.pop()
    return kept


def turn_end(tokenizer: Any, config: PolicyConfig) -> list[int]:
    """Token ids that the template writes behind an answer, up to the first special token: how a
    turn ends.

    Without chat, or where the template ends a turn with no special token, it is the tokenizer's end
    of sequence.
    """
    plain = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    if not config.chat or not tokenizer.chat_template:
        return plain
    turn = [{"role": "user", "content": "question"}, {"role": "assistant", "content": ANSWER}]
    text = render(tokenizer, turn, config, opened=False)
    behind_answer = text[text.rfind(ANSWER) + len(ANSWER) :]
    tail = tokenizer(behind_answer, add_special_tokens=False)["input_ids"]
    # Ends of turns are often added tokens that no setting of the tokenizer names (<|im_end|>).
    special = {int(i) for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    special |= set(tokenizer.all_special_ids)
    for place, token in enumerate(tail):
        if token in special:
            return [int(i) for i in tail[: place + 1]]
    return plain


def stop_tokens(tokenizer: Any, generation_config: Any, config: PolicyConfig) -> list[int]:
    """Ids that end a response: the ends of sequence of tokenizer and generation config, and the end
    of a turn.

    Raises BadInput where the generation config names no number of a token.
    """
    ids: list[int] = []
    for end in (getattr(generation_config, "eos_token_id", None), tokenizer.eos_token_id):
        if end is None:
            continue
        several: list[Any] = end if isinstance(end, list) else [end]
        if not all(isinstance(i, numbers.Integral) and abs(int(i)) < MOST_TOKENS for i in several):
            raise BadInput(
                f"{config.model}: eos_token_id of its generation_config.json or config.json is "
                f"{str(end)[:80]}; expected the number of a token, or a list of such numbers"
            )
        ids += several
    ids += turn_end(tokenizer, config)[-1:]
    return sorted({int(i) for i in ids})
