"""What a study will do, written down before the first run: methods, seeds, sizes, and how learning rates are chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from restaudit import __version__
from restaudit.config import Config
from restaudit.configure import parse, read
from restaudit.errors import BadInput
from restaudit.methods import METHODS
from restaudit.record import write_json

FILE, SEARCH = "study.json", "search.json"
SCHEMA = 1
COMPARABLE = tuple(m for m in METHODS if m != "outside")
# The one learning rate of each method that is searched for; best-of-N trains nothing.
RATES: Mapping[str, str] = {
    "rest": "loop.train.learning_rate", "rest_em": "loop.train.learning_rate", "raft": "loop.train.learning_rate",
    "dpo": "loop.dpo.learning_rate", "grpo": "loop.online.learning_rate", "rloo": "loop.online.learning_rate",
}  # fmt: skip
FACTORS = (1 / 3, 1.0, 3.0)
# What every run of a small study has in common: about five minutes a run of `reviews` on two CPU cores.
SMALL = (
    "data.splits.sizes.grow=16", "data.splits.counterfactual_families.grow=2", "data.splits.sizes.d_eval=12",
    "data.splits.sizes.audit=40", "data.splits.counterfactual_families.audit=6",
    "loop.samples_per_prompt=8", "loop.sampling.max_tokens=24",
    "audit.base_samples_per_prompt=4", "audit.samples_per_prompt=2", "audit.kl_samples=16",
)  # fmt: skip
# A run of the search trains on one Grow step's worth of samples and is judged on D_eval alone; its audit, which nobody
# reads, is made as small as an audit can be.
SEARCHED = (
    "loop.grow_steps=1", "data.splits.sizes.audit=2", "audit.samples_per_prompt=1", "audit.base_samples_per_prompt=1",
    "audit.kl_samples=0", "audit.encoder=null", "audit.benchmarks.tasks=[]", "audit.human_text=null",
    "audit.toxicity={kind: none}", "audit.resamples=100",
)  # fmt: skip


@dataclass(frozen=True)
class Study:
    """A study as it was sealed. `rates` are the candidates of each method; `changes` hold for every run."""

    recipe: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    changes: tuple[str, ...]
    rates: Mapping[str, tuple[float, ...]]
    restaudit: str = __version__
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Study:
        """The inverse of `to_json`."""
        rates = {m: tuple(r) for m, r in raw["rates"].items()}
        return cls(raw["recipe"], tuple(raw["methods"]), tuple(raw["seeds"]), tuple(raw["changes"]), rates,
                   raw["restaudit"], raw["schema"])  # fmt: skip


def planned(recipe: str, methods: Sequence[str], seeds: int, *, small: bool, changes: Sequence[str]) -> Study:
    """A study, checked: every method's configuration is valid. Raises BadInput naming what is not."""
    unknown = [m for m in methods if m not in COMPARABLE]
    if unknown:
        raise BadInput(f"--methods {unknown[0]}: expected some of {', '.join(COMPARABLE)}")
    if len(set(methods)) != len(methods) or len(methods) < 2:
        raise BadInput("--methods: give two or more, each once")
    every = (*(SMALL if small else ()), *changes)
    study = Study(recipe, tuple(methods), tuple(range(1, seeds + 1)), every, {})
    rates = {m: _candidates(study, m) for m in methods if m in RATES}
    found = Study(study.recipe, study.methods, study.seeds, study.changes, rates)
    for method in methods:
        config_of(found, method, 1)
        if method in RATES:
            search_config(found, method, rates[method][0])
    return found


def config_of(study: Study, method: str, seed: int, rate: float | None = None) -> Config:
    """The configuration of one run of the study; the prompts are the same for all of them."""
    changes = [f"loop.method={method}", *study.changes, f"seed={seed}", "data.splits.seed=0"]
    if rate is not None:
        changes.append(f"{RATES[method]}={rate!r}")
    raw, where = read(study.recipe, changes)
    raw["name"] = f"{method}-s{seed}"
    raw["gates"] = observing(raw.get("gates", {}))
    return parse(raw, f"{where}, method {method}")


def search_config(study: Study, method: str, rate: float) -> Config:
    """The configuration of one run of the search for a learning rate (seed 0, which no run of the comparison has)."""
    families = ["data.splits.counterfactual_families.audit=0"]
    changes = [f"loop.method={method}", *study.changes, *SEARCHED, *families, "seed=0", "data.splits.seed=0",
               f"{RATES[method]}={rate!r}"]  # fmt: skip
    raw, where = read(study.recipe, changes)
    raw["name"] = f"search-{method}"
    raw["gates"] = {"rules": []}
    return parse(raw, f"{where}, method {method}")


def observing(gates: Mapping[str, Any]) -> dict[str, Any]:
    """The same gates, which say WARN where they would have stopped a run: every method spends its whole budget."""
    rules = [{**r, "action": "WARN", "name": r["name"] if r["action"] == "WARN" else f"{r['name']} (HALT)"}
             for r in gates.get("rules", [])]  # fmt: skip
    return {**gates, "rules": rules}


def sealed(folder: Path, wanted: Study | None = None) -> Study:
    """The study of a folder, which is begun with `wanted` where none is there.

    Raises BadInput where there is none and none is wanted, or another one than is wanted.
    """
    path = folder / FILE
    if not path.is_file():
        if wanted is None:
            raise BadInput(f"{folder}: no study is there (no {FILE})")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(wanted.to_json(), path)
        return wanted
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        found = Study.from_json(raw)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise BadInput(f"{path}: not the plan of a study ({type(e).__name__}: {e})") from None
    if wanted is not None and {**raw, "restaudit": ""} != {**wanted.to_json(), "restaudit": ""}:
        keys = [k for k, v in wanted.to_json().items() if k != "restaudit" and raw.get(k) != v]
        raise BadInput(
            f"{folder}: another study was begun there ({', '.join(keys)} differ); name another one with --out"
        )
    return found


def _candidates(study: Study, method: str) -> tuple[float, ...]:
    """The recipe's own rate for this method, and a third and three times of it."""
    config: Any = config_of(study, method, 1)
    for part in RATES[method].split("."):
        config = getattr(config, part)
    return tuple(float(f"{f * float(config):.3g}") for f in FACTORS)
