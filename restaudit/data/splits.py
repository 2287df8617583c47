"""Disjoint splits by hash, and the overlap between them: measured, recorded, refused above the
stated limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import pandas as pd

from restaudit.config import Split, SplitConfig
from restaudit.data.near_duplicates import near_pairs
from restaudit.errors import BadInput
from restaudit.evidence.chats import fraction, normalise
from restaudit.evidence.record import PROMPTS

SPLITS: tuple[Split, ...] = get_args(Split)
METHOD = "Jaccard of word 3-grams of the normalised prompts, exact"


def make_splits(
    prompts: pd.DataFrame,
    config: SplitConfig,
    seed: int,
    *,
    needed: Sequence[Split] = SPLITS,
    known: Sequence[str] = (),
) -> tuple[dict[Split, pd.DataFrame], dict[str, Any]]:
    """Divide prompts (as `load_prompts` gives them) into grow, d_eval and audit; also returns the
    overlap report.

    The split of a prompt depends on the hash of its normalised text alone (of its family's name,
    for counterfactual variants), never on file order or on `seed`, so that a prompt stays on its
    side from run to run. `sizes` caps the plain prompts and `counterfactual_families` the families
    of a split; both choose by a hash with `seed` in it. Tables have the columns record.PROMPTS and
    are sorted by prompt_id. With `near_duplicates: drop`, prompts of d_eval and audit that resemble
    the `known` ones (those of the reward model's data) are left out too.

    Raises BadInput when a split that is `needed` stays empty, when one that has a size stays below
    it, when a prompt is in two splits, or when the share of a split's prompts with a near-duplicate
    in an earlier one is above `max_near_duplicate_share`.
    """
    # Variants of one prompt stay together: apart, the split that judges would know them.
    families = prompts["family"]
    unit = prompts["prompt"].map(normalise).where(families.isna(), families.astype(str))
    placed = [
        _place(key, use, config.shares) for key, use in zip(unit, prompts["use"], strict=True)
    ]
    order = unit.map(lambda key: fraction(key, f"size {seed}"))
    table = prompts.assign(split=placed, _unit=unit, _order=order)
    splits: dict[Split, pd.DataFrame] = {}
    dropped: dict[str, int] = {}
    # Audit first: what judges is chosen freely, and what trains makes way for it.
    for split in reversed(SPLITS):
        candidates = table[table["split"] == split]
        if config.near_duplicates == "drop":
            avoid: list[str] = []
            for done in splits.values():
                avoid += done["prompt"].tolist()
            # What trains may resemble what the reward model knows; what judges may not.
            if split != "grow":
                avoid += known
            candidates, dropped[split] = _apart(candidates, avoid, config.near_duplicate_jaccard)
        splits[split] = _cap(candidates, split, config, split in needed, dropped.get(split, 0))
    ordered = {split: splits[split] for split in SPLITS}
    return ordered, {**_overlaps(ordered, config), "dropped": dropped}


def overlap(left: Sequence[str], right: Sequence[str], limit: float = 0.8) -> dict[str, Any]:
    """How much of `right` also occurs in `left`: exact and near-duplicate counts, and the share of
    `right` concerned.

    For instance the prompts a reward model was trained on against the audit prompts. Texts are
    normalised first.
    """
    a, b = sorted({normalise(t) for t in left}), sorted({normalise(t) for t in right})
    exact = set(a) & set(b)
    near = {b[j] for i, j, _ in near_pairs(a, b, limit) if a[i] != b[j]}
    touched = len(near | exact)
    return {
        "exact": len(exact),
        "near": len(near - exact),
        "of": len(b),
        "share": touched / len(b) if b else None,
        "jaccard": limit,
        "method": METHOD,
    }


def _place(key: str, use: Sequence[Split], shares: Mapping[Split, float]) -> Split:
    """The split a hash falls into, among those its source may go to, in proportion to their
    shares.
    """
    allowed = [s for s in SPLITS if s in use]
    weights = [shares[s] for s in allowed]
    if not sum(weights) > 0:
        raise BadInput(
            f"data.prompts: use {list(use)}: these splits have no share in data.splits.shares"
        )
    # A fixed point for each prompt: other prompts in the file do not move it to another split.
    point = fraction(key, "split") * sum(weights)
    for split, weight in zip(allowed, weights, strict=True):
        if point < weight:
            return split
        point -= weight
    # Rounding can leave the point at the very end: then it is the last split that has a share.
    return [split for split in allowed if shares[split] > 0][-1]


def _apart(table: pd.DataFrame, others: Sequence[str], limit: float) -> tuple[pd.DataFrame, int]:
    """The prompts (whole families) that resemble none of the others, and how many were left out."""
    texts = [normalise(p) for p in table["prompt"]]
    others = [normalise(p) for p in others]
    close = {table["_unit"].iloc[i] for i, _, _ in near_pairs(texts, others, limit)}
    apart = table[~table["_unit"].isin(close)]
    return apart, len(table) - len(apart)


def _cap(
    table: pd.DataFrame, split: Split, config: SplitConfig, needed: bool, dropped: int
) -> pd.DataFrame:
    in_family = table["family"].notna()
    resemble = ""
    if dropped:
        resemble = f" ({dropped} were left out because they resemble prompts elsewhere)"
    plain, variants = table[~in_family], table[in_family]
    size = config.sizes.get(split)
    if size is not None:
        if len(plain) < size:
            raise BadInput(
                f"data.splits.sizes.{split} is {size}, but only {len(plain)} prompts fall into "
                f"this split{resemble}; give more prompts, a larger share, or a smaller size"
            )
        plain = plain.sort_values(["_order", "prompt_id"]).head(size)
    families = config.counterfactual_families.get(split)
    if families is not None:
        by_family = variants[["_order", "family"]].drop_duplicates()
        names = by_family.sort_values(["_order", "family"])["family"]
        if len(names) < families:
            raise BadInput(
                f"data.splits.counterfactual_families.{split} is {families}, but only "
                f"{len(names)} families fall into this split{resemble}; give more families, a "
                "larger share, or a smaller number"
            )
        variants = variants[variants["family"].isin(set(names.head(families)))]
    if plain.empty and variants.empty:
        if not needed:
            return table[list(PROMPTS)]
        raise BadInput(
            f"data.splits: no prompt falls into {split}{resemble}; give more prompts or a larger "
            "share"
        )
    # pandas warns of empty tables in a concatenation, whose types will count one day.
    both = pd.concat([rows for rows in (plain, variants) if not rows.empty])
    return both.sort_values("prompt_id")[list(PROMPTS)].reset_index(drop=True)


def _overlaps(splits: Mapping[Split, pd.DataFrame], config: SplitConfig) -> dict[str, Any]:
    texts = {split: [normalise(p) for p in table["prompt"]] for split, table in splits.items()}
    report: dict[str, Any] = {
        "method": METHOD,
        "jaccard": config.near_duplicate_jaccard,
        "max_share": config.max_near_duplicate_share,
        "sizes": {split: len(t) for split, t in texts.items()},
        "exact": {},
        "near": {},
    }
    for position, split in enumerate(SPLITS):
        for earlier in SPLITS[:position]:
            name = f"{earlier}~{split}"
            shared = set(texts[earlier]) & set(texts[split])
            if shared:
                raise BadInput(
                    f"data.splits: {len(shared)} prompt(s) are both in {earlier} and {split}: "
                    f"'{min(shared)[:80]}'"
                )
            report["exact"][name] = 0
            pairs = list(near_pairs(texts[earlier], texts[split], config.near_duplicate_jaccard))
            touched = sorted({j for _, j, _ in pairs})
            share = len(touched) / max(len(texts[split]), 1)
            closest = sorted(pairs, key=lambda p: (-p[2], p[0], p[1]))[:5]
            ids = {s: list(splits[s]["prompt_id"]) for s in (earlier, split)}
            report["near"][name] = {
                "pairs": len(pairs),
                "share": share,
                "closest": [
                    [ids[earlier][i], ids[split][j], similarity] for i, j, similarity in closest
                ],
            }
            if share > config.max_near_duplicate_share:
                i, j, similarity = closest[0]
                raise BadInput(
                    f"data.splits: {share:.1%} of the {split} prompts have a near-duplicate in "
                    f"{earlier} (limit {config.max_near_duplicate_share:.1%}, Jaccard ≥ "
                    f"{config.near_duplicate_jaccard:g}), for example '{texts[earlier][i][:80]}' "
                    f"and '{texts[split][j][:80]}' ({similarity:.2f}); set "
                    "data.splits.near_duplicates: drop, or raise max_near_duplicate_share if you "
                    "accept it"
                )
    return report
