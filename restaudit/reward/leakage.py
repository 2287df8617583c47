"""Whether a reward model's training data holds the prompts of a run: refused where it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from restaudit.config import RewardConfig, RowRules, Split, SplitConfig, TrainedReward
from restaudit.data.feedback import load_feedback
from restaudit.data.splits import overlap
from restaudit.errors import BadInput


def leakage(
    reward: RewardConfig, rules: RowRules, limits: SplitConfig, splits: Mapping[Split, pd.DataFrame]
) -> dict[str, Any]:
    """Prompts of each split that the reward model's data holds too: exact and near-duplicate counts, and the share.

    Raises BadInput on an identical prompt in any split, and where the share of a split's prompts with a near-duplicate
    in the reward's data is above `max_near_duplicate_share` (for d_eval and audit, which must not be known).
    """
    if not isinstance(reward, TrainedReward):
        return {"reason": f"a reward of kind '{reward.kind}' does not say what it was trained on"}
    known = {p for p in load_feedback(reward.data, rules, ties=reward.ties).table["prompt"] if p}
    if not known:
        return {"reason": "the reward model's data has no prompts"}
    found: dict[str, Any] = {
        name: overlap(sorted(known), table["prompt"].tolist(), limits.near_duplicate_jaccard)
        for name, table in splits.items()
    }
    where = f"reward.data.source {reward.data.source}"
    mend = "keep them apart with options.part on both sources, or `exclude` on the prompts"
    if leaked := {name: o["exact"] for name, o in found.items() if o["exact"]}:
        counts = ", ".join(f"{n} of {name}" for name, n in leaked.items())
        raise BadInput(f"{where}: prompts of the run are in the reward model's data ({counts}); {mend}")
    for name in ("d_eval", "audit"):
        share = found[name]["share"] if name in found else None
        if share is not None and share > limits.max_near_duplicate_share:
            raise BadInput(
                f"{where}: {share:.1%} of the {name} prompts have a near-duplicate in the reward model's data (limit "
                f"{limits.max_near_duplicate_share:.1%}, Jaccard ≥ {limits.near_duplicate_jaccard:g}); {mend}, or "
                "raise data.splits.max_near_duplicate_share if you accept it"
            )
    return found
