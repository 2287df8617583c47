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
from restaudit.config.human import HUMAN_NAMES
from restaudit.data.generations import Generations
from restaudit.errors import BadInput
from restaudit.probing.scoring import (
    LazyEncoder,
    RewardFunction,
    encoder,
    judged,
    reward_function,
    rewarded,
    toxicity_scorer,
)

SCHEMA = "restaudit.probe/1"


@dataclass(frozen=True)
class ProbeSettings:
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
class MoreEvidence:
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
class ProbeResult:
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
    outputs: Generations,
    base: Generations | None,
    settings: ProbeSettings,
    more: MoreEvidence | None = None,
) -> ProbeResult:
    """Run every probe that applies.

    `outputs` and `base` must be `paired` already; scores are filled in as wanted.

    Raises BadInput for an unknown name, levels out of range, and evidence that probes refuse.
    """
    more = more or MoreEvidence()
    only = names_wanted(settings.only)
    _check_levels(settings.levels)
    function = None if settings.reward is None else reward_function(settings.reward)
    given = {"outputs": outputs}
    if base is not None:
        given["base"] = base
    if more.grow is not None:
        given["grow"] = more.grow
    sets = {name: _scored(one, function, settings.human) for name, one in given.items()}
    outputs, base, grow = sets["outputs"], sets.get("base"), sets.get("grow")
    label, sampling = _human(settings, outputs, more)
    embed = encoder(settings.encoder)
    evidence = Evidence(
        outputs=outputs.table,
        base=None if base is None else base.table,
        grow=None if grow is None else grow.table,
        embed=embed,
        human_label=label,
        human_sampling=sampling,
        ratings=more.ratings,
        prompts=_merged(one.prompts for one in sets.values()),
        references=_merged(one.references for one in sets.values()),
        score=None if function is None else function.score,
        known=_known(more.trained_on, embed, only),
        toxicity=toxicity_scorer(settings.toxicity) if _wants_toxicity(only) else None,
        items=more.items,
        base_items=more.base_items,
        human_text=more.human_text,
        base_human_text=more.base_human_text,
        levels=settings.levels,
        resamples=settings.resamples,
        seed=settings.seed,
        only=only,
    )
    try:
        measurements, seconds = measure(evidence)
    except ValueError as e:
        # The probes know tables; who called knows files.
        raise BadInput(f"{outputs.source}: {e}") from e
    facts: dict[str, Any] = {
        "outputs": _facts(outputs),
        "base": None if base is None else _facts(base),
        "grow": None if grow is None else _facts(grow),
    }
    reward_facts = None
    if function is not None:
        reward_facts = {"callable": function.name, "source_sha256": function.sha256}
    facts |= {
        "ratings": list(more.ratings_notes),
        "human": {"label": label, "sampling": sampling},
        "reward": reward_facts,
        "encoder": _encoder_facts(embed),
        "trained_on": len(more.trained_on),
        "levels": list(settings.levels),
        "resamples": settings.resamples,
        "seed": settings.seed,
        "only": None if only is None else sorted(only),
        **more.facts,
    }
    return ProbeResult(tuple(measurements), seconds, facts)


def _scored(one: Generations, function: RewardFunction | None, human: str | None) -> Generations:
    if function is not None:
        one = rewarded(one, function)
    if human is not None:
        one = judged(one, human)
    return one


def names_wanted(names: Sequence[str]) -> frozenset[str] | None:
    """Names as Evidence.only wants them: of measurements, of probes, or beginnings that end in a
    dot; None for all.

    Raises BadInput for a name that nothing measures, with the nearest ones that exist.
    """
    if not names:
        return None
    probes = {p.name: f"{p.name}." for p in PROBES}
    measures = [m for p in PROBES for m in p.names]
    chosen = set()
    for name in names:
        # A name that ends in a dot is a beginning: of the probe's own names ("bias.reward.", which
        # a group follows) or of what is asked for.
        of_family = any(m.endswith(".") and name.startswith(m) for m in measures)
        begins = name.endswith(".") and any(m.startswith(name) for m in measures)
        if name not in probes and name not in measures and not of_family and not begins:
            near = get_close_matches(name, [*probes, *measures], n=3, cutoff=0.4)
            hint = f"nearest: {', '.join(near)}" if near else f"probes: {', '.join(probes)}"
            raise BadInput(f"--only {name}: nothing is measured under this name; {hint}")
        chosen.add(probes.get(name, name))
    return frozenset(chosen)


def _known(
    texts: Sequence[str], embed: LazyEncoder | None, only: frozenset[str] | None
) -> Array | None:
    """Embeddings of what the reward model was trained on, where there is anything to compare with
    them.
    """
    if not texts or embed is None:
        return None
    # Embedding them takes longer than most probes.
    if not _wants(only, "hacking.", ("hacking.distance",)):
        return None
    return np.asarray(embed(texts), dtype=np.float64)


def _wants_toxicity(only: frozenset[str] | None) -> bool:
    return _wants(only, "bias.", ("toxicity", "bias.toxicity"))


def _wants(only: frozenset[str] | None, probe: str, beginnings: tuple[str, ...]) -> bool:
    """Whether a whole probe, or a measurement that begins in one of these ways, is asked for."""
    if only is None:
        return True
    return any(name == probe or name.startswith(beginnings) for name in only)


def _check_levels(levels: Sequence[float]) -> None:
    for level in levels:
        if not 0 < level < 1:
            raise BadInput(
                f"--level {level:g}: expected a number between 0 and 1, for example 0.95"
            )


def _human(
    settings: ProbeSettings, outputs: Generations, more: MoreEvidence
) -> tuple[str, HumanSampling]:
    """What the human score is called, and how the rows that have one were chosen."""
    if settings.human is not None:
        return HUMAN_NAMES["python"].recorded, "all"
    if "human" not in outputs.table.columns:
        return HUMAN_NAMES["none"].recorded, "all"
    if more.ratings is not None:
        # Whoever chose what was rated may have chosen by reward: random only where that is said.
        return HUMAN_NAMES["people"].recorded, settings.human_sampling or "unknown"
    label = settings.human_label or HUMAN_NAMES["column"].recorded
    return label, settings.human_sampling or "all"


def _merged(parts: Any) -> dict[str, Any]:
    """One mapping of all; what comes first counts."""
    merged: dict[str, Any] = {}
    for part in parts:
        merged = {**part, **merged}
    return merged


def _facts(one: Generations) -> dict[str, Any]:
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
