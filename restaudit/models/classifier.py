"""Sequence-classification models: loaded with what is refused, texts as their tokens, and logits
that do not depend on what else is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from restaudit.errors import BadInput
from restaudit.models.artifacts import Artifact
from restaudit.models.chat import render
from restaudit.models.encoder import equal_lengths, token_limit, torch_kind
from restaudit.models.limited import Refused
from restaudit.models.pretrained import (
    check_vocabulary,
    in_one_sentence,
    read_model,
    read_tokenizer,
)


@dataclass(frozen=True)
class Classifier:
    """A model with its tokenizer, ready to score; `spec` is how messages call it."""

    spec: str
    model: Any
    tokenizer: Any


def load_classifier(
    artifact: Artifact, device: str, *, max_tokens: int, section: str, expected: str
) -> Classifier:
    """A classifier on a device, in evaluation mode: float32 on a CPU, its own precision on a GPU.

    `section` is the part of the configuration that names it, and `expected` what it should have
    been, both for messages. Raises BadInput for what is no classifier with safetensors weights (see
    restaudit.models.pretrained), for weights that the checkpoint lacks, and where `max_tokens` is
    more than it reads.
    """
    import torch

    # Not every CPU computes in half precision.
    dtype: Any = "auto" if torch_kind(device) == "cuda" else torch.float32
    tokenizer = read_tokenizer(artifact.path, artifact.spec, "classifier")
    model, loading = read_model("classifier", artifact.path, artifact.spec, dtype=dtype)
    # The loader fills a missing head with random numbers: a classifier of noise, which must never
    # select or measure anything.
    missing = sorted(loading["missing_keys"])
    if missing:
        raise BadInput(
            f"{artifact.spec}: the checkpoint has no trained weights for {', '.join(missing[:4])}; "
            f"expected {expected}"
        )
    limit = token_limit(model.config, tokenizer)
    if max_tokens > limit:
        raise BadInput(
            f"{artifact.spec}: {section}.max_tokens is {max_tokens}, but it reads at most {limit}"
        )
    check_vocabulary(model, tokenizer, artifact.spec)
    model.requires_grad_(False).to(device).eval()
    classifier = Classifier(artifact.spec, model, tokenizer)
    with in_one_sentence(f"{artifact.spec}: this model cannot score a text: "):
        logits(classifier, [("", "a text")], chat=False, max_tokens=max_tokens, batch=1)
    return classifier


def logits(
    classifier: Classifier,
    rows: Sequence[tuple[str, str]],
    *,
    chat: bool,
    max_tokens: int,
    batch: int,
) -> npt.NDArray[np.float64]:
    """The logits of (prompt, response) rows: array (n, labels), float64.

    Identical rows are scored once; batches hold texts of one token length, so nothing is padded.
    """
    import torch

    distinct = list(dict.fromkeys(rows))
    if chat:
        # All at once: what is asked for one by one below is then at hand.
        written(classifier, distinct)
    encoded = [encode(classifier, p, r, chat=chat, max_tokens=max_tokens) for p, r in distinct]
    # Without a padding token such a model reads the last position of one row at a time.
    height = batch if classifier.model.config.pad_token_id is not None else 1
    device = classifier.model.device
    values = np.empty((len(distinct), int(classifier.model.config.num_labels)), dtype=np.float64)
    with torch.inference_mode():
        for group in equal_lengths([len(e["input_ids"]) for e in encoded]):
            for start in range(0, len(group), height):
                chosen = group[start : start + height]
                inputs = {
                    name: torch.tensor([encoded[i][name] for i in chosen], device=device)
                    for name in encoded[chosen[0]]
                }
                values[chosen] = classifier.model(**inputs).logits.double().cpu().numpy()
    place = {row: i for i, row in enumerate(distinct)}
    by_row: npt.NDArray[np.float64] = values[[place[row] for row in rows]]
    return by_row


def encode(
    classifier: Classifier, prompt: str, response: str, *, chat: bool, max_tokens: int
) -> dict[str, list[int]]:
    """Token ids (and masks) of one row.

    With `chat`, the tokenizer's chat template with the prompt as the user's turn and the response
    as the assistant's; the end is kept where it is too long. Otherwise prompt and response as a
    text pair (the response alone where there is no prompt), cut from the longer one.
    """
    tokenizer = classifier.tokenizer
    if chat:
        (text,) = written(classifier, [(prompt, response)])
        # The template has written the special tokens already. What is judged is the reply, so a
        # conversation that is too long loses its beginning.
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][-max_tokens:]
        encoded = {"input_ids": ids, "attention_mask": [1] * len(ids)}
    else:
        texts = (prompt, response) if prompt else (response,)
        encoded = dict(
            tokenizer(*texts, truncation="longest_first", max_length=max_tokens, verbose=False)
        )
    if not encoded["input_ids"]:
        raise BadInput(
            f"{classifier.spec}: a text without any token cannot be scored ({response[:60]!r})"
        )
    return encoded


def written(classifier: Classifier, rows: Sequence[tuple[str, str]]) -> list[str]:
    """Rows as the classifier's chat template writes them, the prompt as the user's turn.

    Raises BadInput where the template refuses them, or does not end.
    """
    conversations = []
    for prompt, response in rows:
        turns = [{"role": "assistant", "content": response}]
        if prompt:
            turns.insert(0, {"role": "user", "content": prompt})
        conversations.append(turns)
    try:
        return render(classifier.tokenizer, conversations, classifier.spec, opened=False)
    except (Refused, TypeError, ValueError, KeyError) as e:
        raise BadInput(
            f"{classifier.spec}: its chat template refuses a prompt with its response ({e}); set "
            "chat: false"
        ) from None
