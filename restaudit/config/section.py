"""What every section of a configuration is: strict, immutable, without unknown keys."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

RowAction = Literal["refuse", "count"]
Split = Literal["grow", "d_eval", "audit"]


# --- what every number and text may be
#
# Every number has a range, and a test holds that. The upper ends refuse what no machine could do
# (a batch of a billion, a seed that no library takes), and never what somebody might want to try.

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]  # what every library that takes a seed accepts
Rows = Annotated[int, Field(ge=1, le=1_000_000_000)]
Samples = Annotated[int, Field(ge=1, le=1_000_000)]
Tokens = Annotated[int, Field(ge=1, le=1 << 24)]
Batch = Annotated[int, Field(ge=1, le=1 << 16)]
Times = Annotated[int, Field(ge=1, le=100_000)]  # epochs, evaluations, patience
LearningRate = Annotated[float, Field(gt=0, le=100)]
Weight = Annotated[float, Field(ge=0, le=1_000_000)]  # of a penalty
Share = Annotated[float, Field(ge=0, le=1)]
Score = Annotated[float, Field(ge=-1e12, le=1e12)]  # a reward, a rating, a margin


def _line(text: str) -> str:
    if len(text) > 4096 or any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in text):
        raise ValueError("expected one line of at most 4,096 characters, none of them a control")
    return text


def _text(text: str) -> str:
    if len(text) > 1_000_000:
        raise ValueError("expected text of at most 1,000,000 characters")
    return text


def _value(value: str | int | float | bool | list[str]) -> str | int | float | bool | list[str]:
    # Identifiers of raters can have 19 digits, which 64 bits hold.
    if isinstance(value, int | float) and not -(2.0**63) < value < 2.0**63:
        raise ValueError("expected a number of 64 bits")
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str):
            _text(text)
    return value


# A name, a path, a specification of a model or a file.
Line = Annotated[str, AfterValidator(_line)]
Text = Annotated[str, AfterValidator(_text)]
# What somebody calls a rater, and what an option of a format or a template may be.
Rater = Annotated[int | str, AfterValidator(_value)]
Argument = Annotated[bool | int | float | str, AfterValidator(_value)]
Option = Annotated[str | int | float | bool | list[str], AfterValidator(_value)]


class Section(BaseModel):
    """A section of the configuration: no unknown keys, no infinite numbers (JSON, and so the sealed
    plan, cannot hold one), immutable once read.
    """

    # An unknown key that is passed over is a setting that somebody believes in and does not have.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
