"""`training: head`: a frozen encoder with one small head a member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from restaudit.config import TrainedReward
from restaudit.errors import BadInput
from restaudit.evidence.ledger import digest_file
from restaudit.models.artifacts import Artifact, resolve
from restaudit.models.encoder import Encoder, load_encoder
from restaudit.reward.contract import Scores, finite
from restaudit.reward.dossier import same_as_recorded
from restaudit.reward.examples import Examples
from restaudit.reward.head import Features, Problem, predict, train_members
from restaudit.reward.learned import Learned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from restaudit.reward.head import Weights

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class HeadsOnEncoder:
    """Heads on a frozen encoder; one column of `score` a head."""

    encoder: Encoder
    weights: tuple[Weights, ...]
    input: Literal["response", "prompt_response"]

    @property
    def members(self) -> int:
        """Number of heads."""
        return len(self.weights)

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Array (n, members), float64."""
        features = features_of(self.encoder, prompts, responses, self.input)
        return np.stack([predict(w, features) for w in self.weights], axis=1)


def learn_heads(
    data: Examples, encoder: Encoder, config: TrainedReward, *, spec: Artifact | None, seed: int
) -> Learned:
    """Train heads on the examples; bit for bit the same for the same examples, encoder,
    configuration and seed.

    Raises BadInput when training diverges.
    """
    rows, n = data.table, len(data.table)
    pairs = data.objective == "bradley_terry"
    texts = rows["left"].tolist() + (rows["right"].tolist() if pairs else [])
    features = features_of(
        encoder, rows["prompt"].tolist() * (2 if pairs else 1), texts, config.input
    )
    target = rows["target"].to_numpy(dtype=np.float64)
    if pairs:
        target = smoothed(target, config.label_smoothing)
    unit, weight = (
        pd.factorize(rows["unit"])[0].astype(np.int64),
        rows["weight"].to_numpy(dtype=np.float64),
    )
    whole = Problem(
        features, np.arange(n), np.arange(n, 2 * n) if pairs else None, target, unit, weight
    )
    train, stop = (whole.take(np.flatnonzero(rows["split"] == s)) for s in ("train", "stop"))
    members = train_members(train, stop, config.head, members=config.ensemble.size, seed=seed)
    weights = tuple(m.weights for m in members)
    scores = finite(
        np.stack([predict(w, features) for w in weights], axis=1), texts, "the trained reward"
    )

    left_and_right = (scores[:n], scores[n:] if pairs else None)
    training_rows, judged_rows = (np.flatnonzero(rows["split"] == s) for s in ("train", "held_out"))

    def again(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        (one,) = train_members(
            whole.take(training_rows[chosen]), stop, config.head, members=1, seed=seed
        )
        own = predict(one.weights, features)
        rewards: npt.NDArray[np.float64] = own[judged_rows] - (
            own[n + judged_rows] if pairs else 0.0
        )
        return rewards

    def save(out: Path) -> str:
        from safetensors.torch import save_file

        tensors = {
            f"{k}.{name}": w.contiguous()
            for k, one in enumerate(weights)
            for name, w in one.items()
        }
        save_file(tensors, str(out / WEIGHTS))
        return digest_file(out / WEIGHTS).sha256

    limits = [
        (
            "The encoder's own training data, and what it carries over into the reward, were not "
            "examined here."
        )
    ]
    if encoder.truncated:
        limits.append(
            f"{encoder.truncated} texts were longer than {encoder.max_tokens} tokens and were cut "
            "there."
        )
    about = {
        "max_tokens": encoder.max_tokens,
        "dimension": encoder.dimension,
        "texts_cut": encoder.truncated,
        "pooling": "mean over tokens, unit norm",
    }
    if spec is not None:
        about |= {
            "spec": spec.spec,
            "sha256": spec.sha256,
            "licence": spec.licence,
            **spec.base_facts(),
        }
    return Learned(
        HeadsOnEncoder(encoder, weights, config.input),
        *left_and_right,
        tuple(
            {"member": k, "epochs": m.epochs, "best_epoch": m.best_epoch, "stop_loss": m.stop_loss}
            for k, m in enumerate(members)
        ),
        {"encoder": about, "hyper_parameters": config.head.model_dump(mode="json")},
        tuple(limits),
        save,
        encoder.embed(rows["left"].tolist()).astype(np.float64),
        again,
    )


def load_heads(
    config: TrainedReward, facts: Mapping[str, Any], out: Path, *, device: str
) -> HeadsOnEncoder:
    """Load what `save` wrote.

    Raises BadInput when the weights or the encoder are not the recorded ones.
    """
    from safetensors.torch import load_file

    path = out / WEIGHTS
    if not path.is_file():
        raise BadInput(f"{path}: missing; the reward model cannot be loaded without its weights")
    same_as_recorded(str(path), facts["weights_sha256"], digest_file(path).sha256)
    artifact = resolve(config.encoder, sha256=config.encoder_sha256)
    same_as_recorded(f"the encoder {config.encoder}", facts["encoder"]["sha256"], artifact.sha256)
    tensors = load_file(str(path))
    weights = tuple(
        {name.partition(".")[2]: t for name, t in tensors.items() if name.startswith(f"{k}.")}
        for k in range(int(facts["members"]))
    )
    return HeadsOnEncoder(
        load_encoder(artifact.path, device, int(facts["encoder"]["max_tokens"])),
        weights,
        facts["input"],
    )


def features_of(
    encoder: Encoder,
    prompts: Sequence[str],
    responses: Sequence[str],
    given: Literal["response", "prompt_response"],
) -> Features:
    """What the heads read, float32, about 1 in size.

    `response`: the response's embedding. `prompt_response`: the embeddings of prompt and response
    and their product, coordinate by coordinate, so that a head can tell how well the response fits
    the prompt.
    """
    size = np.float32(encoder.dimension**0.5)
    response = encoder.embed(responses) * size
    if given == "response":
        return response
    prompt = encoder.embed(prompts) * size
    return np.concatenate([prompt, response, prompt * response], axis=1)


def smoothed(target: Scores, share: float) -> Scores:
    """Labels of pairs with a share moved to the other side (Szegedy et al. 2016, arXiv 1512.00567):
    t (1 - 2s) + s.
    """
    return target * (1 - 2 * share) + share
