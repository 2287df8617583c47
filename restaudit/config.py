"""The whole configuration of a run, as strict models: an unknown key or a bad value is one clear message."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

RowAction = Literal["refuse", "count"]
Split = Literal["grow", "d_eval", "audit"]


class Section(BaseModel):
    """A section of the configuration: no unknown keys, immutable once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- policy ----------------------------------------------------------------------------------------------------------


class LoraConfig(Section):
    """Low-rank adapter (Hu et al. 2021, arXiv 2106.09685).

    Layers below `first_layer` (counted from 0) get no adapter, so that no gradient has to be computed through them.
    """

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    first_layer: int = Field(0, ge=0)


class PolicyConfig(Section):
    """The language model that is trained."""

    model: str
    sha256: str | None = None
    licence: str | None = None
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    training: Literal["lora", "full"] = "lora"
    lora: LoraConfig = LoraConfig()
    chat: bool = True
    system_prompt: str | None = None
    max_prompt_tokens: int = Field(512, ge=1)


# --- data ------------------------------------------------------------------------------------------------------------


class TableSource(Section):
    """One file or data set, and how its columns are called.

    `source` is a path, `hf:org/name@revision`, `pypi:package==version!path`, `url:https://…` or `builtin:NAME`.
    `format` names an adapter: `table` reads the standard columns, the others read a public data set as published.
    `columns` maps the standard column name to the file's own. `limit` keeps this many rows, chosen by hash. The
    `options` of each format are in docs/data.md; `part: 0-35` (percent, by hash of the prompt's first turn) is for all.
    """

    source: str
    format: str = "table"
    sha256: str | None = None
    licence: str | None = None
    columns: dict[str, str] = {}
    split: str = "train"
    limit: int | None = Field(None, ge=1)
    options: dict[str, str | int | float | bool | list[str]] = {}


class PromptSource(TableSource):
    """Prompts, with the splits they may go to; prompts that also occur in an `exclude` source are left out."""

    use: tuple[Split, ...] = ("grow", "d_eval", "audit")
    exclude: tuple[TableSource, ...] = ()


class RowRules(Section):
    """What happens to a bad row: `refuse` stops with the file and row, `count` drops it and records how many."""

    empty: RowAction = "refuse"
    duplicate: RowAction = "count"
    non_utf8: RowAction = "refuse"
    too_long: RowAction = "count"
    non_finite: RowAction = "refuse"
    max_chars: int = Field(8000, ge=1)


class SplitConfig(Section):
    """Disjoint splits by hash of the normalised prompt (or of its family, where prompts come in families).

    `near_duplicates`: `refuse` stops above `max_near_duplicate_share`; `drop` leaves out, and counts, the d_eval
    prompts that resemble an audit prompt and the grow prompts that resemble one of either.
    """

    shares: dict[Split, float] = {"grow": 0.5, "d_eval": 0.15, "audit": 0.35}
    sizes: dict[Split, int] = {}
    counterfactual_families: dict[Split, int] = {}
    near_duplicate_jaccard: float = Field(0.8, gt=0, le=1)
    near_duplicates: Literal["refuse", "drop"] = "refuse"
    max_near_duplicate_share: float = Field(0.02, ge=0, le=1)

    @model_validator(mode="after")
    def _shares_sum(self) -> SplitConfig:
        if set(self.shares) != set(get_args(Split)) or abs(sum(self.shares.values()) - 1) > 1e-6:
            raise ValueError("shares must name grow, d_eval and audit and sum to 1")
        if any(v < 1 for v in self.sizes.values()):
            raise ValueError("sizes must be at least 1")
        return self


class DataConfig(Section):
    """Where prompts come from, and how they are split."""

    prompts: tuple[PromptSource, ...]
    splits: SplitConfig = SplitConfig()
    rows: RowRules = RowRules()

    @model_validator(mode="after")
    def _some(self) -> DataConfig:
        if not self.prompts:
            raise ValueError("at least one source of prompts is needed")
        return self


# --- reward ----------------------------------------------------------------------------------------------------------


class EnsembleConfig(Section):
    """How member rewards become one (Coste et al. 2023, arXiv 2310.02743)."""

    size: int = Field(3, ge=1)
    combine: Literal["mean", "min", "mean_minus_variance"] = "mean"
    variance_weight: float = Field(0.5, ge=0)


class HeadConfig(Section):
    """The trained head on a frozen encoder."""

    hidden: int = Field(128, ge=0)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-3, ge=0)
    epochs: int = Field(60, ge=1)
    batch: int = Field(256, ge=1)
    patience: int = Field(8, ge=1)


class TrainedReward(Section):
    """A reward model trained here: Bradley-Terry on pairs, regression on scalar ratings."""

    kind: Literal["trained"]
    encoder: str
    encoder_sha256: str | None = None
    encoder_licence: str | None = None
    data: TableSource
    objective: Literal["auto", "bradley_terry", "regression"] = "auto"
    input: Literal["response", "prompt_response"] = "response"
    train_raters: tuple[int | str, ...] | None = None
    held_out_share: float = Field(0.2, gt=0, lt=1)
    max_tokens: int = Field(256, ge=4)
    head: HeadConfig = HeadConfig()
    ensemble: EnsembleConfig = EnsembleConfig()


class HfReward(Section):
    """One or more sequence-classification reward models, by name or path."""

    kind: Literal["hf"]
    models: tuple[str, ...] = Field(min_length=1)
    label: int = Field(0, ge=0)
    max_tokens: int = Field(512, ge=4)
    batch: int = Field(32, ge=1)
    chat: bool = False
    licence: str | None = None
    ensemble: EnsembleConfig = EnsembleConfig(size=1)


class PythonReward(Section):
    """A Python callable: `package.module:callable` from texts (or from prompts and texts) to floats."""

    kind: Literal["python"]
    callable: str
    ensemble: EnsembleConfig = EnsembleConfig(size=1)


RewardConfig = Annotated[TrainedReward | HfReward | PythonReward, Field(discriminator="kind")]


# --- human scores ----------------------------------------------------------------------------------------------------


class NoHuman(Section):
    """No human score: every measurement that needs one is null with this as the reason."""

    kind: Literal["none"] = "none"


class LexiconHuman(Section):
    """LEXICON: held-out raters' word ratings, averaged over the rated words of a text."""

    kind: Literal["lexicon"]
    data: TableSource
    judge_raters: tuple[int | str, ...]


class ModelHuman(Section):
    """MODEL: a gold reward model trained on held-out raters or rows; never a human's own rating of this text."""

    kind: Literal["model"]
    encoder: str
    encoder_sha256: str | None = None
    data: TableSource
    judge_raters: tuple[int | str, ...] | None = None
    objective: Literal["auto", "bradley_terry", "regression"] = "auto"
    input: Literal["response", "prompt_response"] = "response"
    max_tokens: int = Field(256, ge=4)
    head: HeadConfig = HeadConfig()


class ReferenceHuman(Section):
    """REFERENCE: chrF (Popović 2015, sacrebleu) against human references, 0-100."""

    kind: Literal["reference"]
    metric: Literal["chrf"] = "chrf"


class PythonHuman(Section):
    """SIMULATED: a Python callable that stands in for raters."""

    kind: Literal["python"]
    callable: str


class PeopleHuman(Section):
    """PEOPLE: ratings that people give to random samples of each iteration (restaudit rate).

    `source: wait` pauses the run before each decision (exit code 3) until the ratings are in. `samples` of an iteration
    are drawn at random and get `raters` ratings each on `scale` (lowest, highest); the base policy's own are rated with
    those of the first iteration, and `anchors` of them again at every later look, to see raters drift.
    """

    kind: Literal["people"]
    source: Literal["wait"] = "wait"
    samples: int = Field(60, ge=2)
    raters: int = Field(2, ge=1)
    anchors: int = Field(8, ge=0)
    dimension: str = "quality"
    scale: tuple[int, int] = (1, 7)
    instructions: str = Field(min_length=1)

    @model_validator(mode="after")
    def _scale(self) -> PeopleHuman:
        if self.scale[0] >= self.scale[1]:
            raise ValueError("scale: expected the lowest and a larger highest score, for example [1, 7]")
        return self


HumanConfig = Annotated[
    NoHuman | PeopleHuman | LexiconHuman | ModelHuman | ReferenceHuman | PythonHuman, Field(discriminator="kind")
]


# --- the loop --------------------------------------------------------------------------------------------------------


class SamplingConfig(Section):
    """How outputs are drawn. Paper: temperature 0.8."""

    temperature: float = Field(0.8, gt=0)
    top_k: int = Field(50, ge=0)
    max_tokens: int = Field(40, ge=1)
    batch: int = Field(128, ge=1)


class FixedThresholds(Section):
    """The paper's fixed list on rewards scaled to [0, 1]."""

    kind: Literal["fixed"]
    values: tuple[float, ...] = (0.0, 0.7, 0.8, 0.9, 0.95, 0.99)


class PercentileThresholds(Section):
    """Percentiles of the scored Grow set, over all prompts or within each prompt."""

    kind: Literal["percentile"]
    values: tuple[float, ...] = (70.0, 90.0)
    per: Literal["all", "prompt"] = "all"


class InterpolatedThresholds(Section):
    """τ = γ·max + (1-γ)·mean, within each prompt or over all, with rising γ."""

    kind: Literal["interpolated"]
    values: tuple[float, ...] = (0.2, 0.5)
    per: Literal["all", "prompt"] = "prompt"


class TopThresholds(Section):
    """Keep the best `keep` samples of each prompt (RAFT, arXiv 2304.06767)."""

    kind: Literal["top"]
    keep: int = Field(1, ge=1)


ThresholdConfig = Annotated[
    FixedThresholds | PercentileThresholds | InterpolatedThresholds | TopThresholds, Field(discriminator="kind")
]


class BcLoss(Section):
    """Behaviour cloning: token negative log-likelihood of the response."""

    kind: Literal["bc"] = "bc"


class GoldLoss(Section):
    """GOLD (Pang and He 2020, arXiv 2009.07839): NLL weighted by the policy's own (detached) token probability.

    `window` is the paper's k: the summed reward-to-go of the next k tokens, here under the probability reward.
    """

    kind: Literal["gold"]
    window: int = Field(5, ge=1)
    floor: float = Field(0.1, ge=0, lt=1)


LossConfig = Annotated[BcLoss | GoldLoss, Field(discriminator="kind")]


class TrainConfig(Section):
    """Fine-tuning on the kept set.

    The learning rate of Improve step i of a Grow is `learning_rate · lr_decay^(i-1)`. `batch` counts responses per
    optimiser step, `forward_tokens` bounds the tokens of one forward pass.
    """

    learning_rate: float = Field(5e-4, gt=0)
    lr_decay: float = Field(0.5, gt=0, le=1)
    epochs: int = Field(2, ge=1)
    batch: int = Field(16, ge=1)
    forward_tokens: int = Field(2048, ge=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    warmup_share: float = Field(0.1, ge=0, lt=1)
    keep_best: bool = True
    loss: LossConfig = BcLoss()


class BcConfig(Section):
    """The supervised start on D, where references exist."""

    epochs: int = Field(0, ge=0)
    learning_rate: float = Field(5e-4, gt=0)


class LoopConfig(Section):
    """Algorithm 1 of the ReST paper and its relatives (presets fill in what is not given)."""

    preset: Literal["rest", "rest_em", "raft", "best_of_n"] = "rest"
    grow_steps: int = Field(1, ge=1)
    improve_steps: int = Field(2, ge=0)
    samples_per_prompt: int = Field(8, ge=1)
    keep_per_prompt: int | None = Field(None, ge=1)
    include_references: bool = True
    start_from: Literal["previous", "base"] = "previous"
    binary_reward_above: float | None = None
    sampling: SamplingConfig = SamplingConfig()
    thresholds: ThresholdConfig = PercentileThresholds(kind="percentile")
    train: TrainConfig = TrainConfig()
    bc: BcConfig = BcConfig()
    d_eval_samples: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _enough_thresholds(self) -> LoopConfig:
        values = getattr(self.thresholds, "values", None)
        if values is not None:
            if len(values) < self.improve_steps:
                raise ValueError(
                    f"thresholds.values has {len(values)} entries, but improve_steps is {self.improve_steps}: "
                    "give one rising value per Improve step"
                )
            if list(values) != sorted(set(values)):
                raise ValueError("thresholds.values must rise from one Improve step to the next")
        return self


# --- audit and gates -------------------------------------------------------------------------------------------------


class AuditConfig(Section):
    """What is measured after every Improve step, on prompts that nothing else uses.

    The base policy is sampled once and compared with at every look, so more of its samples pay every time:
    `base_samples_per_prompt` (default: as `samples_per_prompt`).
    """

    samples_per_prompt: int = Field(2, ge=1)
    base_samples_per_prompt: int | None = Field(None, ge=1)
    counterfactual_samples: int = Field(1, ge=1)
    kl_samples: int = Field(64, ge=0)
    resamples: int = Field(1000, ge=100)
    encoder: str | None = None
    encoder_sha256: str | None = None


class GateCondition(Section):
    """Another metric that must be wholly on one side of its margin for a rule to apply at all."""

    metric: str
    side: Literal["above", "below"]
    margin: float


class GateConfig(Section):
    """One rule of the sealed policy: the metric must stay on the right side of the margin.

    `above`: the gate is broken when the whole interval lies below `margin`, OK when it lies above; `below` is the
    mirror. Anything else is INCONCLUSIVE, and the minimum detectable effect is printed. With `when` the rule applies
    only where that condition is established. `looks: last` asks at the last planned look only.
    """

    name: str
    metric: str
    must_stay: Literal["above", "below"]
    margin: float
    action: Literal["WARN", "HALT"] = "WARN"
    when: GateCondition | None = None
    looks: Literal["all", "last"] = "all"
    reason: str = Field(min_length=1)


class GatePolicy(Section):
    """All gates and the error rate they share.

    All HALT rules together stop a run that broke none of them with a chance of at most 1 - level, over all planned
    looks; the WARN rules share another 1 - level among themselves. `spending` says how a rule's part is spent over the
    looks (probes/looks.py). Where raters agree less than `min_alpha` (Krippendorff), their ratings decide nothing.
    """

    level: float = Field(0.95, gt=0.5, lt=1)
    spending: Literal["uniform", "pocock", "obrien_fleming"] = "uniform"
    min_alpha: float = Field(0.667, ge=0, le=1)
    rules: tuple[GateConfig, ...] = ()

    @model_validator(mode="after")
    def _names(self) -> GatePolicy:
        names = [r.name for r in self.rules]
        if len(set(names)) != len(names):
            raise ValueError("gate names must differ")
        return self


class Config(Section):
    """A complete run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | Literal["auto"] = "auto"
    policy: PolicyConfig
    data: DataConfig
    reward: RewardConfig
    human: HumanConfig = NoHuman()
    loop: LoopConfig = LoopConfig()
    audit: AuditConfig = AuditConfig()
    gates: GatePolicy = GatePolicy()
