"""`training: lora` or `full`: an encoder or decoder with a scalar head, trained by transformers'
Trainer.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from restaudit.config import TrainedReward
from restaudit.errors import BadInput
from restaudit.evidence.ledger import digest_in
from restaudit.files import plain
from restaudit.models.artifacts import ADAPTER_CONFIG, Artifact, bases_of, resolve
from restaudit.models.classifier import Classifier, encode, logits
from restaudit.models.devices import restored
from restaudit.models.encoder import token_limit
from restaudit.models.model_folder import check_folder
from restaudit.models.pretrained import put_adapter, quiet_loading, read_model, read_tokenizer
from restaudit.reward.contract import LearnedReward, Scores, finite
from restaudit.reward.dossier import digest_facts, same_as_recorded
from restaudit.reward.examples import Examples
from restaudit.reward.head import bootstrap, member_seed, smoothed

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_RATES = {"full": 5e-5, "lora": 5e-4}
SCORED_AT_ONCE = 32
FILES = {"full": "model.safetensors", "lora": "adapter_model.safetensors"}
# What the weights are computed with: the same adapter scaled otherwise is another reward.
SETTINGS = {"full": "config.json", "lora": ADAPTER_CONFIG}


@dataclass(frozen=True)
class Member:
    """A trained classifier; its reward is scale x logit + shift."""

    classifier: Classifier
    scale: float
    shift: float


@dataclass(frozen=True)
class Backbones:
    """Encoders or decoders with a scalar head; one column of `score` a member."""

    trained: tuple[Member, ...]
    input: Literal["response", "prompt_response"]
    max_tokens: int

    @property
    def members(self) -> int:
        """Number of models."""
        return len(self.trained)

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Array (n, members), float64."""
        rows = list(zip(_prompts(prompts, self.input), responses, strict=True))
        columns = []
        for member in self.trained:
            every_label = logits(
                member.classifier,
                rows,
                chat=False,
                max_tokens=self.max_tokens,
                batch=SCORED_AT_ONCE,
            )
            columns.append(every_label[:, 0] * member.scale + member.shift)
        return np.stack(columns, axis=1)


def check_backbone(artifact: Artifact, config: TrainedReward) -> None:
    """Raise BadInput for what the folder's configuration and tokenizer tell without its weights,
    which are loaded once for each member.
    """
    from transformers import AutoConfig

    what = f"{artifact.spec}: no scalar head can be put on it"
    root = (artifact.path, *bases_of(artifact.path))[-1]
    check_folder(root, what)
    tokenizer = read_tokenizer(artifact.path, what, "classifier")
    try:
        settings = AutoConfig.from_pretrained(root, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError):
        return  # a model of another form (a GGUF file): its weights are asked when they are loaded
    _check_fits(artifact.spec, settings, tokenizer, config)


def learn_backbones(
    data: Examples, artifact: Artifact, config: TrainedReward, *, device: str, seed: int
) -> LearnedReward:
    """Train one model a member, each from its own seed and, where there are several, on its own
    bootstrap of the units.

    Regression is on standardised targets and comes back in rating units; Bradley-Terry rewards are
    centred on the training texts. Raises BadInput for a folder that is no such model, and when
    training diverges.
    """
    rows = data.table
    pairs = data.objective == "bradley_terry"
    target = rows["target"].to_numpy(dtype=np.float64)
    train = np.flatnonzero(rows["split"] == "train")
    centre, spread = 0.0, 1.0
    if pairs:
        target = smoothed(target, config.label_smoothing)
    else:
        # A head starts near 0 with outputs of about 1, whatever the unit of the ratings.
        centre, spread = float(target[train].mean()), float(target[train].std()) or 1.0
        target = (target - centre) / spread
    members, training = [], []
    for k in range(config.ensemble.size):
        # transformers' Trainer reseeds the global generators, which others in this process use.
        with restored():
            classifier, facts = _member(
                data, target, artifact, config, device, member_seed(seed, k)
            )
        members.append(Member(classifier, spread, centre))
        training.append({"member": k, **facts})
    scorer = Backbones(tuple(members), config.input, config.max_tokens)
    prompts = rows["prompt"].tolist()
    scores = []
    for side in _sides(data):
        texts = rows[side].tolist()
        scores.append(finite(scorer.score(prompts, texts), texts, "the trained reward"))
    if pairs:
        # Pairs determine differences only: without a common origin the members could not be
        # combined, and their spread would be that of their origins.
        middle = np.concatenate([side[train] for side in scores]).mean(axis=0)
        members = [
            Member(member.classifier, 1.0, -float(shift))
            for member, shift in zip(members, middle, strict=True)
        ]
        scorer = Backbones(tuple(members), config.input, config.max_tokens)
        scores = [side - middle for side in scores]
    cut = training[0]["texts_that_fill_max_tokens"]
    limits = ["What the pretrained backbone carries over into the reward was not examined here."]
    if cut:
        limits.append(
            f"{cut} texts fill all {config.max_tokens} tokens; what stood behind them was cut off."
        )

    def save(out: Path) -> str:
        folders = _folders(out, len(members))
        for member, folder in zip(members, folders, strict=True):
            with quiet_loading():
                _save(member.classifier, folder, config, artifact)
        return _digest(folders, FILES, SETTINGS, config=config)

    return LearnedReward(
        scorer,
        scores[0],
        scores[1] if pairs else None,
        tuple(training),
        _facts(artifact, config, members),
        tuple(limits),
        save,
    )


def _sides(data: Examples) -> tuple[str, ...]:
    """The columns that hold the texts of an item: two for a pair, one for a rated text."""
    return ("left", "right") if data.objective == "bradley_terry" else ("left",)


def _prompts(
    prompts: Sequence[str], given: Literal["response", "prompt_response"]
) -> Sequence[str]:
    """What the model gets to read as the prompt of each row."""
    return prompts if given == "prompt_response" else [""] * len(prompts)


def _folders(out: Path, members: int) -> list[Path]:
    return [out / f"member_{k}" for k in range(members)]


def _member(
    data: Examples,
    target: Scores,
    artifact: Artifact,
    config: TrainedReward,
    device: str,
    seed: int,
) -> tuple[Classifier, dict[str, Any]]:
    """One trained classifier and how its training went."""
    from restaudit.reward.backbone_trainer import Fit, TrainingItem, train

    classifier = _fresh(artifact, config, device, seed)
    rows = data.table
    prompts = _prompts(rows["prompt"].tolist(), config.input)
    encoded = []
    for side in _sides(data):
        texts = zip(prompts, rows[side], strict=True)
        encoded.append(
            [
                encode(classifier, prompt, str(text), chat=False, max_tokens=config.max_tokens)
                for prompt, text in texts
            ]
        )
    left = encoded[0]
    right = encoded[1] if len(encoded) > 1 else [None] * len(rows)
    items = [
        TrainingItem(one, other, float(value), float(weight))
        for one, other, value, weight in zip(left, right, target, rows["weight"], strict=True)
    ]
    chosen = np.flatnonzero(rows["split"] == "train")
    stop = np.flatnonzero(rows["split"] == "stop")
    if config.ensemble.size > 1:
        unit = pd.factorize(rows["unit"])[0].astype(np.int64)
        chosen = chosen[bootstrap(unit[chosen], seed)]
    with tempfile.TemporaryDirectory() as scratch:
        # TrainingArguments takes seeds of 31 bits.
        fit = Fit(config.backbone, _rate(config), Path(scratch), device, seed & 0x7FFFFFFF)
        facts = train(classifier, [items[i] for i in chosen], [items[i] for i in stop], fit)
    lengths: list[int] = []
    for encoded_side in encoded:
        lengths += [len(text["input_ids"]) for text in encoded_side]
    facts["texts_that_fill_max_tokens"] = sum(n >= config.max_tokens for n in lengths)
    return classifier, facts


def _facts(artifact: Artifact, config: TrainedReward, members: Sequence[Member]) -> dict[str, Any]:
    model = members[0].classifier.model
    return {
        "encoder": {
            "spec": artifact.spec,
            "sha256": artifact.sha256,
            "licence": artifact.licence,
            "max_tokens": config.max_tokens,
            "architecture": type(getattr(model, "base_model", model)).__name__,
            "parameters": sum(p.numel() for p in model.parameters()),
            "dtype": str(model.dtype).removeprefix("torch."),
            **artifact.base_facts(),
        },
        "hyper_parameters": {
            **config.backbone.model_dump(mode="json"),
            "training": config.training,
            "learning_rate": _rate(config),
        },
        "affine": [{"scale": m.scale, "shift": m.shift} for m in members],
    }


def _rate(config: TrainedReward) -> float:
    assert config.training != "head"
    return config.backbone.learning_rate or DEFAULT_RATES[config.training]


def load_backbones(
    config: TrainedReward, facts: Mapping[str, Any], out: Path, *, device: str
) -> Backbones:
    """Load what `save` wrote.

    Raises BadInput when weights or backbone are not the recorded ones.
    """
    artifact = resolve(config.encoder, sha256=config.encoder_sha256)
    same_as_recorded(f"the encoder {config.encoder}", facts["encoder"]["sha256"], artifact.sha256)
    folders = _folders(out, int(facts["members"]))
    for folder in folders:
        for files in (FILES, SETTINGS):
            name = f"{folder.name}/{files[config.training]}"
            if not plain.is_file(out, name):
                raise BadInput(
                    f"{out / name}: missing; the reward model cannot be loaded without it"
                )
    # Models that were trained before the settings were digested have the digest of their weights
    # alone.
    if _digest(folders, FILES, config=config) != facts["weights_sha256"]:
        digest = _digest(folders, FILES, SETTINGS, config=config)
        same_as_recorded(str(out / "member_*"), facts["weights_sha256"], digest)
    members = []
    for folder, affine in zip(folders, facts["affine"], strict=True):
        classifier = _saved(artifact, folder, config, device)
        members.append(Member(classifier, float(affine["scale"]), float(affine["shift"])))
    return Backbones(tuple(members), facts["input"], int(facts["encoder"]["max_tokens"]))


def _digest(folders: Sequence[Path], *kinds: Mapping[str, str], config: TrainedReward) -> str:
    """One digest over the members' files of these kinds."""
    weights, *settings = [files[config.training] for files in kinds]
    digests = {}
    for k, folder in enumerate(folders):
        digests[str(k)] = digest_in(folder, weights).sha256
        for name in settings:
            digests[f"{k}/{name}"] = digest_in(folder, name).sha256
    return digest_facts(digests)


def _fresh(artifact: Artifact, config: TrainedReward, device: str, seed: int) -> Classifier:
    """The pretrained model with a new scalar head (and, for LoRA, adapters), ready to train."""
    import torch

    torch.manual_seed(seed)
    classifier, missing = _opened(artifact.spec, artifact.path, artifact.path, config, device)
    if config.training == "full":
        return classifier
    from peft import LoraConfig, TaskType, get_peft_model

    # A head that the folder does not hold is random: it is trained whole, beside the adapters. It is
    # called `score` or `classifier` in most architectures, and otherwise by what is missing.
    heads = {"score", "classifier"}
    heads |= {name.rpartition(".")[0].rpartition(".")[2] or name for name in missing}
    own = {name.rpartition(".")[2] for name, _ in classifier.model.named_modules()}
    lora = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=config.backbone.rank,
        lora_alpha=config.backbone.alpha,
        lora_dropout=config.backbone.dropout,
        target_modules="all-linear",
        modules_to_save=sorted(heads & own),
    )
    return Classifier(classifier.spec, get_peft_model(classifier.model, lora), classifier.tokenizer)


def _opened(
    spec: str, tokenizer_from: Path, model_from: Path, config: TrainedReward, device: str
) -> tuple[Classifier, list[str]]:
    """A classifier with one label, and the names of weights its folder does not hold."""
    import torch

    what = f"{spec}: no scalar head can be put on it"
    tokenizer = read_tokenizer(tokenizer_from, what, "classifier")
    model, loading = read_model(
        "classifier",
        model_from,
        what,
        dtype=torch.float32,
        num_labels=1,
        ignore_mismatched_sizes=True,
    )
    _check_fits(spec, model.config, tokenizer, config)
    model.config.pad_token_id = tokenizer.pad_token_id
    return Classifier(spec, model.to(device), tokenizer), sorted(loading["missing_keys"])


def _check_fits(spec: str, settings: Any, tokenizer: Any, config: TrainedReward) -> None:
    """Raise BadInput where texts of `reward.max_tokens` do not fit; give the tokenizer a padding
    token where it has none.
    """
    limit = token_limit(settings, tokenizer)
    if config.max_tokens > limit:
        raise BadInput(
            f"{spec}: reward.max_tokens is {config.max_tokens}, but it reads at most {limit}"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
        if tokenizer.pad_token_id is None:
            raise BadInput(
                f"{spec}: its tokenizer has neither a padding nor an end token; batches cannot be "
                "filled up"
            )


def _save(classifier: Classifier, folder: Path, config: TrainedReward, artifact: Artifact) -> None:
    if config.training == "lora":
        # Where the base model lay on this machine is nobody's business; its spec finds it again.
        classifier.model.peft_config["default"].base_model_name_or_path = artifact.spec
        # Embeddings are not trained here; "auto" would ask the hub whether they are the base
        # model's.
        classifier.model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)
        # PEFT writes sets in an order that differs from process to process, and this file is
        # digested.
        settings = {**classifier.model.peft_config["default"].to_dict(), "inference_mode": True}
        text = json.dumps(settings, indent=2, sort_keys=True, default=sorted) + "\n"
        plain.write(folder, ADAPTER_CONFIG, text.encode())
        return
    classifier.model.config.name_or_path = artifact.spec
    classifier.model.save_pretrained(folder)
    classifier.tokenizer.save_pretrained(folder)


def _saved(artifact: Artifact, folder: Path, config: TrainedReward, device: str) -> Classifier:
    if config.training == "full":
        classifier = _opened(str(folder), artifact.path, folder, config, device)[0]
    else:
        with restored():  # the new head's random numbers are replaced by the saved one
            base = _opened(artifact.spec, artifact.path, artifact.path, config, device)[0]
        model = put_adapter(base.model, folder, str(folder))
        classifier = Classifier(str(folder), model, base.tokenizer)
    classifier.model.requires_grad_(False).eval()
    return classifier
