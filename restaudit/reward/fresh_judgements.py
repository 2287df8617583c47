"""Fresh judgements of a policy's own texts, as more rows of whatever judgements the reward model
was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import pandas as pd

from restaudit.config import TrainedReward
from restaudit.data.feedback import PAIRS, RATINGS
from restaudit.errors import BadInput
from restaudit.evidence.chats import digest


@dataclass(frozen=True)
class FreshJudgements:
    """Ratings of a policy's texts (columns prompt, response, rater, score), given on `scale`
    (lowest, highest).

    `parent` is the digest of the reward model that is fitted again.
    """

    ratings: pd.DataFrame
    policy: str
    scale: tuple[float, float]
    parent: str

    def added_to(self, kind: Literal["ratings", "pairs"], table: pd.DataFrame) -> pd.DataFrame:
        """The judgements with these ones behind them (columns as restaudit.data.feedback has them).

        Pairs come from two texts of one prompt that one rater scored differently. Raises BadInput
        where the training ratings lie outside the scale these were given on (two scales cannot be
        one target), and where no pair results.
        """
        if kind == "ratings":
            check_scale(table, self.scale)
            rows: list[Any] = list(self._rated())
            return pd.concat([table, pd.DataFrame(rows, columns=list(RATINGS))], ignore_index=True)
        rows = list(self._compared())
        if not rows:
            raise BadInput(
                "the fresh judgements make no pair: nobody scored two texts of one prompt "
                "differently"
            )
        return pd.concat([table, pd.DataFrame(rows, columns=list(PAIRS))], ignore_index=True)

    def raters(self, config: TrainedReward) -> TrainedReward:
        """The configuration with the fresh raters among those who train, where raters were chosen
        at all.
        """
        # Nobody was chosen, so everybody trains.
        if config.train_raters is None:
            return config
        return config.model_copy(
            update={"train_raters": (*config.train_raters, *sorted(self.names().unique()))}
        )

    def names(self) -> pd.Series[str]:
        """Raters' names, told apart from those of the training data."""
        # Two panels may both have an "ana": as one rater their scores would be pooled.
        return "fresh/" + self.ratings["rater"].astype(str)

    def facts(self) -> dict[str, Any]:
        """What the dossier records about this."""
        return {
            "parent": self.parent,
            "policy": self.policy,
            "judgements": len(self.ratings),
            "raters": sorted(self.names().unique()),
            "scale": list(self.scale),
        }

    def _rated(self) -> Iterator[tuple[str, str, str, str, float]]:
        columns = (self.ratings[c].tolist() for c in ("prompt", "response", "score"))
        for prompt, response, score, rater in zip(*columns, self.names(), strict=True):
            yield _item(prompt, response), prompt, response, rater, float(score)

    def _compared(self) -> Iterator[tuple[str, str, str, str, str, bool]]:
        named = self.ratings.assign(rater=self.names())
        # Within one rater only: one person's 5 may be another one's 3.
        for _, rows in named.groupby(["prompt", "rater"], sort=True):
            prompt, rater = str(rows["prompt"].iloc[0]), str(rows["rater"].iloc[0])
            scored = zip(rows["response"], rows["score"], strict=True)
            for (a, x), (b, y) in combinations(scored, 2):
                # A rater who scores both alike says nothing of their order.
                if x != y and a != b:
                    chosen, rejected = (a, b) if x > y else (b, a)
                    # Sorted: two raters who prefer different sides judged one item.
                    yield _item(prompt, *sorted((a, b))), prompt, chosen, rejected, rater, False


def check_scale(table: pd.DataFrame, scale: tuple[float, float]) -> None:
    """Raise BadInput where training ratings (column score) lie outside the scale that fresh ones
    are given on: two scales cannot be one target.
    """
    low, high = float(table["score"].min()), float(table["score"].max())
    if low < scale[0] or high > scale[1]:
        raise BadInput(
            f"reward.refit.scale is {scale[0]:g} to {scale[1]:g}, but the ratings the reward was "
            f"trained on go from {low:g} to {high:g}; ask people on the scale of those ratings"
        )


def _item(*parts: str) -> str:
    return digest("\0".join(parts))[:16]
