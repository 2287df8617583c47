"""Held-out human text: which texts, and what each costs a policy in nats."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from restaudit.config import HumanTextConfig, TableSource
from restaudit.errors import BadInput

if TYPE_CHECKING:
    from restaudit.policy import Policy

HUMAN_TEXT = ("text_id", "text", "nll", "n_tokens")


def nll_of(
    policy: Policy,
    texts: Sequence[str],
    *,
    contexts: Sequence[Sequence[int]] | None = None,
    max_tokens: int = 256,
    forward_tokens: int | None = None,
) -> list[tuple[float, int]]:
    """(negative log-likelihood in nats, number of tokens) of the first `max_tokens` tokens of each
    text.

    `contexts` are token ids that come before each text, for example its prompt's; without them it
    is the token that starts a text (the tokenizer's own, or its end token). No end token is asked
    for. The weights are the policy's present ones. Raises BadInput for a text without tokens.
    """
    from restaudit.policy.likelihood import loglikelihoods

    start = policy.tokenizer.bos_token_id
    first = (int(policy.tokenizer.eos_token_id if start is None else start),)
    pairs = []
    for k, text in enumerate(texts):
        tokens = tuple(
            int(t)
            for t in policy.tokenizer(text, add_special_tokens=False)["input_ids"][:max_tokens]
        )
        if not tokens:
            raise BadInput(f"human text {k}: has no tokens; expected a text")
        pairs.append((first if contexts is None else tuple(contexts[k]), tokens))
    found = loglikelihoods(policy, pairs, forward_tokens=forward_tokens)
    return [(-nats, len(pair[1])) for (nats, _), pair in zip(found, pairs, strict=True)]


def read_texts(config: HumanTextConfig) -> list[str]:
    """At most `limit` different texts of the source, chosen by hash; HTML line breaks and runs of
    blanks become spaces.

    Raises BadInput where the source cannot be read, has no such column, or no text.
    """
    from restaudit.data.tables import open_source, pick

    source = TableSource(
        source=config.source,
        sha256=config.sha256,
        licence=config.licence,
        columns={"text": config.column},
    )
    opened = open_source(source)
    texts = {_plain(str(pick(row, "text", source))) for row in opened.rows()}
    chosen = sorted(texts - {""}, key=_digest)[: config.limit]
    if not chosen:
        raise BadInput(
            f"audit.human_text.source {config.source}: column '{config.column}' holds no text"
        )
    return chosen


def measured(policy: Policy, config: HumanTextConfig, prompts: pd.DataFrame) -> pd.DataFrame:
    """The table the drift probe reads (columns: HUMAN_TEXT), for the policy with the weights it has
    now.

    With `source: references` the texts are human references of `prompts` (the audit prompts,
    columns: PROMPTS), each after its prompt; otherwise they stand alone.
    """
    contexts: list[list[int]] | None = None
    if config.source == "references":
        from restaudit.evidence.chats import as_messages

        pairs = sorted(
            (
                (str(p), str(text))
                for p, own in zip(prompts["prompt"], prompts["references"], strict=True)
                for text in own
            ),
            key=lambda pair: _digest("\0".join(pair)),
        )[: config.limit]
        if not pairs:
            raise BadInput(
                "audit.human_text.source is 'references', but no audit prompt has a human reference"
            )
        texts = [text for _, text in pairs]
        contexts = [policy.prompt_tokens(as_messages(prompt)) for prompt, _ in pairs]
        names = [_digest("\0".join(pair))[:16] for pair in pairs]
    else:
        texts = read_texts(config)
        names = [_digest(text)[:16] for text in texts]
    costs = nll_of(policy, texts, contexts=contexts, max_tokens=config.max_tokens)
    return pd.DataFrame(
        {
            "text_id": names,
            "text": texts,
            "nll": [c for c, _ in costs],
            "n_tokens": [n for _, n in costs],
        }
    )


def _plain(text: str) -> str:
    return " ".join(re.sub(r"<br\s*/?>", " ", text, flags=re.IGNORECASE).split())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
