"""What either way of training a reward hands back: something that scores, and what the dossier says
about it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from restaudit.reward.contract import Scores


class Scorer(Protocol):
    """Member scores of texts: array (n, members), float64, the same for a text whatever else is
    scored with it.
    """

    @property
    def members(self) -> int:
        """Columns of `score`."""

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Score responses to plain-text prompts."""


@dataclass(frozen=True)
class Learned:
    """A trained scorer.

    left, right   member scores of the examples' rows, (items, members); right None for ratings
    training      a dict a member: how its training went
    facts         what the dossier records about the encoder and the method
    limits        sentences for the dossier
    embeddings    (items, d) embeddings of the examples' rows, or None
    again         trains one member on some of the training rows (numbers among them) and gives the
                  held-out items' rewards (for pairs the difference), or None where that would take
                  too long
    save          writes the weights into a folder and returns the SHA-256 that stands for them
    """

    scorer: Scorer
    left: Scores
    right: Scores | None
    training: tuple[dict[str, Any], ...]
    facts: dict[str, Any]
    limits: tuple[str, ...]
    save: Callable[[Path], str]
    embeddings: npt.NDArray[np.float64] | None = None
    again: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float64]] | None = None
