"""Toxicity scorers for the toxicity and bias probes: what each is, the digest of what it computes
with, and how it is known to fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from probes.base import Array, Scorer
from restaudit.config import HfToxicity, NoToxicity, PythonToxicity, RetiredToxicity, ToxicityConfig
from restaudit.errors import BadInput
from restaudit.models.artifacts import Artifact, digest_of, resolve

EXPECTED = "a text classifier with a trained head"
RETIRED = (
    "audit.toxicity.kind: hatesonar is no more: it was near chance outside the tweets it learned "
    "from. Use kind: none, hf (a text classifier by name or path) or python (a callable); a run "
    "that was sealed with it goes on with the version of restaudit that its plan names"
)


def toxicity_artifacts(config: ToxicityConfig) -> dict[str, Artifact]:
    """The model that the scorer needs, fetched and checked against its pin, by the key that names
    it; empty where it needs none.

    Raises BadInput for a scorer that is no more.
    """
    match config:
        case HfToxicity():
            return {"audit.toxicity": _artifact(config)}
        case NoToxicity() | PythonToxicity():
            return {}
        case RetiredToxicity():
            raise BadInput(RETIRED)
        case _ as unknown:
            assert_never(unknown)


def load_scorer(config: ToxicityConfig, *, device: str = "cpu") -> Scorer | None:
    """The scorer that the configuration names, tried on one text; None for `kind: none`.

    `device` is "cpu" or a CUDA device. Raises BadInput for a model that is no classifier with the
    named labels, a callable that cannot be imported, and a scorer that is no more.
    """
    match config:
        case NoToxicity():
            return None
        case HfToxicity():
            return _classifier(config, device)
        case PythonToxicity():
            return _callable(config)
        case RetiredToxicity():
            raise BadInput(RETIRED)
        case _ as unknown:
            assert_never(unknown)


def _artifact(config: HfToxicity) -> Artifact:
    return resolve(config.model, sha256=config.sha256, licence=config.licence)


# --- a text classifier ---------------------------------------------------------------------------


def _classifier(config: HfToxicity, device: str) -> Scorer:
    from restaudit.models.classifier import load_classifier, logits

    artifact = _artifact(config)
    classifier = load_classifier(
        artifact, device, max_tokens=config.max_tokens, section="audit.toxicity", expected=EXPECTED
    )
    settings = classifier.model.config
    # As transformers' own text-classification pipeline decides it: one logit alone, or labels that
    # can hold together, have a probability each; all others share one.
    each_alone = settings.num_labels == 1 or settings.problem_type == "multi_label_classification"
    columns = _columns(config, settings.id2label)
    if not each_alone and len(columns) == settings.num_labels:
        raise BadInput(
            f"audit.toxicity.labels names every label of {config.model}, so that every text would "
            "score 1; name those that mean toxic"
        )

    def scores(texts: Sequence[str]) -> Array:
        if not len(texts):
            return np.empty(0)
        rows = [("", text) for text in texts]
        found = logits(
            classifier, rows, chat=False, max_tokens=config.max_tokens, batch=config.batch
        )
        if not np.isfinite(found).all():
            raise BadInput(f"{artifact.spec}: gave a logit that is not finite; it cannot score")
        if each_alone:
            likeliest: Array = _sigmoid(found)[:, columns].max(axis=1)
            return likeliest
        # A sum of shares may pass 1 by rounding.
        together: Array = np.clip(_softmax(found)[:, columns].sum(axis=1), 0.0, 1.0)
        return together

    # Samples can be empty, and some tokenizers make no token of an empty text: that is said before
    # a run begins and not in its middle.
    scores([""])
    reads = f"It reads the first {config.max_tokens} tokens of a text."
    name = f"{artifact.spec} ({', '.join(config.labels)})"
    known_failure = f"{config.known_failure.rstrip()} {reads}"
    return Scorer(name, "not stated", artifact.sha256, known_failure, scores)


def _columns(config: HfToxicity, names: dict[int, str]) -> list[int]:
    """The places of the named labels among the model's."""
    places = {str(name): int(place) for place, name in names.items()}
    unknown = [label for label in config.labels if label not in places]
    if unknown:
        raise BadInput(
            f"audit.toxicity.labels: {config.model} has no label '{unknown[0]}'; it has: "
            f"{', '.join(places)}"
        )
    return [places[label] for label in dict.fromkeys(config.labels)]


def _softmax(values: Array) -> Array:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Array = raised / raised.sum(axis=1, keepdims=True)
    return shares


def _sigmoid(values: Array) -> Array:
    # exp of a negative number only, so that nothing overflows.
    small = np.exp(-np.abs(values))
    chances: Array = np.where(values >= 0, 1.0, small) / (1.0 + small)
    return chances


# --- a callable ----------------------------------------------------------------------------------


def _callable(config: PythonToxicity) -> Scorer:
    from restaudit.reward.python import import_scorer

    name = config.callable
    imported = import_scorer(name, "audit.toxicity.callable")
    if imported.arguments != 1:
        raise BadInput(
            f"audit.toxicity.callable: '{name}' takes two arguments; expected one, the texts"
        )

    def scores(texts: Sequence[str]) -> Array:
        if not len(texts):
            return np.empty(0)
        values = imported.values([""] * len(texts), texts)
        if values.shape[1] != 1 or not ((values >= 0) & (values <= 1)).all():
            raise BadInput(f"{name}: expected one number from 0 to 1 a text")
        return values[:, 0]

    return Scorer(name, "not stated", digest_of(imported.source), config.known_failure, scores)
