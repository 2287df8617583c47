"""What every section of a configuration is: strict, immutable, without unknown keys."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

RowAction = Literal["refuse", "count"]
Split = Literal["grow", "d_eval", "audit"]


class Section(BaseModel):
    """A section of the configuration: no unknown keys, no infinite numbers (JSON, and so the sealed
    plan, cannot hold one), immutable once read.
    """

    # An unknown key that is passed over is a setting that somebody believes in and does not have.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
