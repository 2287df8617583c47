"""Sequence-classification reward models, by name or path; several of them are an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restaudit.config import HfReward
from restaudit.errors import BadInput
from restaudit.models.artifacts import Artifact, resolve
from restaudit.models.encoder import equal_lengths, token_limit, torch_kind
from restaudit.models.pretrained import read_model, read_tokenizer
from restaudit.reward.contract import Scores, finite, same_length
from restaudit.reward.dossier import (
    MISSING,
    digest_facts,
    read_dossier,
    same_as_recorded,
    write_dossier,
)

UNIT = "logit of the chosen label"
LIMITS = (
    "Published reward models rarely say who judged the texts they learned from; what this one "
    "rewards was not examined here before the run.",
    "No judgements were given to validate it on.",
)


@dataclass(frozen=True)
class Classifier:
    """One model of the ensemble, ready to score."""

    spec: str
    model: Any
    tokenizer: Any


@dataclass(frozen=True)
class HfModels:
    """A reward of one or more sequence-classification models; one column of `score` a model."""

    classifiers: tuple[Classifier, ...]
    config: HfReward
    digest: str

    @property
    def name(self) -> str:
        """How reports call this reward."""
        return "hf/" + ", ".join(c.spec for c in self.classifiers)

    @property
    def unit(self) -> str:
        """What a score counts."""
        return UNIT

    @property
    def members(self) -> int:
        """Number of models."""
        return len(self.classifiers)

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """The logit of the chosen label under each model: array (n, members), float64."""
        same_length(prompts, responses)
        rows, c = list(zip(prompts, responses, strict=True)), self.config
        columns = [
            logits(one, rows, label=c.label, chat=c.chat, max_tokens=c.max_tokens, batch=c.batch)
            for one in self.classifiers
        ]
        return finite(np.stack(columns, axis=1), responses, self.name)


def logits(
    classifier: Classifier,
    rows: Sequence[tuple[str, str]],
    *,
    label: int,
    chat: bool,
    max_tokens: int,
    batch: int,
) -> Scores:
    """The logit of one label for (prompt, response) rows: array (n,), float64.

    Identical rows are scored once; batches hold texts of one token length, so nothing is padded.
    """
    import torch

    asked = rows
    rows = list(dict.fromkeys(asked))
    encoded = [encode(classifier, p, r, chat=chat, max_tokens=max_tokens) for p, r in rows]
    # Without a padding token such a model reads the last position of one row at a time.
    height = batch if classifier.model.config.pad_token_id is not None else 1
    device = classifier.model.device
    out = np.empty(len(rows), dtype=np.float64)
    with torch.inference_mode():
        for group in equal_lengths([len(e["input_ids"]) for e in encoded]):
            for start in range(0, len(group), height):
                part = group[start : start + height]
                inputs = {
                    k: torch.tensor([encoded[i][k] for i in part], device=device)
                    for k in encoded[part[0]]
                }
                out[part] = classifier.model(**inputs).logits[:, label].double().cpu().numpy()
    place = {row: i for i, row in enumerate(rows)}
    spread: Scores = out[[place[row] for row in asked]]
    return spread


def build_hf(config: HfReward, out: Path, *, device: str) -> HfModels:
    """Load the models and write dossier.json into `out`."""
    artifacts = [resolve(spec, licence=config.licence) for spec in config.models]
    reward = _load(config, artifacts, device)
    out.mkdir(parents=True, exist_ok=True)
    write_dossier(
        out,
        {
            "kind": "hf",
            "name": reward.name,
            "purpose": (
                "A published reward model, used as it is as the reward that selects samples."
            ),
            "unit": UNIT,
            "members": reward.members,
            "digest": reward.digest,
            "models": [
                _model_facts(a, c, config)
                for a, c in zip(artifacts, reward.classifiers, strict=True)
            ],
            "label": config.label,
            "max_tokens": config.max_tokens,
            "chat": config.chat,
            "ensemble": config.ensemble.model_dump(mode="json"),
            "data": MISSING,
            "raters": MISSING,
            "validation": MISSING,
            "limits": list(LIMITS),
        },
    )
    return reward


def load_hf(config: HfReward, out: Path, *, device: str) -> HfModels:
    """Load the recorded models again. Raises BadInput when a model is not the recorded one."""
    facts = read_dossier(out, "hf")
    artifacts = [resolve(spec, licence=config.licence) for spec in config.models]
    if len(artifacts) != len(facts["models"]):
        raise BadInput(
            f"reward.models names {len(artifacts)} models; the dossier records "
            f"{len(facts['models'])}"
        )
    for artifact, recorded in zip(artifacts, facts["models"], strict=True):
        same_as_recorded(f"reward model {artifact.spec}", recorded["sha256"], artifact.sha256)
    reward = _load(config, artifacts, device)
    same_as_recorded(
        "how the reward models are read (label, max_tokens, chat)", facts["digest"], reward.digest
    )
    return reward


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
        turns = [
            *([{"role": "user", "content": prompt}] if prompt else []),
            {"role": "assistant", "content": response},
        ]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
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


def _load(config: HfReward, artifacts: Sequence[Artifact], device: str) -> HfModels:
    classifiers = tuple(_classifier(a, config, device) for a in artifacts)
    how = {"label": config.label, "max_tokens": config.max_tokens, "chat": config.chat}
    digest = digest_facts({"models": [a.sha256 for a in artifacts], **how})
    return HfModels(classifiers, config, digest)


def _classifier(artifact: Artifact, config: HfReward, device: str) -> Classifier:
    import torch

    dtype: Any = "auto" if torch_kind(device) == "cuda" else torch.float32
    tokenizer = read_tokenizer(artifact.path, artifact.spec, "classifier")
    model, loading = read_model("classifier", artifact.path, artifact.spec, dtype=dtype)
    # The loader fills a missing head with random numbers: a reward of noise, which must never
    # select anything.
    missing = sorted(loading["missing_keys"])
    if missing:
        raise BadInput(
            f"{artifact.spec}: the checkpoint has no trained weights for {', '.join(missing[:4])}; "
            "expected a reward model (sequence classification), not a language model or a bare "
            "encoder"
        )
    labels = int(model.config.num_labels)
    if config.label >= labels:
        raise BadInput(
            f"{artifact.spec}: reward.label is {config.label}, but the model has labels 0 to "
            f"{labels - 1}"
        )
    limit = token_limit(model.config, tokenizer)
    if config.max_tokens > limit:
        raise BadInput(
            f"{artifact.spec}: reward.max_tokens is {config.max_tokens}, but it reads at most "
            f"{limit}"
        )
    if config.chat and not tokenizer.chat_template:
        raise BadInput(
            f"{artifact.spec}: reward.chat is true, but its tokenizer has no chat template; set "
            "it to false"
        )
    model.requires_grad_(False).to(device).eval()
    return Classifier(artifact.spec, model, tokenizer)


def _model_facts(artifact: Artifact, classifier: Classifier, config: HfReward) -> dict[str, Any]:
    model = classifier.model
    return {
        "spec": artifact.spec,
        "sha256": artifact.sha256,
        "licence": artifact.licence or MISSING,
        "architecture": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "label": str(model.config.id2label.get(config.label, config.label)),
        **artifact.base_facts(),
    }
