"""Sentence embeddings: mean-pooled states of a frozen encoder, the same for a text whatever is
beside it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from restaudit.errors import BadInput
from restaudit.models.pretrained import (
    check_vocabulary,
    in_one_sentence,
    read_model,
    read_tokenizer,
)

CACHE_BYTES = 128 * 2**20
# A forward pass has this many tokens, as near as a power of two of rows allows: enough to keep the
# device busy.
FORWARD_TOKENS = {"cpu": 256, "cuda": 8192}
MAX_ROWS = 256

Vectors = npt.NDArray[np.float32]


@dataclass
class Encoder:
    """A frozen encoder that turns texts into unit-norm vectors.

    `max_tokens` counts special tokens too; a longer text is cut there, and `truncated` counts the
    distinct cut texts since the encoder was loaded. Vectors are remembered across calls, at most
    `CACHE_BYTES` of them, least recently used out first.
    """

    model: Any
    tokenizer: Any
    device: str
    max_tokens: int
    dimension: int
    truncated: int = 0
    _known: OrderedDict[str, Vectors] = field(default_factory=OrderedDict, repr=False)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts: array (n, dimension), float32, each row of length 1.

        Mean pooling over all tokens, the convention of sentence-transformers/all-MiniLM-L6-v2
        (Reimers and Gurevych 2019, arXiv 1908.10084). Texts are batched by exact token length, so
        nothing is padded, and every forward pass of one length has the same shape (a short batch is
        filled up with copies), so that a matrix product rounds a text the same way whatever else is
        embedded with it. Identical texts are embedded once. Raises BadInput for a value that is not
        a string and for a vector that is not finite.
        """
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise BadInput(f"text {i} to embed is {text!r}; expected a string")
        if not len(texts):
            return np.empty((0, self.dimension), dtype=np.float32)
        distinct = list(dict.fromkeys(texts))
        vectors = {t: self._known[t] for t in distinct if t in self._known}
        new = [t for t in distinct if t not in vectors]
        vectors.update(zip(new, self._embed_new(new), strict=True))
        for text in distinct:
            self._known[text] = vectors[text]
            self._known.move_to_end(text)
        while len(self._known) > CACHE_BYTES // (4 * self.dimension):
            self._known.popitem(last=False)
        return np.stack([vectors[t] for t in texts])

    def _embed_new(self, texts: Sequence[str]) -> Vectors:
        import torch

        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        if not texts:
            return vectors
        ids = self._tokens(texts)
        with torch.inference_mode():
            for rows in equal_lengths([len(i) for i in ids]):
                length = len(ids[rows[0]])
                height = _height(length, self.device)
                for start in range(0, len(rows), height):
                    chosen = rows[start : start + height]
                    block = [ids[r] for r in chosen]
                    block += [block[-1]] * (height - len(chosen))
                    tokens = torch.tensor(block, device=self.device)
                    states = self.model(
                        input_ids=tokens, attention_mask=torch.ones_like(tokens)
                    ).last_hidden_state
                    unit = torch.nn.functional.normalize(states.float().mean(dim=1), dim=1)
                    vectors[chosen] = unit[: len(chosen)].cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if bad.size:
            raise BadInput(
                f"the encoder gave a vector that is not finite for the text {texts[bad[0]][:60]!r}"
            )
        return vectors

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        # verbose=False: the tokenizer's own length warning would fire here, before the cut below.
        ids = self.tokenizer(list(texts), add_special_tokens=True, verbose=False)["input_ids"]
        long = [i for i, tokens in enumerate(ids) if len(tokens) > self.max_tokens]
        if long:
            self.truncated += len(long)
            cut = self.tokenizer(
                [texts[i] for i in long], truncation=True, max_length=self.max_tokens
            )["input_ids"]
            for i, tokens in zip(long, cut, strict=True):
                ids[i] = tokens
        return [list(tokens) or [self._blank()] for tokens in ids]

    def _blank(self) -> int:
        """The token that stands for a text without any token (tokenizers that add no special
        tokens).
        """
        for token in (
            self.tokenizer.bos_token_id,
            self.tokenizer.eos_token_id,
            self.tokenizer.pad_token_id,
        ):
            if token is not None:
                return int(token)
        raise BadInput(
            "an empty text cannot be embedded: the encoder's tokenizer has no bos, eos or pad token"
        )


def load_encoder(path: Path, device: str = "cpu", max_tokens: int | None = None) -> Encoder:
    """Load a Hugging Face encoder folder (BERT-like, or a decoder used as one, or an adapter of
    either) in float32.

    `max_tokens` defaults to the encoder's own limit. Raises BadInput when the folder holds no such
    model with a tokenizer and safetensors weights (see restaudit.models.pretrained), when weights
    are missing from it, and when `max_tokens` is over its limit.
    """
    import torch

    tokenizer = read_tokenizer(path, str(path), "encoder")
    model, loading = read_model("encoder", path, str(path), dtype=torch.float32)
    # A pooler is never used here, and many published encoders leave it out.
    missing = sorted(k for k in loading["missing_keys"] if "pooler" not in k)
    if missing:
        raise BadInput(
            f"{path}: the checkpoint lacks weights of the encoder ({', '.join(missing[:5])}, …)"
        )
    limit = token_limit(model.config, tokenizer)
    if max_tokens is not None and max_tokens > limit:
        raise BadInput(
            f"{path}: max_tokens is {max_tokens}, but this encoder reads at most {limit}; set it "
            f"to {limit}"
        )
    check_vocabulary(model, tokenizer, str(path))
    model.requires_grad_(False).to(device).eval()
    with in_one_sentence(f"{path}: this encoder cannot read a text: "):
        encoder = Encoder(
            model, tokenizer, device, max_tokens or limit, int(model.config.hidden_size)
        )
        encoder.embed(["a text"])
    encoder.truncated = 0
    return encoder


def token_limit(config: Any, tokenizer: Any) -> int:
    """How many tokens a model reads at most, by its position table and by its tokenizer's own
    statement.
    """
    # A tokenizer without a limit states a huge number, and some models have no position table.
    stated = (getattr(config, "max_position_embeddings", None), tokenizer.model_max_length)
    # What a stranger's file has instead of a number states no limit.
    numbers = [v for v in stated if isinstance(v, int | float) and math.isfinite(v) and v >= 1]
    return min(map(int, numbers), default=512)


def equal_lengths(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Row numbers grouped by exact length, shortest first, in the given order within a group."""
    groups: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        groups.setdefault(length, []).append(row)
    for length in sorted(groups):
        yield groups[length]


def _height(length: int, device: str) -> int:
    """Rows of a forward pass: a power of two that depends on the length and the kind of device
    alone.
    """
    fit = max(FORWARD_TOKENS[torch_kind(device)] // length, 1)
    return min(1 << (fit.bit_length() - 1), MAX_ROWS)


def torch_kind(device: str) -> str:
    """ "cuda" for any CUDA device, "cpu" otherwise."""
    return "cuda" if device.startswith("cuda") else "cpu"
