"""A reward that is there already, in a column of somebody else's generation files: it is shown, and
cannot be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from restaudit.config import ColumnReward
from restaudit.errors import BadInput
from restaudit.reward.contract import Scores
from restaudit.reward.dossier import describe, digest_facts, read_dossier

UNIT = "the files' own unit"
LIMITS = (
    (
        "The scores were read, not computed here: what gave them, and whether it was the same at "
        "every step, is unknown."
    ),
    (
        "No other text can be scored, so nothing that asks the reward about changed texts was "
        "measured."
    ),
)


@dataclass(frozen=True)
class ColumnModel:
    """Rewards of a column."""

    digest: str
    members: int = 1
    name: str = "column reward of the watched files"
    unit: str = UNIT

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Raises BadInput: there is nothing to ask."""
        raise BadInput(
            f"the reward is a column of the watched files; {len(responses)} texts (of "
            f"{len(set(prompts))} prompts) without one have no score"
        )


def build_column(config: ColumnReward, out: Path) -> ColumnModel:
    """Write dossier.json, which says that nobody knows what gave the scores, unless the
    configuration does.
    """
    reward = _model(config)
    describe(
        reward,
        out,
        kind="column",
        purpose=config.description,
        ensemble=config.ensemble,
        limits=LIMITS,
    )
    return reward


def load_column(config: ColumnReward, out: Path) -> ColumnModel:
    """Read it back."""
    read_dossier(out, "column")
    return _model(config)


def _model(config: ColumnReward) -> ColumnModel:
    # Nothing else is known of it: two columns of one description count as the same reward.
    return ColumnModel(digest_facts({"kind": "column", "description": config.description}))
