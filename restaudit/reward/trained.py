"""A reward model trained here: judgements become examples, examples a scorer, and both the
dossier.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from probes.base import Measurement
from restaudit.config import RowRules, TrainedReward
from restaudit.errors import BadInput
from restaudit.evidence.record import write_table
from restaudit.models.artifacts import Artifact, resolve
from restaudit.models.encoder import load_encoder
from restaudit.reward.contract import (
    LearnedReward,
    MemberScorer,
    Scores,
    combine,
    finite,
    same_length,
)
from restaudit.reward.data_checks import care
from restaudit.reward.dossier import (
    MISSING,
    digest_facts,
    read_dossier,
    write_compute,
    write_dossier,
)
from restaudit.reward.examples import Examples, Objective, examples
from restaudit.reward.validation.held_out import validate
from restaudit.reward.validation.judged import from_examples
from restaudit.reward.validation.report import LearningCurveFit, Validated, validated

if TYPE_CHECKING:
    from restaudit.data.feedback import Feedback
    from restaudit.reward.fresh_judgements import FreshJudgements

VALIDATION = "validation.parquet"
UNITS = {
    "regression": "rating units (mean of raters)",
    "bradley_terry": "log-odds of being preferred (Bradley-Terry)",
}
LOSSES = {
    "regression": (
        "squared error on the standardised target, weighted by how well the target is known"
    ),
    "bradley_terry": "-log sigma(r_left - r_right), weighted by the votes (Bradley and Terry 1952)",
}
PURPOSE = (
    "Predicts how the training raters would judge a text; used as the reward that selects samples."
)
LIMITS = (
    (
        "A reward is a prediction of these raters' judgements of texts like these; on other texts "
        "it extrapolates."
    ),
    (
        "Training it further away from such texts (as a policy does when it is optimised) is not "
        "covered by validation."
    ),
)


@dataclass(frozen=True)
class TrainedModel:
    """A trained reward; one column of `score` a member."""

    scorer: MemberScorer
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
        """Number of members."""
        return self.scorer.members

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Score responses: array (n, members), float64, the same for a text whatever else is scored
        with it.
        """
        same_length(prompts, responses)
        return finite(
            self.scorer.score(prompts, responses),
            responses,
            f"the trained reward ({self.objective})",
        )


@dataclass(frozen=True)
class Fitted:
    """A trained scorer and everything its dossier and validation need."""

    learned: LearnedReward
    examples: Examples
    validation: tuple[Measurement, ...]
    deeper: Validated
    care: dict[str, Any]


def fit(
    kind: Literal["ratings", "pairs"],
    table: pd.DataFrame,
    learn: Callable[[Examples], LearnedReward],
    config: TrainedReward,
    *,
    seed: int,
) -> Fitted:
    """Train on judgements in long form (columns as restaudit.data.feedback has them) and validate
    on held-out items.

    Raises BadInput when the data does not fit the configuration, or training diverges.
    """
    data = training_examples(kind, table, config)
    return _fit(data, table, learn, config, seed)


def training_examples(
    kind: Literal["ratings", "pairs"], table: pd.DataFrame, config: TrainedReward
) -> Examples:
    """Judgements in long form as examples; nothing is trained or embedded yet.

    Raises BadInput where the data does not fit the configuration, or there is nothing to learn.
    """
    data = examples(
        kind,
        table,
        objective=config.objective,
        train_raters=config.train_raters,
        held_out_share=config.held_out_share,
        rater_model=config.rater_model,
    )
    if config.label_smoothing and data.objective != "bradley_terry":
        raise BadInput("reward.label_smoothing: ratings have no labels to smooth; leave it at 0")
    targets = data.table.loc[data.table["split"] == "train", "target"]
    if data.objective == "bradley_terry" and (targets == 0.5).all():
        raise BadInput("every training pair is tied: there is nothing to learn from")
    if data.objective == "regression" and targets.nunique() == 1:
        raise BadInput(
            f"every training item has the same mean rating ({targets.iloc[0]:g}): there is "
            "nothing to learn from"
        )
    return data


def _fit(
    data: Examples,
    table: pd.DataFrame,
    learn: Callable[[Examples], LearnedReward],
    config: TrainedReward,
    seed: int,
) -> Fitted:
    learned = learn(data)
    left = combine(learned.left, config.ensemble)[0]
    right = None if learned.right is None else combine(learned.right, config.ensemble)[0]
    measurements = validate(data, left, right, seed=seed)
    deeper = _deeper(data, learned, config, table, seed)
    # What both measure stays as the first says it: with its ceiling, from the same resamples.
    known = {m.name for m in measurements}
    measurements += [m for m in deeper.measurements if m.name not in known]
    checks = care(data, left, right, seed=seed)
    return Fitted(learned, data, tuple(measurements), deeper, checks)


def _deeper(
    data: Examples, learned: LearnedReward, config: TrainedReward, table: pd.DataFrame, seed: int
) -> Validated:
    """Trivial rules, a bag of words, slices, calibration, spread and learning curve on the held-out
    items.
    """
    judged = from_examples(
        data,
        learned.left,
        learned.right,
        config.ensemble,
        table=table,
        embeddings=learned.embeddings,
    )
    train = data.table[data.table["split"] == "train"]
    curve = None
    if learned.fit_fewer is not None:
        curve = LearningCurveFit(train["unit"].tolist(), learned.fit_fewer)
    why = "training the whole encoder four more times would take too long"
    return validated(judged, train=train, curve=curve, why_no_curve=why, seed=seed)


def build_trained(
    config: TrainedReward,
    out: Path,
    *,
    rules: RowRules,
    device: str,
    seed: int,
    purpose: str = PURPOSE,
    fresh: FreshJudgements | None = None,
) -> TrainedModel:
    """Read the judgements, train, and write weights, dossier.json, validation.parquet and
    compute.json into `out`.

    `fresh` judgements are added to those of the source, and their raters to the training raters.
    The same judgements, encoder, configuration, seed and machine give the same files bit for bit,
    but for compute.json.
    """
    prepared = prepare_trained(
        config, rules=rules, device=device, seed=seed, purpose=purpose, fresh=fresh
    )
    return prepared(out)


def prepare_trained(
    config: TrainedReward,
    *,
    rules: RowRules,
    device: str,
    seed: int,
    purpose: str = PURPOSE,
    fresh: FreshJudgements | None = None,
) -> Callable[[Path], TrainedModel]:
    """Read the judgements and open the encoder; the function returned trains and writes.

    Raises BadInput for judgements or an encoder that cannot be used, before anything is trained.
    """
    from restaudit.data.feedback import load_feedback
    from restaudit.reward.fresh_judgements import check_scale

    feedback = load_feedback(config.data, rules, ties=config.ties)
    artifact = resolve(config.encoder, sha256=config.encoder_sha256, licence=config.encoder_licence)
    table = feedback.table if fresh is None else fresh.added_to(feedback.kind, feedback.table)
    config = config if fresh is None else fresh.raters(config)
    # Said now and not at the first refit, after hours of sampling.
    if config.refit is not None and fresh is None and feedback.kind == "ratings":
        check_scale(table, config.refit.scale)
    try:
        learn = _learner(config, artifact, device, seed)
        data = training_examples(feedback.kind, table, config)
    except BadInput as e:
        raise BadInput(f"{config.data.source}: {e}") from None

    def build(out: Path) -> TrainedModel:
        began = time.monotonic()
        try:
            fitted = _fit(data, table, learn, config, seed)
        except BadInput as e:
            raise BadInput(f"{config.data.source}: {e}") from None
        out.mkdir(parents=True, exist_ok=True)
        weights = fitted.learned.save(out)
        write_validation(fitted, out / VALIDATION)
        facts = _facts(config, feedback, table, fitted, seed)
        if fresh is not None:
            facts["refit"] = fresh.facts()
        facts |= {"purpose": purpose, "weights_sha256": weights}
        facts["digest"] = _digest(facts)
        write_dossier(out, facts)
        write_compute(out, device=device, seconds=time.monotonic() - began)
        return TrainedModel(fitted.learned.scorer, fitted.examples.objective, facts["digest"])

    return build


def load_trained(config: TrainedReward, out: Path, *, device: str) -> TrainedModel:
    """Load what `build_trained` wrote, without the judgements: the same scores bit for bit on the
    same machine.

    Raises BadInput when the weights or the encoder are not the recorded ones.
    """
    facts = read_dossier(out, "trained")
    scorer: MemberScorer
    if config.training == "head":
        from restaudit.reward.head import load_heads

        scorer = load_heads(config, facts, out, device=device)
    else:
        from restaudit.reward.backbone import load_backbones

        scorer = load_backbones(config, facts, out, device=device)
    return TrainedModel(scorer, facts["objective"], facts["digest"])


def _learner(
    config: TrainedReward, artifact: Artifact, device: str, seed: int
) -> Callable[[Examples], LearnedReward]:
    """The encoder is opened before anything is trained, so that what is wrong with it is said at
    once.
    """
    if config.training == "head":
        from restaudit.reward.head import learn_heads

        encoder = load_encoder(artifact.path, device, config.max_tokens)
        return lambda data: learn_heads(data, encoder, config, spec=artifact, seed=seed)
    from restaudit.reward.backbone import check_backbone, learn_backbones

    check_backbone(artifact, config)
    return lambda data: learn_backbones(data, artifact, config, device=device, seed=seed)


def write_validation(fitted: Fitted, path: Path) -> None:
    """A row an item: its split, the training raters' target, what the judges said, and every
    member's prediction.

    For pairs, target and judged are shares of votes for the first text, and a prediction is the
    difference of rewards.
    """
    rows = fitted.examples.table[["item_id", "split", "target", "judged"]]
    learned = fitted.learned
    scores = learned.left if learned.right is None else learned.left - learned.right
    predictions = {f"prediction_{k}": scores[:, k] for k in range(scores.shape[1])}
    table = rows.rename(columns={"item_id": "item"}).assign(**predictions)
    write_table(table, path, list(table.columns))


def _facts(
    config: TrainedReward, feedback: Feedback, judgements: pd.DataFrame, fitted: Fitted, seed: int
) -> dict[str, Any]:
    data, raters = fitted.examples, fitted.examples.raters
    used = _count(judgements, raters.used) if raters.chosen else len(judgements)
    limits = [*LIMITS, *fitted.learned.limits, *beaten_by(fitted.validation)]
    if not raters.used:
        limits.append(
            "The data does not say who judged: the same people may have trained it and validated "
            "it."
        )
    elif not raters.held_out:
        limits.append(
            "No rater was held out: validation is against the people it was trained on, on other "
            "texts."
        )
    return {
        "kind": "trained",
        "name": f"trained/{data.objective}",
        "unit": UNITS[data.objective],
        "members": fitted.learned.scorer.members,
        "objective": data.objective,
        "loss": LOSSES[data.objective],
        "label_smoothing": config.label_smoothing,
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
            "judgements_used": used,
            "judgements_held_out": _count(judgements, raters.held_out),
            "judgements_without_rater": int(judgements["rater"].isna().sum()),
            "model": config.rater_model,
            "model_found": list(data.panel),
            "ties": config.ties if feedback.kind == "pairs" else "N-A",
            "demographics": MISSING,
            "instructions": MISSING,
            "pay_and_consent": MISSING,
        },
        "items": {s: data.count(s) for s in ("train", "stop", "held_out")},
        "split": {
            "method": (
                "hash of the normalised text, the same for every seed; `stop` decides when "
                "training ends"
            ),
            "unit": data.unit,
            "held_out_share": config.held_out_share,
        },
        **fitted.learned.facts,
        "ensemble": config.ensemble.model_dump(mode="json"),
        "training": list(fitted.learned.training),
        "seed": seed,
        "validation": [m.to_json() for m in fitted.validation],
        "worse_slices": list(fitted.deeper.worse_slices),
        "reliability": list(fitted.deeper.reliability),
        "care": fitted.care,
        "limits": limits,
        "fairness_of_the_raters_judgements": MISSING,
    }


def beaten_by(validation: Sequence[Measurement]) -> list[str]:
    """A sentence for every trivial baseline that predicts the held-out judgements at least as well
    as the reward.
    """
    values = {m.name.removeprefix("validation."): m.value for m in validation}
    own = next((values[k] for k in ("pearson", "pair_accuracy") if k in values), None)
    if own is None:
        return [
            "How well it predicts held-out judgements could not be measured; validation says why."
        ]
    rules = {
        "the rule 'longer is better'": values.get("baseline.longer"),
        "the rule 'shorter is better'": values.get("baseline.shorter"),
        "a bag of words, trained on the same items,": values.get("baseline.bag_of_words"),
    }
    # Without intervals, on purpose: a reward that does not even reach the value of such a rule is not
    # worth training against, whatever its error. restaudit.reward_audit.verdict reads the sentence.
    sentences = []
    for rule, value in rules.items():
        if value is not None and value >= own:
            sentences.append(
                f"On held-out items {rule} does as well or better ({value:.2f} against {own:.2f})."
            )
    return sentences


def _count(judgements: pd.DataFrame, raters: Sequence[str]) -> int:
    return int(judgements["rater"].map(str).isin(raters).sum())


def _digest(facts: dict[str, Any]) -> str:
    # All that a score depends on, and nothing else: the same reward has the same digest whatever is
    # measured or said about it.
    encoder = {key: facts["encoder"][key] for key in ("sha256", "max_tokens")}
    decisive = ("objective", "input", "weights_sha256", "affine")
    chosen: dict[str, Any] = {key: facts[key] for key in decisive if key in facts}
    return digest_facts({"encoder": encoder, **chosen})
