"""What stands for people: their own ratings, or something that is called what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from restaudit.config.data import TableSource
from restaudit.config.reward import HeadConfig
from restaudit.config.section import Line, Rater, Section, Text

# The lowest or the highest score of a scale.
Level = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
# How many samples people rate.
Rated = Annotated[int, Field(ge=2, le=1_000_000)]
HumanKind = Literal["none", "people", "lexicon", "model", "reference", "python", "column"]


@dataclass(frozen=True)
class HumanName:
    """What a kind of human score is called.

    word      one word in capitals, which stands wherever a figure of it does
    recorded  the label that audits record; "{}" is filled in with whose judgements they are. Runs
              of before hold these texts, so none may change
    title     the word and what stands behind it, for people who meet it for the first time
    """

    word: str
    recorded: str
    title: str


HUMAN_NAMES: Mapping[HumanKind, HumanName] = {
    "none": HumanName("NONE", "NONE", "NONE"),
    "people": HumanName("PEOPLE", "PEOPLE", "PEOPLE"),
    "lexicon": HumanName(
        "LEXICON",
        "LEXICON (human word ratings, aggregated)",
        "LEXICON (human word ratings, aggregated)",
    ),
    "model": HumanName(
        "MODEL", "MODEL (trained on held-out {})", "MODEL (trained on held-out raters)"
    ),
    "reference": HumanName(
        "REFERENCE",
        "REFERENCE (chrF against human references)",
        "REFERENCE (chrF against human references)",
    ),
    "python": HumanName("SIMULATED", "SIMULATED", "SIMULATED (a program stands in for raters)"),
    # What watched files hold is called what their owner says it is; this is for who says nothing.
    "column": HumanName("UNSTATED", "UNSTATED (column human)", "UNSTATED (column human)"),
}
"""Every kind of human score that `human.kind` takes, and what it is called."""


def human_title(label: str) -> str:
    """A recorded label with what stands behind it; a label that says so itself, as it is."""
    # Labels that are recorded whole already hold what stands behind them.
    titles = {name.word: name.title for name in HUMAN_NAMES.values()}
    return titles.get(label, label)


class NoHuman(Section):
    """No human score: every measurement that needs one is null with this as the reason."""

    kind: Literal["none"] = "none"


class LexiconHuman(Section):
    """LEXICON: held-out raters' word ratings, averaged over the rated words of a text."""

    kind: Literal["lexicon"]
    data: TableSource
    judge_raters: tuple[Rater, ...]


class ModelHuman(Section):
    """MODEL: a gold reward model trained on held-out raters or rows; never a human's own rating of
    this text.
    """

    kind: Literal["model"]
    encoder: Line
    encoder_sha256: Line | None = None
    data: TableSource
    judge_raters: tuple[Rater, ...] | None = None
    objective: Literal["auto", "bradley_terry", "regression"] = "auto"
    input: Literal["response", "prompt_response"] = "response"
    max_tokens: int = Field(256, ge=4, le=1 << 24)
    head: HeadConfig = HeadConfig()


class ReferenceHuman(Section):
    """REFERENCE: chrF (Popović 2015, sacrebleu) against human references, 0-100."""

    kind: Literal["reference"]
    metric: Literal["chrf"] = "chrf"


class PythonHuman(Section):
    """SIMULATED: a Python callable that stands in for raters."""

    kind: Literal["python"]
    callable: Line


class PeopleHuman(Section):
    """PEOPLE: ratings that people give to random samples of each iteration (restaudit rate).

    `source: wait` pauses the run before each decision (exit code 3) until the ratings are in.
    `samples` of an iteration are drawn at random and get `raters` ratings each on `scale` (lowest,
    highest); the base policy's own are rated with those of the first iteration, and `anchors` of
    them again at every later look, to see raters drift. Rising counts of `samples` are stages: a
    look asks for the next count only while more ratings could decide it.
    """

    kind: Literal["people"]
    source: Literal["wait"] = "wait"
    samples: Rated | Annotated[tuple[Rated, ...], Field(min_length=1, max_length=8)] = 60
    # Two: agreement between raters needs two judgements of one text.
    raters: int = Field(2, ge=1, le=10_000)
    # The same texts at every look: where their scores move, the raters did.
    anchors: int = Field(8, ge=0, le=1_000_000)
    dimension: Line = "quality"
    scale: tuple[Level, Level] = (1, 7)
    # Without a default: what people were asked is part of what their answers mean.
    instructions: Text = Field(min_length=1)

    @property
    def counts(self) -> tuple[int, ...]:
        """Samples of an iteration that are rated after each stage of a look."""
        return (self.samples,) if isinstance(self.samples, int) else self.samples

    @model_validator(mode="after")
    def _scale(self) -> PeopleHuman:
        if self.scale[0] >= self.scale[1]:
            raise ValueError(
                "scale: expected the lowest and a larger highest score, for example [1, 7]"
            )
        return self

    @model_validator(mode="after")
    def _rising(self) -> PeopleHuman:
        counts = self.counts
        if list(counts) != sorted(set(counts)):
            raise ValueError(f"samples: expected rising counts, one a stage; got {list(counts)}")
        # Anchors are drawn from the base policy's own rated samples, and every stage asks for
        # others: nobody shall remember what they said the last time.
        if self.anchors * len(counts) > counts[0]:
            each = f" at each of {len(counts)} stages" if len(counts) > 1 else ""
            raise ValueError(
                f"anchors ({self.anchors}{each}) are some of the samples ({counts[0]}); expected "
                "no more"
            )
        return self


class ColumnHuman(Section):
    """The scores that the watched generation files hold in their column `human`, called what the
    user says they are.

    `label` is shown wherever they are; PEOPLE only where people rated these very texts. `sampling`
    says how the rows that have one were chosen: `all` (every row could get one), `random`, or
    `unknown`.
    """

    kind: Literal["column"]
    # Nobody else's scores are called PEOPLE unless somebody says so.
    label: Line = Field(HUMAN_NAMES["column"].recorded, min_length=1, max_length=80)
    description: Text | None = None
    # `watch` makes this unknown by itself where only some rows have a score.
    sampling: Literal["all", "random", "unknown"] = "all"


HumanConfig = Annotated[
    NoHuman | PeopleHuman | LexiconHuman | ModelHuman | ReferenceHuman | PythonHuman | ColumnHuman,
    Field(discriminator="kind"),
]
