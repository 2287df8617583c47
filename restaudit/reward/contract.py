"""What every reward offers, the check every reward value passes, how members become one reward, and
what training one hands back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from restaudit.config import EnsembleConfig
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


# --- several members


def combine(members: Scores, config: EnsembleConfig) -> tuple[Scores, Scores]:
    """Combine member scores (n, m) into the reward (n,) and its spread (n,), both in the members'
    unit.

    `mean`, `min` (worst case) or `mean_minus_variance` (mean - λ·variance, λ = `variance_weight`,
    variance over the members with divisor m): Coste et al. 2023, arXiv 2310.02743. The spread is
    the members' standard deviation with divisor m - 1, and NaN where there is one member: one
    opinion has no disagreement to show.
    """
    if members.ndim != 2 or members.shape[1] == 0:
        raise BadInput(
            f"member rewards have shape {members.shape}; expected a row a text and a column a "
            "member"
        )
    n, m = members.shape
    # NaN and not 0: a spread of 0 would say that the members agree.
    spread = members.std(axis=1, ddof=1) if m > 1 else np.full(n, np.nan)
    if config.combine == "min":
        return members.min(axis=1), spread
    mean = members.mean(axis=1)
    if config.combine == "mean_minus_variance":
        return mean - config.variance_weight * members.var(axis=1), spread
    return mean, spread


# --- what training hands back: something that scores, and what the dossier says about it


class MemberScorer(Protocol):
    """Member scores of texts: array (n, members), float64, the same for a text whatever else is
    scored with it.
    """

    @property
    def members(self) -> int:
        """Columns of `score`."""

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Score responses to plain-text prompts."""


@dataclass(frozen=True)
class LearnedReward:
    """A trained scorer.

    left, right   member scores of the examples' rows, (items, members); right None for ratings
    training      a dict a member: how its training went
    facts         what the dossier records about the encoder and the method
    limits        sentences for the dossier
    embeddings    (items, d) embeddings of the examples' rows, or None
    fit_fewer     trains one member on some of the training rows (numbers among them) and gives the
                  held-out items' rewards (for pairs the difference), or None where that would take
                  too long
    save          writes the weights into a folder and returns the SHA-256 that stands for them
    """

    scorer: MemberScorer
    left: Scores
    right: Scores | None
    training: tuple[dict[str, Any], ...]
    facts: dict[str, Any]
    limits: tuple[str, ...]
    save: Callable[[Path], str]
    embeddings: npt.NDArray[np.float64] | None = None
    fit_fewer: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float64]] | None = None
