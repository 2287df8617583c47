"""A reward model trained here: a frozen encoder with one small head a member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from probes.base import Measurement
from restaudit.artifacts import Artifact, resolve
from restaudit.config import RowRules, TrainedReward
from restaudit.encoder import Encoder, load_encoder
from restaudit.errors import BadInput
from restaudit.ledger import digest_file
from restaudit.record import write_table
from restaudit.reward.care import care
from restaudit.reward.contract import Scores, finite, same_length
from restaudit.reward.dossier import MISSING, digest_facts, read_dossier, same_as_recorded, write_dossier
from restaudit.reward.ensemble import combine
from restaudit.reward.examples import Examples, Objective, examples
from restaudit.reward.head import Features, Problem, Trained, predict, train_members
from restaudit.reward.validate import validate

if TYPE_CHECKING:
    from restaudit.data.feedback import Feedback
    from restaudit.reward.head import Weights

WEIGHTS = "weights.safetensors"
VALIDATION = "validation.parquet"
UNITS = {"regression": "rating units (mean of raters)", "bradley_terry": "log-odds of being preferred (Bradley-Terry)"}
PURPOSE = "Predicts how the training raters would judge a text; used as the reward that selects samples."
LIMITS = (
    "A reward is a prediction of these raters' judgements of texts like these; on other texts it extrapolates.",
    "Training it further away from such texts (as a policy does when it is optimised) is not covered by validation.",
    "The encoder's own training data, and what it carries over into the reward, were not examined here.",
)


@dataclass(frozen=True)
class TrainedModel:
    """A trained reward; one column of `score` a member."""

    encoder: Encoder
    weights: tuple[Weights, ...]
    input: Literal["response", "prompt_response"]
    objective: Objective
    digest: str

    @property
    def name(self) -> str:
        """How reports call this reward."""
        return f"trained/{self.objective}"

    @property
    def unit(self) -> str:
        """What a score counts."""
        return UNITS[self.objective]

    @property
    def members(self) -> int:
        """Number of heads."""
        return len(self.weights)

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Score responses: array (n, members), float64, the same for a text whatever else is scored with it."""
        same_length(prompts, responses)
        features = features_of(self.encoder, prompts, responses, self.input)
        scores = np.stack([predict(w, features) for w in self.weights], axis=1)
        return finite(scores, responses, f"the trained reward ({self.objective})")


@dataclass(frozen=True)
class Fitted:
    """A trained model and everything its dossier and validation need. `left`, `right`: member scores (items, m)."""

    members: tuple[Trained, ...]
    examples: Examples
    left: Scores
    right: Scores | None
    validation: tuple[Measurement, ...]
    care: dict[str, Any]


def fit(
    kind: Literal["ratings", "pairs"], table: pd.DataFrame, encoder: Encoder, config: TrainedReward, *, seed: int
) -> Fitted:
    """Train on judgements in long form (columns as restaudit.data.feedback has them) and validate on held-out items.

    The same judgements, encoder, configuration, seed and machine give the same weights bit for bit.
    Raises BadInput when the data does not fit the configuration, or training diverges.
    """
    data = examples(
        kind,
        table,
        objective=config.objective,
        train_raters=config.train_raters,
        held_out_share=config.held_out_share,
    )
    rows = data.table
    n, pairs = len(rows), data.objective == "bradley_terry"
    texts = rows["left"].tolist() + (rows["right"].tolist() if pairs else [])
    features = features_of(encoder, rows["prompt"].tolist() * (2 if pairs else 1), texts, config.input)
    whole = Problem(
        features,
        np.arange(n),
        np.arange(n, 2 * n) if pairs else None,
        rows["target"].to_numpy(dtype=np.float64),
        pd.factorize(rows["unit"])[0].astype(np.int64),
    )
    train, stop = (whole.take(np.flatnonzero(rows["split"] == s)) for s in ("train", "stop"))
    members = train_members(train, stop, config.head, members=config.ensemble.size, seed=seed)
    scores = finite(np.stack([predict(m.weights, features) for m in members], axis=1), texts, "the trained reward")
    left, right = scores[:n], scores[n:] if pairs else None
    combined = [combine(s, config.ensemble)[0] for s in (left, right) if s is not None]
    found = validate(data, combined[0], combined[1] if pairs else None, seed=seed)
    about = care(data, combined[0], combined[1] if pairs else None, seed=seed)
    return Fitted(tuple(members), data, left, right, tuple(found), about)


def build_trained(
    config: TrainedReward, out: Path, *, rules: RowRules, device: str, seed: int, purpose: str = PURPOSE
) -> TrainedModel:
    """Read the judgements, train, and write weights.safetensors, dossier.json and validation.parquet into `out`."""
    from safetensors.torch import save_file

    from restaudit.data.feedback import load_feedback

    feedback = load_feedback(config.data, rules)
    artifact = resolve(config.encoder, sha256=config.encoder_sha256, licence=config.encoder_licence)
    encoder = load_encoder(artifact.path, device, config.max_tokens)
    try:
        fitted = fit(feedback.kind, feedback.table, encoder, config, seed=seed)
    except BadInput as e:
        raise BadInput(f"{config.data.source}: {e}") from None
    out.mkdir(parents=True, exist_ok=True)
    tensors = {f"{k}.{name}": w.contiguous() for k, m in enumerate(fitted.members) for name, w in m.weights.items()}
    save_file(tensors, str(out / WEIGHTS))
    write_validation(fitted, out / VALIDATION)
    facts = _facts(config, feedback, artifact, encoder, fitted, seed)
    facts |= {"purpose": purpose, "weights_sha256": digest_file(out / WEIGHTS).sha256}
    facts["digest"] = _digest(facts)
    write_dossier(out, facts)
    weights = tuple(m.weights for m in fitted.members)
    return TrainedModel(encoder, weights, config.input, fitted.examples.objective, facts["digest"])


def load_trained(config: TrainedReward, out: Path, *, device: str) -> TrainedModel:
    """Load what `build_trained` wrote, without the judgements: the same scores bit for bit on the same machine.

    Raises BadInput when the weights or the encoder are not the recorded ones.
    """
    from safetensors.torch import load_file

    facts = read_dossier(out, "trained")
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
    encoder = load_encoder(artifact.path, device, int(facts["encoder"]["max_tokens"]))
    return TrainedModel(encoder, weights, facts["input"], facts["objective"], facts["digest"])


def features_of(
    encoder: Encoder, prompts: Sequence[str], responses: Sequence[str], given: Literal["response", "prompt_response"]
) -> Features:
    """What the heads read, float32, about 1 in size.

    `response`: the response's embedding. `prompt_response`: the embeddings of prompt and response and their product,
    coordinate by coordinate, so that a head can tell how well the response fits the prompt.
    """
    size = np.float32(encoder.dimension**0.5)
    response = encoder.embed(responses) * size
    if given == "response":
        return response
    prompt = encoder.embed(prompts) * size
    return np.concatenate([prompt, response, prompt * response], axis=1)


def write_validation(fitted: Fitted, path: Path) -> None:
    """A row an item: its split, the training raters' target, what the judges said, and every member's prediction.

    For pairs, target and judged are shares of votes for the first text, and a prediction is the difference of rewards.
    """
    rows = fitted.examples.table[["item_id", "split", "target", "judged"]]
    scores = fitted.left if fitted.right is None else fitted.left - fitted.right
    predictions = {f"prediction_{k}": scores[:, k] for k in range(scores.shape[1])}
    table = rows.rename(columns={"item_id": "item"}).assign(**predictions)
    write_table(table, path, list(table.columns))


def _facts(
    config: TrainedReward, feedback: Feedback, artifact: Artifact, encoder: Encoder, fitted: Fitted, seed: int
) -> dict[str, Any]:
    data, raters = fitted.examples, fitted.examples.raters
    judgements = feedback.table
    unnamed = int(judgements["rater"].isna().sum())
    limits = [*LIMITS, *beaten_by(fitted.validation)]
    if not raters.used:
        limits.append("The data does not say who judged: the same people may have trained it and validated it.")
    elif not raters.held_out:
        limits.append("No rater was held out: validation is against the people it was trained on, on other texts.")
    if encoder.truncated:
        limits.append(f"{encoder.truncated} texts were longer than {config.max_tokens} tokens and were cut there.")
    return {
        "kind": "trained",
        "name": f"trained/{data.objective}",
        "unit": UNITS[data.objective],
        "members": len(fitted.members),
        "objective": data.objective,
        "input": config.input,
        "data": {
            "kind": feedback.kind,
            "source": config.data.source,
            "format": config.data.format,
            "options": dict(config.data.options),
            "files": [{"spec": a.spec, "sha256": a.sha256} for a in feedback.artifacts],
            "licence": feedback.licence,
            "rows": feedback.report.to_json(),
        },
        "raters": {
            "used": list(raters.used),
            "held_out": list(raters.held_out),
            "judgements": len(judgements),
            "judgements_used": _count(judgements, raters.used) if raters.chosen else len(judgements),
            "judgements_held_out": _count(judgements, raters.held_out),
            "judgements_without_rater": unnamed,
            "demographics": MISSING,
            "instructions": MISSING,
            "pay_and_consent": MISSING,
        },
        "items": {s: data.count(s) for s in ("train", "stop", "held_out")},
        "split": {
            "method": "hash of the normalised text, the same for every seed; `stop` decides when training ends",
            "unit": data.unit,
            "held_out_share": config.held_out_share,
        },
        "encoder": {
            "spec": artifact.spec,
            "sha256": artifact.sha256,
            "licence": artifact.licence,
            "max_tokens": encoder.max_tokens,
            "dimension": encoder.dimension,
            "pooling": "mean over tokens, unit norm",
            "texts_cut": encoder.truncated,
        },
        "hyper_parameters": config.head.model_dump(mode="json"),
        "ensemble": config.ensemble.model_dump(mode="json"),
        "training": [
            {"member": k, "epochs": m.epochs, "best_epoch": m.best_epoch, "stop_loss": m.stop_loss}
            for k, m in enumerate(fitted.members)
        ],
        "seed": seed,
        "validation": [m.to_json() for m in fitted.validation],
        "care": fitted.care,
        "limits": limits,
        "fairness_of_the_raters_judgements": MISSING,
    }


def beaten_by(validation: Sequence[Measurement]) -> list[str]:
    """A sentence for every trivial rule that predicts the held-out judgements at least as well as the reward does."""
    values = {m.name.removeprefix("validation."): m.value for m in validation}
    own = next((values[k] for k in ("pearson", "pair_accuracy") if k in values), None)
    if own is None:
        return ["How well it predicts held-out judgements could not be measured; validation says why."]
    rules = {"longer is better": values.get("longer_wins"), "shorter is better": values.get("shorter_wins")}
    if (r := values.get("longer_pearson")) is not None:
        rules = {"longer is better": r, "shorter is better": -r}
    return [
        f"On held-out items the rule '{rule}' does as well or better ({value:.2f} against {own:.2f})."
        for rule, value in rules.items()
        if value is not None and value >= own
    ]


def _count(judgements: pd.DataFrame, raters: Sequence[str]) -> int:
    return int(judgements["rater"].map(str).isin(raters).sum())


def _digest(facts: dict[str, Any]) -> str:
    encoder = {k: facts["encoder"][k] for k in ("sha256", "max_tokens")}
    return digest_facts({"encoder": encoder, **{k: facts[k] for k in ("objective", "input", "weights_sha256")}})
