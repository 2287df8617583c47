"""From generations to measurements: evidence is put together, every probe that applies runs, and
the facts are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from probes import PROBES, measure
from probes.base import Array, Evidence, HumanSampling, Measurement
from restaudit import __version__
from restaudit.data.generations import Generations
from restaudit.errors import BadInput
from restaudit.probing.scoring import (
    LazyEncoder,
    encoder,
    judged,
    reward_function,
    rewarded,
    toxicity_scorer,
)

SCHEMA = "restaudit.probe/1"


@dataclass(frozen=True)
class Wanted:
    """What is asked for: names of measurements (none: all), levels, resampling, and where scores
    come from.

    `encoder` is a spec, "none", or None for the default recipe's; `toxicity` a callable, or "none"
    or None for no scorer. `human_label` names what a file's human column is.
    """

    only: tuple[str, ...] = ()
    levels: tuple[float, ...] = (0.95,)
    resamples: int = 1000
    seed: int = 0
    reward: str | None = None
    human: str | None = None
    human_label: str | None = None
    human_sampling: HumanSampling | None = None
    encoder: str | None = None
    toxicity: str | None = None


@dataclass(frozen=True)
class Further:
    """What a probe may read beside the two sets of generations; see Evidence."""

    grow: Generations | None = None
    ratings: pd.DataFrame | None = None
    ratings_notes: tuple[str, ...] = ()
    items: pd.DataFrame | None = None
    base_items: pd.DataFrame | None = None
    human_text: pd.DataFrame | None = None
    base_human_text: pd.DataFrame | None = None
    trained_on: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Probed:
    """Measurements with what they were made from; `to_json` holds no clock, so that equal input
    gives equal bytes.
    """

    measurements: tuple[Measurement, ...]
    seconds: Mapping[str, float]
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return {
            "schema": SCHEMA,
            "restaudit": __version__,
            **self.facts,
            "measurements": [m.to_json() for m in self.measurements],
        }


def probe_tables(
    outputs: Generations, base: Generations | None, wanted: Wanted, further: Further | None = None
) -> Probed:
    """Run every probe that applies.

    `outputs` and `base` must be `paired` already; scores are filled in as wanted.

    Raises BadInput for an unknown name, levels out of range, and evidence that probes refuse.
    """
    further = further or Further()
    only = names_wanted(wanted.only)
    _check_levels(wanted.levels)
    function = None if wanted.reward is None else reward_function(wanted.reward)
    sets = {"outputs": outputs, "base": base, "grow": further.grow}
    for name, one in sets.items():
        if one is not None and function is not None:
            sets[name] = one = rewarded(one, function)
        if one is not None and wanted.human is not None:
            sets[name] = judged(one, wanted.human)
    mine = sets["outputs"]
    assert mine is not None
    label, sampling = _human(wanted, mine, further)
    embed = encoder(wanted.encoder)
    evidence = Evidence(
        outputs=mine.table,
        base=None if sets["base"] is None else sets["base"].table,
        grow=None if sets["grow"] is None else sets["grow"].table,
        embed=embed,
        human_label=label,
        human_sampling=sampling,
        ratings=further.ratings,
        prompts=_merged(one.prompts for one in sets.values() if one is not None),
        references=_merged(one.references for one in sets.values() if one is not None),
        score=None if function is None else function.score,
        known=_known(further.trained_on, embed, only),
        toxicity=toxicity_scorer(wanted.toxicity) if _wants_toxicity(only) else None,
        items=further.items,
        base_items=further.base_items,
        human_text=further.human_text,
        base_human_text=further.base_human_text,
        levels=wanted.levels,
        resamples=wanted.resamples,
        seed=wanted.seed,
        only=only,
    )
    try:
        found, seconds = measure(evidence)
    except ValueError as e:
        raise BadInput(f"{outputs.source}: {e}") from e
    facts: dict[str, Any] = {name: _facts(one) for name, one in sets.items()}
    facts |= {
        "ratings": list(further.ratings_notes),
        "human": {"label": label, "sampling": sampling},
        "reward": None
        if function is None
        else {"callable": function.name, "source_sha256": function.sha256},
        "encoder": _encoder_facts(embed),
        "trained_on": len(further.trained_on),
        "levels": list(wanted.levels),
        "resamples": wanted.resamples,
        "seed": wanted.seed,
        "only": None if only is None else sorted(only),
        **further.facts,
    }
    return Probed(tuple(found), seconds, facts)


def names_wanted(names: Sequence[str]) -> frozenset[str] | None:
    """Names as Evidence.only wants them: of measurements, of probes, or beginnings that end in a
    dot; None for all.

    Raises BadInput for a name that nothing measures, with the nearest ones that exist.
    """
    if not names:
        return None
    probes = {p.name: f"{p.name}." for p in PROBES}
    measures = [m for p in PROBES for m in p.names]
    out = set()
    for name in names:
        families = [m for m in measures if m.endswith(".") and name.startswith(m)]
        begins = name.endswith(".") and any(m.startswith(name) for m in measures)
        if name not in probes and name not in measures and not families and not begins:
            near = get_close_matches(name, [*probes, *measures], n=3, cutoff=0.4)
            hint = f"nearest: {', '.join(near)}" if near else f"probes: {', '.join(probes)}"
            raise BadInput(f"--only {name}: nothing is measured under this name; {hint}")
        out.add(probes.get(name, name))
    return frozenset(out)


def _known(
    texts: Sequence[str], embed: LazyEncoder | None, only: frozenset[str] | None
) -> Array | None:
    """Embeddings of what the reward model was trained on, where there is anything to compare with
    them.
    """
    wanted = only is None or any(
        name == "hacking." or name.startswith("hacking.distance") for name in only
    )
    return (
        np.asarray(embed(texts), dtype=np.float64)
        if texts and embed is not None and wanted
        else None
    )


def _wants_toxicity(only: frozenset[str] | None) -> bool:
    return only is None or any(
        name.startswith(("toxicity", "bias.toxicity")) or name == "bias." for name in only
    )


def _check_levels(levels: Sequence[float]) -> None:
    for level in levels:
        if not 0 < level < 1:
            raise BadInput(
                f"--level {level:g}: expected a number between 0 and 1, for example 0.95"
            )


def _human(wanted: Wanted, outputs: Generations, further: Further) -> tuple[str, HumanSampling]:
    """What the human score is called, and how the rows that have one were chosen."""
    if wanted.human is not None:
        return "SIMULATED", "all"
    if "human" not in outputs.table.columns:
        return "NONE", "all"
    if further.ratings is not None:
        return "PEOPLE", wanted.human_sampling or "unknown"
    return wanted.human_label or "UNSTATED (column human)", wanted.human_sampling or "all"


def _merged(parts: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for part in parts:
        out = {**part, **out}
    return out


def _facts(one: Generations | None) -> dict[str, Any] | None:
    if one is None:
        return None
    table = one.table
    return {
        "source": one.source,
        "rows": len(table),
        "prompts": int(table["prompt_id"].nunique()),
        "keyed": one.keyed,
        "notes": list(one.notes),
    }


def _encoder_facts(embed: Any) -> dict[str, Any] | None:
    if embed is None:
        return None
    return {
        "spec": embed.spec,
        "sha256": embed.sha256,
        "used": embed.loaded is not None,
        "notes": list(embed.notes),
    }
