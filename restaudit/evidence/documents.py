"""What else of a record its readers take for granted, beside what verification checks
(evidence/verify/shapes.py): what steps note in the ledger, the environment, the counts of the data.

Everything that is there must be of its kind; a key may be new, since later versions note more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from restaudit.errors import BadInput
from restaudit.evidence.record import ITERATION

GROW = re.compile(r"g\d\d")
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Number = Annotated[float, Field(ge=-1e300, le=1e300)]


class Loose(BaseModel):
    """An object that may have further keys; nothing is taken for something else."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)


class Noted(Loose):
    """What steps note in the ledger, whatever their kind."""

    start: str = ""
    policy: str = ""
    digest: str = ""
    name: str = ""
    label: str = ""
    weights_sha256: str | None = None
    missed: str = ""
    samples: Count = 0
    tokens: Count = 0
    rows: Count = 0
    kept: Count = 0
    references: Count = 0
    best_of: Count = 1
    parameters: Count = 0
    trained_parameters: Count = 0
    step: Count = 0
    members: Count = 0
    best_epoch: Count | None = None
    learning_rate: Number = 0.0
    acceptance_rate: Number | None = None
    mean_reward_01: Number | None = None
    lowest_threshold: Number | None = None
    d_eval_reward: Number | None = None
    d_eval_before: Number | None = None
    reward: Number | None = None
    d_eval_by_epoch: list[Number] | None = None


# What a step of a kind always notes, by the last part of its name.
ALWAYS: Mapping[str, tuple[str, ...]] = {
    "grow": ("policy", "samples", "tokens"),
    "improve": ("start", "rows", "kept", "acceptance_rate", "best_epoch"),
    "train": ("start", "step"),
    "reward_model": ("name", "digest", "members"),
}


class Environment(Loose):
    """environment.json."""

    packages: dict[str, str] = {}
    restaudit: str = ""
    exactness: dict[str, Any] | None = None
    lora: dict[str, Any] | None = None


class RowCount(Loose):
    """Where the rows of one source went."""

    source: str
    read: Count
    used: Count
    dropped: dict[str, Count]
    notes: dict[str, Count] = {}


class Near(Loose):
    """Prompts of two splits that resemble each other."""

    pairs: Count
    share: Number


class Splits(Loose):
    """Sizes and overlap of the splits."""

    sizes: dict[str, Count]
    dropped: dict[str, Any]
    exact: dict[str, Count]
    near: dict[str, Near]
    method: str
    jaccard: Number
    max_share: Number


class OverlapOfSplit(Loose):
    """What a split has in common with the reward's data."""

    exact: Count
    near: Count
    of: Count
    share: Number | None


class NotMeasured(Loose):
    """Why something has no figure."""

    reason: str


class DataReport(Loose):
    """data/report.json."""

    rows: list[RowCount]
    splits: Splits
    reward_model: NotMeasured | dict[str, OverlapOfSplit]


class Described(Loose):
    """human_score/human.json."""

    kind: str = ""
    label: str
    unit: str
    description: str


class SealedArtifact(Loose):
    """A model or file that the plan was sealed with."""

    spec: str
    sha256: str
    licence: str | None = None


class Sealed(Loose):
    """plan.json: what is in it beside its configuration, steps and looks."""

    restaudit: str = ""
    artifacts: dict[str, SealedArtifact] = {}
    prompts: dict[str, Count] = {}
    # A level a look, or (schema 2) one a stage of every look.
    gate_levels: dict[str, list[Number | list[Number]]] = {}


SHAPES: Mapping[str, type[Loose]] = {
    "plan.json": Sealed,
    "environment.json": Environment,
    "data/report.json": DataReport,
    "human_score/human.json": Described,
}


def check(name: str, raw: Any, where: str) -> None:
    """Raise BadInput, naming the field, where a document of this name is not what readers expect."""
    if name in SHAPES:
        _must_be(SHAPES[name], raw, where)


def check_noted(step: str, content: Any, where: str) -> None:
    """The same for what a step notes in the ledger."""
    _must_be(Noted, content, where)
    place, _, kind = step.rpartition("/")
    # A step of another program is refused by its name, elsewhere.
    ours = not place or GROW.fullmatch(place) or ITERATION.fullmatch(place)
    for key in ALWAYS.get(kind, ()) if ours else ():
        if key not in content:
            raise BadInput(f"{where}: content.{key}: missing; every step '{kind}' notes it")


def _must_be(shape: type[Loose], raw: Any, where: str) -> None:
    try:
        shape.model_validate(raw)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            f"{where}: {field or 'it'}: {first['msg']}; restaudit does not write it so"
        ) from None
