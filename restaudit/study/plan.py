"""What a study will do, written down before the first run: methods, seeds, sizes, and how learning
rates are chosen.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from restaudit import __version__
from restaudit.config import Config
from restaudit.config.loop import METHODS
from restaudit.config.reading import parse, read, said_once
from restaudit.errors import BadInput
from restaudit.evidence.record import json_bytes, read_json
from restaudit.files import plain

FILE = "study.json"
SCHEMA = 1
# What the name of a rule ends with that would have stopped a run, and in a study only warns.
HALTS = " (HALT)"
COMPARABLE = tuple(m for m in METHODS if m != "outside")
# The one learning rate of each method that is searched for; best-of-N trains nothing.
RATES: Mapping[str, str] = {
    "rest": "loop.train.learning_rate",
    "rest_em": "loop.train.learning_rate",
    "raft": "loop.train.learning_rate",
    "dpo": "loop.dpo.learning_rate",
    "grpo": "loop.online.learning_rate",
    "rloo": "loop.online.learning_rate",
}
# Of the recipe's own rate. A method at a bad rate would lose for a reason that is none of its own;
# every further rate costs a run.
FACTORS = (1 / 3, 1.0, 3.0)
METHOD_KEY = "loop.method="
# What every run of a small study has in common: about five minutes a run of `reviews` on two CPU
# cores.
SMALL = (
    "data.splits.sizes.grow=16",
    "data.splits.counterfactual_families.grow=2",
    "data.splits.sizes.d_eval=12",
    "data.splits.sizes.audit=40",
    "data.splits.counterfactual_families.audit=6",
    "loop.samples_per_prompt=8",
    "loop.sampling.max_tokens=24",
    "audit.base_samples_per_prompt=4",
    # One stage: arms are compared with one another, at as many texts each.
    "audit.samples_per_prompt=2",
    "audit.counterfactual_samples=1",
    "audit.kl_samples=16",
)
# A run of the search trains on one Grow step's worth of samples and is judged on D_eval alone; its
# audit, which nobody reads, is made as small as an audit can be.
SEARCHED = (
    "loop.grow_steps=1",
    "data.splits.sizes.audit=2",
    "audit.samples_per_prompt=1",
    "audit.counterfactual_samples=1",
    "audit.base_samples_per_prompt=1",
    "audit.kl_samples=0",
    "audit.encoder=null",
    "audit.benchmarks.tasks=[]",
    "audit.human_text=null",
    "audit.toxicity={kind: none}",
    "audit.resamples=100",
)


def _methods(changes: Sequence[str]) -> list[str]:
    """What an arm's changes say of `loop.method`."""
    return [c.removeprefix(METHOD_KEY) for c in changes if c.startswith(METHOD_KEY)]


@dataclass(frozen=True)
class Study:
    """A study as it was sealed.

    `changes` hold for every run; `least_variety` is what a learning rate has to keep.

    `methods` are the names it compares by: methods, and arms, whose own changes are in `arms` by
    that name. `rates` are the learning rates each is searched over.
    """

    recipe: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    changes: tuple[str, ...]
    rates: Mapping[str, tuple[float, ...]]
    arms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    least_variety: float | None = None
    restaudit: str = __version__
    schema: int = SCHEMA

    def method(self, name: str) -> str:
        """The `loop.method` behind a name."""
        methods = _methods(self.arms.get(name, ()))
        return methods[0] if methods else name

    def trains(self, name: str) -> bool:
        """Whether anything is learned: best-of-N only chooses."""
        return self.method(name) in RATES

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        # Through JSON: tuples become lists, as they come back from the file.
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, raw: Any) -> Study:
        """The inverse of `to_json`. Raises ValidationError where a field is missing or of another
        kind.
        """
        return TypeAdapter(cls).validate_python(raw)


def planned(
    recipe: str,
    methods: Sequence[str],
    seeds: int,
    *,
    small: bool,
    changes: Sequence[str],
    arms: Sequence[str] = (),
    search: bool = True,
    least_variety: float | None = None,
) -> Study:
    """A study, checked: the configuration of everything it compares is valid.

    Raises BadInput naming what is not.

    `arms` are written as `NAME: KEY=VALUE KEY=VALUE`, quoted as for a shell. Without `search` every
    method has the one learning rate that the recipe says. With `least_variety` the search takes a
    rate only where its policy keeps that share of the base policy's distinct-2 on D_eval.
    """
    if least_variety is not None and not search:
        raise BadInput("--least-variety is a rule of the search, and --no-search leaves that out")
    unknown = [m for m in methods if m not in COMPARABLE]
    if unknown:
        raise BadInput(f"--methods {unknown[0]}: expected some of {', '.join(COMPARABLE)}")
    said_once(changes)
    own = [_arm(text) for text in arms]
    names = (*methods, *(name for name, _ in own))
    if len(set(names)) != len(names) or len(names) < 2:
        raise BadInput(
            "--methods: give two or more, each once (an --arm counts, and needs a name of its own)"
        )
    # The user's own changes last: of two values for one key the later one counts.
    every = (*SMALL, *changes) if small else tuple(changes)
    study = Study(recipe, names, tuple(range(1, seeds + 1)), every, {}, dict(own), least_variety)
    rates = {}
    for name in names:
        if study.trains(name):
            rates[name] = _candidates(study, name, search)
    study = replace(study, rates=rates)
    # Whatever can be refused is refused before the first run, which may be days before the last.
    for name in names:
        config_of(study, name, 1)
        if name in rates:
            search_config(study, name, rates[name][0])
    return study


def config_of(study: Study, name: str, seed: int, rate: float | None = None) -> Config:
    """The configuration of one run of the study; the prompts are the same for all of them."""
    raw, where = _raw(study, name, (), seed, rate)
    raw["name"] = f"{name}-s{seed}"
    raw["gates"] = observing(raw.get("gates", {}))
    return parse(raw, where)


def search_config(study: Study, name: str, rate: float) -> Config:
    """The configuration of one run of the search for a learning rate (seed 0, which no run of the
    comparison has).
    """
    raw, where = _raw(
        study, name, (*SEARCHED, "data.splits.counterfactual_families.audit=0"), 0, rate
    )
    raw["name"] = f"search-{name}"
    # Nobody reads the audit of a search, so nothing may stop it.
    raw["gates"] = {"rules": []}
    return parse(raw, where)


def _raw(
    study: Study, name: str, changes: Sequence[str], seed: int, rate: float | None
) -> tuple[dict[str, Any], str]:
    """The recipe with every change in its order: the study's, the arm's, those given, seeds, the
    learning rate.
    """
    method = study.method(name)
    every = [
        f"loop.method={method}",
        *study.changes,
        *study.arms.get(name, ()),
        *changes,
        f"seed={seed}",
        # The same prompts for every seed: what differs between runs is training alone.
        "data.splits.seed=0",
    ]
    if rate is not None:
        every.append(f"{RATES[method]}={rate!r}")
    # Each a layer of its own: a later one may say again what an earlier one said.
    raw, where = read(study.recipe, *([change] for change in every))
    kind = "arm" if name in study.arms else "method"
    return raw, f"{where}, {kind} {name}"


def _arm(text: str) -> tuple[str, tuple[str, ...]]:
    """Name and changes of an arm.

    Raises BadInput where it names no method, or its name cannot be a folder's.
    """
    name, colon, rest = text.partition(":")
    try:
        changes = tuple(shlex.split(rest))
    except ValueError as e:
        raise BadInput(f"--arm {text}: {e}") from None
    if not colon or not changes or not all("=" in c for c in changes):
        raise BadInput(f"--arm {text}: expected 'NAME: loop.method=rest KEY=VALUE …'")
    said_once(changes)
    # It becomes part of a folder's name, on every system.
    if not re.fullmatch(r"[a-z0-9][a-z0-9._+-]{0,39}", name):
        raise BadInput(f"--arm {name}: a name has small letters, digits and . _ + - (at most 40)")
    methods = _methods(changes)
    if len(methods) != 1 or methods[0] not in COMPARABLE:
        raise BadInput(
            f"--arm {name}: say once which method it is: loop.method={'|'.join(COMPARABLE)}"
        )
    return name, changes


def observing(gates: Mapping[str, Any]) -> dict[str, Any]:
    """The same gates, which say WARN where they would have stopped a run: every method spends its
    whole budget.
    """
    rules = []
    for rule in gates.get("rules", []):
        # The name keeps what the rule would have done, for the document's table.
        name = rule["name"] if rule["action"] == "WARN" else f"{rule['name']}{HALTS}"
        rules.append({**rule, "action": "WARN", "name": name})
    return {**gates, "rules": rules}


def sealed(folder: Path, wanted: Study | None = None) -> Study:
    """The study of a folder, which is begun with `wanted` where none is there.

    Raises BadInput where there is none and none is wanted, or another one than is wanted.
    """
    if not plain.is_file(folder, FILE):
        if wanted is None:
            raise BadInput(f"{folder}: no study is there (no {FILE})")
        plain.write(folder, FILE, json_bytes(wanted.to_json()))
        return wanted
    try:
        begun = Study.from_json(read_json(folder, FILE))
    except ValidationError as e:
        wrong = e.errors()[0]
        field = ".".join(map(str, wrong["loc"]))
        raise BadInput(
            f"{folder / FILE}: not the plan of a study ({field or 'it'}: {wrong['msg']})"
        ) from None
    # A newer restaudit may go on with a study: its version is no part of what is compared.
    if wanted is not None and replace(begun, restaudit="") != replace(wanted, restaudit=""):
        is_begun, is_wanted = begun.to_json(), wanted.to_json()
        keys = []
        for key, value in is_wanted.items():
            if key != "restaudit" and is_begun[key] != value:
                keys.append(key)
        raise BadInput(
            f"{folder}: another study was begun there ({', '.join(keys)} differ); name another "
            "one with --out"
        )
    return begun


def _candidates(study: Study, name: str, search: bool) -> tuple[float, ...]:
    """The recipe's own rate for this method; to be searched over, a third and three times of it
    too.
    """
    own: Any = config_of(study, name, 1)
    for part in RATES[study.method(name)].split("."):
        own = getattr(own, part)
    factors = FACTORS if search else (1.0,)
    # Three digits, which the names of the folders of the search hold too.
    return tuple(float(f"{factor * float(own):.3g}") for factor in factors)
