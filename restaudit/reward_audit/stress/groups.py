"""Counterfactual groups: the reward of a text with one group's names, pronouns or descriptors in
place of another's.

The swaps are those of probes/texts/swap.py and the gap is that of probes/bias/swap_reward.py, here
in sd of the reward on the unchanged texts. A rule (gender, names_race, race, religion …) that finds
nothing in the texts is a finding without a value, with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from probes.base import Array, Evidence, Measurement
from probes.bias.swap_reward import NAME, reward_swap
from probes.statistics.resample import Resampling, unmeasured
from probes.texts.swap import Rule as SwapRule
from probes.texts.swap import rules, swapped
from restaudit.reward_audit.stress.finding import (
    ALIKE,
    LEVEL,
    MARGIN,
    VERSION,
    ChangedText,
    Finding,
    PassRule,
    finding,
)
from restaudit.reward_audit.stress.subject import (
    NO_UNIT,
    UNIT,
    Ask,
    Score,
    Subject,
    scored,
    shown,
    table_of,
)

NOTHING = "no text names one group of this rule only, in words that can be swapped"


@dataclass(frozen=True)
class _Pairs:
    """The swaps of one rule that were scored: the one that moves the reward most, and whether all
    give the same gap.
    """

    worst: ChangedText
    alike: bool


def groups(
    subject: Subject,
    prompts: Sequence[str],
    texts: Sequence[str],
    *,
    seed: int,
    resamples: int,
    margin: float = MARGIN,
) -> list[Finding]:
    """One finding a swap rule: the mean gap between the second group's version and the first's, in
    sd.

    All given texts are searched (not only those of `subject`, whose sd is the unit);
    probes.bias.swap_reward takes at most 64 for a rule, chosen by hash, and its counts are in the
    measurement's detail. Both ways of swapping weigh the same where enough prompts name either
    group. Raises BadInput as `subject` does.
    """
    measured: dict[str, Measurement] = {}
    shown_by: dict[str, _Pairs] = {}
    reason = NO_UNIT
    if subject.sd is not None:
        reason = NOTHING
        # Filled while the probe asks, so that the worst example costs no further scores.
        known: dict[Ask, float] = {}
        # Few texts name one group only, so all are searched; sorted, so that their order does not
        # matter.
        table = table_of(prompts, texts).sort_values("sample_id", ignore_index=True)
        evidence = Evidence(
            outputs=table.assign(n_tokens=0),
            prompts=dict(zip(table["prompt_id"], table["prompt"], strict=True)),
            score=_remembered(subject.score, subject.sd, known),
            levels=(LEVEL,),
            resamples=resamples,
            seed=seed,
        )
        resampling = Resampling(levels=(LEVEL,), resamples=resamples, seed=seed)
        swaps = reward_swap(evidence, VERSION, resampling)
        measured = {m.name.removeprefix(f"{NAME}."): m for m in swaps}
        shown_by = _pairs(table, known, subject.sd)
    return [
        _finding(r, measured.get(r.name), shown_by.get(r.name), reason, margin)
        for r in rules().values()
    ]


def _remembered(score: Score, sd: float, known: dict[Ask, float]) -> Score:
    """The reward in sd, with every score it gives kept in `known`."""

    def in_sd(prompts: Sequence[str], texts: Sequence[str]) -> Array:
        asked = list(zip(prompts, texts, strict=True))
        rewards = scored(score, asked)
        known.update(zip(asked, rewards.tolist(), strict=True))
        out: Array = rewards / sd
        return out

    return in_sd


def _pairs(table: pd.DataFrame, known: Mapping[Ask, float], sd: float) -> dict[str, _Pairs]:
    swaps: dict[str, ChangedText] = {}
    gaps: defaultdict[str, list[float]] = defaultdict(list)
    for prompt, text in zip(table["prompt"], table["text"], strict=True):
        if (prompt, text) not in known:
            continue
        for name in rules():
            new, new_prompt = swapped(text, name), swapped(prompt, name)
            if new is None:
                continue
            # A prompt that names nobody goes with the swapped text as it is.
            asked_prompt = prompt if new_prompt is None else new_prompt.text
            asked = (asked_prompt, new.text)
            if asked not in known:
                continue
            # `known` is in the reward's own unit.
            before, after = known[prompt, text], known[asked]
            change = (after - before) / sd
            # Whichever group the text named, the gap is the second's version less the first's.
            gap = -change if new.side == 1 else change
            gaps[name].append(gap)
            if name not in swaps or abs(change) > abs(swaps[name].change_sd):
                swaps[name] = ChangedText(
                    shown(prompt), shown(text), shown(asked[1]), before, after, change
                )
    pairs = {}
    for name, worst in swaps.items():
        # A reward that adds a constant for a group: no spread to make an interval of.
        rounding = 1e-9 * max(1.0, abs(worst.change_sd))
        pairs[name] = _Pairs(worst, float(np.ptp(gaps[name])) <= rounding)
    return pairs


def _finding(
    swap: SwapRule, measured: Measurement | None, pairs: _Pairs | None, reason: str, margin: float
) -> Finding:
    name = f"stress.groups.{swap.name}"
    if measured is None:
        change = unmeasured(reason).measured(
            name, unit=UNIT, version=VERSION, detail={"groups": list(swap.groups)}
        )
    else:
        alike = {ALIKE: True} if pairs is not None and pairs.alike else {}
        detail = {**measured.detail, **alike}
        change = replace(
            measured,
            detail=detail,
            name=name,
            unit=UNIT,
            version=f"{VERSION} (probes.bias.swap_reward)",
        )
    first, second = swap.groups
    return finding(
        f"groups_{swap.name}",
        f"Does the same text get another reward when it is about {second} and not {first}?",
        f"Words for one group are exchanged for the other's by the rule {swap.name!r} of "
        f"probes/texts/swap.py; reward of the version of {second} less that of {first}.",
        # Either way: which group is paid more does not matter.
        PassRule("steady", margin),
        change,
        worst=None if pairs is None else pairs.worst,
    )
