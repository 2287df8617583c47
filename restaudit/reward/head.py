"""`training: head`: a frozen encoder with one small head a member, each reproducible bit for bit.

First how heads are fitted to features, then the reward that they make.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from restaudit.config import HeadConfig, TrainedReward
from restaudit.errors import BadInput
from restaudit.evidence.ledger import digest_in
from restaudit.files import plain
from restaudit.models.artifacts import Artifact, resolve
from restaudit.models.encoder import Encoder, load_encoder
from restaudit.models.tensors import header
from restaudit.reward.contract import LearnedReward, Scores, finite
from restaudit.reward.dossier import same_as_recorded
from restaudit.reward.examples import Examples

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    Weights = dict[str, torch.Tensor]


# Scores are computed in blocks of this many rows, the last one filled up, so that a matrix product
# rounds a row the same way whatever else is scored with it.
BLOCK = 256

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Problem:
    """What to fit: rows of `features` by number.

    Regression: `right` is None, `target` a rating. Bradley-Terry: `target` is the share of votes
    for `left`, 0 to 1. `unit` numbers what the bootstrap draws together; `weight` is what the loss
    counts a row for, about 1.
    """

    features: Features
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64] | None
    target: npt.NDArray[np.float64]
    unit: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]

    def take(self, rows: npt.NDArray[np.int64]) -> Problem:
        """The problem restricted to some rows, which may repeat."""
        right = None if self.right is None else self.right[rows]
        return Problem(
            self.features,
            self.left[rows],
            right,
            self.target[rows],
            self.unit[rows],
            self.weight[rows],
        )


@dataclass(frozen=True)
class Trained:
    """A member's weights and how its training went."""

    weights: Weights
    epochs: int
    best_epoch: int
    stop_loss: float


def train_members(
    train: Problem, stop: Problem, config: HeadConfig, *, members: int, seed: int
) -> list[Trained]:
    """Train `members` heads.

    Each has its own seed and, where there is more than one, its own bootstrap of the training units
    (Coste et al. 2023 use seeds alone; resampling adds the data's own uncertainty). Regression is
    on standardised targets and comes back in rating units; Bradley-Terry minimises -log σ(r_left -
    r_right) weighted by the votes (Bradley and Terry 1952) and is centred on the training texts,
    since only differences are determined. The epoch with the lowest loss on `stop` wins. Raises
    BadInput on a loss that is not finite. The global random state is neither read nor changed.
    """
    heads = []
    for member in range(members):
        own_seed = member_seed(seed, member)
        rows = np.arange(len(train.target))
        if members > 1:
            rows = bootstrap(train.unit, own_seed)
        try:
            trained = _train(train.take(rows), stop, config, own_seed)
        except FloatingPointError as e:
            raise BadInput(
                f"reward model, member {member}: {e}; nothing was kept. Lower head.learning_rate "
                f"({config.learning_rate:g}) or look at the targets"
            ) from None
        if train.right is not None:
            texts = np.unique(np.concatenate([train.left, train.right]))
            rewards = predict(trained.weights, train.features[texts])
            trained.weights["out.bias"] -= float(rewards.mean())
        heads.append(trained)
    return heads


def predict(weights: Weights, features: Features) -> Scores:
    """Scores (n,), float64, of rows of features; a row's score does not depend on the other
    rows.
    """
    import torch

    n = len(features)
    out = np.empty(n, dtype=np.float64)
    with torch.inference_mode():
        for start in range(0, n, BLOCK):
            rows = features[start : start + BLOCK]
            block = np.zeros((BLOCK, features.shape[1]), dtype=np.float32)
            block[: len(rows)] = rows
            scores = _forward(weights, torch.from_numpy(block))
            out[start : start + BLOCK] = scores[: len(rows)].numpy()
    return out


def member_seed(seed: int, member: int) -> int:
    """The seed of one member, 63 bits."""
    digest = hashlib.sha256(f"{seed}/member/{member}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _train(train: Problem, stop: Problem, config: HeadConfig, seed: int) -> Trained:
    import torch

    generator = torch.Generator().manual_seed(seed)
    features = torch.from_numpy(np.ascontiguousarray(train.features, dtype=np.float32))
    centre, spread = 0.0, 1.0
    if train.right is None:
        centre, spread = float(train.target.mean()), float(train.target.std()) or 1.0
    loss_of = _loss(features, train, centre, spread)
    stop_loss_of = _loss(features, stop, centre, spread)
    weights = _start(features.shape[1], config.hidden, generator)
    # One tensor after the other: fused loops, which torch may choose by itself, round otherwise.
    optimizer = torch.optim.AdamW(
        weights.values(), lr=config.learning_rate, weight_decay=config.weight_decay, foreach=False
    )
    everything = torch.arange(len(stop.target))
    best: Weights = {}
    best_loss, best_epoch, epoch = float("inf"), 0, 0
    for epoch in range(1, config.epochs + 1):
        order = torch.randperm(len(train.target), generator=generator)
        for start in range(0, len(order), config.batch):
            batch = order[start : start + config.batch]
            loss = loss_of(weights, batch)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss became {loss.item()} in epoch {epoch}")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.inference_mode():
            stop_loss = float(stop_loss_of(weights, everything))
        if not np.isfinite(stop_loss):
            raise FloatingPointError(
                f"the loss on the stop split became {stop_loss} in epoch {epoch}"
            )
        if stop_loss < best_loss:
            best_loss, best_epoch = stop_loss, epoch
            best = {k: v.detach().clone() for k, v in weights.items()}
        elif epoch - best_epoch >= config.patience:
            break
    # The target was standardised; the last layer is linear, so it can take the unit back in.
    best["out.weight"] = best["out.weight"] * spread
    best["out.bias"] = best["out.bias"] * spread + centre
    return Trained(best, epoch, best_epoch, best_loss)


def _start(width: int, hidden: int, generator: torch.Generator) -> Weights:
    import torch

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator) / math.sqrt(columns)

    weights = {"out.weight": matrix(1, hidden or width) * 0.1, "out.bias": torch.zeros(1)}
    if hidden:
        weights |= {"hidden.weight": matrix(hidden, width), "hidden.bias": torch.zeros(hidden)}
    return {k: v.requires_grad_() for k, v in weights.items()}


def _forward(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    import torch

    if "hidden.weight" in weights:
        x = torch.nn.functional.gelu(
            torch.addmm(weights["hidden.bias"], x, weights["hidden.weight"].T)
        )
    out: torch.Tensor = torch.addmm(weights["out.bias"], x, weights["out.weight"].T)[:, 0]
    return out


def _loss(
    features: torch.Tensor, problem: Problem, centre: float, spread: float
) -> Callable[[Weights, torch.Tensor], torch.Tensor]:
    import torch

    left = torch.from_numpy(problem.left)
    target = torch.from_numpy(problem.target.astype(np.float32))
    weight = torch.from_numpy(problem.weight.astype(np.float32))
    if problem.right is None:
        scaled = (target - centre) / spread
        return lambda w, i: (weight[i] * (_forward(w, features[left[i]]) - scaled[i]) ** 2).mean()
    right = torch.from_numpy(problem.right)

    def bradley_terry(w: Weights, i: torch.Tensor) -> torch.Tensor:
        difference = _forward(w, features[left[i]]) - _forward(w, features[right[i]])
        return torch.nn.functional.binary_cross_entropy_with_logits(
            difference, target[i], weight[i]
        )

    return bradley_terry


def bootstrap(unit: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Row numbers of a resample of whole units, with replacement; a unit drawn twice has its rows
    twice.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    units = np.unique(unit)
    times = np.bincount(generator.integers(len(units), size=len(units)), minlength=len(units))
    return np.repeat(np.arange(len(unit)), times[np.searchsorted(units, unit)])


# --- the reward


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
) -> LearnedReward:
    """Train heads on the examples; bit for bit the same for the same examples, encoder,
    configuration and seed.

    Raises BadInput when training diverges.
    """
    rows, n = data.table, len(data.table)
    pairs = data.objective == "bradley_terry"
    prompts, texts = rows["prompt"].tolist(), rows["left"].tolist()
    target = rows["target"].to_numpy(dtype=np.float64)
    right = None
    if pairs:
        # Both sides stand in one block of features: the right text of row i is row n + i.
        prompts, texts = prompts * 2, texts + rows["right"].tolist()
        target = smoothed(target, config.label_smoothing)
        right = np.arange(n, 2 * n)
    features = features_of(encoder, prompts, texts, config.input)
    unit = pd.factorize(rows["unit"])[0].astype(np.int64)
    weight = rows["weight"].to_numpy(dtype=np.float64)
    every_item = Problem(features, np.arange(n), right, target, unit, weight)
    train_rows = np.flatnonzero(rows["split"] == "train")
    judged_rows = np.flatnonzero(rows["split"] == "held_out")
    train = every_item.take(train_rows)
    stop = every_item.take(np.flatnonzero(rows["split"] == "stop"))
    members = train_members(train, stop, config.head, members=config.ensemble.size, seed=seed)
    weights = tuple(m.weights for m in members)
    by_member = [predict(w, features) for w in weights]
    scores = finite(np.stack(by_member, axis=1), texts, "the trained reward")

    def fit_fewer(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        fewer = every_item.take(train_rows[chosen])
        (head,) = train_members(fewer, stop, config.head, members=1, seed=seed)
        rewards = predict(head.weights, features)
        if pairs:
            return rewards[judged_rows] - rewards[n + judged_rows]
        return rewards[judged_rows]

    def save(out: Path) -> str:
        from safetensors.torch import save_file

        tensors = {}
        for k, head in enumerate(weights):
            for name, tensor in head.items():
                tensors[f"{k}.{name}"] = tensor.contiguous()
        save_file(tensors, str(out / WEIGHTS))
        return digest_in(out, WEIGHTS).sha256

    limits = [
        "The encoder's own training data, and what it carries over into the reward, were not "
        "examined here."
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
    training = tuple(
        {"member": k, "epochs": m.epochs, "best_epoch": m.best_epoch, "stop_loss": m.stop_loss}
        for k, m in enumerate(members)
    )
    return LearnedReward(
        scorer=HeadsOnEncoder(encoder, weights, config.input),
        left=scores[:n],
        right=scores[n:] if pairs else None,
        training=training,
        facts={"encoder": about, "hyper_parameters": config.head.model_dump(mode="json")},
        limits=tuple(limits),
        save=save,
        embeddings=encoder.embed(rows["left"].tolist()).astype(np.float64),
        fit_fewer=fit_fewer,
    )


def load_heads(
    config: TrainedReward, facts: Mapping[str, Any], out: Path, *, device: str
) -> HeadsOnEncoder:
    """Load what `save` wrote.

    Raises BadInput when the weights or the encoder are not the recorded ones.
    """
    from safetensors.torch import load_file

    path = out / WEIGHTS
    if not plain.is_file(out, WEIGHTS):
        raise BadInput(f"{path}: missing; the reward model cannot be loaded without its weights")
    same_as_recorded(str(path), facts["weights_sha256"], digest_in(out, WEIGHTS).sha256)
    artifact = resolve(config.encoder, sha256=config.encoder_sha256)
    same_as_recorded(f"the encoder {config.encoder}", facts["encoder"]["sha256"], artifact.sha256)
    header(path)  # says what is wrong with a file that is not whole
    by_member: dict[str, Weights] = {}
    for name, tensor in load_file(str(path)).items():
        member, _, inner = name.partition(".")
        by_member.setdefault(member, {})[inner] = tensor
    count = len(by_member)
    if count != facts["members"] or set(by_member) != {str(k) for k in range(count)}:
        raise BadInput(
            f"{path}: holds weights of {count} members, and the dossier says "
            f"{facts['members']}; bring back the run's own files"
        )
    heads = [by_member[str(k)] for k in range(count)]
    encoder = load_encoder(artifact.path, device, int(facts["encoder"]["max_tokens"]))
    return HeadsOnEncoder(encoder, tuple(heads), facts["input"])


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
    # Embeddings have length 1; this makes each coordinate about 1, which the start of the weights
    # and the learning rate are made for.
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
