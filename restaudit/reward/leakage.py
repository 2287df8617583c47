"""Whether a reward model's training data holds the prompts of a run: refused where it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from restaudit.config import DataConfig, RewardConfig, RowRules, Split, SplitConfig, TrainedReward
from restaudit.data.feedback import load_feedback
from restaudit.data.prompts import load_prompts
from restaudit.data.records import RowReport
from restaudit.data.splits import SPLITS, make_splits, overlap
from restaudit.errors import BadInput
from restaudit.evidence.steps import seed_of


def known_prompts(reward: RewardConfig, rules: RowRules) -> list[str]:
    """The prompts in a trained reward model's data, sorted; none where it has none, or does not say
    what it knows.
    """
    if not isinstance(reward, TrainedReward):
        return []
    judgements = load_feedback(reward.data, rules, ties=reward.ties).table
    return sorted({str(prompt) for prompt in judgements["prompt"] if prompt})


def split_apart(
    data: DataConfig,
    reward: RewardConfig,
    rules: RowRules,
    seed: int,
    needed: Sequence[Split] = SPLITS,
) -> tuple[dict[Split, pd.DataFrame], dict[str, Any], list[RowReport]]:
    """The prompts of a run by split (columns: PROMPTS), the overlap of the splits, and what was
    read of each source.

    `seed` is the run's. With `data.splits.near_duplicates: drop` the prompts that judge resemble
    none that the reward model was trained on.
    """
    prompts, reports = load_prompts(data)
    # Runs of a study share their prompts by a seed of the splits alone.
    own_seed = seed if data.splits.seed is None else data.splits.seed
    chosen = seed_of(own_seed, "splits")
    known = known_prompts(reward, rules) if data.splits.near_duplicates == "drop" else []
    tables, overlaps = make_splits(prompts, data.splits, chosen, needed=needed, known=known)
    return tables, overlaps, reports


def leakage(
    reward: RewardConfig, rules: RowRules, limits: SplitConfig, splits: Mapping[Split, pd.DataFrame]
) -> dict[str, Any]:
    """Prompts of each split that the reward model's data holds too: exact and near-duplicate
    counts, and the share.

    Raises BadInput on an identical prompt in any split, and where the share of a split's prompts
    with a near-duplicate in the reward's data is above `max_near_duplicate_share` (for d_eval and
    audit, which must not be known).
    """
    if not isinstance(reward, TrainedReward):
        return {"reason": f"a reward of kind '{reward.kind}' does not say what it was trained on"}
    known = known_prompts(reward, rules)
    if not known:
        return {"reason": "the reward model's data has no prompts"}
    overlaps: dict[str, Any] = {
        name: overlap(known, table["prompt"].tolist(), limits.near_duplicate_jaccard)
        for name, table in splits.items()
    }
    where = f"reward.data.source {reward.data.source}"
    mend = (
        "keep them apart with data.splits.near_duplicates: drop, options.part on both sources, or "
        "`exclude` on the prompts"
    )
    # Identical prompts are refused in the training split too: there the reward would score texts by
    # heart.
    leaked = [f"{o['exact']} of {name}" for name, o in overlaps.items() if o["exact"]]
    if leaked:
        raise BadInput(
            f"{where}: prompts of the run are in the reward model's data ({', '.join(leaked)}); "
            f"{mend}"
        )
    # Not grow: what trains may resemble what the reward learned from, what judges may not.
    for name in ("d_eval", "audit"):
        share = overlaps.get(name, {}).get("share")
        if share is not None and share > limits.max_near_duplicate_share:
            raise BadInput(
                f"{where}: {share:.1%} of the {name} prompts have a near-duplicate in the reward "
                f"model's data (limit {limits.max_near_duplicate_share:.1%}, Jaccard ≥ "
                f"{limits.near_duplicate_jaccard:g}); {mend}, or raise "
                "data.splits.max_near_duplicate_share if you accept it"
            )
    return overlaps
