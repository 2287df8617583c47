"""Sequence-classification reward models, by name or path; several of them are an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restaudit.config import HfReward
from restaudit.errors import BadInput
from restaudit.models.artifacts import Artifact, resolve
from restaudit.models.classifier import Classifier, load_classifier, logits, written
from restaudit.reward.contract import Scores, finite, same_length
from restaudit.reward.dossier import MISSING, describe, digest_facts, read_dossier, same_as_recorded

UNIT = "logit of the chosen label"
EXPECTED = "a reward model (sequence classification), not a language model or a bare encoder"
LIMITS = (
    "Published reward models rarely say who judged the texts they learned from; what this one "
    "rewards was not examined here before the run.",
    "No judgements were given to validate it on.",
)


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
        rows = list(zip(prompts, responses, strict=True))
        config = self.config
        columns = []
        for classifier in self.classifiers:
            every_label = logits(
                classifier, rows, chat=config.chat, max_tokens=config.max_tokens, batch=config.batch
            )
            columns.append(every_label[:, config.label])
        return finite(np.stack(columns, axis=1), responses, self.name)


def prepare_hf(config: HfReward, *, device: str) -> Callable[[Path], HfModels]:
    """Load the models; the function returned writes dossier.json into a folder.

    Raises BadInput for a model that is no sequence classifier, or not one that this configuration
    can read.
    """
    # Nothing is written yet: what cannot be loaded leaves no folder behind.
    artifacts = [resolve(spec, licence=config.licence) for spec in config.models]
    reward = _load(config, artifacts, device)
    return lambda out: _described(config, artifacts, reward, out)


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
        # A name on a hub may point at other weights tomorrow; the digest may not.
        same_as_recorded(f"reward model {artifact.spec}", recorded["sha256"], artifact.sha256)
    reward = _load(config, artifacts, device)
    same_as_recorded(
        "how the reward models are read (label, max_tokens, chat)", facts["digest"], reward.digest
    )
    return reward


def _described(
    config: HfReward, artifacts: Sequence[Artifact], reward: HfModels, out: Path
) -> HfModels:
    models = [
        _model_facts(artifact, classifier, config)
        for artifact, classifier in zip(artifacts, reward.classifiers, strict=True)
    ]
    describe(
        reward,
        out,
        kind="hf",
        purpose="A published reward model, used as it is as the reward that selects samples.",
        ensemble=config.ensemble,
        limits=LIMITS,
        models=models,
        label=config.label,
        max_tokens=config.max_tokens,
        chat=config.chat,
    )
    return reward


def _load(config: HfReward, artifacts: Sequence[Artifact], device: str) -> HfModels:
    classifiers = tuple(_classifier(a, config, device) for a in artifacts)
    # The same weights read otherwise (another label, another cut) give other scores.
    reading = {"label": config.label, "max_tokens": config.max_tokens, "chat": config.chat}
    digest = digest_facts({"models": [a.sha256 for a in artifacts], **reading})
    return HfModels(classifiers, config, digest)


def _classifier(artifact: Artifact, config: HfReward, device: str) -> Classifier:
    classifier = load_classifier(
        artifact, device, max_tokens=config.max_tokens, section="reward", expected=EXPECTED
    )
    # Found out now: at the first score the run would have sampled for an hour.
    labels = int(classifier.model.config.num_labels)
    if config.label >= labels:
        raise BadInput(
            f"{artifact.spec}: reward.label is {config.label}, but the model has labels 0 to "
            f"{labels - 1}"
        )
    if config.chat and not classifier.tokenizer.chat_template:
        raise BadInput(
            f"{artifact.spec}: reward.chat is true, but its tokenizer has no chat template; set "
            "it to false"
        )
    if config.chat:
        written(classifier, [("a prompt", "a response")])  # refused now, where it does not end
    return classifier


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
