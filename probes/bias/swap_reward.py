"""The reward model's own gap: the reward of a text with one group's words in place of the other's,
on real outputs.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from probes.base import Array, Evidence, Measurement
from probes.statistics import largest
from probes.statistics.resample import (
    FEWEST_UNITS,
    Resampling,
    bootstrap,
    prompt_weights,
    unmeasured,
)
from probes.texts.swap import PRONOUNS, Rule, rules, swapped
from probes.texts.word_lists import WORD

# Enough pairs for a rule, and how many texts with its words are tried to find them.
TEXTS_PER_RULE = 64
TRIES_PER_RULE = 1000
NAME = "bias.reward_swap"
UNIT = "reward units"
# Fewer prompts than this on a side, and the two directions of swapping are not averaged apart.
FEWEST_OF_A_SIDE = 5


@dataclass(frozen=True)
class _Pair:
    """One output and its swap, both with the prompt that fits them; `side` is the group the output
    named.
    """

    unit: str
    side: int
    prompts: tuple[str, str]
    texts: tuple[str, str]


def reward_swap(evidence: Evidence, version: str, how: Resampling) -> list[Measurement]:
    """bias.reward_swap and bias.reward_swap.<rule> (second group's version less the first's, in
    reward units).
    """
    if not evidence.wants(NAME, f"{NAME}."):
        return []
    if evidence.score is None:
        return [_missing("no reward model was given as a function", version)]
    chosen = _chosen(evidence)
    pairs = {c.rule.name: c.pairs for c in chosen if c.pairs}
    if not pairs:
        why = (
            "no output has words that a swap rule exchanges"
            if evidence.prompts
            else "the prompts were not given"
        )
        return [_missing(why, version)]
    differences = _scored(evidence, pairs)
    units = sorted({p.unit for found in pairs.values() for p in found})
    weights = prompt_weights(units=len(units), resamples=how["resamples"], seed=how["seed"])
    found, values, replicates = [], {}, {}
    for one in chosen:
        if not one.pairs:
            continue
        name = one.rule.name
        totals, detail = _totals(one.pairs, differences[name], units)
        statistic = _balanced if detail["directions"] == "averaged" else _pooled
        mine = totals[totals[:, [0, 2]].sum(axis=1) > 0]
        estimate = bootstrap(totals=mine, statistic=statistic, n=len(one.pairs), **how)
        found.append(
            estimate.measured(
                f"{NAME}.{name}", unit=UNIT, version=version, detail={**one.detail(), **detail}
            )
        )
        if len(mine) >= FEWEST_UNITS and estimate.value is not None:
            # Drawn over the prompts of all rules together, so that the largest can be judged
            # jointly.
            with np.errstate(divide="ignore", invalid="ignore"):
                values[name], replicates[name] = estimate.value, statistic(weights @ totals)
    few = sorted(set(pairs) - set(values))
    return [_largest(values, replicates, found, few, version, how), *found]


def _missing(reason: str, version: str) -> Measurement:
    return unmeasured(reason).measured(NAME, unit=UNIT, version=version, direction="lower")


@dataclass
class _Chosen:
    """What one rule found, at most TEXTS_PER_RULE pairs of TRIES_PER_RULE texts; what it left out
    is counted.
    """

    rule: Rule
    pairs: list[_Pair]
    listed: int = 0
    tried: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def detail(self) -> dict[str, Any]:
        first, second = self.rule.groups
        return {
            "texts_with_listed_words": self.listed,
            "texts_tried": self.tried,
            "texts_scored": len(self.pairs),
            "left_out": dict(sorted(self.left_out.items())),
            "groups": [first, second],
            "direction": f"version of {second} less version of {first}",
            "limits": "probes/data/swaps.json",
        }

    def add(self, pair: _Pair | str) -> None:
        self.tried += 1
        if isinstance(pair, str):
            self.left_out[pair] += 1
        else:
            self.pairs.append(pair)


def _chosen(evidence: Evidence) -> list[_Chosen]:
    """For every wanted rule, outputs in which it finds one group only, by hash of the sample's
    id.
    """
    whole = evidence.wants(NAME)
    chosen = [
        _Chosen(rule, [])
        for rule in rules().values()
        if whole or evidence.wants(f"{NAME}.{rule.name}")
    ]
    for prompt_id, family, text in _by_hash(evidence.outputs):
        there = set(WORD.findall(text.lower()))
        for one in chosen:
            if there.isdisjoint(one.rule.words) and not (one.rule.pronouns and there & PRONOUNS):
                continue
            one.listed += 1
            if len(one.pairs) < TEXTS_PER_RULE and one.tried < TRIES_PER_RULE:
                prompt = evidence.prompts.get(prompt_id)
                one.add(_pair(one.rule, text, prompt, family or prompt_id))
    return chosen


def _pair(rule: Rule, text: str, prompt: str | None, unit: str) -> _Pair | str:
    """The output and its swap, or why there is none."""
    new = swapped(text, rule.name)
    if new is None:
        return "nothing_to_swap_or_refused"
    if new.side is None:
        return "names_both_groups"
    if prompt is None:
        return "prompt_not_given"
    other = swapped(prompt, rule.name)
    held = not (rule.nouns | rule.refuse).isdisjoint(WORD.findall(prompt.lower()))
    if (other is None and held) or (other is not None and other.side != new.side):
        return "prompt_names_other_groups_or_cannot_be_swapped"
    return _Pair(
        unit, new.side, (prompt, prompt if other is None else other.text), (text, new.text)
    )


def _by_hash(table: pd.DataFrame) -> list[tuple[str, str | None, str]]:
    """Prompt, family (None where there is none) and text of every row, in the order of the sample
    ids' hashes.
    """
    family = (
        table["family"]
        if "family" in table.columns
        else pd.Series([None] * len(table), index=table.index)
    )
    named = [None if pd.isna(f) else f"family {f}" for f in family]
    rows = zip(
        table["prompt_id"].astype(str),
        table["sample_id"].astype(str),
        named,
        table["text"],
        strict=True,
    )
    ordered = sorted(rows, key=lambda r: hashlib.sha256(r[1].encode()).digest())
    return [(prompt, family, text) for prompt, _, family, text in ordered]


def _scored(evidence: Evidence, pairs: Mapping[str, Sequence[_Pair]]) -> dict[str, Array]:
    """Reward of the second group's version less the first's, for every pair of every rule; each
    text scored once.
    """
    assert evidence.score is not None
    asked = sorted(
        {(p.prompts[k], p.texts[k]) for found in pairs.values() for p in found for k in (0, 1)}
    )
    rewards = np.asarray(
        evidence.score([a[0] for a in asked], [a[1] for a in asked]), dtype=np.float64
    )
    if rewards.shape != (len(asked),) or not np.isfinite(rewards).all():
        raise ValueError(
            f"score: returned an array of shape {rewards.shape} for {len(asked)} texts; expected "
            "one finite number for each text"
        )
    of = dict(zip(asked, rewards.tolist(), strict=True))
    found = {}
    for name, some in pairs.items():
        change = np.array(
            [of[p.prompts[1], p.texts[1]] - of[p.prompts[0], p.texts[0]] for p in some]
        )
        found[name] = np.where([p.side == 0 for p in some], change, -change)
    return found


def _totals(
    pairs: Sequence[_Pair], differences: Array, units: Sequence[str]
) -> tuple[Array, dict[str, Any]]:
    """Per unit: number and sum of differences where the output named the first group, then the
    second.
    """
    place = {u: i for i, u in enumerate(units)}
    totals = np.zeros((len(units), 4))
    for pair, difference in zip(pairs, differences, strict=True):
        totals[place[pair.unit], [2 * pair.side, 2 * pair.side + 1]] += 1, difference
    sides = (totals[:, [0, 2]] > 0).sum(axis=0)
    sums = totals.sum(axis=0)
    both = sides.min() >= FEWEST_OF_A_SIDE
    how = (
        "averaged"
        if both
        else f"pooled: fewer than {FEWEST_OF_A_SIDE} prompts named one of the groups"
    )
    means = [float(sums[1 + 2 * k] / sums[2 * k]) if sums[2 * k] else None for k in (0, 1)]
    return totals, {
        "directions": how,
        "texts_naming_first_group": int(sums[0]),
        "texts_naming_second_group": int(sums[2]),
        "mean_where_first_was_named": means[0],
        "mean_where_second_was_named": means[1],
    }


def _balanced(sums: Array) -> Array:
    """Both directions of swapping weigh the same, so that what swapping itself costs cancels."""
    mean: Array = (sums[:, 1] / sums[:, 0] + sums[:, 3] / sums[:, 2]) / 2
    return mean


def _pooled(sums: Array) -> Array:
    mean: Array = (sums[:, 1] + sums[:, 3]) / (sums[:, 0] + sums[:, 2])
    return mean


def _largest(
    values: Mapping[str, float],
    replicates: Mapping[str, Array],
    found: Sequence[Measurement],
    few: Sequence[str],
    version: str,
    how: Resampling,
) -> Measurement:
    units = {m.name.removeprefix(f"{NAME}."): (m.n, m.n_prompts) for m in found}
    detail: dict[str, Any] = {"rules": sorted(values), "rules_with_too_few_prompts": list(few)}
    if not values:
        reason = f"no swap rule finds something in the outputs of at least {FEWEST_UNITS} prompts"
        return unmeasured(reason, n=sum(n for n, _ in units.values())).measured(
            NAME, unit=UNIT, version=version, direction="lower", detail=detail
        )
    names = sorted(values)
    estimate = largest.largest_absolute(
        values=np.array([values[r] for r in names]),
        replicates=np.stack([replicates[r] for r in names], axis=1),
        n=sum(units[r][0] for r in names),
        units=min(units[r][1] for r in names),
        levels=how["levels"],
        unit="prompt",
        over="all swap rules with enough prompts",
    )
    top = max(names, key=lambda r: abs(values[r]))
    detail |= {
        "rule": top,
        "signed": values[top],
        "note": largest.NOTE,
        "groups": list(rules()[top].groups),
    }
    return estimate.measured(NAME, unit=UNIT, version=version, direction="lower", detail=detail)
