"""What every reward offers, and the check every reward value passes before anything is done with
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from restaudit.errors import BadInput

Scores = npt.NDArray[np.float64]


class Reward(Protocol):
    """A reward of one or more members.

    `digest` (64 hex digits) changes whenever the same texts could get other scores; `unit` names
    what a score counts.
    """

    @property
    def name(self) -> str:
        """How reports call this reward."""

    @property
    def unit(self) -> str:
        """What a score counts."""

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides the scores."""

    @property
    def members(self) -> int:
        """Columns of `score`."""

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Score responses to plain-text prompts: array (n, members), float64, finite.

        Raises BadInput otherwise.
        """


def same_length(prompts: Sequence[str], responses: Sequence[str]) -> None:
    """Raise BadInput unless there is one prompt for every response."""
    if len(prompts) != len(responses):
        raise BadInput(
            f"{len(prompts)} prompts for {len(responses)} responses: give the prompt of every "
            "response"
        )


def finite(values: npt.NDArray[Any], responses: Sequence[str], who: str) -> Scores:
    """The values as float64 (n, members); raises BadInput naming the first row that is NaN or
    infinite.
    """
    out = np.asarray(values, dtype=np.float64)
    out = out[:, None] if out.ndim == 1 else out
    bad = np.flatnonzero(~np.isfinite(out).all(axis=1))
    if bad.size:
        row = int(bad[0])
        raise BadInput(
            f"{who} gave {out[row][~np.isfinite(out[row])][0]} for row {row} "
            f"({responses[row][:60]!r}; {bad.size} of "
            f"{len(out)} rows in all); a reward must be a finite number for every text"
        )
    return out
